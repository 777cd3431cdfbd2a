//! What `wgha status` shows of real nodes. What its lines look like is `status/table`'s.

use std::time::Duration;

use wgha_tests::{
    AFTER_WIREGUARD, Pair, SOON,
    Which::{A, B},
    clock::observe_for,
    may_run, wait_until,
};

#[test]
fn a_pair_that_is_well_shows_nothing_to_look_at() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    ping.wait_answer(0, Some(A), AFTER_WIREGUARD).unwrap();
    wait_until("nobody to be degraded", SOON, || Ok(shown(&pair)?.iter().all(|(code, _)| *code == Some(0))))
        .unwrap();
    observe_for(Duration::from_secs(1)).unwrap();
    for (code, text) in shown(&pair).unwrap() {
        println!("{text}");
        assert_eq!(code, Some(0), "{text}");
        for word in ["PROBLEMS", "attention", "not pinned", "NOT "] {
            assert!(!text.contains(word), "{word} in\n{text}");
        }
    }
}

/// Exit codes and texts, of both.
fn shown(pair: &Pair) -> anyhow::Result<Vec<(Option<i32>, String)>> {
    [A, B]
        .into_iter()
        .map(|which| {
            let output = pair.node(which).wgha(&["status"])?;
            Ok((output.status.code(), String::from_utf8(output.stdout)?))
        })
        .collect()
}
