//! Running other programs: what they print is shown, or kept until it is needed.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The workspace's root.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The cargo that runs us, or else the one in `PATH`.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// As it could be typed.
pub fn typed(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let _ = write!(line, "{}={} ", name.display(), quoted(&value.to_string_lossy()));
        }
    }
    line.push_str(&command.get_program().to_string_lossy());
    for argument in command.get_args() {
        let _ = write!(line, " {}", quoted(&argument.to_string_lossy()));
    }
    line
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

/// Runs it with its output shown.
///
/// # Errors
/// It cannot be started, or it fails.
pub fn shown(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", typed(command)))?;
    if !status.success() {
        bail!("{status} from {}", typed(command));
    }
    Ok(())
}

/// Runs it and returns what it prints.
///
/// # Errors
/// It cannot be started, or it fails; then the error has what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", typed(command)))?;
    if !output.status.success() {
        bail!(
            "{} from {}\n{}",
            output.status,
            typed(command),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program is: in `PATH`, where cargo installs, or where root's programs are.
pub fn find(program: &str) -> Option<PathBuf> {
    search_path().map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn search_path() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let listed: Vec<PathBuf> = env::split_paths(&path).collect();
    listed.into_iter().chain([cargo_bin()]).chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
}

/// Where `cargo install` puts programs.
fn cargo_bin() -> PathBuf {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    home.unwrap_or_default().join("bin")
}

/// `PATH` with cargo's own directory, which rustc must see to find the linker.
pub fn path_with_cargo() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain([cargo_bin()])).unwrap_or(path)
}
