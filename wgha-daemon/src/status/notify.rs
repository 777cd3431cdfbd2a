use std::{
    env,
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// Tells systemd how it goes (`sd_notify(3)`). Nothing here waits, and nothing depends on it.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notifier {
    /// To the manager that started us, if it wants to know (`Type=notify`).
    #[must_use]
    pub fn from_env() -> Option<Self> {
        Self::to(&env::var_os("NOTIFY_SOCKET")?).inspect_err(|e| tracing::warn!("NOTIFY_SOCKET: {e}")).ok()
    }

    /// To a socket: a path, or an abstract name after `@`.
    ///
    /// # Errors
    /// No such address can be, or no socket can be made.
    pub fn to(address: &OsString) -> io::Result<Self> {
        let to = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// The daemon is ready. `status` is shown by `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// The daemon is about to make way for another program, which will say that it is ready.
    pub fn reloading(&self, monotonic: Duration) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic.as_micros()));
    }

    /// The daemon is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, message: &str) {
        if let Err(e) = self.socket.send_to_addr(message.as_bytes(), &self.to) {
            tracing::debug!("systemd was not told {message:?}: {e}");
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn a_path_is_told_in_systemds_words() {
        let path = env::temp_dir().join(format!("wgha-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(&path.clone().into_os_string()).unwrap();
        notifier.ready("backup: started");
        assert_eq!(hear(&manager), "READY=1\nSTATUS=backup: started");
        notifier.status("active:\nREADY=0");
        assert_eq!(hear(&manager), "STATUS=active: READY=0");
        notifier.reloading(Duration::from_nanos(7_000_999));
        assert_eq!(hear(&manager), "RELOADING=1\nMONOTONIC_USEC=7000");
        notifier.stopping();
        assert_eq!(hear(&manager), "STOPPING=1");
        std::fs::remove_file(path).unwrap();
        notifier.stopping(); // nobody is there: not an error
    }

    #[test]
    fn an_abstract_name_is_told_too() {
        let name = format!("wgha-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(&format!("@{name}").into()).unwrap().ready("up");
        assert_eq!(hear(&manager), "READY=1\nSTATUS=up");
    }

    #[test]
    fn an_impossible_address_is_refused() {
        assert!(Notifier::to(&"/".repeat(200).into()).is_err());
    }
}
