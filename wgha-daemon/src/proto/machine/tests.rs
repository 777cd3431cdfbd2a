//! Every state × every input, twice in a row, at every kind of time.

use std::{net::IpAddr, time::Duration};

use wgha_common::{Centiseconds, Priority, Timestamp};

use super::*;
use crate::proto::{Heard, TunnelState, UplinkState};

const BOOT: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

fn interval() -> Centiseconds {
    Centiseconds::new(10).unwrap()
}

fn address(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

fn heard(from: u8, priority: u8, at: Timestamp) -> Heard {
    Heard { at, source: address(from), priority, interval: interval() }
}

fn uplink() -> UplinkState {
    UplinkState { present: true, running: true, source: Some(address(3)) }
}

fn tunnel(up: bool) -> TunnelState {
    TunnelState { present: true, up, listen_port: Some(51800) }
}

fn looked(routers: &[Heard]) -> Input {
    Input::LookedAgain { routers: routers.to_vec(), revoked_epoch: 0, answers: vec![] }
}

/// Plays inputs, each after so many microseconds, and forgets what is done about them.
fn play(machine: &Machine, inputs: &[(u64, Input)]) -> (Machine, Timestamp) {
    let mut machine = machine.clone();
    let mut now = BOOT;
    for (micros, input) in inputs {
        now = BOOT + Duration::from_micros(*micros);
        machine.handle(input.clone(), now);
        while machine.poll_action().is_some() {}
    }
    (machine, now)
}

/// A machine in every state that differs from the others in what it does.
fn stations() -> Vec<(&'static str, Machine, Timestamp)> {
    let settings = Settings {
        priority: Priority::new(100).unwrap(),
        interval: interval(),
        preempt: true,
        detect: None,
        preempt_delay: Duration::ZERO,
    };
    let down = 361_000;
    let rival = heard(4, 90, BOOT + Duration::from_millis(300));
    let ready = vec![(0, Input::UplinkChanged(uplink())), (0, Input::TunnelChanged(tunnel(false)))];
    let then = |before: &[(u64, Input)], more: &[(u64, Input)]| [before, more].concat();
    let starting = then(&ready, &[(0, Input::Started)]);
    let backup = then(&starting, &[(1, Input::TunnelLowered(Ok(()))), (1, Input::VipReleased(Ok(())))]);
    let looking = then(&backup, &[(down, Input::TimerFired)]);
    let resigned = then(&backup, &[(9, Input::AdvertHeard(heard(4, 0, BOOT)))]);
    let claiming = then(&looking, &[(down, looked(&[rival]))]);
    let claimed = then(&claiming, &[(down, looked(&[rival]))]);
    let claim_due = then(&claimed, &[(down + 111_000, Input::TimerFired)]);
    let taking = then(&looking, &[(down, looked(&[]))]);
    let held = then(&taking, &[(down + 1, Input::VipHeld(Ok(())))]);
    let raised = then(&held, &[(down + 2, Input::TunnelRaised(Ok(())))]);
    let doubted = then(&raised, &[(down + 3, Input::TunnelChanged(tunnel(false)))]);
    let active = then(&raised, &[(down + 3, Input::TunnelChanged(tunnel(true)))]);
    let fault = then(&active, &[(down + 4, Input::UplinkChanged(UplinkState::default()))]);
    let set_down = then(&active, &[(down + 4, Input::TunnelChanged(tunnel(false)))]);
    let failed = then(&taking, &[(down + 1, Input::VipHeld(Err("no".into())))]);
    let stopping = then(&active, &[(down + 5, Input::StopRequested)]);
    let over =
        then(&stopping, &[(down + 6, Input::TunnelLowered(Ok(()))), (down + 6, Input::VipReleased(Ok(())))]);
    let new = Machine::new(settings);
    [
        ("new", vec![]),
        ("ready", ready),
        ("starting", starting),
        ("backup", backup),
        ("looking", looking),
        ("resigned", resigned),
        ("claiming", claiming),
        ("claimed", claimed),
        ("claim due", claim_due),
        ("taking over", taking),
        ("VIP held", held),
        ("tunnel raised", raised),
        ("tunnel doubted", doubted),
        ("active", active),
        ("fault", fault),
        ("set down", set_down),
        ("failed", failed),
        ("stopping", stopping),
        ("over", over),
    ]
    .into_iter()
    .map(|(name, inputs)| {
        let (machine, now) = play(&new, &inputs);
        (name, machine, now)
    })
    .collect()
}

/// Every kind of input, with what it may carry.
fn inputs(at: Timestamp) -> Vec<Input> {
    let mut inputs = vec![Input::Started, Input::TimerFired, Input::StopRequested, looked(&[])];
    for at in [Timestamp::ZERO, at, Timestamp::from_nanos(u64::MAX)] {
        for (from, priority) in [(4, 0), (4, 90), (2, 100), (4, 100), (4, 255)] {
            let heard = heard(from, priority, at);
            inputs.extend([Input::AdvertHeard(heard), looked(&[heard])]);
        }
        inputs.extend([0, 1, u64::MAX].map(|epoch| Input::LeaseRevoked { epoch, by: heard(4, 200, at) }));
    }
    inputs.push(Input::LookedAgain { routers: vec![], revoked_epoch: u64::MAX, answers: vec![] });
    let no_carrier = UplinkState { running: false, ..uplink() };
    inputs.extend([UplinkState::default(), no_carrier, uplink()].map(Input::UplinkChanged));
    let no_port = TunnelState { listen_port: None, ..tunnel(true) };
    inputs.extend([TunnelState::default(), no_port, tunnel(true), tunnel(false)].map(Input::TunnelChanged));
    for result in [Ok(()), Err("no".to_owned())] {
        let ends =
            [Input::VipHeld, Input::VipReleased, Input::Announced, Input::TunnelRaised, Input::TunnelLowered];
        inputs.extend(ends.map(|end| end(result.clone())));
    }
    inputs.push(Input::VipLost(address(9)));
    inputs.extend([Input::AdvertFailed("no".into()), Input::MapFailed("no".into())]);
    inputs
}

fn times(now: Timestamp) -> Vec<Timestamp> {
    let later = |nanos| now + Duration::from_nanos(nanos);
    let earlier = Timestamp::from_nanos(now.as_nanos() / 2);
    let end = Timestamp::from_nanos(u64::MAX);
    vec![Timestamp::ZERO, earlier, now, later(1), later(100_000_000), later(500_000_000), end]
}

/// Handles one input and checks what may be done in the state that it leads to.
fn step(machine: &Machine, input: &Input, now: Timestamp, name: &str) -> Machine {
    let served = machine.state() == State::Active;
    let mut machine = machine.clone();
    machine.handle(input.clone(), now);
    let actions: Vec<_> = std::iter::from_fn(|| machine.poll_action()).collect();
    let context = || format!("{name}: {input:?} at {now:?}: {actions:?}");
    let serves = machine.state() == State::Active;
    let claims = serves || machine.state() == State::Claiming;
    let is_for_active = |a: &Action| matches!(a, Action::HoldVip | Action::Announce | Action::RaiseTunnel);
    assert!(served || serves || !actions.iter().any(is_for_active), "{}", context());
    let stamped_zero = actions.iter().any(|a| matches!(a, Action::StampAdverts { priority: 0, .. }));
    assert!(claims || stamped_zero || !actions.contains(&Action::SendAdvert), "{}", context());
    if *input == Input::TimerFired && now < Timestamp::from_nanos(u64::MAX) {
        assert!(machine.poll_timeout().is_none_or(|at| at > now), "{}", context());
    }
    if machine.life == Life::Over {
        assert_eq!(machine.poll_timeout(), None, "{}", context());
    }
    machine
}

#[test]
fn every_input_is_handled_in_every_state() {
    for (name, machine, now) in stations() {
        for input in inputs(now) {
            for now in times(now) {
                let next = step(&machine, &input, now, name);
                for again in inputs(now) {
                    step(&next, &again, now, name);
                }
            }
        }
    }
}

#[test]
fn the_stations_are_what_they_are_called() {
    let states: Vec<_> = stations().iter().map(|(name, machine, _)| (*name, machine.state())).collect();
    for (name, want) in [
        ("new", State::Fault),
        ("backup", State::Backup),
        ("looking", State::Backup),
        ("claimed", State::Claiming),
        ("claim due", State::Claiming),
        ("taking over", State::Active),
        ("tunnel doubted", State::Active),
        ("active", State::Active),
        ("set down", State::Fault),
        ("failed", State::Fault),
        ("over", State::Stopping),
    ] {
        assert!(states.contains(&(name, want)), "{name} in {states:?}");
    }
}

#[test]
fn the_same_inputs_give_the_same_machine() {
    let once: Vec<_> = stations().iter().map(|s| format!("{:?}", s.1)).collect();
    let again: Vec<_> = stations().iter().map(|s| format!("{:?}", s.1)).collect();
    assert_eq!(once, again);
}
