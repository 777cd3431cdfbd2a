//! What follows from a node's own hearing.
//!
//! | finding | Backup | Claiming, Active |
//! |---|---|---|
//! | `Deaf` | does not take over on silence: the silence may be its own | steps down, and takes no part until it hears again |
//! | `GatewaySilent` | takes over on silence after [`PATIENCE`]; does not preempt whoever reaches the gateway | resigns, if a peer says that it reaches the gateway |
//! | others | as if there were no witness | as if there were no witness |

use std::{cmp, net::IpAddr, time::Duration};

use wgha_common::Timestamp;

use super::{
    Action, Detection, Finding, Heard, Listened, Machine, PeerId, Reason, State,
    hearing::{self, Patience, STEADY},
    note::Note,
    timers::Timer,
};

/// How long a Backup that does not reach the gateway leaves the role to those that do.
const PATIENCE: Duration = Duration::from_millis(500);
/// A silence of everything is a sign of trouble after this time, or four intervals of probes, if somebody was heard
/// all the time before: at so many looks in a row.
const QUIET: Duration = Duration::from_millis(40);
const LIVELY: u32 = 64;
/// An Active Router that does not reach the gateway gives a peer so long to find that it does not reach it either.
const CONFIRMATION: Duration = Duration::from_secs(1);
/// It resigns because of the gateway no more often than that: whoever was to take over may not have.
const RESIGNS_EVERY: Duration = Duration::from_secs(60);
/// For so long after it did not reach the gateway, a node does not preempt.
const SHY: Duration = Duration::from_secs(3);
/// How long a node that was deaf stays out of the election at least. It is doubled each time, so many times at most;
/// one that has heard well for so long begins anew.
const OUT: (Duration, u32, Duration) = (Duration::from_secs(1), 6, Duration::from_secs(600));
/// Whoever is later than that has stood still.
const STALL: Duration = Duration::from_millis(20);
/// How late an advert may be without being missed, beyond half of its interval.
const ADVERT_MARGIN: Duration = Duration::from_millis(10);

/// What hangs on the findings.
#[derive(Debug, Clone, Default)]
pub(super) struct Witness {
    /// A Backup misses what it should hear, since then.
    trouble: Option<Timestamp>,
    /// It would have taken over, and does not.
    held: bool,
    /// Why not, as it was told last.
    told_why: Option<Finding>,
    /// A serving node has just heard something at so many looks in a row,
    lively: u32,
    /// and suddenly nothing any more.
    hush: Option<Timestamp>,
    /// A peer has said that it does not reach the gateway.
    doubt: Option<Timestamp>,
    /// The last finding, and since when it is so.
    found: Finding,
    since: Timestamp,
    shy_until: Timestamp,
    /// When it has resigned because of the gateway.
    resigned: Option<Timestamp>,
    /// When it went deaf last, how often in a row, and until when it stays out.
    deafened: Option<(Timestamp, u32)>,
    out_until: Timestamp,
    /// What the peers were told last.
    reaches: Option<bool>,
}

// Asking and listening.
impl Machine {
    /// Plain VRRP is left as it is: only where there are other servers the gateway is a witness.
    pub(super) fn gateways_changed(&mut self, gateways: Vec<IpAddr>, now: Timestamp) {
        if self.settings.detect.is_none() || self.hearing.gateways == gateways {
            return;
        }
        self.hearing.set_gateways(gateways);
        self.timers.disarm(Timer::Hearing);
        if self.hearing.has_witness() {
            self.timers.arm(Timer::Hearing, now);
        } else {
            self.witness.out_until = now; // nobody will tell
        }
        self.judge_finding(now);
    }

    pub(super) fn hearing_due(&mut self, due: Timestamp, now: Timestamp) {
        if now.since(due) > STALL {
            self.hearing.stalled();
        }
        self.timers.arm(Timer::Hearing, now + STEADY); // sooner, when it is known what has come in
        self.listen();
        if self.hearing.counts() && self.advert_missed_at().is_some_and(|at| at <= now) {
            self.push(Action::LookAgain);
        }
    }

    fn listen(&mut self) {
        self.push(Action::Listen { closely: self.hearing.awaits_answer() });
    }

    /// Whoever renews a lease is awake anyway.
    pub(super) fn listen_while_serving(&mut self) {
        if self.hearing.counts() {
            self.listen();
        }
    }

    /// What a last look is not to be without.
    pub(super) fn listen_before_decision(&mut self) {
        if self.state == State::Backup && self.hearing.counts() && self.hearing.awaits_answer() {
            self.listen();
        }
    }

    pub(super) fn listened(&mut self, listened: &Listened, now: Timestamp) {
        if !self.hearing.has_witness() || !self.is_running() {
            return;
        }
        self.hearing.listened(listened, self.patience(), now);
        self.mind_hush(now);
        self.judge_finding(now);
        self.ask_gateway(now);
        if self.held_no_longer(now) {
            // Whatever is decided then: it is not to be asked for without end. As a deadline of now, because a look may be under way
            // that has been begun for less.
            self.witness.held = false;
            self.timers.arm(Timer::ActiveDown, now);
        }
    }

