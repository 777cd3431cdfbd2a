use std::{fmt, io, path::PathBuf};

use thiserror::Error;

/// Why there is no [`super::Config`]. Prints one problem a line.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be opened or read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{}: larger than {limit} bytes; this is not a configuration of wgha", file.display())]
    TooLarge {
        /// Which file.
        file: PathBuf,
        /// How large it may be.
        limit: u64,
    },
    /// The file was read, and this is what is wrong with it, in the order of its lines.
    #[error("{}", lines(file, problems))]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
}

fn lines(file: &std::path::Path, problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|p| format!("{}:{p}", file.display())).collect();
    lines.join("\n")
}

/// One thing that is wrong. Prints as `LINE: key = value: what is wrong; what would be right`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line of the file, from 1.
    pub line: usize,
    /// The key with its section, as in `vrrp.priority`; or the section, as in `[vrrp]`; none when the file is not TOML.
    pub key: Option<String>,
    /// The value as it was written; none when it is missing.
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub wrong: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        if let Some(key) = &self.key {
            f.write_str(key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.wrong)
    }
}
