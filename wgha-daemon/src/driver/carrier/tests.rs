//! The loop's heart against a kernel that records, and that refuses when it is told to.

use std::time::Duration;

use wgha_common::{Priority, abi::Role};

use super::*;
use crate::proto::{Inherited, Sample, Settings, TunnelState, UplinkState};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Lease(u32),
    Stamp(u8),
    Advert,
    Announce,
    Look,
}

#[derive(Default)]
struct Recorded {
    calls: Vec<Call>,
    refuse: Option<Call>,
    routers: Vec<(IpAddr, AdvertSeen)>,
    now: Timestamp,
    /// How long a look takes.
    look_takes: Duration,
}

impl Recorded {
    fn call(&mut self, call: Call) -> Result<(), String> {
        self.calls.push(call.clone());
        if self.refuse.as_ref() == Some(&call) { Err("refused".to_owned()) } else { Ok(()) }
    }
}

impl Datapath for Recorded {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn set_lease(&mut self, lease: Lease) -> Result<(), String> {
        self.call(Call::Lease(lease.role))
    }

    fn stamp_adverts(&mut self, priority: u8, _: Centiseconds) -> Result<(), String> {
        self.call(Call::Stamp(priority))
    }

    fn send_advert(&mut self) -> Result<(), String> {
        self.call(Call::Advert)
    }

    fn announce(&mut self) -> Result<(), String> {
        self.call(Call::Announce)
    }

    fn look(&mut self, _: bool) -> Result<Look, String> {
        self.now = self.now + self.look_takes;
        self.call(Call::Look).map(|()| Look { routers: self.routers.clone(), ..Look::default() })
    }

    fn traffic(&mut self) -> Result<Sample, String> {
        Ok(Sample::default())
    }

    fn has_gateway(&self) -> bool {
        false
    }

    fn ask_gateways(&mut self) {}

    fn listen(&mut self, _: bool) -> Result<Listened, String> {
        Ok(Listened::default())
    }

    fn send_probe(&mut self, _: PeerId, _: u64, _: bool) {}
}

struct Blind;

impl Witness for Blind {
    fn input(&mut self, _: &Input, _: Timestamp) {}
    fn action(&mut self, _: &Action, _: Timestamp) {}
}

struct Bench {
    carrier: Carrier<Recorded, Blind>,
    asked: mpsc::UnboundedReceiver<Effect>,
}

const ACTIVE: u32 = Role::Active as u32;
const BACKUP: u32 = Role::Backup as u32;

impl Bench {
    /// A healthy Backup of priority 100 and an interval of 100 ms.
    fn new() -> Self {
        let settings = Settings {
            priority: Priority::new(100).unwrap(),
            interval: Centiseconds::new(10).unwrap(),
            preempt: true,
            preempt_delay: Duration::ZERO,
            peers: 0,
            detect: None,
            authentication: None,
            health: None,
        };
        let (effects, asked) = mpsc::unbounded_channel();
        let carrier = Carrier {
            machine: Machine::new(settings),
            datapath: Recorded { now: Timestamp::from_nanos(1_000_000_000), ..Recorded::default() },
            witness: Blind,
            effects,
            told: watch::Sender::default(),
            handshakes: None,
            pending: Pending::default(),
            ended: None,
            kept_on: None,
            doubts: false,
            inputs: VecDeque::new(),
        };
        let mut bench = Self { carrier, asked };
        let source = Some("fe80::3".parse().unwrap());
        bench.take(Input::UplinkChanged(UplinkState { present: true, running: true, source }));
        bench.take(Input::TunnelChanged(TunnelState { present: true, up: false, listen_port: Some(51800) }));
        bench.take(Input::Started(Inherited::default()));
        bench.end_effects();
        bench.carrier.datapath.calls.clear();
        bench
    }

    fn take(&mut self, input: Input) {
        self.carrier.take(input);
    }

    /// Lets the machine's next deadline come.
    fn deadline(&mut self) {
        self.carrier.datapath.now = self.carrier.machine.poll_timeout().unwrap();
        self.take(Input::TimerFired);
    }

    /// Ends every effect that was asked for well; gives their names.
    fn end_effects(&mut self) -> Vec<Effect> {
        let mut ended = Vec::new();
        while let Ok(effect) = self.asked.try_recv() {
            ended.push(effect);
            let at = self.carrier.datapath.now;
            self.carrier.effect_done(Done { effect, result: Ok(()), at });
        }
        ended
    }

    fn calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.carrier.datapath.calls)
    }
}