    fn patience(&self) -> Patience {
        match self.state {
            State::Backup => hearing::BACKUP,
            _ if self.witness.hush.is_some() => hearing::HUSHED,
            _ => hearing::ACTIVE,
        }
    }

    /// Asks, if it is time to, and says when it will be next.
    fn ask_gateway(&mut self, now: Timestamp) {
        let able = self.health.uplink.running && self.health.uplink.source.is_some();
        if able && self.hearing.next_question(self.urgent(), now) <= now {
            self.hearing.asks(now);
            self.push(Action::AskGateway);
        }
        let next = if able { self.hearing.next_question(self.urgent(), now) } else { now + STEADY };
        let patience = self.witness.trouble.map(|since| since + PATIENCE).filter(|at| *at > now);
        // The first answer is news.
        let first = self.hearing.first_answer_by().filter(|at| *at > now);
        let next = [patience, first].into_iter().flatten().fold(next, cmp::min);
        self.timers.arm(Timer::Hearing, cmp::max(next, now + Duration::from_millis(1)));
    }

    /// Since when something depends on an answer that has not come.
    fn urgent(&self) -> Option<Timestamp> {
        let Witness { trouble, hush, doubt, .. } = self.witness;
        let wanted = [trouble, hush, doubt].into_iter().flatten();
        wanted.filter(|since| self.hearing.counts() && !self.hearing.answered_since(*since)).max()
    }

    /// A node that serves was spoken to all the time, and is not any more.
    fn mind_hush(&mut self, now: Timestamp) {
        let Some(detect) = self.settings.detect.filter(|_| self.state == State::Active) else {
            (self.witness.lively, self.witness.hush) = (0, None);
            return;
        };
        if now.since(self.hearing.heard) <= cmp::max(QUIET, 4 * detect.interval) {
            self.witness.hush = None;
            self.witness.lively = cmp::min(self.witness.lively + 1, LIVELY);
        } else if std::mem::take(&mut self.witness.lively) >= LIVELY {
            self.witness.hush = Some(now);
        }
    }
}

// A Backup.
impl Machine {
    /// A look may show that something is missing. Then the gateway is asked at once, so that its answer is there when it
    /// is to be decided what is missing.
    pub(super) fn look_for_trouble(&mut self, routers: &[Heard], now: Timestamp) {
        if self.state != State::Backup || !self.hearing.counts() {
            (self.witness.trouble, self.witness.held) = (None, false);
        } else if !self.misses_something(routers, now) {
            (self.witness.trouble, self.witness.held) = (None, false);
            self.witness.told_why = None;
        } else if self.witness.trouble.is_none() {
            self.witness.trouble = Some(now);
            self.listen();
        }
    }

    fn misses_something(&self, routers: &[Heard], now: Timestamp) -> bool {
        match self.detection() {
            // The probe of this tick is unanswered, of course.
            Detection::Probes { unanswered, probes, .. } => unanswered >= cmp::max(2, probes / 2),
            Detection::Adverts(_) => {
                let in_time = |r: &Heard| now.since(r.at) <= r.interval.duration() * 3 / 2 + ADVERT_MARGIN;
                !routers.iter().any(|r| Some(r.source) == self.election.obeyed && in_time(r))
            }
        }
    }

    /// Who goes by adverts has missed one by then, if none comes, and is not late yet.
    fn advert_missed_at(&self) -> Option<Timestamp> {
        if self.state != State::Backup || matches!(self.detection(), Detection::Probes { .. }) {
            return None;
        }
        let down = self.timers.at(Timer::ActiveDown)?;
        Some(Timestamp::from_nanos(down.as_nanos().saturating_sub(nanos(self.election.interval.duration()))))
    }

    /// Wakes up before the Active_Down_Timer, so that the gateway's answer is there when that ends.
    pub(super) fn mind_adverts(&mut self, now: Timestamp) {
        let Some(armed) = self.timers.at(Timer::Hearing).filter(|_| self.hearing.counts()) else { return };
        if let Some(at) = self.advert_missed_at().filter(|at| *at > now && *at < armed) {
            self.timers.arm(Timer::Hearing, at);
        }
    }

    /// Whether silence is reason enough to take over. If not, it is decided again as soon as more is known.
    pub(super) fn may_believe_silence(&mut self, now: Timestamp) -> bool {
        if self.believes_silence(now) {
            self.witness.held = false;
            return true;
        }
        self.witness.held = true;
        let finding = self.witness.found;
        if finding != Finding::Reached && self.witness.told_why != Some(finding) {
            self.witness.told_why = Some(finding);
            self.push(Action::HoldBack { finding });
        }
        self.listen();
        false
    }

    fn believes_silence(&mut self, now: Timestamp) -> bool {
        if !self.hearing.counts() {
            return true;
        }
        let since = *self.witness.trouble.get_or_insert(now);
        match self.witness.found {
            Finding::Deaf => false,
            _ if self.hearing.answered_since(since) => true,
            Finding::GatewaySilent => now >= since + PATIENCE,
            // It is being asked.
            _ => false,
        }
    }

