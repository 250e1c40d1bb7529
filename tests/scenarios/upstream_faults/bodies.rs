//! Bodies that are cut, that stop, or that end without a word.

use std::time::Duration;

use regauth_tests::certificates::Authority;
use regauth_tests::curl::FinishedTransfer;
use regauth_tests::misbehaving_server::{Http2Ending, MisbehavingServer};

use super::{SOON, curl, daemon_with};

fn body(transfer: FinishedTransfer) -> Option<String> {
    let is_whole = transfer.output.status.success();
    is_whole.then(|| transfer.response().body())
}

#[test]
fn a_cut_http2_response_is_never_passed_on_as_a_whole_one() {
    let root = Authority::new("Corp Root");
    for (ending, is_whole) in [
        (Http2Ending::ResetWithNoError, false),
        (Http2Ending::GoAwayAndClose, false),
        (Http2Ending::GoAwayLaterAndClose, false),
        (Http2Ending::ResetAfterItsLength, true),
        (Http2Ending::EndThenReset, true),
    ] {
        let server = MisbehavingServer::http2(&root, ending).start();
        let daemon = daemon_with(&server, &root, &[]);
        for protocol in ["--http1.1", "--http2"] {
            let transfer = curl(&daemon).with(&[protocol]).fetch(&server.url("/corp/x"));
            let expected = is_whole.then(|| "half".to_owned());
            assert_eq!(body(transfer), expected, "{ending:?} {protocol}");
        }
    }
}

#[test]
fn a_cut_http1_response_is_never_passed_on_as_a_whole_one() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &[]);
    for (path, expected) in [
        ("half-length", None),
        ("half-chunked", None),
        ("reset", None),
        ("until-close", Some("whole")),
        ("dribble", Some("whole")),
    ] {
        for protocol in ["--http1.1", "--http2"] {
            let transfer = curl(&daemon)
                .with(&[protocol])
                .fetch(&server.url(&format!("/corp/{path}")));
            assert_eq!(body(transfer).as_deref(), expected, "{path} {protocol}");
        }
    }
}

/// As curl and browsers do, where nothing else frames the body.
#[test]
fn a_body_that_ends_without_close_notify_is_passed_on_and_noted() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &[]);
    for protocol in ["--http1.1", "--http2"] {
        let transfer = curl(&daemon)
            .with(&[protocol])
            .fetch(&server.url("/corp/no-close-notify"));
        assert_eq!(body(transfer).as_deref(), Some("whole"), "{protocol}");
    }
    let noted = daemon.log().matches("without close_notify").count();
    assert_eq!(noted, 2);
}

/// A server in front of the registry may take the length for the end, and the rest for another response.
#[test]
fn a_connection_whose_response_has_two_lengths_is_used_no_more() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &[]);
    let transfer = curl(&daemon).fetch(&server.url("/corp/both-lengths"));
    assert_eq!(body(transfer).as_deref(), Some("ok"));
    assert!(server.closes_to(0, SOON), "the connection is still open");
    assert_eq!(curl(&daemon).get(&server.url("/corp/next")).status, 200);
    assert!(
        !server.closes_to(0, Duration::from_secs(1)),
        "other connections are kept"
    );
}

#[test]
fn a_body_that_stops_holds_nothing_once_its_client_has_gone() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &[]);
    for protocol in ["--http1.1", "--http2"] {
        let stopped = curl(&daemon).with(&[protocol, "--max-time", "1"]);
        stopped.fetch(&server.url("/corp/stops")).output.fails();
    }
    assert!(server.closes_to(0, SOON), "{} connections are left", server.open());
}

#[test]
fn an_early_answer_reaches_the_client_of_an_upload() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &["--writes", "allow"]);
    // The server's kernel resets a connection with unread bytes, so the upload is small enough to be sent before.
    let refused = curl(&daemon)
        .with(&["--http1.1"])
        .upload(&server.url("/corp/early"), 1000);
    assert_eq!(refused.status, 413);
}
