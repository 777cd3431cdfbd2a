use super::*;

const WALL: Duration = Duration::from_secs(1_000_000);
const NONE: Progress = Progress { initiations: 0, responses: 0 };

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(1_000_000_000 + ms * 1_000_000)
}

fn key(n: u32) -> PeerKey {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&n.to_be_bytes());
    PeerKey(key)
}

fn number(start: &Start) -> u32 {
    u32::from_be_bytes(*start.key.0.first_chunk().unwrap())
}

/// One whose handshake was 100 s ago, and that nothing is known of otherwise.
fn candidate(n: u32) -> Candidate {
    Candidate {
        key: key(n),
        endpoint: "192.0.2.1:7".parse().unwrap(),
        last_handshake: Some(WALL - Duration::from_secs(100)),
        keepalive: None,
        idle: None,
        clean: false,
    }
}

fn talker(n: u32, idle_ms: u64) -> Candidate {
    Candidate { idle: Some(Duration::from_millis(idle_ms)), ..candidate(n) }
}

fn begin(candidates: Vec<Candidate>) -> Handshakes {
    Handshakes::new(Pace::default(), candidates, at(0), WALL)
}

/// What the device says of a peer: how many ms after the take-over a handshake was completed, if one was.
fn seen(n: u32, handshake_ms: Option<u64>, rx_bytes: u64) -> WireguardPeer {
    let before = WALL - Duration::from_secs(100);
    let last_handshake = Some(handshake_ms.map_or(before, |ms| WALL + Duration::from_millis(ms)));
    WireguardPeer { key: key(n), endpoint: None, last_handshake, keepalive: None, rx_bytes, tx_bytes: 0 }
}

fn counted(initiations: u64, responses: u64) -> Progress {
    Progress { initiations, responses }
}

fn numbers(starts: &[Start]) -> Vec<u32> {
    starts.iter().map(number).collect()
}

#[test]
fn who_talked_last_comes_first_and_who_has_no_session_not_at_all() {
    let session =
        |n, age| Candidate { last_handshake: Some(WALL - Duration::from_secs(age)), ..candidate(n) };
    let silent = Candidate { last_handshake: None, ..candidate(8) };
    let old_but_busy = Candidate { last_handshake: None, ..talker(4, 1) };
    let ahead = Candidate { last_handshake: Some(WALL + Duration::from_secs(9)), ..candidate(9) };
    let mut handshakes = begin(vec![
        session(1, 179),
        session(2, 180),
        talker(3, 20_000),
        session(5, 10),
        old_but_busy,
        talker(6, 2_000),
        talker(4, 900),
        silent,
        ahead,
    ]);
    assert_eq!(numbers(&handshakes.poll(at(0), NONE)), [4, 6, 3, 9, 5, 1]);
    assert_eq!((handshakes.chosen(), handshakes.talkers()), (6, 2));
    assert_eq!(handshakes.poll(at(1), NONE), []);
}

#[test]
fn a_hundred_talkers_come_before_ten_thousand_others() {
    let mut candidates = (0..10_000).map(candidate).collect::<Vec<_>>();
    for n in 0..100 {
        candidates[n * 97 + 13].idle = Some(Duration::from_millis(5 * n as u64));
    }
    let mut handshakes = begin(candidates);
    let (mut started, mut ms) = (Vec::new(), 0);
    while started.len() < 10_000 {
        // Each is answered within a millisecond.
        let all = started.len() as u64;
        started.extend(numbers(&handshakes.poll(at(ms), counted(all, all))));
        ms += 1;
    }
    let talkers = (0..100).map(|n| n * 97 + 13).collect::<Vec<_>>();
    assert_eq!(started[..100], talkers);
    assert_eq!(started.iter().collect::<std::collections::HashSet<_>>().len(), 10_000);
    assert_eq!(ms, 10_000 / 16, "a full batch each time");
}

#[test]
fn no_more_are_under_way_than_the_window_holds() {
    let mut handshakes = begin((0..200).map(|n| talker(n, n.into())).collect());
    let batches = (0..6).map(|_| handshakes.poll(at(0), NONE).len()).collect::<Vec<_>>();
    assert_eq!(batches, [16, 16, 16, 16, 0, 0]);
    assert_eq!(handshakes.poll_timeout(at(0)), Some(at(1)), "the counters are looked at again");
    assert_eq!(handshakes.poll(at(10), counted(64, 15)).len(), 0, "the device is not told of each");
    assert_eq!(handshakes.poll(at(11), counted(64, 16)).len(), 16, "topped up by answers");
    assert_eq!(handshakes.poll(at(12), counted(80, 16)).len(), 0);
    // 48 of the first left at 10 ms, the next ones at 12 ms, and the last answer came at 11 ms.
    assert_eq!(handshakes.poll(at(160), counted(80, 16)).len(), 0);
    let after = (0..4).map(|_| handshakes.poll(at(161), counted(80, 16)).len()).collect::<Vec<_>>();
    assert_eq!(after, [16, 16, 16, 0]);
}

