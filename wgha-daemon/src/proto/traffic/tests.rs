use super::*;

const SILENCE: Duration = Duration::from_secs(15);

/// A server that is looked at once a second.
struct Server {
    watch: Watch,
    sample: Sample,
    facts: Facts,
    second: u64,
    /// When something was first found.
    found: Option<(u64, Ailment)>,
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_nanos((1000 + second) * 1_000_000_000)
}

impl Server {
    fn new() -> Self {
        let mut server = Self {
            watch: Watch::default(),
            sample: Sample::default(),
            facts: Facts::default(),
            second: 0,
            found: None,
        };
        server.pass(1, |_| ());
        server
    }

    /// Lets seconds pass, with what happens in each.
    fn pass(&mut self, seconds: u64, mut happens: impl FnMut(&mut Sample)) -> &mut Self {
        for _ in 0..seconds {
            happens(&mut self.sample);
            self.watch.take(self.sample, 1, at(self.second));
            let ailment = self.watch.ailment(self.facts, SILENCE, at(self.second));
            self.found = self.found.or(ailment.map(|ailment| (self.second, ailment)));
            self.second += 1;
        }
        self
    }

    /// Data goes to and fro.
    fn talk(&mut self, seconds: u64) -> &mut Self {
        self.pass(seconds, |s| {
            data(&mut s.received, 9);
            data(&mut s.sent, 9);
        })
    }

    fn ailment(&self) -> Option<Ailment> {
        self.watch.ailment(self.facts, SILENCE, at(self.second - 1))
    }
}

/// So many packets with a ping.
fn data(counts: &mut Counts, packets: u64) {
    counts.transport += packets;
    counts.transport_bytes += packets * 190;
}

/// As a client does when it is not answered: data for 15 s, then an initiation every 5 s.
fn give_up(second: u64, sample: &mut Sample) {
    match second {
        0..15 => data(&mut sample.received, 5),
        _ => sample.received.initiations += u64::from(second.is_multiple_of(5)),
    }
}

#[test]
fn one_that_answers_neither_clients_nor_us_has_stopped() {
    let mut server = Server::new();
    server.talk(5).facts.silent = true;
    server.pass(10, |s| data(&mut s.received, 5));
    // Its packets of the second in which it stopped may have gone out.
    assert_eq!(server.found, Some((9, Ailment::WireguardStuck)));
    server.facts.silent = false;
    assert_eq!(server.ailment(), None, "it answers us again, and clients have not begun anew");
}

#[test]
fn one_that_is_silent_to_us_and_answers_clients_is_busy() {
    let mut server = Server::new();
    server.facts.silent = true;
    server.talk(60);
    server.pass(60, |s| {
        (s.received.initiations, s.sent.responses) = (s.received.initiations + 3, s.sent.responses + 1)
    });
    assert_eq!(server.found, None);
    // Nobody asks it anything.
    server.pass(60, |_| ());
    assert_eq!(server.found, None);
}

#[test]
fn a_client_that_is_not_answered_any_more_tells_after_its_third_try() {
    let mut server = Server::new();
    server.talk(5);
    let mut second = 0;
    server.pass(60, |s| {
        give_up(second, s);
        second += 1;
    });
    // 15 s of data, then three initiations: at 15, 20 and 25 s.
    assert_eq!(server.found, Some((6 + 25, Ailment::WireguardStuck)));
    server.pass(1, |s| s.sent.responses += 1);
    assert_eq!(server.ailment(), None, "it answers");
}

#[test]
fn forged_initiations_alone_are_no_evidence() {
    // Of nobody, and beside clients that talk, that are idle, or that have gone.
    Server::new().pass(600, |s| s.received.initiations += 10_000).expect_nothing();
    let mut server = Server::new();
    server.talk(60).pass(120, |s| {
        s.received.initiations += 10_000;
        data(&mut s.received, 1);
        s.sent.transport += 1;
    });
    server.expect_nothing();
    // The last word of a client that leaves is a keepalive.
    let mut server = Server::new();
    server.talk(60).pass(600, |s| {
        s.received.initiations += 10_000;
        (s.received.transport, s.received.transport_bytes) = (1_000_000, 94 * 1_000_000);
    });
    server.expect_nothing();
}

#[test]
fn forged_data_and_initiations_need_a_client_that_has_just_been_there() {
    let forge = |s: &mut Sample| {
        s.received.initiations += 9;
        data(&mut s.received, 9);
    };
    Server::new().pass(600, forge).expect_nothing();
    let mut server = Server::new();
    server.talk(60).pass(SESSION.as_secs() + 1, |_| ()).pass(600, forge);
    server.expect_nothing();
}

#[test]
fn cookies_are_no_session_but_a_sign_of_life() {
    let mut server = Server::new();
    server.pass(600, |s| {
        s.received.initiations += 9;
        data(&mut s.received, 9);
        s.sent.others += 1;
    });
    server.expect_nothing();
    assert_eq!(server.watch.known, None);
}

#[test]
fn a_lease_begins_anew() {
    let mut server = Server::new();
    server.talk(5).pass(14, |s| data(&mut s.received, 5));
    server.watch.take(server.sample, 2, at(server.second));
    assert!(!server.watch.doubts(at(server.second)));
    assert_eq!(server.watch.known, None);
}

#[test]
fn several_clients_that_do_not_answer_while_nobody_is_heard_mean_a_broken_path() {
    let mut server = Server::new();
    server.talk(30);
    server.facts.unanswered = Some(at(server.second));
    server.pass(14, |s| s.sent.transport += 1);
    server.expect_nothing();
    server.pass(3, |s| s.sent.transport += 1);
    assert_eq!(server.found.map(|(_, ailment)| ailment), Some(Ailment::PathBroken));
    // Whatever it is that comes in.
    server.pass(1, |s| s.received.others += 1);
    assert_eq!(server.ailment(), None);
}

#[test]
fn they_are_given_as_long_as_the_silence() {
    let mut server = Server::new();
    server.talk(30).pass(60, |s| s.sent.transport += 1);
    server.expect_nothing(); // one that has left, as it were
    server.facts.unanswered = Some(at(server.second - 1));
    assert_eq!(server.ailment(), None);
    server.pass(15, |_| ());
    assert_eq!(server.ailment(), Some(Ailment::PathBroken));
}

impl Server {
    fn expect_nothing(&self) {
        assert_eq!(self.found, None);
    }
}
