//! The harness of the privileged tests.

pub mod packets;
pub mod privilege;

pub use privilege::may_run;
