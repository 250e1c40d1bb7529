//! Life of a credential: sources, expiry, refresh, rejection, rotation, sharing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use regauth_shared::exit_code;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::burst;
use regauth_tests::certificates::Authority;
use regauth_tests::ctl::Ctl;
use regauth_tests::curl::{self, Curl};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::nginx::Nginx;
use regauth_tests::poll;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::user::User;
use tempfile::TempDir;

const TOKEN: &str = "s3ntinel-token-of-corp";

fn bearer(token: &str) -> Registry {
    Registry::builder(Scheme::bearer(), token).start()
}

/// Adds a registry that gets its token from a source.
fn add(daemon: &Daemon, name: &str, registry: &Registry, more: &[&str]) -> Ctl {
    let (index, scope, ca) = (registry.index(), registry.scope(), registry.ca());
    let first = [
        "add-registry",
        name,
        "--index",
        &index,
        "--scope",
        &scope,
        "--ca-file",
        ca.to_str().unwrap(),
    ];
    daemon.register_secret(registry.token());
    let shares = more.contains(&"--credential-of");
    let more = if shares {
        &[more, &["--token-stdin"]].concat()
    } else {
        more
    };
    daemon.ctl_with_input(&[&first, more].concat(), registry.token())
}

/// Status of a GET through the proxy.
fn status(daemon: &Daemon, url: &str) -> u16 {
    Curl::new().behind(daemon).get(url).status
}

/// Number of tokens that the registry rejected. Requests without a token, which verification sends, do not count.
fn rejections(registry: &Registry) -> usize {
    registry
        .nginx
        .requests()
        .iter()
        .filter(|request| request.status == 401 && request.authorization().is_some())
        .count()
}

/// Token command with a script that a test can change while the daemon runs.
struct TokenCommand {
    folder: TempDir,
}

impl TokenCommand {
    /// Creates the command. Each run records its time, and whether another run is in progress.
    fn new(script: &str) -> Self {
        let command = Self {
            folder: TempDir::new().unwrap(),
        };
        let folder = command.folder.path().display();
        let program = format!(
            "#!/bin/sh\ncd {folder}\nmkdir busy || echo twice >> overlaps\ndate +%s.%N >> runs\nn=$(wc -l < runs)\n\
             trap 'rmdir busy' EXIT\n. ./script\n"
        );
        exec::write_program(&command.program(), program);
        command.set_script(script);
        command
    }

    fn set_script(&self, script: &str) {
        let new = self.path("script.new");
        fs::write(&new, script).unwrap();
        fs::rename(new, self.path("script")).unwrap();
    }

    fn program(&self) -> PathBuf {
        self.path("command")
    }

