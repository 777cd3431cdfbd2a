//! Every state × every input, twice in a row, at every kind of time.

use std::{net::IpAddr, time::Duration};

use wgha_common::{Centiseconds, Priority, Timestamp};

use super::*;
use crate::proto::{
    Answered, Counts, HealthRules, Heard, Introduced, Listened, PeerId, Remedy, Sample, TunnelState,
    UplinkState,
};

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

fn introduced(peer: u8, priority: u8) -> Input {
    let lease = Duration::from_millis(20);
    let required_min_rx = Duration::from_millis(10);
    let (peer, source) = (PeerId(peer), address(4 + peer));
    let serving = false;
    Input::PeerIntroduced(Introduced { peer, source, priority, serving, lease, required_min_rx, fit: true })
}

fn answered(number: u64, up: bool, at: Timestamp) -> Answered {
    Answered { peer: PeerId(0), number, at, up, yielded: false }
}

fn looked_and_answered(routers: &[Heard], answer: Answered) -> Input {
    Input::LookedAgain { routers: routers.to_vec(), revoked_epoch: 0, answers: vec![answer] }
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
        peers: 0,
        detect: None,
        authentication: None,
        health: None,
        preempt_delay: Duration::ZERO,
    };
    let down = 361_000;
    let rival = heard(4, 90, BOOT + Duration::from_millis(300));
    let ready = vec![(0, Input::UplinkChanged(uplink())), (0, Input::TunnelChanged(tunnel(false)))];
    let then = |before: &[(u64, Input)], more: &[(u64, Input)]| [before, more].concat();
    let starting = then(&ready, &[(0, Input::Started(Inherited::default()))]);
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
    let reloading = then(&active, &[(down + 4, Input::ReloadRequested)]);
    let over =
        then(&stopping, &[(down + 6, Input::TunnelLowered(Ok(()))), (down + 6, Input::VipReleased(Ok(())))]);
    let new = Machine::new(settings);
    let mut stations = stations_with_probes(settings, &backup);
    stations.extend(stations_in_doubt(settings, &backup));
    let without = [
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
        ("reloading", reloading),
        ("over", over),
    ];
    stations.extend(without.into_iter().map(|(name, inputs)| {
        let (machine, now) = play(&new, &inputs);
        (name, machine, now)
    }));
    stations
}

/// Likewise, with peers.
fn stations_with_probes(
    settings: Settings,
    backup: &[(u64, Input)],
) -> Vec<(&'static str, Machine, Timestamp)> {
    let detect = Detect { interval: Duration::from_millis(10), multiplier: 3 };
    let new = Machine::new(Settings { detect: Some(detect), ..settings });
    let at = |micros| BOOT + Duration::from_micros(micros);
    let then = |before: &[(u64, Input)], more: &[(u64, Input)]| [before, more].concat();
    let active = heard(4, 200, at(2));
    let up = |answered_at| looked_and_answered(&[active], answered(1, true, at(answered_at)));
    let tick = |micros| [(micros, Input::TimerFired), (micros, up(200))];
    let met = then(backup, &[(1, introduced(0, 200)), (2, Input::AdvertHeard(active))]);
    let probing = then(&met, &[(2, Input::TimerFired), (2, looked(&[active]))]);
    let trusting = then(&probing, &[(10_002, Input::TimerFired), (10_002, up(200))]);
    let silent = then(&trusting, &[tick(20_002), tick(30_002)].concat());
    let condemned = then(&silent, &[(31_002, Input::TimerFired)]);
    let down = answered(2, false, at(10_100));
    let told = then(&trusting, &[(10_200, Input::Answered(down))]);
    let ranked = then(&trusting, &[(10_100, introduced(1, 150)), (10_200, Input::Answered(down))]);
    let taking = then(&told, &[(10_200, looked_and_answered(&[active], down))]);
    let serving = then(&taking, &[(10_300, Input::VipHeld(Ok(())))]);
    let raised = then(
        &serving,
        &[(10_400, Input::TunnelRaised(Ok(()))), (10_500, Input::TunnelChanged(tunnel(true)))],
    );
    let reloading = then(&raised, &[(10_600, Input::ReloadRequested)]);
    let asked = then(&raised, &[(10_600, Input::GatewaysChanged(vec![address(1)]))]);
    let listened = |micros, heard, answered| {
        (micros, Input::Listened(Listened { heard: at(heard), answered: at(answered) }))
    };
    let witnessed = then(&asked, &[listened(10_700, 10_650, 0), listened(10_900, 10_800, 10_800)]);
    let hearing = then(
        &trusting,
        &[
            (10_010, Input::GatewaysChanged(vec![address(1)])),
            listened(10_020, 10_015, 0),
            listened(10_030, 10_025, 10_025),
        ],
    );
    let deaf_ticks = [tick(20_002), tick(30_002), tick(40_002)].concat();
    let questions = [30_010, 50_000, 60_000, 70_000, 90_000].map(|micros| listened(micros, 10_025, 10_025));
    let deaf = then(&hearing, &[&deaf_ticks[..], &questions].concat());
    let stations = [
        ("witnessed", witnessed),
        ("hearing", hearing),
        ("deaf", deaf),
        ("met", met),
        ("probing", probing),
        ("trusting", trusting),
        ("silent", silent),
        ("condemned", condemned),
        ("told", told),
        ("ranked", ranked),
        ("taking over by probes", taking),
        ("serving with peers", serving),
        ("reloading with peers", reloading),
    ];
    let station = |(name, inputs): (&'static str, Vec<(u64, Input)>)| {
        let (machine, now) = play(&new, &inputs);
        (name, machine, now)
    };
    stations.into_iter().map(station).collect()
}

