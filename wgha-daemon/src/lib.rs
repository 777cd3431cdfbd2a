//! wgha's userspace half: decides, and carries it out.
//!
//! | module | does |
//! |---|---|
//! | [`proto`] | decides: a state machine without I/O |
//! | [`driver`] | carries: one loop from inputs to actions |
//! | [`sys`] | touches the kernel: one file per interface, no policy |
//! | [`status`] | tells: one snapshot, as table and JSON, over the control socket |
//! | [`config`] | reads and checks the configuration |
//! | [`cli`] | what a person types |

pub mod cli;
pub mod config;
pub mod driver;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod proto;
pub mod status;
pub mod sys;
