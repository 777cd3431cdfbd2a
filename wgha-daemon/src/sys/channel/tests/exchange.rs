use std::{net::Ipv6Addr, time::Instant};

use super::*;

#[tokio::test]
async fn two_nodes_tell_each_other_what_they_know_and_then_what_changes() {
    let (mut one, mut two) = (node(1, 1, &[2]), node(1, 2, &[1]));
    one.channel.introduce(introduction(1, 1), fingerprints());
    one.channel.publish(vec![record(1, 1), record(2, 1)]);

    assert_eq!(two.next_from().await, News { peer: PeerId(0), what: What::Connected });
    assert_eq!(one.next().await, What::Connected);
    assert_eq!(two.next().await, What::Introduced(introduction(1, 1), fingerprints()));
    assert_eq!(two.next().await, What::Records(vec![record(1, 1), record(2, 1)]));

    one.channel.publish(vec![record(1, 1), record(2, 2)]);
    assert_eq!(two.next().await, What::Records(vec![record(2, 2)]));
    two.channel.introduce(introduction(1, 2), fingerprints());
    two.channel.introduce(introduction(1, 2), fingerprints());
    two.channel.publish(vec![record(3, 3)]);
    assert_eq!(one.next().await, What::Introduced(introduction(1, 2), fingerprints()));
    assert_eq!(one.next().await, What::Records(vec![record(3, 3)]));

    let lease = Duration::from_secs(5);
    one.channel.answer().wait_for(PeerId(0), lease);
    assert_eq!(two.next().await, What::Waits(lease));
    one.channel.answer().wait_for(PeerId(0), lease);
    assert_eq!(two.next().await, What::Waits(lease), "said again");

    let stats = &one.channel.stats().peers[0];
    assert!(stats.connected_since.is_some() && stats.trouble.is_none());
    assert_eq!((stats.connections, stats.records_out, stats.records_in), (1, 3, 1));
    assert!(stats.bytes_in > 0 && stats.bytes_out > stats.bytes_in);
}

#[tokio::test]
async fn three_nodes_are_three_pairs() {
    let mut nodes = [node(2, 1, &[2, 3]), node(2, 2, &[1, 3]), node(2, 3, &[1, 2])];
    for node in &mut nodes {
        let mut connected = [node.next_from().await, node.next_from().await];
        connected.sort_by_key(|news| news.peer);
        assert_eq!(connected, [0, 1].map(|peer| News { peer: PeerId(peer), what: What::Connected }));
    }
    nodes[2].channel.publish(vec![record(1, 1)]);
    assert_eq!(nodes[0].next_from().await, News { peer: PeerId(1), what: What::Records(vec![record(1, 1)]) });
    assert_eq!(nodes[1].next_from().await, News { peer: PeerId(1), what: What::Records(vec![record(1, 1)]) });
}

#[tokio::test]
async fn ten_thousand_records_are_told_on_connecting_and_again_when_asked_for() {
    const COUNT: usize = 10_000;
    let (mut one, mut two) = (node(3, 1, &[2]), node(3, 2, &[1]));
    assert_eq!(two.next().await, What::Connected);
    assert_eq!(one.next().await, What::Connected);
    let mut all: Vec<Record> = (0..COUNT).map(|n| record(n as u16, 40_000)).collect();
    for record in all.iter_mut().skip(1).step_by(2) {
        record.endpoint = Some((Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6), 40_000).into());
    }

    let began = Instant::now();
    one.channel.publish(all.clone());
    let mut told = two.records(COUNT).await;
    let took = began.elapsed();
    let bytes = two.channel.stats().peers[0].bytes_in as usize;
    println!("{COUNT} records (half of them IPv6) in {took:?}, {} bytes each", bytes / COUNT);
    told.sort_by_key(|record| record.key);
    assert_eq!(told, all);
    assert!(bytes / COUNT < 80, "{bytes}");

    two.channel.ask_again(PeerId(0));
    assert_eq!(two.records(COUNT).await.len(), COUNT);
    one.channel.withdraw(&[record(0, 0).key]);
    assert_eq!(one.channel.stats().published, COUNT - 1);
    one.channel.forget_records();
    assert_eq!(one.channel.stats().published, 0);
}

