//! What gets through: with wgha and without, in turn.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use wgha_tests::{
    Pair, Topology,
    clock::observe_for,
    contestant,
    cost::Hook,
    steal,
    throughput::{OnHook, Stream, Veth, hold_vip},
};

use super::super::{
    Plan, claims,
    report::Table,
    stats::{Measured, Summary},
};
use crate::demo::{stage, words};

/// Of what there is without wgha.
const AT_LEAST: f64 = 0.98;
/// How long packets are sent past one program at a time, and how many such times make a run: what else the machine does
/// comes and goes more slowly than that.
const SLICE: Duration = Duration::from_millis(200);
const SLICES_A_RUN: usize = 4;
/// How long a stream is measured at a time, how often, and how long it may take to reach its pace.
const OF_STREAM: Duration = Duration::from_millis(250);
const TIMES: usize = 12;
const AT_PACE: Duration = Duration::from_millis(1000);

/// What is sent where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Small datagrams to A.
    In,
    /// Small datagrams from A.
    Out,
    /// A stream through the tunnel.
    Tunnel,
}

/// The same, with wgha and without, one right after the other.
#[derive(Debug)]
pub struct Round {
    kind: Kind,
    with: f64,
    without: f64,
    stolen: u64,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::In, Self::Out, Self::Tunnel];

    /// In a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::In => "WireGuard datagrams to A, XDP: packets a second",
            Self::Out => "WireGuard datagrams from A, TC egress: packets a second",
            Self::Tunnel => "TCP through the tunnel: Mbit a second",
        }
    }

    /// All rounds of it.
    pub fn measure(self, object: &[u8], plan: &Plan) -> Result<Vec<Round>> {
        let rounds = match self {
            Self::In => past_a_hook(self, &Veth::prepare(object, Hook::Xdp)?, plan)?,
            Self::Out => past_a_hook(self, &Veth::prepare(object, Hook::Egress)?, plan)?,
            Self::Tunnel => return through_tunnel(plan),
        };
        words::step(&format!("{} rounds", rounds.len()));
        Ok(rounds)
    }

    /// Whether enough gets through.
    pub fn claim(self, rounds: &[Round]) -> Option<Vec<String>> {
        let ratios: Vec<Measured> = self.of(rounds).map(|round| Some(round.with / round.without)).collect();
        let without = if self == Self::Tunnel { "without" } else { "pass-only" };
        let claim = format!("{}: wgha ÷ {without} ≥ {AT_LEAST}", self.about());
        claims::row(claim, &ratios, |s: &Summary| s.median.is_some_and(|ratio| ratio >= AT_LEAST))
    }

    fn of(self, rounds: &[Round]) -> impl Iterator<Item = &Round> {
        rounds.iter().filter(move |round| round.kind == self)
    }

    fn row(self, rounds: &[Round]) -> Option<Vec<String>> {
        let median = |value: fn(&Round) -> f64| {
            Summary::of(&self.of(rounds).map(|round| Some(value(round))).collect::<Vec<_>>())?.median
        };
        Some(vec![
            self.about().to_owned(),
            self.of(rounds).count().to_string(),
            format!("{:.0}", median(|round| round.with)?),
            format!("{:.0}", median(|round| round.without)?),
            format!("{:.3}", median(|round| round.with / round.without)?),
            self.of(rounds).map(|round| round.stolen).sum::<u64>().to_string(),
        ])
    }
}

impl Round {
    /// Both in turn, in odd rounds the other one first: who comes second finds warmer caches, or a busier machine.
    fn measure(kind: Kind, number: usize, mut of: impl FnMut(OnHook) -> Result<f64>) -> Result<Self> {
        let stolen = steal::ticks();
        let order = [OnHook::Wgha, OnHook::Passing];
        let (first, second) = (of(order[number % 2])?, of(order[(number + 1) % 2])?);
        let (with, without) = if number.is_multiple_of(2) { (first, second) } else { (second, first) };
        Ok(Self { kind, with, without, stolen: steal::ticks() - stolen })
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        json!({
            "what": self.kind.about(),
            "with_wgha": self.with,
            "without": self.without,
            "steal_ticks": self.stolen,
        })
    }
}

/// What the tunnel is made of.
pub fn wireguard() -> &'static str {
    if stage::kernel_has_wireguard() { "kernel WireGuard" } else { "wireguard-go" }
}

/// What was found; none: nothing.
pub fn table(rounds: &[Round]) -> Option<Table> {
    let rows: Vec<_> = Kind::ALL.iter().filter_map(|kind| kind.row(rounds)).collect();
    let head = vec!["", "rounds", "wgha", "without", "ratio", "steal"];
    let title = "Throughput (medians; ratio within a round)".to_owned();
    (!rows.is_empty()).then_some(Table { title, head, rows })
}

fn past_a_hook(kind: Kind, veth: &Veth, plan: &Plan) -> Result<Vec<Round>> {
    // Neighbours are resolved, and the buffer at the far end fills up.
    veth.packets_per_second(OnHook::Passing, SLICE)
        .or_else(|_| veth.packets_per_second(OnHook::Passing, SLICE))?;
    (0..plan.runs * SLICES_A_RUN)
        .map(|number| {
            wgha_tests::interrupt::check()?;
            Round::measure(kind, number, |on_hook| veth.packets_per_second(on_hook, SLICE))
        })
        .collect()
}

fn through_tunnel(plan: &Plan) -> Result<Vec<Round>> {
    (0..plan.runs)
        .map(|number| {
            let round = Round::measure(Kind::Tunnel, number, |on_hook| match on_hook {
                OnHook::Wgha => with_wgha(),
                OnHook::Passing => without_wgha(),
            })?;
            words::step(&format!(
                "{}/{} with {:.0}, without {:.0}, steal {}",
                number + 1,
                plan.runs,
                round.with,
                round.without,
                round.stolen
            ));
            Ok(round)
        })
        .collect()
}

fn with_wgha() -> Result<f64> {
    let pair = Pair::ipv6()?;
    megabits_per_second(&pair.topology)
}

fn without_wgha() -> Result<f64> {
    let topology = Topology::ipv6()?;
    hold_vip(&topology)?;
    megabits_per_second(&topology)
}

/// The median of several looks.
fn megabits_per_second(topology: &Topology) -> Result<f64> {
    contestant::restart_client(topology)?;
    let stream = Stream::start(topology)?;
    observe_for(AT_PACE)?;
    let mut found: Vec<Measured> = Vec::new();
    for _ in 0..TIMES {
        let (before, begun) = (stream.received(), std::time::Instant::now());
        observe_for(OF_STREAM)?;
        let bits = (stream.received() - before) as f64 * 8.0;
        found.push(Some(bits / begun.elapsed().as_secs_f64() / 1e6));
    }
    Ok(Summary::of(&found).and_then(|s| s.median).unwrap_or_default())
}
