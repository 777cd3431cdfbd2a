use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::sys::channel::{
    hello::{Hello, VERSION},
    message::{Message, RECORDS_MAX},
};

fn hello(version: u16) -> [u8; 14] {
    Hello { version, key: key(1).fingerprint() }.emit()
}

/// The node hangs up; what it had to say before that.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset, for what it did not read, is an end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("still open");
    said
}

#[tokio::test]
async fn another_version_is_told_once() {
    let mut one = node(11, 1, &[2]);
    for _ in 0..3 {
        let mut newer = raw(11, 2).await;
        newer.write_all(&hello(VERSION + 1)).await.unwrap();
        assert_eq!(until_closed(&mut newer).await, hello(VERSION), "the other side is to find out, too");
    }
    let What::Refused(why) = one.next().await else { panic!("not refused") };
    assert!(why.contains("speaks version 2 of the peer channel, this server version 1"), "{why}");
    one.nothing_more(Duration::from_millis(50)).await;
    let _session = authentic(11, 2).await;
    assert_eq!(one.next().await, What::Connected);
}

#[tokio::test]
async fn garbage_before_the_handshake_has_ended_is_not_even_news() {
    let mut one = node(12, 1, &[2]);
    for (good, bad) in [(0, 14), (4, 10), (14, 48), (14, 4096)] {
        let mut stream = raw(12, 2).await;
        stream.write_all(&hello(VERSION)[..good]).await.unwrap();
        stream.write_all(&vec![0x5a; bad]).await.unwrap();
        until_closed(&mut stream).await;
        if good == 4 {
            // "wgha" and a version of 0x5a5a: worth telling.
            assert!(matches!(one.next().await, What::Refused(_)));
        }
    }
    one.nothing_more(Duration::from_millis(50)).await;
    let _session = authentic(12, 2).await;
    assert_eq!(one.next().await, What::Connected);
}

#[tokio::test]
async fn authentic_nonsense_ends_the_connection() {
    let mut one = node(13, 1, &[2]);
    let many = vec![record(1, 1); RECORDS_MAX + 1];
    for (payload, why) in [
        (vec![], "it is empty"),
        (vec![2, 255, 255, 255, 255, 15], "cannot be read as such"),
        (Message::Records(many).emit().unwrap(), "257 records"),
    ] {
        let (mut sender, _receiver) = authentic(13, 2).await;
        assert_eq!(one.next().await, What::Connected);
        sender.send(&payload).await.unwrap();
        let lost = one.lost().await;
        assert!(lost.contains(why), "{lost}");
    }
}

#[tokio::test]
async fn what_a_later_version_says_is_skipped_and_counted() {
    let mut one = node(14, 1, &[2]);
    let (mut sender, _receiver) = authentic(14, 2).await;
    sender.send(&[99, 1, 2, 3]).await.unwrap();
    sender.send(&Message::Records(vec![record(1, 1)]).emit().unwrap()).await.unwrap();
    assert_eq!(one.next().await, What::Connected);
    assert_eq!(one.next().await, What::Records(vec![record(1, 1)]));
    assert_eq!(one.channel.stats().peers[0].skipped, 1);
}

#[tokio::test]
async fn strangers_are_closed_at_once_and_counted() {
    let one = node(15, 1, &[2]);
    for n in 1..=20 {
        assert_eq!(until_closed(&mut raw(15, 3).await).await, b"");
        assert_eq!(one.channel.stats().strangers, n);
    }
    assert_eq!(one.channel.stats().last_stranger, Some(host(15, 3)));
}