/// Of a server whose WireGuard has stopped, beside one that is fit. It has time: nothing is renewed on the way.
fn stations_in_doubt(settings: Settings, backup: &[(u64, Input)]) -> Vec<(&'static str, Machine, Timestamp)> {
    const SECOND: u64 = 1_000_000;
    let detect = Detect { interval: Duration::from_secs(1), multiplier: 200 };
    let interval = Centiseconds::new(4000).unwrap();
    let down = 144 * SECOND + 376_000;
    let serving = [
        (1, introduced(0, 99)),
        (down, Input::TimerFired),
        (down, looked(&[])),
        (down, Input::VipHeld(Ok(()))),
        (down, Input::TunnelRaised(Ok(()))),
        (down, Input::TunnelChanged(tunnel(true))),
        (down, traffic(10)),
        (down + SECOND, traffic(20)),
        (down + 2 * SECOND, Input::WireguardAsked { silent: true }),
    ];
    let found = (down + 5 * SECOND, traffic(30));
    let later = down + 6 * SECOND;
    let taken = (later, Input::AdvertHeard(heard(4, 99, BOOT + Duration::from_micros(later))));
    let play = |name, remedy, more: &[(u64, Input)]| {
        let health = HealthRules { wireguard_stuck: remedy, ..HealthRules::default() };
        let settings = Settings { interval, detect: Some(detect), health: Some(health), ..settings };
        let (machine, now) = play(&Machine::new(settings), &[backup, &serving, more].concat());
        (name, machine, now)
    };
    vec![
        play("silent to us", Remedy::Priority, &[]),
        play("lowered", Remedy::Priority, std::slice::from_ref(&found)),
        play("lowered and taken over from", Remedy::Priority, &[found.clone(), taken]),
        play("suspected fault", Remedy::Fault, &[found]),
    ]
}

/// So much data has come in, and none gone out.
fn traffic(transport: u64) -> Input {
    Input::TrafficRead(Sample { received: Counts { transport, ..Counts::default() }, ..Sample::default() })
}

