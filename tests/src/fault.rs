//! What can go wrong on the segment, done at one instant: without starting a program first.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr},
    os::fd::OwnedFd,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{
    Namespace, Plan, Process, Server, Topology, Which,
    clock::wait_until,
    packets::{Advert, Ip, VRRP},
    sys,
    topology::{BRIDGE, GATEWAY_PORT, UPLINK},
};

/// ff02::12, to which VRRP speaks (RFC 9568 §5.1.2.2).
pub(crate) const VRRP_GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// How long the kernel may take to acknowledge.
const ACKNOWLEDGED: Duration = Duration::from_secs(2);
/// How long a program may take until it works.
const WORKING: Duration = Duration::from_secs(20);

/// A port of the switch that can stop forwarding at once, with its carrier on: what a crash of the machine behind it
/// looks like to everybody else, and to that machine nothing at all.
#[derive(Debug)]
pub struct BlackHole {
    route: File,
    index: u32,
}

impl BlackHole {
    /// Opens what is needed to do it.
    ///
    /// # Errors
    /// The system's.
    pub fn at(topology: &Topology, which: Which) -> Result<Self> {
        let (route, index) = topology
            .switch
            .inside(|| Ok((sys::route_socket()?, sys::interface_index(Server::port(which))?)))?;
        Ok(Self { route: File::from(route), index })
    }

    /// From now on nothing gets through.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(&mut self) -> Result<()> {
        self.set_port_state(STATE_DISABLED)
    }

    /// From now on everything does again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn close(&mut self) -> Result<()> {
        self.set_port_state(STATE_FORWARDING)
    }

    /// RTM_SETLINK of the bridge's family, as `bridge link set dev … state …` says it.
    fn set_port_state(&mut self, state: u8) -> Result<()> {
        self.route.write_all(&port_state_message(self.index, state)).context("RTM_SETLINK")?;
        sys::wait_readable(&self.route, ACKNOWLEDGED)?;
        let mut answer = [0; 512];
        let len = self.route.read(&mut answer).context("the answer to RTM_SETLINK")?;
        // nlmsghdr (16 bytes), then an errno: 0 acknowledges.
        let errno = answer.get(16..20).filter(|_| len >= 20).ok_or_else(|| anyhow!("a short answer"))?;
        let errno = i32::from_ne_bytes(errno.try_into()?);
        ensure!(errno == 0, "RTM_SETLINK: {}", std::io::Error::from_raw_os_error(-errno));
        Ok(())
    }
}

/// BR_STATE_DISABLED and BR_STATE_FORWARDING of linux/if_bridge.h.
const STATE_DISABLED: u8 = 0;
const STATE_FORWARDING: u8 = 3;

/// ```text
/// | nlmsghdr | ifinfomsg: AF_BRIDGE, index | IFLA_PROTINFO { IFLA_BRPORT_STATE u8, padding } |
/// 0          16                            32                                               44
/// ```
fn port_state_message(index: u32, state: u8) -> Vec<u8> {
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IFLA_PROTINFO_NESTED: u16 = 12 | 1 << 15;
    const IFLA_BRPORT_STATE: u16 = 1;
    let mut message = Vec::with_capacity(44);
    message.extend(44_u32.to_ne_bytes());
    message.extend([libc::RTM_SETLINK, NLM_F_REQUEST_ACK].map(u16::to_ne_bytes).concat());
    message.extend([1_u32, 0].map(u32::to_ne_bytes).concat());
    message.extend([libc::AF_BRIDGE as u8, 0, 0, 0]);
    message.extend([index, 0, 0].map(u32::to_ne_bytes).concat());
    message.extend([12, IFLA_PROTINFO_NESTED, 5, IFLA_BRPORT_STATE].map(u16::to_ne_bytes).concat());
    message.extend([state, 0, 0, 0]);
    message
}

/// In one direction only, seen from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneWay {
    /// What it sends is lost.
    Sent,
    /// What is sent to it is lost.
    Received,
}

