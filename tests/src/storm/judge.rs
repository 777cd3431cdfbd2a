//! Whether what was seen on the wire is allowed.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    asker,
    wire::{Sighting, View, What},
};
use crate::Which::{self, A, B};

/// A time in which a server must not say anything of the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Which.
    pub who: Which,
    /// `CLOCK_BOOTTIME` ns.
    pub from_ns: u64,
    /// The same, exclusive.
    pub to_ns: u64,
    /// Why, for messages.
    pub because: &'static str,
}

/// A time in which nothing is held against a server: its fence was taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfenced {
    /// Which.
    pub who: Which,
    /// `CLOCK_BOOTTIME` ns.
    pub from_ns: u64,
    /// The same, exclusive.
    pub to_ns: u64,
}

/// A time in which both may answer: a cut between them has ended, and the one that yields has not heard the other yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healing {
    /// `CLOCK_BOOTTIME` ns.
    pub from_ns: u64,
    /// The same, exclusive.
    pub to_ns: u64,
}

/// What must hold when.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Who must be silent, and when.
    pub silences: Vec<Silence>,
    /// Who is excused, and when.
    pub unfenced: Vec<Unfenced>,
    /// When cuts have ended.
    pub healing: Vec<Healing>,
    /// For so long both may be heard to send from WireGuard's port.
    pub overlap: Duration,
    /// For so long both may be heard to claim the role: whoever does not hear that it is outranked goes on for a while.
    pub advert_overlap: Duration,
    /// Between two adverts of one that goes on: more is an end and a new beginning.
    pub advert_pause: Duration,
}

/// What was not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `CLOCK_BOOTTIME` ns.
    pub at_ns: u64,
    /// In a sentence.
    pub what: String,
}

/// WireGuard of one that serves is not silent for longer: it is pinged all the time.
const WIREGUARD_PAUSE: Duration = Duration::from_millis(50);

/// What was not allowed. `seen` is in order.
#[must_use]
pub fn judge(seen: &[Sighting], rules: &Rules) -> Vec<Finding> {
    let seen: Vec<_> = seen.iter().copied().filter(|sighting| !rules.excuses(sighting)).collect();
    let mut wrong = foreign_sources(&seen);
    wrong.extend(rules.silences.iter().filter_map(|silence| broken(silence, &seen)));
    wrong.extend(answered_twice(&seen, &rules.healing));
    let wireguard = |what| matches!(what, What::Wireguard { .. });
    wrong.extend(overlapping(&seen, "packets of WireGuard", WIREGUARD_PAUSE, rules.overlap, wireguard));
    let advert = |what| what == What::Advert;
    wrong.extend(overlapping(&seen, "adverts", rules.advert_pause, rules.advert_overlap, advert));
    wrong
}

impl Rules {
    fn excuses(&self, sighting: &Sighting) -> bool {
        let within = |u: &Unfenced| u.who == sighting.by && (u.from_ns..u.to_ns).contains(&sighting.at_ns);
        self.unfenced.iter().any(within)
    }
}

/// Where the gateway has heard both for longer than is allowed.
fn overlapping(
    seen: &[Sighting],
    name: &str,
    pause: Duration,
    longest: Duration,
    wanted: impl Fn(What) -> bool,
) -> Vec<Finding> {
    let times = |which| {
        let of = seen.iter().filter(|s| s.view == View::Gateway && s.by == which && wanted(s.what));
        activities(of.map(|s| s.at_ns), pause)
    };
    let found = overlaps(&times(A), &times(B)).into_iter().filter(|(_, length)| *length > longest);
    let told =
        |(at_ns, length)| Finding { at_ns, what: format!("{name} have come from both for {length:?}") };
    found.map(told).collect()
}

/// Invariant I8.
fn foreign_sources(seen: &[Sighting]) -> Vec<Finding> {
    let foreign = seen.iter().find(|s| s.what == What::Wireguard { from_vip: false });
    let told = |s: &Sighting| Finding {
        at_ns: s.at_ns,
        what: format!("WireGuard on {} has sent from another address", s.by),
    };
    foreign.map(told).into_iter().collect()
}

/// Invariant I4.
fn broken(silence: &Silence, seen: &[Sighting]) -> Option<Finding> {
    let Silence { who, from_ns, to_ns, because } = *silence;
    let from = seen.partition_point(|s| s.at_ns < from_ns);
    let mut during = seen[from..].iter().take_while(|s| s.at_ns < to_ns);
    let said = during.find(|s| s.by == who && s.view == View::Port)?;
    let since = Duration::from_nanos(said.at_ns - from_ns);
    let what = format!("{who}, which {because}, has said {:?}, after {since:?}", said.what);
    Some(Finding { at_ns: said.at_ns, what })
}