/// Every kind of input, with what it may carry.
fn inputs(at: Timestamp) -> Vec<Input> {
    let mut inputs = vec![Input::TimerFired, Input::StopRequested, Input::ReloadRequested, looked(&[])];
    let inherited = |until| Inherited { epoch: 7, until, ended: false };
    let ended = Inherited { epoch: 7, until: None, ended: true };
    let tomorrow = Some(at + Duration::from_secs(86_400));
    inputs
        .extend([Inherited::default(), ended, inherited(Some(at)), inherited(tomorrow)].map(Input::Started));
    inputs.extend([Duration::ZERO, Duration::MAX].map(|lease| Input::PeerWaits { peer: PeerId(0), lease }));
    for at in [Timestamp::ZERO, at, Timestamp::from_nanos(u64::MAX)] {
        for (from, priority) in [(4, 0), (4, 90), (2, 100), (4, 100), (4, 255)] {
            let heard = heard(from, priority, at);
            inputs.extend([Input::AdvertHeard(heard), looked(&[heard])]);
        }
        inputs.extend([0, 1, u64::MAX].map(|epoch| Input::LeaseRevoked { epoch, by: heard(4, 200, at) }));
        inputs.extend([90, 200].map(|priority| Input::Contested(heard(4, priority, at))));
    }
    inputs.push(Input::LookedAgain { routers: vec![], revoked_epoch: u64::MAX, answers: vec![] });
    for (number, up) in [(0, true), (2, true), (2, false), (4, false), (u64::MAX, true)] {
        let answer = answered(number, up, at);
        inputs.extend([Input::Answered(answer), looked_and_answered(&[heard(4, 200, at)], answer)]);
    }
    inputs.extend([introduced(0, 200), introduced(1, 255), Input::PeerLeft(PeerId(0))]);
    inputs.extend([Timestamp::ZERO, at].map(Input::GatewayAnswered));
    inputs.extend([vec![], vec![address(1)]].map(Input::GatewaysChanged));
    for (heard, answered) in [(Timestamp::ZERO, Timestamp::ZERO), (at, Timestamp::ZERO), (at, at)] {
        inputs.push(Input::Listened(Listened { heard, answered }));
    }
    inputs.push(Input::Listened(Listened { heard: Timestamp::from_nanos(u64::MAX), answered: at }));
    let reaches = |reaches| Input::PeerReaches { peer: PeerId(0), reaches };
    inputs.extend([Some(true), Some(false), None].map(reaches));
    let no_carrier = UplinkState { running: false, ..uplink() };
    inputs.extend([UplinkState::default(), no_carrier, uplink()].map(Input::UplinkChanged));
    let no_port = TunnelState { listen_port: None, ..tunnel(true) };
    inputs.extend([TunnelState::default(), no_port, tunnel(true), tunnel(false)].map(Input::TunnelChanged));
    for result in [Ok(()), Err("no".to_owned())] {
        let ends =
            [Input::VipHeld, Input::VipReleased, Input::Announced, Input::TunnelRaised, Input::TunnelLowered];
        inputs.extend(ends.map(|end| end(result.clone())));
    }
    inputs.extend([traffic(0), traffic(u64::MAX)]);
    inputs.extend([true, false].map(|silent| Input::WireguardAsked { silent }));
    inputs.extend([None, Some(at)].map(Input::ClientsUnanswered));
    inputs.extend([Input::VipLost(address(9)), Input::MacChanged]);
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
    let is_for_active = |a: &Action| {
        matches!(a, Action::HoldVip | Action::Announce | Action::RaiseTunnel | Action::StartHandshakes { .. })
    };
    // In state Up, a probe is a claim.
    let probes =
        |claim: bool| actions.iter().any(|a| matches!(a, Action::SendProbe { up, .. } if *up == claim));
    assert!(!probes(false) || machine.state() == State::Backup, "{}", context());
    assert!(!probes(true) || claims, "{}", context());
    assert!(served || serves || !actions.iter().any(is_for_active), "{}", context());
    let stamped_zero = actions.iter().any(|a| matches!(a, Action::StampAdverts { priority: 0, .. }));
    assert!(claims || stamped_zero || !actions.contains(&Action::SendAdvert), "{}", context());
    if *input == Input::TimerFired && now < Timestamp::from_nanos(u64::MAX) {
        // Whoever has overslept probes anew, at once.
        let again = machine.timers.at(Timer::Probe) == Some(now);
        assert!(machine.poll_timeout().is_none_or(|at| at > now || (again && at == now)), "{}", context());
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
        ("condemned", State::Backup),
        ("ranked", State::Backup),
        ("taking over by probes", State::Active),
        ("serving with peers", State::Active),
        ("lowered", State::Active),
        ("lowered and taken over from", State::Backup),
        ("suspected fault", State::Fault),
        ("reloading", State::Active),
        ("reloading with peers", State::Active),
        ("witnessed", State::Active),
        ("deaf", State::Backup),
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

#[test]
fn routers_matter_unless_probes_are_answered_and_nothing_is_asked() {
    let minds: Vec<_> =
        stations().iter().map(|(name, machine, _)| (*name, machine.minds_routers())).collect();
    for (name, want) in [
        ("backup", true),
        ("looking", true),
        ("probing", true),
        ("trusting", false),
        ("silent", true),
        ("condemned", true),
        ("told", true),
        ("active", true),
    ] {
        assert!(minds.contains(&(name, want)), "{name} in {minds:?}");
    }
}