#[test]
fn late_answers_do_not_widen_the_window() {
    let mut handshakes = begin((0..1000).map(|n| talker(n, n.into())).collect());
    let mut started = (0..5).map(|_| handshakes.poll(at(0), NONE).len() as u64).sum::<u64>();
    // A machine that is busy with something else: one answer in 5 ms.
    for ms in 1..1000 {
        let progress = counted(started, ms / 5);
        started += handshakes.poll(at(ms), progress).len() as u64;
        assert!(started - progress.responses <= 64, "{started} after {ms} ms");
    }
}

#[test]
fn a_device_that_is_slow_is_given_time() {
    let mut handshakes = begin((0..100).map(|n| talker(n, n.into())).collect());
    assert_eq!(handshakes.poll(at(0), NONE).len(), 16);
    handshakes.pause_until(at(9));
    assert_eq!(handshakes.poll(at(8), NONE).len(), 0);
    assert_eq!(handshakes.poll_timeout(at(8)), Some(at(9)));
    assert_eq!(handshakes.poll(at(9), NONE).len(), 16);
}

#[test]
fn the_last_ones_do_not_wait_for_a_whole_batch() {
    let mut handshakes = begin((0..67).map(|n| talker(n, n.into())).collect());
    (0..4).for_each(|_| drop(handshakes.poll(at(0), NONE)));
    assert_eq!(handshakes.poll(at(10), counted(64, 2)).len(), 0);
    assert_eq!(handshakes.poll(at(11), counted(64, 3)).len(), 3);
}

#[test]
fn an_initiation_that_has_not_left_is_under_way() {
    let mut handshakes = begin((0..100).map(|n| talker(n, n.into())).collect());
    (0..4).for_each(|_| drop(handshakes.poll(at(0), NONE)));
    assert_eq!(handshakes.poll(at(900), counted(0, 0)).len(), 0);
    assert_eq!(handshakes.poll(at(1000), counted(0, 0)).len(), 16, "but not for ever");
}

#[test]
fn who_has_not_come_back_is_made_anew_three_times_after_a_look() {
    let mut handshakes = begin(vec![talker(1, 0), talker(2, 1)]);
    assert_eq!(handshakes.poll(at(0), NONE).len(), 2);
    let progress = counted(2, 1);
    assert_eq!(handshakes.poll(at(600), progress), [], "nobody has looked");
    assert!(handshakes.wants_look(at(600)));
    handshakes.look_begun();
    assert!(!handshakes.wants_look(at(600)));
    handshakes.seen(&[seen(1, Some(3), 92), seen(2, None, 0)], at(601));
    let again = handshakes.poll(at(601), progress);
    assert_eq!(again, [Start { key: key(2), endpoint: "192.0.2.1:7".parse().unwrap(), how: How::Anew }]);
    for (early, due) in [(1600, 1601), (4100, 4101)] {
        assert_eq!(handshakes.poll(at(early), progress), []);
        handshakes.seen(&[seen(2, None, 0)], at(due));
        assert_eq!(numbers(&handshakes.poll(at(due), progress)), [2]);
    }
    handshakes.seen(&[seen(2, None, 0)], at(9000));
    assert_eq!(handshakes.poll(at(9000), progress), []);
    assert!(!handshakes.is_over(at(10_100)));
    assert!(handshakes.is_over(at(10_101)), "WireGuard goes on by itself");
}

#[test]
fn a_retry_is_due_half_a_second_after_the_start() {
    let mut handshakes = begin(vec![talker(1, 0)]);
    drop(handshakes.poll(at(0), NONE));
    handshakes.look_begun();
    handshakes.seen(&[seen(1, None, 0)], at(450));
    assert_eq!(handshakes.poll(at(499), NONE), []);
    assert_eq!(handshakes.poll_timeout(at(499)), Some(at(500)));
    assert_eq!(numbers(&handshakes.poll(at(500), NONE)), [1]);
}

#[test]
fn nobody_is_started_twice_within_what_a_client_takes_for_a_flood() {
    let pace = Pace { retries: [Duration::from_millis(1); 3], ..Pace::default() };
    let mut handshakes = Handshakes::new(pace, vec![talker(1, 0), talker(1, 5)], at(0), WALL);
    let mut started = Vec::new();
    for ms in 0..200 {
        handshakes.seen(&[seen(1, None, 0)], at(ms));
        let starts = handshakes.poll(at(ms), NONE);
        started.extend(starts.iter().map(|_| ms));
    }
    assert_eq!(started, [0, 25, 50, 75]);
}

#[test]
fn a_client_that_comes_by_itself_is_left_alone_until_it_is_stuck() {
    let mut handshakes = begin(vec![talker(1, 0), talker(2, 1)]);
    drop(handshakes.poll(at(0), NONE));
    handshakes.seen(&[seen(1, None, 0), seen(2, None, 0)], at(350));
    // Both have sent an initiation. The one confirms it, the other has crossed ours.
    handshakes.seen(&[seen(1, None, 148), seen(2, None, 148)], at(500));
    assert_eq!(handshakes.poll(at(500), NONE), []);
    handshakes.seen(&[seen(1, Some(560), 180), seen(2, None, 148)], at(690));
    assert_eq!(handshakes.poll(at(699), NONE), []);
    assert_eq!(numbers(&handshakes.poll(at(700), NONE)), [2]);
}