    fn held_no_longer(&mut self, now: Timestamp) -> bool {
        let asks = self.election.asked.is_some();
        self.state == State::Backup && self.witness.held && !asks && self.believes_silence(now)
    }

    /// Whether it leaves the role to a lower Active Router that reaches the gateway.
    pub(super) fn is_shy(&self, now: Timestamp) -> bool {
        now < self.witness.shy_until
    }
}

// What is found.
impl Machine {
    fn judge_finding(&mut self, now: Timestamp) {
        let finding = self.hearing.finding(now);
        let before = self.witness.found;
        if finding != before {
            (self.witness.found, self.witness.since) = (finding, now);
            self.push(Action::ReportFinding { finding });
            self.note(Note::Hearing, said(finding));
        }
        if finding == Finding::GatewaySilent && !self.hearing.reaching.is_empty() {
            self.witness.shy_until = now + SHY;
        }
        match (finding, self.state) {
            (Finding::Deaf, State::Active | State::Claiming) => self.go_deaf(now),
            (Finding::Deaf, _) => {}
            (_, State::Fault) if self.health.deaf => self.hear_again(now),
            (_, State::Backup) if before == Finding::Deaf => self.listen_anew(now),
            // What it has asked others meanwhile may not have reached them either: their silence was ours.
            (Finding::Reached, State::Backup) if before == Finding::GatewaySilent && self.witness.held => {
                self.listen_anew(now);
            }
            (Finding::GatewaySilent, State::Active) => self.leave_it_to_who_reaches(now),
            _ => {}
        }
    }

    /// What it has missed is not known: it listens for as long as somebody who had just started.
    fn listen_anew(&mut self, now: Timestamp) {
        (self.witness.trouble, self.witness.held, self.witness.told_why) = (None, false, None);
        self.void_deadline(now);
    }

    fn go_deaf(&mut self, now: Timestamp) {
        let (out, doublings, forgotten) = OUT;
        let recent = self.witness.deafened.filter(|(at, _)| now.since(*at) <= forgotten);
        let times = recent.map_or(0, |(_, times)| times);
        self.witness.deafened = Some((now, cmp::min(times + 1, doublings)));
        self.witness.out_until = now + out * 2_u32.pow(times);
        self.health.deaf = true;
        self.health_changed(now);
    }

    fn hear_again(&mut self, now: Timestamp) {
        if now >= self.witness.out_until {
            self.health.deaf = false;
            self.health_changed(now);
        }
    }

    /// The gateway may be gone for all: then nobody is better than we are.
    fn leave_it_to_who_reaches(&mut self, now: Timestamp) {
        let lately = self.witness.resigned.is_some_and(|at| now.since(at) < RESIGNS_EVERY);
        let reaching = self.hearing.reaching.iter().find_map(|peer| self.acquaintances.told(*peer));
        let Some(reached_by) = reaching.map(|told| told.source) else { return };
        if lately || now.since(self.witness.since) < CONFIRMATION {
            return;
        }
        self.witness.resigned = Some(now);
        self.resign();
        self.become_backup(Reason::GatewaySilent { reached_by }, now);
    }
}

// Between peers, and for people.
impl Machine {
    pub(super) fn peer_reaches(&mut self, peer: PeerId, reaches: Option<bool>, now: Timestamp) {
        if reaches == Some(true) {
            self.hearing.reaching.insert(peer);
            return;
        }
        self.hearing.reaching.remove(&peer);
        // Is it the peer, or the gateway? It waits for our word.
        if reaches == Some(false) && self.hearing.counts() && self.is_running() {
            self.witness.doubt = Some(now);
            self.listen();
        }
    }

    /// Tells the peers whether they could leave the role to us, if that has changed.
    pub(super) fn tell_whether_reached(&mut self) {
        if !self.is_running() {
            return;
        }
        let able = matches!(self.state, State::Backup | State::Claiming | State::Active);
        let reaches = self.hearing.counts().then_some(able && self.witness.found == Finding::Reached);
        if reaches != self.witness.reaches {
            self.witness.reaches = reaches;
            self.push(Action::TellWhetherReached { reaches });
        }
    }

    /// What this node has found out about its own hearing.
    #[must_use]
    pub fn finding(&self) -> Finding {
        self.witness.found
    }

    /// Whom it asks.
    #[must_use]
    pub fn gateways(&self) -> &[IpAddr] {
        &self.hearing.gateways
    }

    /// When one of them has answered last.
    #[must_use]
    pub fn gateway_answered_at(&self) -> Option<Timestamp> {
        self.hearing.answered
    }
}

fn said(finding: Finding) -> Result<(), String> {
    match finding {
        Finding::GatewaySilent | Finding::Deaf => Err(finding.to_string()),
        Finding::NoWitness | Finding::NeverAnswered | Finding::Reached => Ok(()),
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
