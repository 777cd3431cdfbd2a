//! May this node serve? Asked of every packet of the VIP (I4).

use wgha_common::{
    Address,
    abi::{Counter, Revoked, Role},
};

use crate::{clock::Clock, maps};

/// The epoch of the lease under which WireGuard's packets pass now, if they do. Asked of every one of them: in line, and
/// by the coarse clock.
#[inline(always)]
pub fn serves_wireguard() -> Option<u64> {
    given(Role::Active, Clock::Coarse)
}

/// Whether all else that belongs to the VIP passes now.
#[inline(never)]
pub fn serves() -> bool {
    given(Role::Active, Clock::Exact).is_some()
}

/// Whether our adverts pass now.
#[inline(never)]
pub fn claims() -> bool {
    given(Role::Claiming, Clock::Exact).is_some()
}

/// The epoch of the lease, if it gives `role` or more now. A serving lease that is found lapsed is over for good.
#[inline(always)]
fn given(role: Role, clock: Clock) -> Option<u64> {
    let (lease, revoked) = (maps::lease()?, maps::revoked_epoch()?);
    if lease.gives(role, revoked, clock.now()) {
        return Some(lease.epoch);
    }
    if lease.role == Role::Active as u32 && lease.stands(revoked) {
        note_lapse(lease.until, lease.epoch);
    }
    None
}

/// I5: a late renewal of the same epoch must not bring it back.
#[inline(never)]
fn note_lapse(until: u64, epoch: u64) {
    let now = Clock::Exact.now();
    if now >= until {
        maps::revoke(&Revoked { epoch, at: now, by: Address::UNSPECIFIED });
        maps::count_here(Counter::LeaseLapsed);
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
