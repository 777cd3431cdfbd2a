//! Starts the handshakes of a take-over, on a thread of its own.
//!
//! A thread, not a task: everything that it does is to ask the device and wait for its answer, and it lies on
//! the path of every failover. A standby is told beforehand whom it would start; so from the decision to the device
//! there is one wake-up. A device that does not answer holds this thread only, and not for ever.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, SystemTime},
};

use tokio::sync::mpsc::UnboundedSender;
use wgha_common::Timestamp;

use crate::{
    proto::handshakes::{Candidate, Handshakes, Pace, Progress, Reached, Start},
    sys::{
        clock, realtime,
        wireguard::{Device, WireguardError},
    },
};

/// How often a standby reads the device: what it knows of the peers stays fresh enough for them to be made anew from it,
/// so that nothing is read in the course of a take-over.
const REFRESH: Duration = Duration::from_secs(4);
/// This many times as long as a look takes is not looked: WireGuard starts no handshakes meanwhile.
const LOOK_SHARE: u32 = 10;
/// Between two batches; they are as long as telling the device of one takes, which may have waited for a look of others.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// After so many failures in a row WireGuard is left to itself.
const FAILURES: u32 = 5;

/// What is asked of it.
#[derive(Debug)]
pub enum Command {
    /// With whom a take-over would start handshakes; nobody: that is not known, and is said by [`Command::Start`].
    Ready(Plan),
    /// A take-over has begun, and [`Command::Start`] is to come: reads what will be needed for it.
    Prepare,
    /// Start the handshakes of the take-over that has begun then, if they are known. Comes from the thread that decides.
    Go(Timestamp),
    /// The link was raised then.
    Raised(Timestamp),
    /// Start handshakes with these, unless [`Command::Go`] has done so.
    Start {
        /// Who may have had a session.
        candidates: Vec<Candidate>,
        /// When the take-over began: a handshake that was completed since then counts.
        at: Timestamp,
    },
    /// Start no more: this node has stepped down then. What was ordered before may be heard after it.
    Stop(Timestamp),
}

/// What a standby would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Who may have a session.
    pub candidates: Vec<Candidate>,
    /// The kernel's WireGuard starts none while its link is down, and forgets at link-up what would keep it from
    /// starting one. A program does not know its link.
    pub after_link_up: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Handshakes were started: the first ones, then with all who talk, then with all.
    Started {
        /// So many peers until now.
        started: usize,
        /// Peers that are to be started, in the end.
        of: usize,
        /// How many of them talk.
        talkers: usize,
        /// When the device was told.
        at: Timestamp,
    },
    /// So many of those who talk are back.
    Reached(Reached),
    /// Something did not work; it goes on.
    Failed(String),
    /// All are back, or WireGuard is left to itself, or it was stopped.
    Done {
        /// How many have not come back.
        missing: usize,
    },
}

/// Begins to wait for commands, until their sender is gone.
///
/// `counters` reads what the kernel half has counted; only differences matter.
///
/// # Errors
/// There are no threads left.
pub fn spawn(
    find: impl Fn() -> Result<Device, WireguardError> + Send + 'static,
    counters: impl FnMut() -> Progress + Send + 'static,
    events: UnboundedSender<Event>,
) -> io::Result<Sender<Command>> {
    let (sender, commands) = channel();
    let mut starter = Starter::new(find, counters, events);
    thread::Builder::new().name("handshakes".to_owned()).spawn(move || starter.run(&commands))?;
    Ok(sender)
}

struct Starter<F, C> {
    find: F,
    counters: C,
    events: UnboundedSender<Event>,
    device: Option<Device>,
    /// Not Active: the next thing to come may be a take-over.
    standby: bool,
    /// What to do then.
    plan: Plan,
    /// It has come, but whom to start is not known yet, or the link is not up.
    go: Option<Timestamp>,
    /// When the link was raised last.
    raised: Timestamp,
    /// When the last take-over began whose handshakes were started,
    begun: Option<Timestamp>,
    /// and when the node has stepped down last.
    stopped: Timestamp,
    run: Option<Run>,
    refresh: Option<Timestamp>,
}

