//! A node, a gateway that answers or not, and others that are heard or not.

use std::collections::VecDeque;

use wgha_common::{Centiseconds, Priority};

use super::*;
use crate::proto::{Answered, Detect, Inherited, Input, Introduced, Settings, TunnelState, UplinkState};

const PEER: PeerId = PeerId(0);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn peer_address() -> IpAddr {
    IpAddr::from([192, 0, 2, 4])
}

/// Everything around one machine.
struct Segment {
    machine: Machine,
    now: Timestamp,
    /// How long the gateway takes to answer; [`None`]: it does not.
    gateway: Option<Duration>,
    /// Something is heard so often.
    others: Option<Duration>,
    /// The peer sends adverts, and answers probes.
    peer_serves: bool,
    answers_probes: bool,
    answered: Timestamp,
    heard: Timestamp,
    under_way: Vec<Timestamp>,
    advert: Option<Heard>,
    answer: Option<Answered>,
    questions: Vec<Timestamp>,
    roles: Vec<(Timestamp, State, String)>,
    reached: Vec<Option<bool>>,
    held_back: Vec<Finding>,
}

impl Segment {
    fn new(priority: u8) -> Self {
        let settings = Settings {
            priority: Priority::new(priority).unwrap(),
            interval: Centiseconds::new(10).unwrap(),
            preempt: true,
            preempt_delay: Duration::ZERO,
            peers: 0,
            detect: Some(Detect { interval: ms(10), multiplier: 5 }),
            authentication: None,
            health: None,
        };
        let mut segment = Self {
            machine: Machine::new(settings),
            now: Timestamp::from_nanos(1_000_000_000_000),
            gateway: Some(Duration::from_micros(300)),
            others: None,
            peer_serves: false,
            answers_probes: true,
            answered: Timestamp::ZERO,
            heard: Timestamp::ZERO,
            under_way: vec![],
            advert: None,
            answer: None,
            questions: vec![],
            roles: vec![],
            reached: vec![],
            held_back: vec![],
        };
        let source = Some(IpAddr::from([192, 0, 2, 3]));
        segment.take(Input::UplinkChanged(UplinkState { present: true, running: true, source }));
        segment.take(Input::GatewaysChanged(vec![IpAddr::from([192, 0, 2, 1])]));
        segment.take(Input::TunnelChanged(TunnelState {
            present: true,
            up: false,
            listen_port: Some(51800),
        }));
        segment.take(Input::Started(Inherited::default()));
        segment
    }

    /// Serves, and is probed by a Backup.
    fn active() -> Self {
        let mut segment = Self::new(100);
        segment.introduce(90);
        segment.others = Some(ms(10));
        segment.run(ms(3000));
        assert_eq!(segment.machine.state(), State::Active);
        segment.roles.clear();
        segment
    }

    /// Backup of a peer that serves and answers probes.
    fn backup() -> Self {
        let mut segment = Self::new(100);
        segment.introduce(200);
        segment.peer_serves = true;
        segment.run(ms(3000));
        assert_eq!(segment.machine.state(), State::Backup);
        segment.roles.clear();
        segment
    }

    fn introduce(&mut self, priority: u8) {
        let (lease, required_min_rx) = (ms(40), ms(10));
        let (peer, source, serving) = (PEER, peer_address(), self.peer_serves);
        let who = Introduced { peer, source, priority, serving, lease, required_min_rx, fit: true };
        self.take(Input::PeerIntroduced(who));
    }

    fn peer_reaches(&mut self, reaches: bool) {
        self.take(Input::PeerReaches { peer: PEER, reaches: Some(reaches) });
    }