#[test]
fn who_is_back_before_its_turn_is_not_started() {
    let mut handshakes = begin((0..100).map(|n| talker(n, n.into())).collect());
    drop(handshakes.poll(at(0), NONE));
    handshakes.seen(&(20..100).map(|n| seen(n, Some(1), 148)).collect::<Vec<_>>(), at(2));
    assert_eq!(numbers(&handshakes.poll(at(2), NONE)), [16, 17, 18, 19]);
    assert_eq!(handshakes.poll(at(3), NONE), []);
}

#[test]
fn what_a_kernel_has_just_set_up_is_toggled_or_comes_by_itself() {
    let clean = |n, keepalive| Candidate { clean: true, keepalive, ..talker(n, n.into()) };
    let mut handshakes = begin(vec![clean(1, None), clean(2, Some(25)), talker(3, 3)]);
    let starts = handshakes.poll(at(0), NONE);
    let ways = starts.iter().map(|start| (number(start), start.how)).collect::<Vec<_>>();
    assert_eq!(ways, [(1, How::Toggle), (3, How::Anew)]);
    handshakes.seen(&[1, 2, 3].map(|n| seen(n, None, 0)), at(500));
    let ways = handshakes.poll(at(500), NONE);
    assert_eq!(
        ways.iter().map(|s| (number(s), s.how)).collect::<Vec<_>>(),
        [1, 2, 3].map(|n| (n, How::Anew))
    );
}

#[test]
fn percentiles_are_reached_when_the_handshakes_were_completed() {
    let mut candidates = (0..10).map(|n| talker(n, n.into())).collect::<Vec<_>>();
    candidates.push(candidate(99));
    let mut handshakes = begin(candidates);
    drop(handshakes.poll(at(0), NONE));
    assert_eq!(handshakes.reached(), None);
    let early = (0..9).map(|n| seen(n, Some(30 - u64::from(n)), 92)).chain([seen(99, Some(1), 92)]);
    handshakes.seen(&early.collect::<Vec<_>>(), at(50));
    assert_eq!(handshakes.reached(), Some(Reached { percent: 50, at: at(26) }));
    assert_eq!(handshakes.reached(), Some(Reached { percent: 90, at: at(30) }));
    assert_eq!(handshakes.reached(), None);
    assert!(!handshakes.is_over(at(50)));
    handshakes.seen(&[seen(9, Some(70), 92), seen(0, Some(71), 92)], at(100));
    assert_eq!(handshakes.reached(), Some(Reached { percent: 99, at: at(70) }));
    assert_eq!(handshakes.reached(), Some(Reached { percent: 100, at: at(70) }));
    assert_eq!(handshakes.reached(), None);
    assert!(handshakes.is_over(at(100)));
}

#[test]
fn the_device_is_looked_at_when_all_have_answered_and_less_and_less_often() {
    let mut handshakes = begin(vec![talker(1, 0), talker(2, 1)]);
    drop(handshakes.poll(at(0), NONE));
    assert_eq!(handshakes.poll_timeout(at(0)), Some(at(50)));
    drop(handshakes.poll(at(4), counted(2, 2)));
    assert_eq!(handshakes.poll_timeout(at(4)), Some(at(5)));
    let (mut looks, mut ms) = (Vec::new(), 5);
    while ms < 490 {
        if handshakes.wants_look(at(ms)) {
            looks.push(ms);
            handshakes.look_begun();
            handshakes.seen(&[seen(1, Some(4), 92), seen(2, None, 0)], at(ms));
        }
        ms += 1;
    }
    assert_eq!(looks, [5, 55, 155, 355]);
}

#[test]
fn a_dear_look_does_not_hold_up_starts() {
    let mut handshakes = begin((0..65).map(|n| talker(n, n.into())).collect());
    (0..4).for_each(|_| drop(handshakes.poll(at(0), NONE)));
    handshakes.rest_until(at(300));
    assert!(!handshakes.wants_look(at(200)));
    assert_eq!(handshakes.poll_timeout(at(60)), Some(at(61)), "the window may have room");
    assert_eq!(handshakes.poll(at(61), counted(64, 1)).len(), 1);
    assert_eq!(handshakes.poll_timeout(at(62)), Some(at(300)));
    assert!(handshakes.wants_look(at(300)));
    handshakes.look_failed(at(310));
    assert!(!handshakes.wants_look(at(600)), "no use in asking what does not answer all the time");
    assert_eq!(handshakes.poll_timeout(at(600)), Some(at(1310)));
}

#[test]
fn nothing_to_do_is_over_at_once() {
    let handshakes = begin(vec![Candidate { last_handshake: None, ..candidate(1) }]);
    assert!(handshakes.is_over(at(0)));
    assert_eq!(handshakes.chosen(), 0);
}