/// One question, and an answer by each.
fn answered_twice(seen: &[Sighting], healing: &[Healing]) -> Vec<Finding> {
    // A name is used again after this.
    let round = asker::EVERY * u32::from(asker::NAMES) / 2;
    let mut last: BTreeMap<IpAddr, (Which, u64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for s in seen.iter().filter(|s| s.view == View::Asker) {
        let What::Answer { to } = s.what else { continue };
        if let Some((by, at_ns)) = last.insert(to, (s.by, s.at_ns))
            && by != s.by
            && Duration::from_nanos(s.at_ns - at_ns) < round
            && !healing.iter().any(|h| (h.from_ns..h.to_ns).contains(&s.at_ns))
        {
            let since = Duration::from_nanos(s.at_ns - at_ns);
            let what = format!(
                "{} has answered for the VIP, {since:?} after {by} has answered the same question",
                s.by
            );
            wrong.push(Finding { at_ns: s.at_ns, what });
        }
    }
    wrong
}

/// From when to when something went on, if nothing for longer than `pause` is an end.
fn activities(times: impl Iterator<Item = u64>, pause: Duration) -> Vec<(u64, u64)> {
    let pause = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
    let mut found: Vec<(u64, u64)> = Vec::new();
    for at in times {
        match found.last_mut() {
            Some((_, to)) if at <= to.saturating_add(pause) => *to = at,
            _ => found.push((at, at)),
        }
    }
    found
}

/// When two overlap, and for how long.
fn overlaps(one: &[(u64, u64)], other: &[(u64, u64)]) -> Vec<(u64, Duration)> {
    let mut found = Vec::new();
    for (from, to) in one {
        for (its_from, its_to) in other.iter().filter(|(its_from, its_to)| its_from < to && from < its_to) {
            let (from, to) = (*from.max(its_from), *to.min(its_to));
            found.push((from, Duration::from_nanos(to - from)));
        }
    }
    found
}

/// How many questions both have answered.
#[must_use]
pub fn doubly_answered(seen: &[Sighting]) -> usize {
    answered_twice(seen, &[]).len()
}

/// The longest for which the gateway has heard WireGuard of both.
#[must_use]
pub fn longest_overlap(seen: &[Sighting]) -> Duration {
    let times = |which| {
        let of = seen
            .iter()
            .filter(|s| s.view == View::Gateway && s.by == which && matches!(s.what, What::Wireguard { .. }));
        activities(of.map(|s| s.at_ns), WIREGUARD_PAUSE)
    };
    overlaps(&times(A), &times(B)).into_iter().map(|(_, length)| length).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIREGUARD: What = What::Wireguard { from_vip: true };

    fn rules() -> Rules {
        let (overlap, advert_pause) = (Duration::from_millis(20), Duration::from_millis(350));
        Rules { overlap, advert_overlap: overlap, advert_pause, ..Rules::default() }
    }

    fn sighting(ms: u64, by: Which, view: View, what: What) -> Sighting {
        Sighting { at_ns: ms * 1_000_000, by, view, what }
    }

    fn sends(by: Which, what: What, ms: impl Iterator<Item = u64>) -> Vec<Sighting> {
        ms.map(|ms| sighting(ms, by, View::Gateway, what)).collect()
    }

    fn judged(mut seen: Vec<Sighting>, rules: &Rules) -> Vec<Finding> {
        seen.sort_by_key(|s| s.at_ns);
        judge(&seen, rules)
    }

    #[test]
    fn a_failover_and_its_return_are_fine() {
        let mut seen = sends(A, WIREGUARD, (0..100).step_by(5));
        seen.extend(sends(B, WIREGUARD, (110..500).step_by(5)));
        seen.extend(sends(A, WIREGUARD, (500..900).step_by(5)));
        seen.extend(sends(A, What::Advert, (0..100).step_by(10)));
        seen.extend(sends(B, What::Advert, (150..400).step_by(10)));
        seen.push(sighting(50, A, View::Asker, What::Answer { to: [192, 0, 2, 100].into() }));
        seen.push(sighting(2050, B, View::Asker, What::Answer { to: [192, 0, 2, 100].into() }));
        assert_eq!(judged(seen, &rules()), []);
    }

    #[test]
    fn two_that_send_for_long_are_found() {
        for what in [WIREGUARD, What::Advert] {
            let both = |ms: u64| {
                let mut seen = sends(A, what, (0..100).step_by(5));
                seen.extend(sends(B, what, (100 - ms..300).step_by(5)));
                judged(seen, &rules())
            };
            assert_eq!(both(20), []);
            assert_eq!(both(50).len(), 1, "{:?}", both(50));
        }
    }

    #[test]
    fn whoever_must_be_silent_and_is_not_is_found() {
        let silence = Silence { who: B, from_ns: 10_000_000, to_ns: 20_000_000, because: "is a Backup" };
        let rules = Rules { silences: vec![silence], ..rules() };
        for what in [WIREGUARD, What::Advert, What::Announcement, What::Answer { to: [0; 16].into() }] {
            let said = |ms, by| judged(vec![sighting(ms, by, View::Port, what)], &rules).len();
            assert_eq!([said(9, B), said(10, B), said(19, B), said(20, B), said(15, A)], [0, 1, 1, 0, 0]);
        }
    }

    #[test]
    fn two_answers_to_one_question_are_found() {
        let answer =
            |ms, by, name| sighting(ms, by, View::Asker, What::Answer { to: [192, 0, 2, name].into() });
        assert_eq!(judged(vec![answer(1, A, 1), answer(1, B, 2), answer(2, A, 1)], &rules()), []);
        let twice = || vec![answer(1, A, 1), answer(2, B, 1)];
        assert_eq!(judged(twice(), &rules()).len(), 1);
        let healed = |from_ns, to_ns| {
            judged(twice(), &Rules { healing: vec![Healing { from_ns, to_ns }], ..rules() }).len()
        };
        assert_eq!((healed(0, 2_000_001), healed(0, 2_000_000), healed(2_000_001, 9_000_000)), (0, 1, 1));
    }

    #[test]
    fn another_source_than_the_vip_is_found_unless_the_fence_was_off() {
        let seen = || vec![sighting(15, A, View::Port, What::Wireguard { from_vip: false })];
        assert_eq!(judged(seen(), &rules()).len(), 1);
        let off = |who| {
            let unfenced = vec![Unfenced { who, from_ns: 10_000_000, to_ns: 20_000_000 }];
            judged(seen(), &Rules { unfenced, ..rules() }).len()
        };
        assert_eq!((off(A), off(B)), (0, 1));
    }
}
