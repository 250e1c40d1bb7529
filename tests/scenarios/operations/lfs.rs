//! Git LFS: batches are reads or writes, and tokens for objects stay with regauth.

use std::fs;

use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::Output;
use regauth_tests::git::{Git, random_bytes};
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::lfs_server::LfsServer;

use super::{LFS, PASSWORD, USER, assert_is_refused, daemon_for, mock, puts, read_only_proxy};

/// Clone of a repository with Git LFS on, for files `*.bin`.
fn lfs_clone(daemon: &Daemon, proxy: &str, url: &str) -> (Git, Output) {
    let git = Git::new().proxy(proxy).trusts(&daemon.bundle());
    git.run(["lfs", "install", "--skip-repo"]).succeeds();
    let cloned = git.clone_from(url);
    (git, cloned)
}

fn commit_large_file(git: &Git, name: &str) {
    git.in_work(["lfs", "track", "*.bin"]).succeeds();
    git.in_work(["add", ".gitattributes"]).succeeds();
    git.commit_random_file(name, 70_000).succeeds();
    git.in_work(["branch", "--move", "--force", "main"]).succeeds();
}

/// A push with writes open, then clones with writes closed, by the user and by a read-only grant.
fn lfs_day(server: &LfsServer) -> (Daemon, String) {
    let daemon = daemon_for("git", &server.scope(), &server.ca(), &["--no-verify"]);
    let url = server.repository("app");
    let (git, cloned) = lfs_clone(&daemon, &daemon.proxy(), &url);
    cloned.succeeds();
    commit_large_file(&git, "model.bin");
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    git.push().succeeds();
    daemon.ctl(&["deny", "corp"]).succeeds();
    for proxy in [daemon.proxy(), read_only_proxy(&daemon)] {
        let (git, cloned) = lfs_clone(&daemon, &proxy, &url);
        cloned.succeeds();
        let file = fs::read(git.work().join("model.bin")).unwrap();
        assert!(file == random_bytes("model.bin", 70_000), "the clone has another file");
        LeakScan::new(PASSWORD).scan_folder(git.home(), &[]).assert_clean();
    }
    let before = server.nginx.requests().len();
    commit_large_file(&git, "more.bin");
    git.push().fails();
    assert_eq!(puts(&server.nginx), 1, "only the first push has stored an object");
    assert!(server.nginx.requests().len() <= before + 2);
    (daemon, url)
}

/// giftless takes its own token for an object and no other.
#[test]
fn an_lfs_server_gets_the_token_that_it_gave_for_an_object() {
    let server = LfsServer::giftless(USER, PASSWORD);
    let (daemon, _) = lfs_day(&server);
    assert!(!daemon.log().contains("withheld"));
}

#[test]
fn an_lfs_server_that_repeats_the_token_gives_it_to_no_client() {
    let server = LfsServer::echoing(USER, PASSWORD);
    let (daemon, url) = lfs_day(&server);
    let batch = format!("{url}/info/lfs/objects/batch");
    let body = |operation: &str| format!(r#"{{"operation":"{operation}","objects":[{{"oid":"ab","size":3}}]}}"#);
    let post = |operation: &str| {
        let curl = Curl::new()
            .behind(&daemon)
            .header(LFS)
            .with(&["--compressed", "--data-binary"]);
        curl.with(&[&body(operation)]).get(&batch)
    };
    assert_is_refused(&post("upload"));
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    for operation in ["download", "upload"] {
        let answer = post(operation);
        assert_eq!(answer.status, 200);
        let text = answer.body();
        LeakScan::new(PASSWORD).scan("the answer", &text).assert_clean();
        assert!(!text.contains("Authorization") && text.contains("X-Kept"), "{text}");
    }
}

#[test]
fn only_a_whole_batch_request_for_downloads_is_a_read() {
    let (server, daemon) = mock("git");
    let url = server.url("/r.git/info/lfs/objects/batch");
    let post = |body: &str, content_type: &str, url: &str| {
        Curl::new()
            .behind(&daemon)
            .header(content_type)
            .with(&["--data-binary", body])
            .get(url)
    };
    let download = r#"{"operation":"download","objects":[{"oid":"ab","size":3}]}"#;
    let json = "Content-Type: application/json";
    let long = format!(r#"{{"operation":"download","objects":["{}"]}}"#, "a".repeat(70_000));
    let api = server.url("/api/v1/repos/me/r/contents/r.git/info/lfs/objects/batch");
    for (body, content_type, url) in [
        (r#"{"operation":"upload","objects":[]}"#, LFS, &url),
        (
            r#"{"operation":"download","operation":"upload","objects":[]}"#,
            LFS,
            &url,
        ),
        (
            r#"{"operation":"download","Operation":"upload","objects":[]}"#,
            LFS,
            &url,
        ),
        (r#"{"operation":"download","objects":[],"content":"YQ=="}"#, LFS, &url),
        (&long, LFS, &url),
        (download, json, &url),
        (download, LFS, &api),
    ] {
        assert_is_refused(&post(body, content_type, url));
    }
    assert!(server.requests().is_empty());
    assert_eq!(post(download, LFS, &url).status, 200);
    let sent = server.requests().pop().unwrap();
    assert_eq!(sent.body, download.as_bytes());
    assert_eq!(sent.header("accept-encoding").as_deref(), Some("identity"));
}
