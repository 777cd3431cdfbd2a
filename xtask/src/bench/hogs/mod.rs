//! Who takes over although nobody has failed, on a machine on which eight processes always want a core: everybody in
//! turn, minute after minute, never two at once.

mod contestant;
mod minute;

use anyhow::{Result, bail};
use serde_json::json;
use wgha_tests::{Which, interrupt};

use self::{
    contestant::Hogged,
    minute::{HOGS, Minute},
};
use super::{
    Plan, claims,
    report::{Report, Table},
    stats::{Measured, Summary},
};
use crate::demo::words;

/// How many false failovers a minute may have.
const AT_MOST: [(&str, f64); 3] = [("W50", 0.0), ("W300", 0.0), ("W2", 1.0)];

/// Measures.
///
/// # Errors
/// That not one minute could be observed. What is there when the user interrupts is told.
pub fn run(plan: &Plan) -> Result<Report> {
    let contestants: Vec<_> = Hogged::ALL.into_iter().filter(|c| c.is_one_of(&plan.contestants)).collect();
    words::heading(&format!("False failovers: nothing fails, {HOGS} processes compute{}", flooded(plan)));
    let mut all = Vec::new();
    for minute in 1..=plan.minutes {
        for contestant in &contestants {
            if interrupt::check().is_err() {
                break;
            }
            match Minute::observe(contestant, plan.flood) {
                Ok(observed) => {
                    words::step(&format!("{minute}/{} {}", plan.minutes, observed.in_words()));
                    observed.changes.iter().for_each(|change| words::step(&format!("    {change}")));
                    all.push(observed);
                }
                Err(error) => words::step(&format!("{}: {error:#}", contestant.name)),
            }
        }
    }
    if all.is_empty() {
        bail!("nothing could be measured");
    }
    Ok(report(plan, &contestants, &all))
}

fn flooded(plan: &Plan) -> String {
    if plan.flood == 0 {
        String::new()
    } else {
        format!(", {} packets a second come to the servers", plan.flood)
    }
}

fn report(plan: &Plan, contestants: &[Hogged], all: &[Minute]) -> Report {
    let setting = format!(
        "{HOGS} hogs of normal priority{} on {} cores; a fresh network for every minute, one after the other; nobody \
         preempts, so that each change to Active is a false failover; pause: a thread on one core that only \
         sleeps, in real time above everybody, woke up {} late or more; others: such a thread of normal priority",
        flooded(plan),
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        words::duration(minute::PAUSE),
    );
    let rows = contestants.iter().filter_map(|contestant| row(contestant, all)).collect();
    let head = vec![
        "",
        "what",
        "real time",
        "minutes",
        "false failovers",
        "most a minute",
        "leases lapsed",
        "other step-downs",
        "suppressed stalls A",
        "B",
        "pauses of the machine",
        "longest",
        "others late",
        "flood/s",
        "steal",
    ];
    let mut tables = vec![Table { title: "False failovers".to_owned(), head, rows }];
    let verdicts = AT_MOST.iter().filter_map(|claim| verdict(claim, all)).collect();
    tables.extend(claims::table("Claims (each minute)", verdicts));
    let data = json!({ "setting": setting, "runs": all.iter().map(Minute::to_json).collect::<Vec<_>>() });
    Report { name: "hogs", setting, tables, data, picture: None }
}

fn row(contestant: &Hogged, all: &[Minute]) -> Option<Vec<String>> {
    let of: Vec<_> = all.iter().filter(|m| m.contestant == contestant.name).collect();
    let first = of.first()?;
    let sum = |value: fn(&Minute) -> usize| of.iter().map(|m| value(m)).sum::<usize>().to_string();
    let stalls = |which: Which| match first.stalls {
        Some(_) => of.iter().filter_map(|m| m.stalls_on(which)).sum::<u64>().to_string(),
        None => "–".to_owned(),
    };
    let longest = of.iter().flat_map(|m| &m.pauses).map(|late| late.by).max().unwrap_or_default();
    let usual = of.iter().map(|m| m.usual_late).max().unwrap_or_default();
    Some(vec![
        contestant.name.to_owned(),
        contestant.about.to_owned(),
        if first.real_time { "yes" } else { "no" }.to_owned(),
        of.len().to_string(),
        sum(Minute::failovers),
        of.iter().map(|m| m.failovers()).max()?.to_string(),
        sum(Minute::lapses),
        sum(Minute::other_step_downs),
        stalls(Which::A),
        stalls(Which::B),
        sum(|minute| minute.pauses.len()),
        words::duration(longest),
        words::duration(usual),
        (of.iter().map(|m| m.flood_per_second).sum::<u64>() / of.len() as u64).to_string(),
        of.iter().map(|m| m.stolen).sum::<u64>().to_string(),
    ])
}

fn verdict((name, at_most): &(&str, f64), all: &[Minute]) -> Option<Vec<String>> {
    let minutes = all.iter().filter(|m| m.contestant == *name);
    let found: Vec<Measured> = minutes.map(|m| Some(m.failovers() as f64)).collect();
    let holds = |summary: &Summary| summary.max.is_some_and(|max| max <= *at_most);
    claims::row(format!("{name}: at most {at_most} in a minute ({} minutes)", found.len()), &found, holds)
}
