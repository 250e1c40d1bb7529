//! Answers that a client does not read do not stop those of other clients.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::http2_frames;
use regauth_tests::mock_server::MockServer;
use regauth_tests::proxy_client::{ProxyClient, block_on};
use tokio::io::AsyncWriteExt;

/// More than the largest flow-control window of one answer.
const LENGTH: usize = 9 << 20;
/// Fewer than the streams of one connection to the registry, so that the next answer shares it.
const UNREAD: u32 = 60;

#[test]
fn unread_answers_do_not_stop_those_of_another_client_on_the_same_connection() {
    let root = Authority::new("Corp Root");
    let registry = MockServer::builder(&root, "localhost")
        .answer(200, &[], &"x".repeat(LENGTH))
        .start();
    let daemon = Daemon::builder().env("REGAUTH_LOG", "info").start();
    let location = ["--scope", &registry.url("/"), "--no-verify"];
    daemon
        .try_add(
            "corp",
            &location,
            &Scheme::bearer(),
            &root.file(),
            "t0ken-of-the-company",
        )
        .succeeds();
    let unread = block_on(async {
        let host = registry.authority();
        let mut tunnel = ProxyClient::new(&daemon).open(&host, &["h2"]).await.unwrap();
        // An initial window of zero for the answers (RFC 9113, section 6.9.2).
        let settings = http2_frames::frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        tunnel.write_all(&http2_frames::preface()).await.unwrap();
        tunnel.write_all(&settings).await.unwrap();
        for number in 0..UNREAD {
            let head = [
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/unread"),
                (":authority", &host),
            ];
            let request = http2_frames::headers(2 * number + 1, &head, true);
            tunnel.write_all(&request).await.unwrap();
        }
        tunnel
    });
    registry.wait_for_requests(UNREAD as usize);
    for _ in 0..3 {
        let answer = Curl::new().behind(&daemon).get(&registry.url("/read"));
        assert_eq!((answer.status, answer.length), (200, LENGTH as u64));
    }
    drop(unread);
}
