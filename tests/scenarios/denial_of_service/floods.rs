//! Floods of HTTP/2 frames: the connection is cut, and other clients are served.

use std::time::{Duration, Instant};

use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::http2_frames;
use regauth_tests::proxy_client::{ProxyClient, block_on};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::{pairs, quiet, serve_bytes};

/// Sends `pieces` pieces on one HTTP/2 connection, or as many as it accepts, and returns their number.
fn flood(daemon: &Daemon, host: &str, begin: &[u8], piece: impl Fn(u32) -> Vec<u8>, pieces: u32) -> u32 {
    block_on(async {
        let mut tunnel = ProxyClient::new(daemon).open(host, &["h2"]).await.unwrap();
        tunnel.write_all(&http2_frames::preface()).await.unwrap();
        tunnel.write_all(begin).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(tunnel);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
        });
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut sent = 0;
        while sent < pieces && Instant::now() < deadline && reading.try_join_next().is_none() {
            if writer.write_all(&piece(sent)).await.is_err() {
                break;
            }
            sent += 1;
        }
        sent
    })
}

/// Name, first bytes, repeated bytes, and number of repetitions.
type Flood<'a> = (&'static str, Vec<u8>, Box<dyn Fn(u32) -> Vec<u8> + 'a>, u32);

fn floods(host: &str) -> [Flood<'_>; 7] {
    use http2_frames::{block, frame, headers, reset};
    let request = move |stream: u32, ends: bool| headers(stream, &pairs("GET", host), ends);
    let resets = move |number: u32| [request(2 * number + 1, true), reset(2 * number + 1)].concat();
    // The server resets these streams, for a WINDOW_UPDATE of zero (CVE-2025-8671, MadeYouReset).
    let made_to_reset = move |number: u32| {
        let stream = 2 * number + 1;
        [request(stream, false), frame(8, 0, stream, &[0; 4])].concat()
    };
    let unfinished = frame(1, 0, 1, &block(&[(":method", "GET")]));
    [
        ("resets", vec![], Box::new(resets), 20_000),
        ("made to reset", vec![], Box::new(made_to_reset), 20_000),
        (
            "continuations",
            unfinished,
            Box::new(|_| frame(9, 0, 1, &[0; 4096])),
            20_000,
        ),
        ("settings", vec![], Box::new(|_| frame(4, 0, 0, &[])), 200_000),
        ("pings", vec![], Box::new(|_| frame(6, 0, 0, &[0; 8])), 200_000),
        (
            "answers to no ping",
            vec![],
            Box::new(|_| frame(6, 1, 0, &[0; 8])),
            20_000,
        ),
        (
            "empty data",
            request(1, false),
            Box::new(|_| frame(0, 0, 1, &[])),
            200_000,
        ),
    ]
}

#[test]
fn floods_of_frames_are_cut_and_other_clients_are_served() {
    let (registry, daemon) = serve_bytes(quiet(), 10);
    let host = registry.authority();
    let before = daemon.memory().resident;
    for (name, begin, piece, pieces) in floods(&host) {
        let spent = daemon.processor_time();
        let sent = flood(&daemon, &host, &begin, piece, pieces);
        let spent = daemon.processor_time() - spent;
        let memory = daemon.memory().resident;
        eprintln!(
            "{name}: {sent} of {pieces} taken, {spent:?} of processor time, {} MiB",
            memory >> 20
        );
        assert_eq!(
            Curl::new().behind(&daemon).get(&registry.url("/")).status,
            200,
            "{name}"
        );
        let is_cut = sent < pieces / 2;
        assert!(
            is_cut || ["settings", "pings", "answers to no ping"].contains(&name),
            "{name} was not cut: {sent} pieces"
        );
    }
    let growth = daemon.memory().resident.saturating_sub(before);
    assert!(growth < 100 << 20, "memory grew by {growth} bytes");
    assert!(registry.requests().len() < 2_000, "{}", registry.requests().len());
    assert!(
        daemon.log().len() < 10_000,
        "a client can fill the log: {} bytes",
        daemon.log().len()
    );
}
