//! May this node serve? Asked of every packet of the VIP (I4).

use wgha_common::{
    Address,
    abi::{Counter, Revoked, Role},
};

use crate::{clock::Clock, maps};

/// Whether WireGuard's packets pass now. Asked of every one of them: in line, and by the coarse clock.
#[inline(always)]
pub fn serves_wireguard() -> bool {
    gives(Role::Active, Clock::Coarse)
}

/// Whether all else that belongs to the VIP passes now.
#[inline(never)]
pub fn serves() -> bool {
    gives(Role::Active, Clock::Exact)
}

/// Whether our adverts pass now.
#[inline(never)]
pub fn claims() -> bool {
    gives(Role::Claiming, Clock::Exact)
}

/// Whether the lease gives `role` or more now. A serving lease that is found lapsed is over for good.
#[inline(always)]
fn gives(role: Role, clock: Clock) -> bool {
    let Some(lease) = maps::lease() else {
        return false;
    };
    let Some(revoked) = maps::revoked_epoch() else {
        return false;
    };
    let given = lease.gives(role, revoked, clock.now());
    if !given && lease.role == Role::Active as u32 && lease.stands(revoked) {
        note_lapse(lease.until, lease.epoch);
    }
    given
}

/// I5: a late renewal of the same epoch must not bring it back.
#[inline(never)]
fn note_lapse(until: u64, epoch: u64) {
    let now = Clock::Exact.now();
    if now >= until {
        maps::revoke(&Revoked { epoch, at: now, by: Address::UNSPECIFIED });
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
