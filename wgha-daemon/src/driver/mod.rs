//! Carries. One loop: wait for one input, give it to the machine, carry out what follows.

pub mod carrier;
pub mod kernel;
pub mod observe;
pub mod worker;