    /// Times of its runs, in seconds since 1970.
    fn runs(&self) -> Vec<f64> {
        let runs = fs::read_to_string(self.path("runs")).unwrap_or_default();
        runs.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn runs_never_overlapped(&self) -> bool {
        !self.path("overlaps").exists()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self) -> [String; 2] {
        ["--source-command".to_owned(), self.program().display().to_string()]
    }
}

#[test]
fn tokens_of_two_seconds_fail_no_request_and_command_runs_never_overlap() {
    let seconds = if std::env::var_os("REGAUTH_LONG").is_some() {
        60
    } else {
        12
    };
    let tokens: Vec<String> = (1..=100).map(|number| format!("minted-token-{number}")).collect();
    let registry = bearer("minted-token-1");
    let command =
        TokenCommand::new(r#"printf '{"t":"minted-token-%s","e":%s}' "$n" "$(date -d '2 seconds' +%s.%N)"; sleep 0.1"#);
    // The registry accepts future tokens and rejects expired ones, with 400 ms for requests in flight.
    let enforce = || {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let over = command.runs().iter().take_while(|minted| now - **minted > 2.4).count();
        registry.accept(&tokens[over..].iter().map(String::as_str).collect::<Vec<_>>());
    };
    enforce();
    let daemon = Daemon::start();
    let [flag, program] = command.source();
    add(
        &daemon,
        "minted",
        &registry,
        &["--source-json", "/t", "--source-expires", "/e", &flag, &program],
    )
    .succeeds();
    let served = curl::under_load(&daemon, &registry.file("f", 100), |_| {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            enforce();
            thread::sleep(Duration::from_millis(100));
        }
    });
    let runs = command.runs().len();
    assert!(command.runs_never_overlapped());
    // A token is renewed after half of its life at the earliest, since five minutes before its end is too early.
    let expected = usize::try_from(seconds).unwrap() / 2;
    assert!(
        (expected..=expected * 2 + 2).contains(&runs),
        "{runs} runs in {seconds} s"
    );
    assert!(served > 20, "{served} requests");
    assert_eq!(rejections(&registry), 0, "an expired token was used");
    let shown = daemon.ctl(&["show", "minted"]).succeeds().json;
    assert!(
        shown["credential"]["expires"].is_string() && shown["credential"]["renews"].is_string(),
        "{shown}"
    );
}

#[test]
fn a_failing_token_command_changes_nothing_and_is_reported() {
    let registry = bearer(TOKEN);
    let command = TokenCommand::new(&format!("echo {TOKEN}"));
    let daemon = Daemon::start();
    let [flag, program] = command.source();
    let source = ["--source-timeout", "700ms", &flag, &program];
    add(&daemon, "minted", &registry, &source).succeeds();
    let file = registry.file("f", 100);
    for (script, message) in [
        (
            &*format!("echo '{TOKEN}: no session' >&2; echo {TOKEN}; exit 3"),
            "failed: exit status: 3",
        ),
        ("sleep 600", "did not end within 700ms and was killed"),
        ("printf 'caf\\351'", "it is not text"),
        ("echo s3cret-1; echo s3cret-2", "the token has several lines"),
        ("exit 0", "the token is empty"),
    ] {
        command.set_script(script);
        assert_failure_is_reported_without_secrets(&daemon, message);
        assert_eq!(status(&daemon, &file), 200, "{script}: the previous token stays in use");
    }
    command.set_script(&format!("echo {TOKEN}-2"));
    registry.accept(&["s3ntinel-token-of-corp-2"]);
    let rotated = daemon.ctl(&["rotate", "minted"]).succeeds().json;
    assert_eq!(
        (&rotated["generation"], &rotated["verified"]),
        (&2.into(), &true.into()),
        "{rotated}"
    );
    assert_eq!(status(&daemon, &file), 200);
    assert!(daemon.ctl(&["show", "minted"]).json["credential"]["failure"].is_null());
}

fn assert_failure_is_reported_without_secrets(daemon: &Daemon, message: &str) {
    let refused = daemon.ctl(&["rotate", "minted"]).exits(1).json["err"].clone();
    let shown = daemon.ctl(&["show", "minted"]).succeeds().json["credential"]["failure"].clone();
    for error in [&refused, &shown] {
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
    }
    let problems = daemon.ctl(&["status"]).succeeds().json["problems"].to_string();
    assert!(problems.contains(message), "{problems}");
    for text in [refused.to_string(), shown.to_string(), daemon.log()] {
        LeakScan::new(TOKEN).scan("the output", &text).assert_clean();
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn an_expired_token_that_cannot_be_refreshed_is_not_sent() {
    let registry = bearer(TOKEN);
    let command = TokenCommand::new(&format!("echo {TOKEN}"));
    let daemon = Daemon::start();
    let [flag, program] = command.source();
    add(&daemon, "minted", &registry, &["--source-ttl", "1s", &flag, &program]).succeeds();
    command.set_script("exit 1");
    let file = registry.file("f", 100);
    let refused = poll::wait_for("the token to expire", || {
        Some(Curl::new().behind(&daemon).get(&file)).filter(|answer| answer.status != 200)
    });
    assert_eq!(
        (refused.status, refused.header("regauth-error")),
        (502, Some("credential-unavailable"))
    );
    assert_eq!(daemon.ctl(&["show", "minted"]).json["credential"]["state"], "expired");
    command.set_script(&format!("echo {TOKEN}"));
    poll::wait_for("a working source", || (status(&daemon, &file) == 200).then_some(()));
    assert_eq!(rejections(&registry), 0);
}

#[test]
fn a_write_that_waits_for_a_token_is_refused_once_writes_are_denied() {
    let registry = bearer(TOKEN);
    let command = TokenCommand::new(&format!("echo {TOKEN}"));
    let daemon = Daemon::start();
    let [flag, program] = command.source();
    add(&daemon, "minted", &registry, &["--source-ttl", "1s", &flag, &program]).succeeds();
    command.set_script(&format!("until [ -e go ]; do sleep 0.05; done; echo {TOKEN}"));
    poll::wait_for("the token to expire", || {
        (daemon.ctl(&["show", "minted"]).json["credential"]["state"] == "expired").then_some(())
    });
    daemon.ctl(&["allow", "minted", "--for", "5m"]).succeeds();
    let request_count = || daemon.ctl(&["status"]).json["requests"].as_u64();
    let before = request_count();
    let upload = Curl::new().behind(&daemon).with(&["--data", "x"]);
    let upload = upload.start(&registry.upload());
    poll::wait_for("the upload", || (request_count() > before).then_some(()));
    daemon.ctl(&["deny", "minted"]).succeeds();
    fs::write(command.path("go"), "").unwrap();
    let answer = upload.finish().response();
    assert_eq!(
        (answer.status, answer.header("regauth-error")),
        (403, Some("write-denied"))
    );
    assert!(!registry.nginx.requests().iter().any(|request| request.method == "POST"));
}

#[test]
fn a_rejected_token_is_refreshed_once_and_only_safe_requests_are_sent_again() {
    let registry = bearer("minted-token-1");
    let command = TokenCommand::new("echo minted-token-$n");
    let daemon = Daemon::start();
    let [flag, program] = command.source();
    add(&daemon, "minted", &registry, &["--writes", "allow", &flag, &program]).succeeds();
    let file = registry.file("f", 100);
    assert_eq!(status(&daemon, &file), 200);
    registry.accept(&["minted-token-2"]);
    assert_eq!(
        status(&daemon, &file),
        200,
        "the token was refreshed and the request sent again"
    );
    // The registry was asked about the token before the source was.
    assert_eq!((command.runs().len(), rejections(&registry)), (2, 3));

    registry.accept(&["minted-token-3"]);
    let curl = Curl::new().behind(&daemon);
    let refused = curl.upload(&registry.upload(), 1 << 20);
    assert_eq!(
        (refused.status, refused.header("regauth-error")),
        (403, Some("token-rejected"))
    );
    assert_eq!(
        curl.upload(&registry.upload(), 1 << 20).status,
        200,
        "the token was refreshed for the next request"
    );
    assert_eq!((command.runs().len(), rejections(&registry)), (3, 6));

    registry.accept(&[]);
    for _ in 0..20 {
        assert_eq!(status(&daemon, &file), 403);
    }
    assert!(command.runs().len() <= 5, "{} runs", command.runs().len());
    assert!(rejections(&registry) <= 14, "{} rejections", rejections(&registry));
}

#[test]
fn a_thousand_requests_with_a_rejected_token_reach_the_registry_at_most_six_times() {
    let registry = Registry::start("good");
    let daemon = Daemon::start();
    daemon
        .try_add(
            "corp",
            &[
                "--index",
                &registry.index(),
                "--scope",
                &registry.scope(),
                "--no-verify",
            ],
            registry.scheme(),
            &registry.ca(),
            "stale",
        )
        .succeeds();
    let before = rejections(&registry);
    let file = registry.file("f", 100);
    let statuses = burst::send(&daemon, &file, 1000, 4);
    assert!(statuses.iter().all(|status| *status == 403), "{statuses:?}");
    let cost = rejections(&registry) - before;
    assert!((1..=6).contains(&cost), "{cost} rejections");
    let refused = Curl::new().behind(&daemon).get(&file);
    assert_eq!(refused.header("regauth-error"), Some("token-rejected"));
    assert!(refused.body().contains("regauthctl rotate corp"));
    assert_eq!(daemon.ctl(&["show", "corp"]).json["credential"]["state"], "rejected");
    assert_eq!(rejections(&registry) - before, cost);

    registry.accept(&["stale"]);
    daemon.ctl(&["verify", "corp"]).succeeds();
    assert_eq!(status(&daemon, &file), 200, "the registry accepts the token again");
    registry.accept(&["good"]);
    daemon.rotate("corp", "good").succeeds();
    let statuses = burst::send(&daemon, &file, 1000, 4);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[test]
fn replacing_a_token_file_a_hundred_times_fails_no_request() {
    let registry = bearer("minted-token-0");
    let folder = TempDir::new().unwrap();
    let token_file = folder.path().join("token");
    put(&token_file, "minted-token-0");
    let daemon = Daemon::start();
    let source = format!("file:{}", token_file.display());
    add(&daemon, "mounted", &registry, &["--source", &source]).succeeds();
    let url = registry.file("f", 100);
    curl::under_load(&daemon, &url, |served| {
        for number in 1..=100 {
            let [old, new] = [number - 1, number].map(|number| format!("minted-token-{number}"));
            registry.accept(&[&old, &new]);
            put(&token_file, &new);
            registry.accept(&[&new]);
            let before = served.load(Ordering::Relaxed);
            poll::wait_for("requests", || {
                (served.load(Ordering::Relaxed) > before + 1).then_some(())
            });
        }
    });
    assert_eq!(daemon.ctl(&["show", "mounted"]).json["credential"]["generation"], 101);
    // The daemon notices the change without a request.
    registry.accept(&["minted-token-101"]);
    put(&token_file, "minted-token-101");
    poll::wait_for("the file's next generation", || {
        let shown = daemon.ctl(&["show", "mounted"]).succeeds().json;
        (shown["credential"]["generation"] == 102).then_some(())
    });
    put(&token_file, "minted-token-102");
    daemon.ctl(&["rotate", "mounted"]).exits(4);
    assert_eq!(
        status(&daemon, &url),
        200,
        "the registry rejects the new token, so the old one stays"
    );
}

#[test]
fn generations_of_a_source_continue_after_a_restart() {
    let registry = bearer("token-1");
    let folder = TempDir::new().unwrap();
    let token_file = folder.path().join("token");
    put(&token_file, "token-1");
    let mut daemon = Daemon::builder().store("vault").start();
    let source = format!("file:{}", token_file.display());
    add(&daemon, "mounted", &registry, &["--source", &source]).succeeds();
    let generation = |daemon: &Daemon| {
        poll::wait_for("the token", || {
            let shown = daemon.ctl(&["show", "mounted"]).succeeds().json["credential"].clone();
            let number = shown["generation"].as_u64().unwrap();
            (number > 0).then(|| (number, shown["since"].clone()))
        })
    };
    put(&token_file, "token-2");
    registry.accept(&["token-2"]);
    daemon.ctl(&["rotate", "mounted"]).succeeds();
    let second = generation(&daemon);
    assert_eq!(second.0, 2);
    daemon.restart();
    assert_eq!(generation(&daemon), second, "the same token is the same generation");
    daemon.stop();
    put(&token_file, "token-3");
    daemon.restart();
    assert_eq!(generation(&daemon).0, 3);
    daemon.ctl(&["remove-registry", "mounted"]).succeeds();
    registry.accept(&["token-3"]);
    add(&daemon, "mounted", &registry, &["--source", &source]).succeeds();
    assert_eq!(generation(&daemon).0, 1, "a new registry starts at generation 1");
}

/// Replaces the file atomically, as secret mounts do.
fn put(file: &Path, token: &str) {
    let new = file.with_extension("new");
    fs::write(&new, format!("{token}\n")).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn a_token_from_the_environment_is_used_and_does_not_leak() {
    let registry = bearer(TOKEN);
    let config = |variable: &str| {
        let (index, scope, ca) = (registry.index(), registry.scope(), registry.ca());
        format!(
            "store = \"memory\"\n[registries.corp]\nindex = \"{index}\"\nscopes = [\"{scope}\"]\nca-file = \"{}\"\nsource = \
             \"env:{variable}\"\n",
            ca.display()
        )
    };
    let daemon = Daemon::builder()
        .config(&config("CORP_TOKEN"))
        .env("CORP_TOKEN", TOKEN)
        .start();
    let file = registry.file("f", 100);
    assert_eq!(status(&daemon, &file), 200);
    let environment = fs::read(format!("/proc/{}/environ", daemon.pid())).unwrap();
    assert!(
        String::from_utf8_lossy(&environment).contains("REGAUTH_LOG"),
        "the environment can be read"
    );
    LeakScan::new(TOKEN)
        .scan("its environment", environment)
        .scan_process(daemon.pid())
        .scan("its log", daemon.log())
        .assert_clean();
    daemon.ctl(&["rotate", "corp"]).exits(8);
    fs::write(daemon.home().join("config.toml"), config("OTHER_TOKEN")).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    assert_eq!(status(&daemon, &file), 502);
    let problems = daemon.ctl(&["status"]).succeeds().json["problems"].to_string();
    assert!(problems.contains("OTHER_TOKEN was not set"), "{problems}");
}

#[test]
fn registries_that_share_a_credential_rotate_together() {
    let owner = bearer(TOKEN);
    let user = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add_with("corp", &owner, &["--scope", &owner.scope()]);
    let shared = ["--credential-of", "corp", "--scheme", "basic", "--username", USERNAME];
    add(&daemon, "other", &user, &shared).succeeds();
    let files = [owner.file("f", 10), user.file("f", 10)];
    let statuses = || files.each_ref().map(|file| status(&daemon, file));
    assert_eq!(statuses(), [200, 200]);
    for registry in [&owner, &user] {
        registry.accept(&["another-token"]);
    }
    daemon.rotate("other", "another-token").exits(8);
    daemon.rotate("corp", "another-token").succeeds();
    assert_eq!(statuses(), [200, 200]);
    assert_eq!(rejections(&user), 0);
    assert_eq!(daemon.ctl(&["show", "other"]).json["credential"]["generation"], 2);

    let refused = daemon.ctl(&["remove-registry", "corp"]).exits(8);
    assert!(
        refused.json["err"]["message"].as_str().unwrap().contains("other"),
        "{}",
        refused.json
    );
    daemon.ctl(&["reload"]).succeeds();
    assert_eq!(statuses(), [200, 200]);
    daemon.ctl(&["remove-registry", "other"]).succeeds();
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    add(&daemon, "other", &user, &shared).exits(6);
}

/// A page that needs no token proves nothing about one: verification neither accepts nor rejects it.
#[test]
fn a_public_page_proves_nothing_about_the_token() {
    let root = Authority::new("Corp Root");
    let index = r#"return 200 '{"dl":"https://localhost/dl","api":null}';"#;
    let requires_token =
        "if ($http_authorization != 'Bearer s3ntinel-token-of-corp') { return 401; } return 200 'hello';";
    let rejects_wrong_token = "if ($http_authorization = 'Bearer not-the-token') { return 401; } return 200 'hello';";
    let server = Nginx::builder(&root.issue(&["localhost"]))
        .location("/open/", "return 200 'hello';")
        .location("/index/", index)
        .location("/closed/", requires_token)
        .location("/picky/", rejects_wrong_token)
        .start();
    let daemon = Daemon::start();
    let add = |name: &str, location: &[&str], token: &str| {
        daemon.try_add(name, location, &Scheme::bearer(), &root.file(), token)
    };
    let note = "is public, so this says nothing about the token";
    let sparse = format!("sparse+{}", server.url("/index/"));
    for (name, location, is_verified) in [
        ("open", ["--kind", "generic", "--scope", &server.url("/open/")], false),
        ("code", ["--kind", "git", "--scope", &server.url("/picky/")], false),
        ("crates", ["--kind", "cargo", "--index", &sparse], false),
        (
            "closed",
            ["--kind", "generic", "--scope", &server.url("/closed/")],
            true,
        ),
    ] {
        let answers = [
            add(name, &location, TOKEN).succeeds().json,
            daemon.rotate(name, TOKEN).succeeds().json,
        ];
        for answer in answers {
            assert_eq!(answer["verified"], is_verified, "{answer}");
            assert_eq!(answer["public"].as_bool().unwrap_or_default(), !is_verified, "{answer}");
            assert_eq!(answer["notes"].to_string().contains(note), !is_verified, "{answer}");
        }
        let verified = daemon.ctl(&["verify", name]);
        let verdict = &verified.json["registries"][0];
        let (result, exit) = if is_verified { ("accepted", 0) } else { ("public", 1) };
        assert_eq!((&verdict["result"], verified.exit), (&result.into(), exit), "{verdict}");
        assert_eq!(verdict["detail"].to_string().contains(note), !is_verified, "{verdict}");
    }
    let picky = ["--kind", "generic", "--scope", &server.url("/picky/inner/")];
    add("picky", &picky, "not-the-token").exits(i32::from(exit_code::TOKEN_REJECTED));
    let words = User::new(&daemon).ctl(&["verify", "open"]);
    words.says("open  public  GET ").says(note);
    let words = User::new(&daemon).ctl(&["doctor"]);
    words.says(note);
}