/// One take-over.
struct Run {
    handshakes: Handshakes,
    base: Progress,
    started: usize,
    failures: u32,
}

impl<F, C> Starter<F, C>
where
    F: Fn() -> Result<Device, WireguardError>,
    C: FnMut() -> Progress,
{
    fn new(find: F, counters: C, events: UnboundedSender<Event>) -> Self {
        Self {
            find,
            counters,
            events,
            device: None,
            standby: true,
            plan: Plan::default(),
            go: None,
            raised: Timestamp::ZERO,
            begun: None,
            stopped: Timestamp::ZERO,
            run: None,
            refresh: None,
        }
    }

    fn run(&mut self, commands: &Receiver<Command>) {
        // What it means that this is refused was said at the start.
        let _ = realtime::schedule(realtime::Thread::CarryingOut);
        // So that the connection is there when it is needed. There may be no device yet.
        let _ = self.prepare();
        loop {
            let command = match self.deadline() {
                Some(deadline) => commands.recv_timeout(deadline.since(clock::now())),
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match command {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.advance();
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let Some(run) = &self.run else { return self.refresh };
        run.handshakes.poll_timeout(clock::now())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Ready(plan) => self.plan = plan,
            Command::Prepare => {
                if let Err(e) = self.prepare() {
                    self.tell(Event::Failed(e.to_string()));
                }
            }
            // Ordered again while it serves: who is to be started then is said by whoever knows the sessions.
            Command::Go(at) => self.go = self.standby.then_some(at),
            Command::Raised(at) => self.raised = at,
            Command::Start { candidates, at } if self.begun != Some(at) && at > self.stopped => {
                self.begin(candidates, at)
            }
            Command::Start { .. } => {}
            Command::Stop(at) => {
                (self.standby, self.stopped) = (true, at);
                (self.plan, self.go) = (Plan::default(), None);
                self.end();
                // Soon, but not before what else is done in a step-down.
                self.refresh = Some(clock::now() + REFRESH);
            }
        }
        self.begin_as_planned();
    }

    fn begin_as_planned(&mut self) {
        let Some(at) = self.go else { return };
        if !self.plan.candidates.is_empty() && (!self.plan.after_link_up || self.raised >= at) {
            let candidates = std::mem::take(&mut self.plan).candidates;
            self.begin(candidates, at);
        }
    }

    fn begin(&mut self, mut candidates: Vec<Candidate>, at: Timestamp) {
        // Ordered again while some are not back yet. Those have been made anew, and show no session any more.
        if let Some(run) = self.run.take() {
            candidates.extend(run.handshakes.not_back());
        }
        (self.standby, self.refresh) = (false, None);
        (self.go, self.begun) = (None, Some(at));
        let base = (self.counters)();
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = since_epoch.saturating_sub(clock::now().since(at));
        let mut handshakes = Handshakes::new(Pace::default(), candidates, at, wall);
        let look = self.device.as_ref().map_or(Duration::ZERO, Device::reading_takes);
        handshakes.rest_until(clock::now() + look * LOOK_SHARE);
        self.run = Some(Run { handshakes, base, started: 0, failures: 0 });
    }

    fn end(&mut self) {
        if let Some(run) = self.run.take() {
            self.tell(Event::Done { missing: run.handshakes.missing() });
        }
    }

    /// One step: a batch of starts, or a look.
    fn advance(&mut self) {
        if self.run.is_none() && self.refresh.is_some_and(|at| at <= clock::now()) {
            // A device that is away, or was not found, is told of by others.
            let _ = self.refresh();
        }
        let Some(run) = &mut self.run else { return };
        let now = clock::now();
        let counted = (self.counters)();
        let progress = Progress {
            initiations: counted.initiations.wrapping_sub(run.base.initiations),
            responses: counted.responses.wrapping_sub(run.base.responses),
        };
        let starts = run.handshakes.poll(now, progress);
        if !starts.is_empty() {
            self.start(&starts);
        } else if run.handshakes.wants_look(now) {
            self.look();
        }
        // Those that the link-up has started count as well.
        self.tell_started(now);
        let over = |run: &Run| run.handshakes.is_over(clock::now()) || run.failures >= FAILURES;
        if self.run.as_ref().is_some_and(over) {
            self.end();
        }
    }

    fn start(&mut self, starts: &[Start]) {
        let at = clock::now();
        let done = self.with_device(|device| device.start_handshakes(starts));
        let Some(run) = &mut self.run else { return };
        let now = clock::now();
        run.handshakes.pause_until(now + now.since(at).min(LONGEST_PAUSE));
        match done {
            Ok(()) => run.failures = 0,
            Err(e) => {
                run.started = run.handshakes.started(); // in vain
                self.failed(&e);
            }
        }
    }

    /// Says it of the first, of all that talk, and of all.
    fn tell_started(&mut self, at: Timestamp) {
        let Some(run) = &mut self.run else { return };
        let handshakes = &run.handshakes;
        let (started, of, talkers) = (handshakes.started(), handshakes.chosen(), handshakes.talkers());
        let before = std::mem::replace(&mut run.started, started);
        if [1, talkers, of].into_iter().any(|mark| before < mark && mark <= started) {
            self.tell(Event::Started { started, of, talkers, at });
        }
    }

    fn look(&mut self) {
        let at = clock::now();
        let Some(run) = &mut self.run else { return };
        run.handshakes.look_begun();
        let reading = self.with_device(Device::read);
        let Some(run) = &mut self.run else { return };
        let now = clock::now();
        run.handshakes.rest_until(now + now.since(at) * LOOK_SHARE);
        match reading {
            Ok(reading) => {
                run.failures = 0;
                run.handshakes.seen(&reading.peers, at);
                while let Some(reached) = self.run.as_mut().and_then(|run| run.handshakes.reached()) {
                    self.tell(Event::Reached(reached));
                }
            }
            Err(e) => {
                run.handshakes.look_failed(now);
                self.failed(&e);
            }
        }
    }

    fn prepare(&mut self) -> Result<(), WireguardError> {
        self.keep_fresh(Device::prepare)
    }

    fn refresh(&mut self) -> Result<(), WireguardError> {
        self.keep_fresh(|device| device.read().map(drop))
    }

    fn keep_fresh(
        &mut self,
        read: impl FnOnce(&mut Device) -> Result<(), WireguardError>,
    ) -> Result<(), WireguardError> {
        let done = self.with_device(read);
        self.refresh = self.standby.then(|| clock::now() + REFRESH);
        done
    }

    /// Whatever has gone wrong with a device, the next try begins with finding it.
    fn with_device<T>(
        &mut self,
        ask: impl FnOnce(&mut Device) -> Result<T, WireguardError>,
    ) -> Result<T, WireguardError> {
        let mut device = match self.device.take() {
            Some(device) => device,
            None => (self.find)()?,
        };
        let answer = ask(&mut device)?;
        self.device = Some(device);
        Ok(answer)
    }

    fn failed(&mut self, e: &WireguardError) {
        if let Some(run) = &mut self.run {
            run.failures += 1;
        }
        self.tell(Event::Failed(e.to_string()));
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more: the daemon is about to end, and so is this thread.
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::proto::peers::PeerKey;

    const BEGUN: Timestamp = Timestamp::from_nanos(5_000_000_000);

    fn starter() -> Starter<impl Fn() -> Result<Device, WireguardError>, impl FnMut() -> Progress> {
        let find = || Err(WireguardError::Silent("wg1".to_owned()));
        Starter::new(find, Progress::default, tokio::sync::mpsc::unbounded_channel().0)
    }

    fn candidates(count: u8) -> Vec<Candidate> {
        let candidate = |n| Candidate {
            key: PeerKey([n; 32]),
            endpoint: (Ipv4Addr::LOCALHOST, 51800).into(),
            last_handshake: None,
            keepalive: None,
            idle: Some(Duration::ZERO),
            clean: true,
        };
        (0..count).map(candidate).collect()
    }

    fn ready(after_link_up: bool) -> Command {
        Command::Ready(Plan { candidates: candidates(1), after_link_up })
    }

    fn chosen_after(commands: impl IntoIterator<Item = Command>) -> Option<usize> {
        let mut starter = starter();
        commands.into_iter().for_each(|command| starter.obey(command));
        starter.run.map(|run| run.handshakes.chosen())
    }

    fn start() -> Command {
        Command::Start { candidates: candidates(2), at: BEGUN }
    }

    #[test]
    fn what_was_planned_is_begun_at_once_and_not_again() {
        assert_eq!(chosen_after([ready(false), Command::Go(BEGUN)]), Some(1));
        assert_eq!(chosen_after([ready(false), Command::Go(BEGUN), start()]), Some(1));
        assert_eq!(chosen_after([Command::Go(BEGUN), ready(false)]), Some(1), "it came late");
    }

    #[test]
    fn those_that_the_link_up_starts_are_told_of_as_well() {
        let find = || Err(WireguardError::Silent("wg1".to_owned()));
        let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut starter = Starter::new(find, Progress::default, events);
        let by_itself = candidates(2).into_iter().map(|c| Candidate { keepalive: Some(25), ..c }).collect();
        starter.obey(Command::Ready(Plan { candidates: by_itself, after_link_up: true }));
        starter.obey(Command::Go(BEGUN));
        starter.obey(Command::Raised(BEGUN));
        starter.advance();
        let event = told.try_recv();
        assert!(matches!(event, Ok(Event::Started { started: 2, of: 2, talkers: 2, .. })), "{event:?}");
    }

    #[test]
    fn who_is_not_back_is_not_forgotten_when_it_is_ordered_again() {
        let again = |candidates| Command::Start { candidates, at: BEGUN + Duration::from_millis(200) };
        let begun = [ready(false), Command::Go(BEGUN)];
        assert_eq!(chosen_after(begun.into_iter().chain([again(Vec::new())])), Some(1));
        let begun = [ready(false), Command::Go(BEGUN)];
        assert_eq!(chosen_after(begun.into_iter().chain([again(candidates(2))])), Some(2), "nor doubled");
        let stopped = [ready(false), Command::Go(BEGUN), Command::Stop(BEGUN), again(Vec::new())];
        assert_eq!(chosen_after(stopped), Some(0));
    }

    #[test]
    fn what_was_not_planned_is_begun_when_it_is_said() {
        assert_eq!(chosen_after([Command::Go(BEGUN)]), None);
        assert_eq!(chosen_after([Command::Go(BEGUN), start()]), Some(2));
        let withdrawn = [ready(false), Command::Ready(Plan::default()), Command::Go(BEGUN)];
        assert_eq!(chosen_after(withdrawn), None);
        assert_eq!(
            chosen_after([ready(false), Command::Stop(BEGUN), Command::Go(BEGUN)]),
            None,
            "we have served since"
        );
        let stepped_down = BEGUN + Duration::from_millis(1);
        assert_eq!(chosen_after([Command::Stop(stepped_down), start()]), None, "an order that was overtaken");
    }

    #[test]
    fn where_the_link_must_be_up_it_is_waited_for() {
        let before = Timestamp::from_nanos(BEGUN.as_nanos() - 1);
        let waits = || [ready(true), Command::Raised(before), Command::Go(BEGUN)].into_iter();
        assert_eq!(chosen_after(waits()), None);
        assert_eq!(chosen_after(waits().chain([Command::Raised(BEGUN)])), Some(1));
        assert_eq!(chosen_after(waits().chain([start()])), Some(2), "whoever else has waited has given up");
    }

    #[test]
    fn while_it_serves_only_who_knows_the_sessions_starts_them() {
        let later = Timestamp::from_nanos(BEGUN.as_nanos() + 1);
        let served = || [start(), ready(false), Command::Go(later)].into_iter();
        assert_eq!(chosen_after(served()), Some(2));
        let again = Command::Start { candidates: candidates(3), at: later };
        assert_eq!(chosen_after(served().chain([again])), Some(3));
    }
}
