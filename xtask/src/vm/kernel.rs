//! Debian's kernels: found and fetched by apt, unpacked, not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::modules;
use crate::{install, run};

/// A kernel that has been unpacked.
#[derive(Debug)]
pub struct Kernel {
    /// As it was asked for: 6.1, 6.12.
    pub series: String,
    /// As `uname -r` will say.
    pub release: String,
    /// What QEMU starts: ELF, as unpacking it under emulation takes seconds.
    pub image: PathBuf,
    /// The same as Debian has it. It survives that QEMU puts a machine's ROMs back when that wakes up, of which it takes ELF to be one.
    pub packed: PathBuf,
    /// What is to be its /usr/lib/modules/RELEASE.
    pub modules: PathBuf,
}

impl Kernel {
    /// The newest of a series that apt has. Fetched and unpacked the first time.
    ///
    /// # Errors
    /// apt has none, or it cannot be fetched.
    pub fn take(series: &str, cache: &Path) -> Result<Self> {
        let package = newest(series)?;
        let release = package.trim_start_matches("linux-image-").to_owned();
        let root = cache.join(&package);
        let (image, packed) = (root.join("vmlinux"), root.join(format!("boot/vmlinuz-{release}")));
        if !image.is_file() {
            println!("{package}: apt-get download, unpacked below {}", root.display());
            unpack(&package, &root)?;
            let bytes = fs::read(&packed).with_context(|| packed.display().to_string())?;
            // Last: it says that the rest is complete.
            fs::write(&image, elf_of(&bytes, &root)?)?;
        }
        modules::choose(&root, &release)?;
        let modules = modules::chosen(&root, &release);
        Ok(Self { series: series.to_owned(), release, image, packed, modules })
    }
}

/// The package of the newest kernel of a series for virtual machines, signed as Debian's users have it.
fn newest(series: &str) -> Result<String> {
    let search = || {
        let pattern = format!("^linux-image-{}\\.[^ ]*-cloud-amd64$", series.replace('.', "\\."));
        run::output(Command::new("apt-cache").args(["search", "--names-only", &pattern]))
    };
    let mut said = search()?;
    if said.trim().is_empty() {
        install::update()?;
        said = search()?;
    }
    let names = said.lines().filter_map(|line| line.split_whitespace().next());
    let newest = names.max_by_key(|name| numbers(name)).map(str::to_owned);
    newest.with_context(|| {
        format!(
            "apt has no linux-image-{series}.*-cloud-amd64. Debian 12 has 6.1 in bookworm, 6.12 in bookworm-security \
             and bookworm-backports: add one of these to apt's sources, and apt-get update"
        )
    })
}

/// All numbers in a name, to compare by: 6.1.0-9 is older than 6.1.0-10.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn unpack(package: &str, root: &Path) -> Result<()> {
    let folder = root.with_extension("deb");
    fs::create_dir_all(&folder)?;
    // As root, apt would rather download as another user, who may not write here.
    let options = ["-q", "-o", "APT::Sandbox::User=root", "download"];
    let mut download = Command::new("apt-get");
    install::with_progress(package, download.args(options).arg(package).current_dir(&folder))?;
    let found = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let archive = found.max().with_context(|| format!("apt-get download {package} has left nothing"))?;
    run::shown(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(root))?;
    Ok(fs::remove_dir_all(&folder)?)
}

/// The ELF image in a bzImage: a compressed stream somewhere behind its own code (scripts/extract-vmlinux).
fn elf_of(image: &[u8], folder: &Path) -> Result<Vec<u8>> {
    let streams: [(&[u8], &str); 3] =
        [(b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"\x02\x21\x4c\x18", "lz4")];
    let packed = folder.join("packed");
    for (magic, program) in streams {
        for start in positions(image, magic) {
            fs::write(&packed, &image[start..])?;
            // It complains of what follows the stream, having written the whole of it.
            let output = Command::new(program).args(["-dc"]).arg(&packed).output().context(program)?;
            if output.stdout.starts_with(b"\x7fELF") {
                fs::remove_file(&packed)?;
                return Ok(output.stdout);
            }
        }
    }
    ensure!(image.starts_with(b"\x7fELF"), "no kernel packed by zstd, xz or lz4 is in {}", folder.display());
    Ok(image.to_vec())
}

fn positions<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes.windows(wanted.len()).enumerate().filter(move |(_, part)| *part == wanted).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_told_by_numbers() {
        let older = "linux-image-6.12.100+deb12-cloud-amd64";
        let newer = "linux-image-6.12.117+deb12-cloud-amd64";
        assert!(numbers("linux-image-6.12.99+deb12-cloud-amd64") < numbers(older));
        assert!(numbers(older) < numbers(newer));
        assert!(numbers("linux-image-6.1.0-9-cloud-amd64") < numbers("linux-image-6.1.0-10-cloud-amd64"));
    }

    #[test]
    fn a_stream_is_found_wherever_it_is() {
        assert_eq!(positions(b"..ab.ab", b"ab").collect::<Vec<_>>(), [2, 5]);
    }
}