#[tokio::test]
async fn silent_connections_are_few_and_short() {
    let mut one = node(16, 1, &[2]);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(raw(16, 2).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(one.channel.stats().peers[0].turned_away >= 14, "{:?}", one.channel.stats());
    for stream in &mut silent {
        until_closed(stream).await;
    }
    let _session = authentic(16, 2).await;
    assert_eq!(one.next().await, What::Connected);
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_lost() {
    let mut one = node(17, 1, &[2]);
    let (_sender, _receiver) = authentic(17, 2).await;
    assert_eq!(one.next().await, What::Connected);
    assert!(one.lost().await.contains("has said nothing for 3s"));
}

/// Keeps a connection alive without ever reading from it.
async fn ping_for_ever(mut sender: Sender) {
    while sender.send(&Message::Ping(1).emit().unwrap()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_peer_that_never_reads_costs_no_memory_and_holds_nobody_up() {
    const COUNT: u16 = 10_000;
    let (mut one, mut three) = (node(18, 1, &[2, 3]), node(18, 3, &[1]));
    assert_eq!(one.next_from().await, News { peer: PeerId(1), what: What::Connected });
    assert_eq!(three.next().await, What::Connected);
    let (sender, _unread) = authentic(18, 2).await;
    assert_eq!(one.next_from().await, News { peer: PeerId(0), what: What::Connected });
    let pinging = tokio::spawn(ping_for_ever(sender));

    let mut lost = None;
    for port in 1..=400 {
        one.channel.publish((0..COUNT).map(|n| record(n, port)).collect());
        // Table and revisions: what all connections together hold back.
        assert_eq!(one.channel.shared.table().sizes(), (10_000, 10_000));
        // The other peer gets them, whatever happens to the first.
        while three.records(1).await.last() != Some(&record(COUNT - 1, port)) {}
        if let Ok(news) = one.news.try_recv()
            && let What::Lost(why) = news.what
        {
            lost = Some((news.peer, why));
            break;
        }
    }
    pinging.abort();
    let (peer, why) = lost.expect("it is still connected");
    assert_eq!(peer, PeerId(0));
    // TCP_USER_TIMEOUT may come first.
    assert!(why.contains("has not read for 2s") || why.contains("timed out"), "{why}");
}

/// A node that reads little of each of its peers, and how many bytes it may have read of one by now.
fn slow_node(test: u8, peers: &[u8]) -> (Node, impl Fn() -> u64) {
    const SLOW: u32 = 64 * 1024;
    let began = tokio::time::Instant::now();
    // A second's worth at once; and one frame of the largest kind, for which it waits afterwards.
    let allowed = move || (began.elapsed().as_secs_f64() * f64::from(SLOW)) as u64 + 2 * 64 * 1024;
    (node_with(Settings { rate: SLOW, ..settings(test, 1, peers) }, key(1)), allowed)
}

/// Sends as fast as it is read.
fn flood(mut sender: Sender, message: &Message) -> tokio::task::JoinHandle<()> {
    let payload = message.emit().unwrap();
    tokio::spawn(async move { while sender.send(&payload).await.is_ok() {} })
}

#[tokio::test]
async fn a_flood_is_slowed_down_and_others_get_through() {
    let (mut one, allowed) = slow_node(19, &[2, 3]);
    let three = node(19, 3, &[1]);
    assert_eq!(one.next().await, What::Connected);
    let (sender, _receiver) = authentic(19, 2).await;
    assert_eq!(one.next().await, What::Connected);
    let flooding = flood(sender, &Message::Records((0..32).map(|n| record(n, 1)).collect()));

    // The driver does not look: no more is taken than the news may hold, and what one reader has in hand.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let unheard = one.channel.stats().peers[0].records_in;
    assert!((32..=32 * 9).contains(&unheard), "{unheard} records were taken while nobody listened");

    three.channel.publish(vec![record(7, 7)]);
    let mut heard = 0;
    while heard < 3000 {
        match one.next_from().await {
            News { peer: PeerId(0), what: What::Records(records) } => heard += records.len(),
            News { peer: PeerId(1), what } => {
                assert_eq!(what, What::Records(vec![record(7, 7)]));
                heard += 10_000;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(heard >= 10_000, "the other peer was not heard");
    for _ in 0..50 {
        let read = one.channel.stats().peers[0].bytes_in;
        assert!(read <= allowed(), "{read} bytes, {} allowed", allowed());
        one.next_from().await;
    }
    flooding.abort();
}

#[tokio::test]
async fn a_flood_of_the_smallest_messages_is_slowed_down_more() {
    let (mut one, allowed) = slow_node(20, &[2]);
    let (sender, _unread) = authentic(20, 2).await;
    assert_eq!(one.next().await, What::Connected);
    let flooding = flood(sender, &Message::Ping(1));
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stats = &one.channel.stats().peers[0];
        // 20 bytes each, counted as 1024.
        assert!(stats.bytes_in / 20 * 1024 <= allowed(), "{stats:?}");
        assert!(stats.connected_since.is_some(), "{stats:?}");
    }
    assert!(one.channel.stats().peers[0].bytes_in > 20 * 64);
    flooding.abort();
}

#[tokio::test]
async fn a_frame_that_does_not_go_is_not_waited_for_long() {
    let listener = socket::listen((host(21, 1), 0).into()).unwrap();
    let stream = socket::connect((host(21, 2), 0).into(), listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    // Otherwise TCP may give up first: it does not know a slow peer from a dead one.
    socket2::SockRef::from(&stream).set_tcp_user_timeout(None).unwrap();
    let key = key(1);
    let (one, _two) = tokio::join!(
        session::open(stream, Side::Connector, &key),
        session::open(accepted, Side::Listener, &key)
    );
    let mut sender = one.unwrap().0;
    let sending = async {
        loop {
            if let Err(e) = sender.send(&[0; 60_000]).await {
                return e.to_string();
            }
        }
    };
    let why = timeout(PATIENCE, sending).await.expect("waits for ever");
    assert_eq!(why, "has not read for 2s");
}