impl Topology {
    /// Loses everything in one direction, by nftables at the server's port of the switch.
    ///
    /// # Errors
    /// What `nft` complains of.
    pub fn lose(&self, which: Which, way: OneWay) -> Result<()> {
        let port = Server::port(which);
        let hook = match way {
            OneWay::Sent => "ingress",
            OneWay::Received => "egress",
        };
        let rules = format!(
            "table netdev lost_{which} {{\n chain everything {{\n  type filter hook {hook} device \"{port}\" priority -500\n  \
             policy drop\n }}\n}}\n"
        );
        self.switch.run_with_input("nft", &["-f", "-"], &rules).map(drop)
    }

    /// Holds back everything between a server and the switch for so long, on its way there and on its way back. Needs
    /// [`crate::Property::Delay`].
    ///
    /// # Errors
    /// What `tc` complains of.
    pub fn delay(&self, which: Which, time: Duration) -> Result<()> {
        let time = format!("{}ms", time.as_millis());
        let netem =
            |interface: &str| format!("qdisc replace dev {interface} root netem limit 10000 delay {time}");
        for (end, line) in
            [(&self.switch, netem(Server::port(which))), (&self.server(which).namespace, netem(UPLINK))]
        {
            end.run("tc", &line.split_whitespace().collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Undoes [`Topology::lose`].
    ///
    /// # Errors
    /// What `nft` complains of.
    pub fn lose_no_more(&self, which: Which) -> Result<()> {
        self.switch.run("nft", &["delete", "table", "netdev", &format!("lost_{which}")]).map(drop)
    }

    /// Sets a server's uplink up again, with its address and its way out, whatever of it is missing.
    ///
    /// # Errors
    /// The system's.
    pub fn restore_uplink(&self, which: Which) -> Result<()> {
        let plan = &self.plan;
        let no_dad = if plan.is_ipv6() { "nodad" } else { "" };
        self.server(which).namespace.ip_batch(&format!(
            "link set {UPLINK} up\naddress replace {} dev {UPLINK} {no_dad}\nroute replace default via {}",
            plan.with_prefix(plan.server(which)),
            plan.gateway
        ))
    }

    /// Takes wgha's programs off a server's uplink, behind the daemon's back. Their pins stay.
    ///
    /// # Errors
    /// That there are none, or the system's.
    pub fn detach_programs(&self, which: Which) -> Result<()> {
        let namespace = &self.server(which).namespace;
        let pins: Vec<_> = fs::read_dir(namespace.path("/sys/fs/bpf/wgha"))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .collect();
        pins.iter().try_for_each(|pin| sys::detach_link(pin))?;
        let filters = namespace.run("tc", &["qdisc", "delete", "dev", UPLINK, "clsact"]);
        ensure!(!pins.is_empty() || filters.is_ok(), "there is nothing to detach");
        Ok(())
    }

    /// Removes every pin of a server.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_pins(&self, which: Which) -> Result<()> {
        self.server(which).namespace.run("find", &["/sys/fs/bpf/wgha", "-mindepth", "1", "-delete"]).map(drop)
    }

    /// Has the gateway vanish, with its carrier on, for all.
    ///
    /// # Errors
    /// The system's.
    pub fn cut_gateway(&self) -> Result<()> {
        self.switch.ip(&format!("link set {GATEWAY_PORT} nomaster")).map(drop)
    }

    /// Undoes [`Topology::cut_gateway`].
    ///
    /// # Errors
    /// The system's.
    pub fn mend_gateway(&self) -> Result<()> {
        self.switch.ip(&format!("link set {GATEWAY_PORT} master {BRIDGE} up")).map(drop)
    }

    /// What the gateway sends to a server is lost, and nothing else.
    ///
    /// # Errors
    /// What `nft` complains of.
    pub fn silence_gateway(&self, which: Which) -> Result<()> {
        let mac = self.gateway.mac("lan")?.map(|byte| format!("{byte:02x}")).join(":");
        let port = Server::port(which);
        let rules = format!(
            "table netdev lost_{which} {{\n chain gateway {{\n  type filter hook egress device \"{port}\" priority -500\n  \
             ether saddr {mac} drop\n }}\n}}\n"
        );
        self.switch.run_with_input("nft", &["-f", "-"], &rules).map(drop)
    }

    /// Has the gateway hide the client behind its own address, as a NAT at the client's site does.
    ///
    /// # Errors
    /// What `nft` complains of.
    pub fn hide_client(&self) -> Result<()> {
        let family = if self.plan.is_ipv6() { "ip6" } else { "ip" };
        let rules = format!(
            "table {family} nat {{\n chain out {{\n  type nat hook postrouting priority 100\n  \
             oifname \"lan\" masquerade\n }}\n}}\n"
        );
        self.gateway.run_with_input("nft", &["-f", "-"], &rules).map(drop)
    }
}

/// Makes and removes interfaces in a namespace of its own, one after the other: the kernel holds its lock of network
/// configuration, which all namespaces share, nearly all the time. Dropping it ends that.
#[derive(Debug)]
pub struct BusyConfiguration {
    _makers: Vec<Process>,
    _elsewhere: Namespace,
}

impl BusyConfiguration {
    /// So many wait for the lock at a time: whoever wants it comes after them.
    const MAKERS: usize = 6;

    /// Begins; it is at work when this returns.
    ///
    /// # Errors
    /// The system's.
    pub fn start() -> Result<Self> {
        let elsewhere = Namespace::new("elsewhere")?;
        let make = |number: usize| {
            // Removing one waits until nobody uses it any more, with the lock held.
            let pair = format!(
                "link add x{number} type veth peer name y{number}\nlink set x{number} up\nlink set y{number} up\n\
                 link delete x{number}\n"
            );
            let file = format!("/run/lines{number}");
            elsewhere.write(&file, &pair.repeat(200))?;
            elsewhere.spawn("sh", &["-c", &format!("while ip -batch {file}; do :; done")])
        };
        let makers = (0..Self::MAKERS).map(make).collect::<Result<_>>()?;
        wait_until("the kernel's configuration to be busy", WORKING, || Ok(elsewhere.has_link("x0")))?;
        Ok(Self { _makers: makers, _elsewhere: elsewhere })
    }
}

/// A socket that sends whole frames to a server alone, from the switch's end of its cable.
///
/// # Errors
/// The system's.
pub fn at_port_of(topology: &Topology, which: Which) -> Result<File> {
    let socket: OwnedFd = topology.switch.inside(|| sys::sending_socket(Server::port(which)))?;
    Ok(File::from(socket))
}

/// An advert in the name of a server that says that it resigns, ready to be sent to the other one.
#[derive(Debug)]
pub struct Resignation {
    port: File,
    frame: Vec<u8>,
}

impl Resignation {
    /// Of `which`, as IPv6 has it: from its link-local address, at hop limit 255, priority 0.
    ///
    /// # Errors
    /// That the server's addresses cannot be read.
    pub fn forged(topology: &Topology, which: Which) -> Result<Self> {
        let server = &topology.server(which).namespace;
        let plan = &topology.plan;
        let ip = Ip::new(link_local(server)?, VRRP_GROUP.into(), VRRP);
        let mut frame = Advert::new(Plan::VRID, 0, 10, plan.vip).frame(&ip);
        frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 0x12]);
        frame[6..12].copy_from_slice(&topology.server(which).mac()?);
        Ok(Self { port: at_port_of(topology, which.other())?, frame })
    }

    /// Sends it.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&mut self) -> Result<()> {
        Ok(self.port.write_all(&self.frame)?)
    }
}

/// Where the adverts of an IPv6 server come from.
pub(crate) fn link_local(server: &Namespace) -> Result<IpAddr> {
    let shown = server.ip(&format!("-6 -brief address show dev {UPLINK} scope link"))?;
    let address = shown.split_whitespace().find_map(|word| word.strip_suffix("/64"));
    Ok(address.context("no link-local address on the uplink")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_as_long_as_it_says() {
        let message = port_state_message(7, STATE_FORWARDING);
        assert_eq!(message.len(), 44);
        assert_eq!(message[..4], 44_u32.to_ne_bytes());
        assert_eq!((message[20], message[40]), (7, STATE_FORWARDING));
    }
}