#[test]
fn taking_over_looks_first_then_opens_the_fence_then_speaks() {
    let mut bench = Bench::new();
    bench.deadline();
    let calls = bench.calls();
    assert_eq!(calls[..4], [Call::Look, Call::Stamp(100), Call::Lease(ACTIVE), Call::Advert]);
    assert_eq!(bench.end_effects(), [Effect::HoldVip, Effect::RaiseTunnel]);
    assert_eq!(bench.calls(), [Call::Announce, Call::Announce], "when the VIP is held, and when wg1 is up");
}

#[test]
fn an_advert_that_only_the_map_has_seen_prevents_the_take_over() {
    let mut bench = Bench::new();
    let due = bench.carrier.machine.poll_timeout().unwrap();
    bench.carrier.datapath.now = due;
    let seen = AdvertSeen { at: due.as_nanos(), interval: 10, priority: 101, ..AdvertSeen::default() };
    bench.carrier.datapath.routers = vec![("fe80::4".parse().unwrap(), seen)];
    bench.take(Input::TimerFired);
    assert_eq!(bench.calls(), [Call::Look]);
    assert_eq!(bench.carrier.machine.role_name(), "backup");
}

#[test]
fn a_look_that_took_long_decides_nothing() {
    let mut bench = Bench::new();
    bench.carrier.datapath.look_takes = Duration::from_secs(1);
    bench.deadline();
    assert_eq!(bench.calls(), [Call::Look]);
    assert_eq!(bench.carrier.machine.role_name(), "backup");
}

#[test]
fn a_fence_that_cannot_be_opened_is_a_fault_in_the_same_step() {
    let mut bench = Bench::new();
    bench.carrier.datapath.refuse = Some(Call::Lease(ACTIVE));
    bench.deadline();
    assert_eq!(bench.carrier.machine.role_name(), "fault");
    let calls = bench.calls();
    let closed = calls.iter().rposition(|c| *c == Call::Lease(BACKUP));
    let resigned = calls.iter().rposition(|c| *c == Call::Stamp(0));
    assert!(closed.is_some() && closed < resigned, "{calls:?}");
}

#[test]
fn stopping_ends_the_lease_before_anything_else_and_finishes_when_all_is_undone() {
    let mut bench = Bench::new();
    bench.deadline();
    bench.end_effects();
    bench.calls();
    bench.take(Input::StopRequested);
    assert_eq!(bench.calls(), [Call::Lease(BACKUP), Call::Stamp(0), Call::Advert]);
    assert_eq!(bench.carrier.ended, None);
    assert_eq!(bench.end_effects(), [Effect::LowerTunnel, Effect::ReleaseVip]);
    assert_eq!(bench.carrier.ended, Some(End::Undone));
}

#[test]
fn what_is_seen_during_an_effect_or_before_its_end_is_not_others_doing() {
    let at = Timestamp::from_nanos;
    let mut pending = Pending::default();
    assert!(pending.tunnel_settled(at(5)));
    pending.asked(Effect::RaiseTunnel);
    assert!(!pending.tunnel_settled(at(15)), "under way");
    pending.ended(&Done { effect: Effect::RaiseTunnel, result: Ok(()), at: at(10) });
    assert!(!pending.tunnel_settled(at(9)), "read before its end");
    assert!(pending.tunnel_settled(at(10)));
}

#[test]
fn what_is_undone_is_told_until_it_is_done() {
    let at = Timestamp::from_nanos(1);
    let mut pending = Pending::default();
    pending.asked(Effect::LowerTunnel);
    pending.asked(Effect::ReleaseVip);
    assert_eq!(pending.undone(), ["the tunnel: no end yet", "the VIP: no end yet"]);
    pending.ended(&Done { effect: Effect::LowerTunnel, result: Ok(()), at });
    pending.ended(&Done { effect: Effect::ReleaseVip, result: Err("refused".to_owned()), at });
    assert_eq!(pending.undone(), ["refused"]);
    pending.asked(Effect::ReleaseVip);
    pending.ended(&Done { effect: Effect::ReleaseVip, result: Ok(()), at });
    assert_eq!(pending.undone(), [""; 0]);
}

#[test]
fn vips_are_expected_only_after_they_were_held_and_until_they_are_released() {
    let at = Timestamp::from_nanos;
    let mut pending = Pending::default();
    assert!(!pending.vips_expected(at(5)));
    pending.asked(Effect::HoldVip);
    pending.ended(&Done { effect: Effect::HoldVip, result: Err("no".to_owned()), at: at(6) });
    assert!(!pending.vips_expected(at(7)), "not held");
    pending.asked(Effect::HoldVip);
    pending.ended(&Done { effect: Effect::HoldVip, result: Ok(()), at: at(10) });
    assert!(!pending.vips_expected(at(9)), "read before they were held");
    assert!(pending.vips_expected(at(10)));
    pending.asked(Effect::ReleaseVip);
    assert!(!pending.vips_expected(at(11)));
}
