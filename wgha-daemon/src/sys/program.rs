//! The program that this process runs, and another one in its place: of the same name, with the same arguments.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What to execute, as it was when this process was started. What is at its path may be another program by now.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This one. To be called at the start: once its file is replaced, the kernel knows no name of it.
    ///
    /// # Errors
    /// It has no name.
    pub fn this() -> io::Result<Self> {
        let mut words = env::args_os();
        // A link to the file of a version may lead to another one by then.
        let named = words.next().map(PathBuf::from).filter(|name| name.components().count() > 1);
        let path = named.map_or_else(env::current_exe, std::path::absolute)?;
        Ok(Self { path, arguments: words.collect() })
    }

    /// Whether it is one that runs here, with this configuration.
    ///
    /// # Errors
    /// What it says is wrong, or why it cannot be asked.
    pub fn try_out(&self, config: &Path) -> Result<(), String> {
        let mut check = Command::new(&self.path);
        check.arg("check").arg("--config").arg(config).stdin(Stdio::null());
        let output =
            check.output().map_err(|e| format!("{} cannot be executed: {e}", self.path.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stderr, output.stdout].concat();
        Err(format!("{} check: {}", self.path.display(), String::from_utf8_lossy(&said).trim()))
    }

    /// Executes it in place of this process. Returns only if that cannot be.
    #[must_use]
    pub fn execute(&self) -> io::Error {
        ignore_hangup();
        Command::new(&self.path).args(&self.arguments).exec()
    }
}

/// SIGHUP would end a program that has not yet said what it means to it.
fn ignore_hangup() {
    #[expect(unsafe_code, reason = "a handler could be anything")]
    // SAFETY: SIG_IGN is none.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &str) -> Program {
        Program { path: path.into(), arguments: Vec::new() }
    }

    #[test]
    fn what_cannot_run_or_says_no_is_told() {
        let config = Path::new("/etc/wgha/wgha.toml");
        assert_eq!(program("/bin/true").try_out(config), Ok(()));
        assert_eq!(program("/bin/false").try_out(config), Err("/bin/false check: ".to_owned()));
        let missing = program("/nonexistent/wgha").try_out(config).unwrap_err();
        assert!(missing.starts_with("/nonexistent/wgha cannot be executed: "), "{missing}");
        let said = program("/bin/ls").try_out(config).unwrap_err();
        assert!(said.starts_with("/bin/ls check: ") && said.contains("config"), "{said}");
    }

    #[test]
    fn this_program_has_a_path() {
        let this = Program::this().unwrap();
        assert!(this.path.is_absolute() && this.path.is_file(), "{this:?}");
    }
}
