//! What the virtual machine finds at boot: programs with their libraries, the kernel's modules, and what is tested, at
//! the paths that they have here.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{cpio::Archive, kernel::Kernel};
use crate::run;

/// What the init script, the harness, the tests and the daemons that they start execute.
const PROGRAMS: &[&str] = &[
    "bridge",
    "cat",
    "chmod",
    "chown",
    "dmesg",
    "env",
    "find",
    "hostname",
    "id",
    "ip",
    "keepalived",
    "ln",
    "ls",
    "lsmod",
    "mkdir",
    "mknod",
    "modprobe",
    "mount",
    "nft",
    "ping",
    "printf",
    "ps",
    "rm",
    "sh",
    "setpriv",
    "sleep",
    "stty",
    "sysctl",
    "tail",
    "tc",
    "tcpdump",
    "timeout",
    "true",
    "umount",
    "uname",
    "unshare",
    "wg",
];
/// Names of users, protocols and ports, by which programs and rules ask.
const FILES: &[&str] = &["/etc/group", "/etc/passwd", "/etc/protocols", "/etc/services"];
/// Where Debian has them since its folders were merged.
const MERGED: [(&str, &str); 4] =
    [("/bin", "usr/bin"), ("/sbin", "usr/sbin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")];
const INIT: &str = include_str!("init");
const PYTHON: &str = "/usr/bin/python3";

/// What is added to the programs.
#[derive(Debug, Default)]
pub struct Contents {
    /// Programs that have been built.
    pub built: Vec<PathBuf>,
    /// Other files.
    pub files: Vec<PathBuf>,
    /// Folders that must exist.
    pub folders: Vec<PathBuf>,
    /// Whether scapy is needed.
    pub scapy: bool,
}

/// Writes it, and returns where it is.
///
/// # Errors
/// A program is missing, or the system's.
pub fn write(kernel: &Kernel, contents: &Contents, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("initramfs.cpio");
    let mut archive = Archive::create(&path).with_context(|| path.display().to_string())?;
    frame(&mut archive)?;
    let mut needed = BTreeSet::new();
    for name in PROGRAMS {
        let program = run::find(name).with_context(|| format!("{name} is needed in the machine"))?;
        add(&mut archive, &program, &program, &mut needed)?;
    }
    for built in &contents.built {
        let stripped = strip(built, folder)?;
        add(&mut archive, built, &stripped, &mut needed)?;
    }
    for file in FILES.iter().map(Path::new).chain(contents.files.iter().map(PathBuf::as_path)) {
        archive.file(file, &fs::read(file).with_context(|| file.display().to_string())?)?;
    }
    contents.folders.iter().try_for_each(|folder| archive.directory(folder))?;
    if contents.scapy {
        python(&mut archive, &mut needed)?;
    }
    for library in needed {
        archive.file(&library, &fs::read(&library).with_context(|| library.display().to_string())?)?;
    }
    let modules = Path::new("/usr/lib/modules").join(&kernel.release);
    archive.tree(&kernel.modules, &modules, &|_| true)?;
    archive.finish()?;
    Ok(path)
}

type ToFile = Archive<std::io::BufWriter<fs::File>>;

/// Folders to mount on, and the first process.
fn frame(archive: &mut ToFile) -> Result<()> {
    for (link, target) in MERGED {
        archive.symlink(Path::new(link), target)?;
    }
    for folder in ["dev", "etc", "proc", "root", "run", "sys", "tmp", "var"] {
        archive.directory(&Path::new("/").join(folder))?;
    }
    archive.symlink(Path::new("/var/run"), "/run")?;
    Ok(archive.file(Path::new("/init"), INIT.as_bytes())?)
}

/// A program, read from `contents`, at the path that it has here; its libraries are noted.
fn add(archive: &mut ToFile, path: &Path, contents: &Path, needed: &mut BTreeSet<PathBuf>) -> Result<()> {
    needed.extend(libraries(path)?);
    Ok(archive.file(&resolved(path)?, &fs::read(contents)?)?)
}

/// What the dynamic linker would load.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = Command::new("ldd").arg(program).output().context("ldd")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let paths = said.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(|path| resolved(Path::new(path))).collect()
}

/// Below no link, so that /lib is not made a folder; the name itself stays, as libraries are asked for by it.
fn resolved(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().unwrap_or(path).canonicalize().with_context(|| path.display().to_string())?;
    Ok(path.file_name().map_or(folder.clone(), |name| folder.join(name)))
}

/// A copy without what debuggers read: nine tenths of it.
fn strip(program: &Path, folder: &Path) -> Result<PathBuf> {
    let stripped = folder.join("stripped");
    run::shown(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(program))?;
    Ok(stripped)
}

/// Debian's Python with scapy.
fn python(archive: &mut ToFile, needed: &mut BTreeSet<PathBuf>) -> Result<()> {
    let program = Path::new(PYTHON);
    add(archive, program, program, needed)?;
    let ask = "import sysconfig, scapy, os; print(sysconfig.get_path('stdlib')); print(os.path.dirname(scapy.__file__))";
    let said = run::output(Command::new(PYTHON).args(["-c", ask]))?;
    for folder in said.lines().map(Path::new) {
        let unneeded = ["test", "ensurepip", "idlelib", "lib2to3", "tkinter", "contrib", "modules"];
        let wanted = |path: &Path| !path.file_name().is_some_and(|name| unneeded.iter().any(|n| name == *n));
        archive.tree(folder, folder, &wanted)?;
    }
    let dynamic = said.lines().next().map(|folder| Path::new(folder).join("lib-dynload"));
    for entry in dynamic.map(fs::read_dir).transpose()?.into_iter().flatten().flatten() {
        needed.extend(libraries(&entry.path())?);
    }
    Ok(())
}
