//! Identifiers with the range that their RFC gives them.

use core::fmt;

/// A Virtual Router Identifier, 1..=255 (RFC 9568 §5.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vrid(u8);

/// 0 is not a Virtual Router Identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidVrid;

impl Vrid {
    /// # Errors
    /// [`InvalidVrid`] for 0.
    pub const fn new(id: u8) -> Result<Self, InvalidVrid> {
        if id == 0 { Err(InvalidVrid) } else { Ok(Self(id)) }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The priority of a router that may be elected, 1..=254 (RFC 9568 §5.2.4).
///
/// 255 belongs to the owner of an address, which never gives it away; 0 says "I resign" and is
/// written only by [`Priority::RESIGNED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

/// 0 and 255 are not priorities that a router can be configured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPriority;

impl Priority {
    /// What an Active Router sends when it stops taking part (RFC 9568 §5.2.4).
    pub const RESIGNED: u8 = 0;

    /// # Errors
    /// [`InvalidPriority`] for 0 and 255.
    pub const fn new(priority: u8) -> Result<Self, InvalidPriority> {
        match priority {
            0 | 255 => Err(InvalidPriority),
            p => Ok(Self(p)),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The index of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IfIndex(pub u32);

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