#[tokio::test]
async fn another_key_is_told_once_and_tried_again_when_ours_changes() {
    let mut one = node_with(settings(4, 1, &[2]), key(1));
    let mut two = node_with(settings(4, 2, &[1]), key(2));
    for node in [&mut one, &mut two] {
        let What::Refused(why) = node.next().await else { panic!("not refused") };
        assert!(why.starts_with("it has another WireGuard private key (fingerprint "), "{why}");
        assert_eq!(node.channel.stats().peers[0].trouble, Some(why));
    }
    one.nothing_more(Duration::from_millis(700)).await;
    two.nothing_more(Duration::from_millis(1)).await;

    two.key.send_replace(Some(key(1)));
    assert_eq!(one.next().await, What::Connected);
    assert_eq!(two.next().await, What::Connected);
    // The same key, read again, changes nothing.
    two.key.send_replace(Some(key(1)));
    two.nothing_more(Duration::from_millis(200)).await;
    two.key.send_replace(None);
    assert!(two.lost().await.contains("private key has changed"));
    assert!(one.lost().await.contains("closed the connection"));
    two.nothing_more(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_node_that_comes_back_is_told_everything_again() {
    let mut one = node(5, 1, &[2]);
    one.channel.publish(vec![record(1, 1)]);
    for _ in 0..3 {
        let mut two = node(5, 2, &[1]);
        assert_eq!(two.next().await, What::Connected);
        assert_eq!(two.next().await, What::Records(vec![record(1, 1)]));
        assert_eq!(one.next().await, What::Connected);
        drop(two);
        one.lost().await;
    }
    let stats = &one.channel.stats().peers[0];
    assert_eq!((stats.connected_since, stats.connections), (None, 3));
    assert!(stats.trouble.as_ref().is_some_and(|why| why.contains("closed")), "{stats:?}");
}

#[tokio::test]
async fn the_side_that_connects_comes_back_when_the_other_does() {
    let mut two = node(6, 2, &[1]);
    for _ in 0..2 {
        let mut one = node(6, 1, &[2]);
        assert_eq!(two.next().await, What::Connected);
        assert_eq!(one.next().await, What::Connected);
        drop(one);
        two.lost().await;
    }
}

#[tokio::test]
async fn a_second_connection_of_the_same_peer_takes_the_place_of_the_first() {
    let mut one = node(7, 1, &[2]);
    let _first = authentic(7, 2).await;
    assert_eq!(one.next().await, What::Connected);
    let _second = authentic(7, 2).await;
    assert!(one.lost().await.contains("has connected anew"));
    assert_eq!(one.next().await, What::Connected);
}

#[tokio::test]
async fn the_offset_between_the_clocks_is_found() {
    const AHEAD: i64 = 5_000_000_000;
    let mut one = node(8, 1, &[2]);
    let ahead = Settings { wall_clock: || wall_clock() + AHEAD, ..settings(8, 2, &[1]) };
    let mut two = node_with(ahead, key(1));
    for (node, expected) in [(&mut one, AHEAD), (&mut two, -AHEAD)] {
        assert_eq!(timeout(PATIENCE, node.news.recv()).await.unwrap().unwrap().what, What::Connected);
        let clock = timeout(PATIENCE, node.news.recv()).await.unwrap().unwrap().what;
        let What::Clock { offset_ns, uncertainty_ns } = clock else { panic!("{clock:?}") };
        // Read at different moments, the clock itself is no better than a microsecond or so.
        assert!(offset_ns.abs_diff(expected) <= uncertainty_ns + 100_000, "{offset_ns} ± {uncertainty_ns}");
        assert!(node.channel.stats().peers[0].clock.is_some());
    }
}

#[tokio::test]
async fn an_address_that_comes_later_is_listened_on_already() {
    for own in ["192.0.2.77:17784", "[2001:db8::77]:17784"] {
        let listener = socket::listen(own.parse().unwrap()).unwrap();
        assert_eq!(listener.local_addr().unwrap(), own.parse().unwrap());
    }
}

#[tokio::test]
async fn ipv6_is_shaken_hands_over_as_well() {
    let listener = socket::listen("[::1]:0".parse().unwrap()).unwrap();
    let own = "[::1]:0".parse().unwrap();
    let stream = socket::connect(own, listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let key = key(1);
    let (one, two) = tokio::join!(
        session::open(stream, Side::Connector, &key),
        session::open(accepted, Side::Listener, &key)
    );
    one.unwrap().0.send(b"over").await.unwrap();
    assert_eq!(two.unwrap().1.receive().await.unwrap(), b"over");
}

#[tokio::test]
async fn the_address_towards_a_peer_is_the_kernels_choice() {
    let own = socket::own_address("127.0.0.2:1".parse().unwrap()).unwrap();
    assert_eq!(own, "127.0.0.1".parse::<IpAddr>().unwrap());
}
