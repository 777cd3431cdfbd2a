//! Somebody between two nodes, who sees and changes every byte.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::*;

/// What the connector says before its first frame: hello, and its message of the handshake.
const BEFORE_FRAMES: usize = 14 + 48;

/// The node that is host 1, its peer, and the middle that the peer has connected to instead.
async fn three(test: u8) -> (Node, Node, TcpListener) {
    let middle = TcpListener::bind((host(test, 1), 0)).await.unwrap();
    let through = Settings { peers: vec![middle.local_addr().unwrap()], ..settings(test, 2, &[]) };
    (node(test, 1, &[2]), node_with(through, key(1)), middle)
}

/// Takes the peer's connection and makes its own. What the node says is passed on unchanged.
async fn between(test: u8, middle: &TcpListener) -> (OwnedReadHalf, OwnedWriteHalf) {
    let (peer, _) = middle.accept().await.unwrap();
    let (from_peer, mut to_peer) = peer.into_split();
    let (mut from_node, to_node) = raw(test, 2).await.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_node, &mut to_peer).await });
    (from_peer, to_node)
}

async fn bytes(from: &mut OwnedReadHalf, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn frame(from: &mut OwnedReadHalf) -> Vec<u8> {
    let mut frame = bytes(from, 2).await;
    let len = u16::from_be_bytes([frame[0], frame[1]]);
    frame.extend(bytes(from, len.into()).await);
    frame
}

/// Passes on the handshake, its proof and one frame; what was passed on.
async fn begin(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> (Vec<u8>, Vec<u8>) {
    let mut all = bytes(from, BEFORE_FRAMES).await;
    to.write_all(&all).await.unwrap();
    let (proof, first) = (frame(from).await, frame(from).await);
    to.write_all(&[proof.as_slice(), &first].concat()).await.unwrap();
    all.extend([proof.as_slice(), &first].concat());
    (all, first)
}

#[tokio::test]
async fn what_is_passed_on_unchanged_arrives() {
    let (mut one, two, middle) = three(24).await;
    two.channel.publish(vec![record(1, 1)]);
    let (mut from, mut to) = between(24, &middle).await;
    begin(&mut from, &mut to).await;
    assert_eq!(one.next().await, What::Connected);
    tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
    assert_eq!(one.next().await, What::Records(vec![record(1, 1)]));
}

#[tokio::test]
async fn frames_that_are_repeated_left_out_or_changed_end_the_connection() {
    for (test, kind) in (25..).zip(["repeated", "left out", "changed", "short", "empty"]) {
        let (mut one, two, middle) = three(test).await;
        two.channel.publish(vec![record(1, 1)]);
        let (mut from, mut to) = between(test, &middle).await;
        let (_, first) = begin(&mut from, &mut to).await;
        assert_eq!(one.next().await, What::Connected, "{kind}");
        let mut second = frame(&mut from).await;
        let bad = match kind {
            "repeated" => first,
            "left out" => frame(&mut from).await,
            "changed" => {
                second[10] ^= 1;
                second
            }
            "short" => vec![0, 3, 1, 2, 3],
            _ => vec![0, 0],
        };
        to.write_all(&bad).await.unwrap();
        let why = one.lost().await;
        assert!(why.contains("damaged, replayed or forged"), "{kind}: {why}");
    }
}

#[tokio::test]
async fn half_a_frame_is_not_waited_for_long() {
    let (mut one, _two, middle) = three(22).await;
    let (mut from, mut to) = between(22, &middle).await;
    begin(&mut from, &mut to).await;
    assert_eq!(one.next().await, What::Connected);
    to.write_all(&[0xff, 0xff]).await.unwrap();
    let trickle = tokio::spawn(async move {
        while to.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(one.lost().await.contains("has said nothing for 3s"));
    trickle.abort();

    let (mut from, mut to) = between(22, &middle).await;
    begin(&mut from, &mut to).await;
    assert_eq!(one.next().await, What::Connected);
    to.write_all(&[0, 100, 1, 2, 3]).await.unwrap();
    drop(to);
    assert!(one.lost().await.contains("closed the connection"));
}

#[tokio::test]
async fn a_connection_that_is_replayed_as_a_whole_is_none() {
    let (mut one, _two, middle) = three(23).await;
    let (mut from, mut to) = between(23, &middle).await;
    let (all, _) = begin(&mut from, &mut to).await;
    assert_eq!(one.next().await, What::Connected);
    tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });

    let mut replay = raw(23, 2).await;
    replay.write_all(&all).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, replay.read_to_end(&mut answer)).await.expect("still open");
    // Nor does it take the place of the real one.
    one.nothing_more(Duration::from_millis(100)).await;
    assert_eq!(one.channel.stats().peers[0].connections, 1);
}