    fn cut_off(&mut self) {
        (self.gateway, self.others, self.peer_serves) = (None, None, false);
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self.machine.poll_timeout().unwrap_or(end);
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            self.happen();
            self.take(Input::TimerFired);
        }
        self.now = end;
        self.happen();
    }

    /// What has come in by now.
    fn happen(&mut self) {
        let now = self.now;
        if self.peer_serves {
            let at = last(now, ms(100));
            if self.advert.is_none_or(|advert| advert.at < at) {
                let interval = Centiseconds::new(10).unwrap();
                let heard = Heard { at, source: peer_address(), priority: 200, interval };
                if self.advert.replace(heard).is_none() {
                    self.take(Input::AdvertHeard(heard));
                }
            }
            self.heard = self.heard.max(at);
        }
        if let Some(others) = self.others {
            self.heard = self.heard.max(last(now, others));
        }
        let answered = self.under_way.iter().filter(|at| **at <= now).max().copied();
        self.answered = self.answered.max(answered.unwrap_or_default());
        self.under_way.retain(|at| *at > now);
    }

    fn take(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.machine.handle(input, self.now);
            while let Some(action) = self.machine.poll_action() {
                inputs.extend(self.carry_out(action));
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Vec<Input> {
        let tunnel = |up| Input::TunnelChanged(TunnelState { present: true, up, listen_port: Some(51800) });
        match action {
            Action::Listen { .. } => {
                let (heard, answered) = (self.heard, self.answered);
                return vec![Input::Listened(Listened { heard, answered })];
            }
            Action::AskGateway => {
                self.questions.push(self.now);
                self.under_way.extend(self.gateway.map(|takes| self.now + takes));
            }
            Action::SendProbe { peer, number, .. } if self.peer_serves && self.answers_probes => {
                self.heard = self.now;
                self.answer = Some(Answered { peer, number, at: self.now, up: true, yielded: false });
            }
            Action::LookAgain => {
                // That of this tick is still on its way.
                let newest = self.answer.filter(|answer| answer.at < self.now);
                let answers = newest.or(self.earlier()).into_iter().collect();
                let routers = self.advert.into_iter().collect();
                return vec![Input::LookedAgain { routers, revoked_epoch: 0, answers }];
            }
            Action::HoldVip => return vec![Input::VipHeld(Ok(()))],
            Action::ReleaseVip => return vec![Input::VipReleased(Ok(()))],
            Action::Announce => return vec![Input::Announced(Ok(())), Input::GatewayAnswered(self.now)],
            Action::RaiseTunnel => return vec![Input::TunnelRaised(Ok(())), tunnel(true)],
            Action::LowerTunnel => return vec![Input::TunnelLowered(Ok(())), tunnel(false)],
            Action::Report { role, reason } => self.roles.push((self.now, role, reason.to_string())),
            Action::TellWhetherReached { reaches } => self.reached.push(reaches),
            Action::HoldBack { finding } => self.held_back.push(finding),
            _ => {}
        }
        vec![]
    }

    fn earlier(&self) -> Option<Answered> {
        let answer = self.answer?;
        Some(Answered { number: answer.number.checked_sub(1)?, ..answer })
    }

    fn role(&self, state: State) -> (Timestamp, String) {
        let found = self.roles.iter().find(|(_, role, _)| *role == state);
        let (at, _, why) = found.unwrap_or_else(|| panic!("never {state}: {:?}", self.roles));
        (*at, why.clone())
    }

    fn states(&self) -> Vec<State> {
        self.roles.iter().map(|(_, state, _)| *state).collect()
    }
}

/// The last multiple of `every`.
fn last(now: Timestamp, every: Duration) -> Timestamp {
    let every = nanos(every);
    Timestamp::from_nanos(now.as_nanos() / every * every)
}

#[test]
fn an_active_router_that_suddenly_hears_nothing_steps_down_soon() {
    let mut segment = Segment::active();
    segment.cut_off();
    let cut = segment.now;
    segment.run(ms(2000));
    let (at, why) = segment.role(State::Fault);
    assert!(at.since(cut) <= ms(200), "after {:?}", at.since(cut));
    assert_eq!(why, Finding::Deaf.to_string());
    assert_eq!(segment.states(), [State::Fault], "{:?}", segment.roles);
    assert_eq!(segment.reached.last(), Some(&Some(false)));
    // It hears again, and others serve: it takes part.
    (segment.gateway, segment.others) = (Some(ms(1)), Some(ms(10)));
    segment.run(ms(1000));
    assert_eq!(segment.states()[..2], [State::Fault, State::Backup], "{:?}", segment.roles);
}

#[test]
fn a_lone_active_router_that_the_gateway_answers_is_never_deaf_and_asks_once_a_second() {
    let mut segment = Segment::active();
    segment.others = None;
    segment.questions.clear();
    segment.run(ms(600_000));
    assert_eq!(segment.states(), []);
    assert!(segment.questions.len() <= 605, "{} questions", segment.questions.len());
}

#[test]
fn a_lone_active_router_that_nothing_comes_to_any_more_steps_down_after_seconds() {
    let mut segment = Segment::active();
    segment.others = None;
    segment.run(ms(5000));
    segment.gateway = None;
    let cut = segment.now;
    segment.run(ms(10_000));
    let (at, _) = segment.role(State::Fault);
    assert!((ms(2000)..ms(5000)).contains(&at.since(cut)), "after {:?}", at.since(cut));
}

#[test]
fn bursts_of_traffic_are_no_reason_to_ask_all_the_time() {
    let mut segment = Segment::active();
    segment.questions.clear();
    for _ in 0..60 {
        segment.others = Some(ms(10));
        segment.run(ms(700));
        segment.others = None;
        segment.run(ms(300));
    }
    assert_eq!(segment.states(), []);
    assert!(segment.questions.len() <= 130, "{} questions", segment.questions.len());
}

#[test]
fn whoever_hears_now_and_then_does_not_flap() {
    let mut segment = Segment::active();
    for _ in 0..300 {
        segment.cut_off();
        segment.run(ms(1500));
        (segment.gateway, segment.others) = (Some(ms(1)), Some(ms(10)));
        segment.run(ms(1500));
    }
    let faults = segment.states().iter().filter(|state| **state == State::Fault).count();
    assert!(faults <= 30, "{faults} times in a quarter of an hour");
}

#[test]
fn one_stray_packet_is_no_hearing_and_three_are() {
    let mut segment = Segment::active();
    segment.cut_off();
    segment.run(ms(5000));
    segment.heard = segment.now;
    segment.run(ms(20_000));
    assert_eq!(segment.machine.state(), State::Fault);
    for _ in 0..3 {
        segment.heard = segment.now;
        segment.run(ms(500));
    }
    assert_eq!(segment.states()[..2], [State::Fault, State::Backup]);
}

#[test]
fn a_gateway_that_is_silent_for_all_costs_nobody_the_role() {
    let mut segment = Segment::active();
    segment.peer_reaches(true);
    segment.gateway = None;
    segment.run(ms(1000));
    // The peer is told, asks at once, and finds the same.
    segment.run(ms(1500));
    assert_eq!(segment.machine.finding(), Finding::GatewaySilent);
    assert_eq!(segment.reached.last(), Some(&Some(false)));
    segment.peer_reaches(false);
    segment.run(ms(60_000));
    assert_eq!(segment.states(), [], "{:?}", segment.roles);
}

#[test]
fn an_active_router_that_alone_does_not_reach_the_gateway_resigns_once_and_is_shy() {
    let mut segment = Segment::active();
    segment.peer_reaches(true);
    segment.gateway = None;
    let silent = segment.now;
    while segment.machine.state() == State::Active {
        segment.run(ms(10));
    }
    let (at, why) = segment.role(State::Backup);
    assert!((ms(1000)..ms(4000)).contains(&at.since(silent)), "after {:?}", at.since(silent));
    assert_eq!(why, "the gateway does not answer here, and 192.0.2.4 reaches it");
    // The peer serves, with a lower priority. We leave it the role until the gateway answers here again.
    let rival =
        |at| Heard { at, source: peer_address(), priority: 90, interval: Centiseconds::new(10).unwrap() };
    segment.roles.clear();
    for _ in 0..100 {
        let heard = rival(segment.now);
        segment.advert = Some(heard);
        segment.take(Input::AdvertHeard(heard));
        segment.run(ms(100));
    }
    assert_eq!((segment.states(), segment.machine.state()), (vec![], State::Backup), "{:?}", segment.roles);
    segment.gateway = Some(ms(1));
    for _ in 0..60 {
        segment.advert = Some(rival(segment.now));
        segment.run(ms(100));
    }
    assert!(segment.states().contains(&State::Claiming), "{:?}", segment.roles);
}

#[test]
fn nobody_who_takes_over_is_no_reason_to_resign_again_and_again() {
    let mut segment = Segment::active();
    segment.peer_reaches(true);
    segment.gateway = None;
    segment.run(ms(120_000));
    let resigned = segment.states().iter().filter(|state| **state == State::Backup).count();
    assert!((1..=2).contains(&resigned), "{:?}", segment.roles);
    assert_eq!(segment.machine.state(), State::Active);
}

#[test]
fn a_backup_that_reaches_the_gateway_takes_over_as_soon_as_without_a_witness() {
    let took = |witness: bool| {
        let mut segment = Segment::backup();
        if !witness {
            segment.take(Input::GatewaysChanged(vec![]));
        }
        let died = segment.now;
        segment.peer_serves = false;
        segment.run(ms(1000));
        segment.role(State::Active).0.since(died)
    };
    assert_eq!(took(true), took(false));
}

#[test]
fn the_same_where_adverts_decide() {
    let took = |witness: bool| {
        let mut segment = Segment::new(100);
        segment.peer_serves = true;
        segment.run(ms(3000));
        if !witness {
            segment.take(Input::GatewaysChanged(vec![]));
        }
        segment.questions.clear();
        segment.run(ms(60_000));
        assert!(segment.questions.len() <= 62, "{} questions", segment.questions.len());
        let died = segment.now;
        segment.peer_serves = false;
        segment.run(ms(2000));
        segment.role(State::Active).0.since(died)
    };
    assert_eq!(took(true), took(false));
}

#[test]
fn a_backup_asks_once_a_second() {
    let mut segment = Segment::backup();
    segment.questions.clear();
    segment.run(ms(600_000));
    assert!(segment.questions.len() <= 601, "{} questions", segment.questions.len());
}

#[test]
fn a_backup_that_is_cut_off_stays_what_it_is_and_listens_anew() {
    let mut segment = Segment::backup();
    segment.cut_off();
    segment.run(ms(60_000));
    assert_eq!(segment.states(), []);
    assert_eq!(segment.held_back, [Finding::Deaf]);
    (segment.gateway, segment.peer_serves) = (Some(ms(1)), true);
    segment.run(ms(10_000));
    assert_eq!(segment.states(), [], "it had never served: {:?}", segment.roles);
    // It is as good as any other again.
    segment.peer_serves = false;
    segment.run(ms(1000));
    assert_eq!(segment.states(), [State::Active]);
}

#[test]
fn a_backup_that_was_cut_off_takes_over_if_nobody_serves_when_that_ends() {
    let mut segment = Segment::backup();
    segment.cut_off();
    segment.run(ms(5000));
    segment.gateway = Some(ms(1));
    let mended = segment.now;
    segment.run(ms(2000));
    assert!(segment.role(State::Active).0.since(mended) <= ms(1000), "{:?}", segment.roles);
}

#[test]
fn a_gateway_that_was_silent_before_does_not_keep_a_backup_from_the_role() {
    let mut segment = Segment::backup();
    segment.gateway = None;
    segment.run(ms(20_000));
    assert_eq!(segment.machine.finding(), Finding::GatewaySilent);
    let died = segment.now;
    segment.peer_serves = false;
    segment.run(ms(2000));
    let after = segment.role(State::Active).0.since(died);
    assert!((ms(500)..=ms(600)).contains(&after), "after {after:?}");
    assert_eq!(segment.held_back, [Finding::GatewaySilent]);
    // Nor from keeping it, while there is nobody else to be heard.
    segment.run(ms(20_000));
    assert_eq!(segment.states(), [State::Active], "{:?}", segment.roles);
}

#[test]
fn what_the_gateway_has_answered_before_it_was_asked_does_not_count() {
    let mut segment = Segment::new(100);
    segment.gateway = None;
    let before = Timestamp::from_nanos(segment.now.as_nanos() - 1_000_000);
    (segment.answered, segment.heard) = (before, before);
    segment.run(ms(20_000));
    assert_eq!(segment.machine.finding(), Finding::NeverAnswered);
    assert_eq!(segment.machine.gateway_answered_at(), None);
    assert_eq!(segment.reached, [], "a peer would leave it the role");
}

#[test]
fn the_word_of_a_peer_that_has_gone_does_not_count() {
    let mut segment = Segment::active();
    segment.peer_reaches(true);
    segment.take(Input::PeerLeft(PEER));
    segment.gateway = None;
    segment.run(ms(20_000));
    assert_eq!(segment.states(), [], "{:?}", segment.roles);
}

#[test]
fn a_slow_gateway_is_waited_for() {
    let mut segment = Segment::backup();
    segment.gateway = Some(ms(150));
    segment.run(ms(5000));
    let died = segment.now;
    segment.peer_serves = false;
    segment.run(ms(2000));
    let after = segment.role(State::Active).0.since(died);
    assert!(after <= ms(300), "after {after:?}");
}

#[test]
fn a_stall_is_no_deafness() {
    let mut segment = Segment::active();
    segment.cut_off();
    segment.run(ms(70));
    // The questions have been asked; we stand still; what has come in meanwhile is not noted yet.
    segment.now = segment.now + ms(100);
    segment.take(Input::TimerFired);
    assert_ne!(segment.machine.finding(), Finding::Deaf);
}
