//! An archive that the kernel unpacks at boot: cpio, "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;
/// Name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive that is being written. Everything in it is root's.
pub struct Archive<W: Write> {
    to: W,
    entries: BTreeSet<PathBuf>,
    number: u32,
}

impl Archive<BufWriter<File>> {
    /// Begins a file.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self::new(BufWriter::new(File::create(path)?)))
    }
}

impl<W: Write> Archive<W> {
    /// Begins.
    pub const fn new(to: W) -> Self {
        Self { to, entries: BTreeSet::new(), number: 0 }
    }

    /// A directory, and those above it. Paths are absolute; what is there already stays.
    ///
    /// # Errors
    /// The system's.
    pub fn directory(&mut self, path: &Path) -> io::Result<()> {
        if path == Path::new("/") || self.entries.contains(path) {
            return Ok(());
        }
        path.parent().map_or(Ok(()), |parent| self.directory(parent))?;
        self.entry(path, DIRECTORY, 0, b"")
    }

    /// A file that everyone may execute.
    ///
    /// # Errors
    /// The system's.
    pub fn file(&mut self, path: &Path, contents: &[u8]) -> io::Result<()> {
        self.leaf(path, PROGRAM, 0, contents)
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// The system's.
    pub fn symlink(&mut self, path: &Path, target: &str) -> io::Result<()> {
        self.leaf(path, SYMLINK, 0, target.as_bytes())
    }

    /// Everything below a directory of this machine for which `wanted` says yes, below `to`.
    ///
    /// # Errors
    /// The system's.
    pub fn tree(&mut self, from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for path in entries.into_iter().map(|entry| entry.path()).filter(|path| wanted(path)) {
            let to = path.file_name().map_or_else(|| to.to_owned(), |name| to.join(name));
            if path.is_dir() {
                self.tree(&path, &to, wanted)?;
            } else if path.exists() {
                // Python believes what it has compiled only if it is as old as it says.
                let modified = fs::metadata(&path)?.mtime();
                self.leaf(&to, PROGRAM, modified, &fs::read(&path)?)?;
            }
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// The system's.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(Path::new(TRAILER), 0, 0, b"")?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn leaf(&mut self, path: &Path, mode: u32, modified: i64, contents: &[u8]) -> io::Result<()> {
        if self.entries.contains(path) {
            return Ok(());
        }
        path.parent().map_or(Ok(()), |parent| self.directory(parent))?;
        self.entry(path, mode, modified, contents)
    }

    fn entry(&mut self, path: &Path, mode: u32, modified: i64, contents: &[u8]) -> io::Result<()> {
        let name = path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes();
        let size = u32::try_from(contents.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let name_len = u32::try_from(name.len() + 1).map_err(|_| io::ErrorKind::InvalidFilename)?;
        let modified = u32::try_from(modified).unwrap_or(0);
        self.number += 1;
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [self.number, mode, 0, 0, 1, modified, size, 0, 0, 0, 0, name_len, 0];
        self.to.write_all(b"070701")?;
        fields.iter().try_for_each(|field| write!(self.to, "{field:08x}"))?;
        self.to.write_all(name)?;
        // The header has 110 bytes; header with name, and contents, each end at a multiple of four.
        let padding = 4 - (110 + name.len()) % 4;
        self.to.write_all(&[0; 4][..padding])?;
        self.to.write_all(contents)?;
        self.to.write_all(&[0; 3][..contents.len().next_multiple_of(4) - contents.len()])?;
        self.entries.insert(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and contents, by the lengths that the headers tell.
    fn read(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (size, name_len) = (field(6), field(11));
            let name = std::str::from_utf8(&bytes[110..110 + name_len - 1]).unwrap();
            let start = (110 + name_len).next_multiple_of(4);
            entries.push((name.to_owned(), bytes[start..start + size].to_vec()));
            bytes = &bytes[(start + size).next_multiple_of(4)..];
        }
        entries
    }

    #[test]
    fn parents_come_first_and_once_and_all_is_aligned() {
        let mut archive = Archive::new(Vec::new());
        archive.file(Path::new("/a/bb/ccc"), b"12345").unwrap();
        archive.file(Path::new("/a/bb/d"), b"1234").unwrap();
        archive.file(Path::new("/a/bb/d"), b"once more").unwrap();
        archive.symlink(Path::new("/a/l"), "bb").unwrap();
        let entries = read(&archive.finish().unwrap());
        let names = entries.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["a", "a/bb", "a/bb/ccc", "a/bb/d", "a/l", TRAILER]);
        let contents = entries.iter().map(|(_, contents)| contents.as_slice()).collect::<Vec<_>>();
        assert_eq!(contents, [b"".as_slice(), b"", b"12345", b"1234", b"bb", b""]);
    }
}
