//! May this node serve? Asked of every packet of the VIP (I4).

use wgha_common::{
    Address,
    abi::{Counter, Lease, Revoked, Role},
};

use crate::{clock::Clock, maps};

/// Whether packets of the VIP pass now.
#[inline(always)]
pub fn serves(clock: Clock) -> bool {
    gives(Role::Active, clock)
}

/// Whether the lease gives `role` or more now. A serving lease that is found lapsed is over for good.
#[inline(always)]
pub fn gives(role: Role, clock: Clock) -> bool {
    let (Some(lease), Some(revoked)) = (maps::lease(), maps::revoked_epoch()) else {
        return false;
    };
    let given = lease.gives(role, revoked, clock.now());
    if !given && lease.role == Role::Active as u32 && lease.stands(revoked) {
        note_lapse(&lease);
    }
    given
}

/// I5: a late renewal of the same epoch must not bring it back.
#[inline(always)]
fn note_lapse(lease: &Lease) {
    let now = Clock::Exact.now();
    if now >= lease.until {
        maps::revoke(&Revoked { epoch: lease.epoch, at: now, by: Address::UNSPECIFIED });
        maps::count(Counter::LeaseLapsed);
    }
}

/// Ends our lease because `by` outranks us (I7).
#[inline(always)]
pub fn yield_to(by: Address, at: u64) {
    if let Some(lease) = maps::lease() {
        maps::revoke(&Revoked { epoch: lease.epoch, at, by });
        maps::count(Counter::LeaseOutranked);
    }
}
