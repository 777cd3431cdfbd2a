use std::fmt;

/// Where the virtual router stands on this node (RFC 9568 §6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The RFC's Initialize: not started yet, or something keeps this node from serving.
    Fault,
    /// Listens.
    Backup,
    /// Has told an Active Router of lower priority to yield, and waits until it must have.
    Claiming,
    /// Serves.
    Active,
    /// Undoes everything, then ends.
    Stopping,
}

impl State {
    /// Its name in status, logs and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Backup => "backup",
            Self::Claiming => "claiming",
            Self::Active => "active",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
