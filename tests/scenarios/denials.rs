//! Denials: a registry that says no to one path says nothing about the token, and one that says no to the token may say
//! it in any way.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::ctl::Ctl;
use regauth_tests::curl::{Curl, Response};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::git::Git;
use regauth_tests::nginx::Nginx;
use regauth_tests::path_server::PathServer;
use regauth_tests::poll;
use regauth_tests::programs::tool;
use regauth_tests::user::User;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-that-is-good";

/// Adds a registry with the whole host as its scope.
fn add(daemon: &Daemon, server: &PathServer, more: &[&str]) -> Ctl {
    let scope = server.url("/");
    let location = [&["--scope", &scope, "--kind", "generic"], more].concat();
    daemon.try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN)
}

fn get(daemon: &Daemon, server: &PathServer, path: &str) -> Response {
    Curl::new().behind(daemon).get(&server.url(path))
}

fn status(daemon: &Daemon, server: &PathServer, path: &str) -> u16 {
    get(daemon, server, path).status
}

fn state(daemon: &Daemon) -> String {
    let shown = daemon.ctl(&["show", "corp"]).succeeds().json;
    shown["credential"]["state"].as_str().unwrap().to_owned()
}

fn notes(answer: &Ctl) -> String {
    answer.json["notes"].to_string()
}

/// Client with a grant for the registry.
fn bearer(daemon: &Daemon) -> Curl {
    let granted = daemon.ctl(&["grant", "--registry", "corp"]).succeeds().json;
    let proxy = granted["proxy"].as_str().unwrap();
    Curl::new().proxy(proxy).trusts(&daemon.bundle())
}

/// Program that prints the token in its file `token`, and counts its runs.
struct Source {
    folder: TempDir,
}

impl Source {
    fn new(token: &str) -> Self {
        let source = Self {
            folder: TempDir::new().unwrap(),
        };
        source.give(token);
        let folder = source.folder.path().display();
        let script = format!("#!/bin/sh\necho run >> {folder}/runs\ncat {folder}/token\n");
        exec::write_program(&source.program(), script);
        source
    }

    fn give(&self, token: &str) {
        fs::write(self.folder.path().join("token"), token).unwrap();
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    fn runs(&self) -> usize {
        let runs = fs::read_to_string(self.folder.path().join("runs"));
        runs.unwrap_or_default().lines().count()
    }

    fn add(&self, daemon: &Daemon, name: &str, server: &PathServer, scope: &str) {
        let (scope, ca, program) = (server.url(scope), server.ca(), self.program());
        let arguments = [
            "add-registry",
            name,
            "--kind",
            "generic",
            "--scope",
            &scope,
            "--ca-file",
            ca.to_str().unwrap(),
            "--no-verify",
            "--source-command",
            program.to_str().unwrap(),
        ];
        daemon.ctl(&arguments).succeeds();
    }
}

#[test]
fn a_401_for_some_paths_passes_and_leaves_the_registry_open() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    let challenge = [("www-authenticate", "Basic realm=\"corp\"")];
    server.answer("/private/", 401, &challenge, "not yours\n");
    add(&daemon, &server, &[]).succeeds();
    assert_eq!(status(&daemon, &server, "/index"), 200);
    for number in 0..10 {
        let denied = get(&daemon, &server, &format!("/private/{number}"));
        assert_eq!((denied.status, denied.body().as_str()), (401, "not yours\n"));
        assert_eq!(denied.header("www-authenticate"), None, "a password cannot help");
        assert_eq!(denied.header("regauth-error"), None);
        assert_eq!(status(&daemon, &server, "/index"), 200);
    }
    assert_eq!(state(&daemon), "ready");
}

#[test]
fn the_bearer_of_a_read_only_grant_cannot_switch_a_registry_off() {
    // The first page is public, and the probe proves nothing: only requests show that the token is good.
    for front_page in [200, 302, 500] {
        let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
        server.answer("/private/", 401, &[], "");
        server.answer_everybody("/", front_page, &[("location", "/sign_in")], "");
        server.answer("/mine/", 200, &[], "");
        add(&daemon, &server, &["--no-verify"]).succeeds();
        let bearer = bearer(&daemon);
        for number in 0..6 {
            let denied = bearer.get(&server.url(&format!("/private/{number}")));
            assert!(matches!(denied.status, 401 | 403), "{}", denied.status);
        }
        assert_eq!(status(&daemon, &server, "/mine/a"), 200, "front page {front_page}");
        for number in 0..6 {
            bearer.get(&server.url(&format!("/private/{number}")));
        }
        assert_eq!(status(&daemon, &server, "/mine/a"), 200, "front page {front_page}");
        assert_eq!(state(&daemon), "ready");
    }
}

#[test]
fn a_path_that_was_accepted_outweighs_a_probe_that_is_refused() {
    for clients in ["same-user", "grants"] {
        let server = PathServer::start(TOKEN);
        let daemon = Daemon::builder().config(&format!("clients = \"{clients}\"\n")).start();
        // As at a feed that lists nothing to its readers.
        server
            .answer("/simple/", 401, &[], "")
            .answer("/simple/anchor/", 200, &[], "anchor");
        let location = ["--scope", &server.url("/"), "--kind", "pypi", "--no-verify"];
        daemon
            .try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN)
            .succeeds();
        let client = match clients {
            "grants" => bearer(&daemon),
            _ => Curl::new().behind(&daemon),
        };
        let status = |path: &str| client.get(&server.url(path)).status;
        assert_eq!(status("/simple/anchor/"), 200);
        for package in ["numpy", "pandas", "requests", "rich"] {
            assert_eq!(status(&format!("/simple/{package}/")), 401, "{clients}");
        }
        assert_eq!(status("/simple/anchor/"), 200, "{clients}");
        assert_eq!(state(&daemon), "ready");
    }
}

#[test]
fn a_source_is_asked_for_another_token_however_the_registry_says_no() {
    let login = [("location", "/users/sign_in")];
    for (status_of_no, headers) in [(401, &[][..]), (403, &[]), (404, &[]), (400, &[]), (302, &login)] {
        let (server, daemon, source) = (
            PathServer::start("t0ken-one"),
            Daemon::start(),
            Source::new("t0ken-one"),
        );
        server.reject_with(status_of_no, headers);
        source.add(&daemon, "corp", &server, "/");
        assert_eq!(status(&daemon, &server, "/a"), 200);
        source.give("t0ken-two");
        server.accept(&["t0ken-two"]);
        for _ in 0..3 {
            assert_eq!(status(&daemon, &server, "/b"), 200, "{status_of_no}");
        }
        assert_eq!(source.runs(), 2, "{status_of_no}");
    }
}

#[test]
fn a_denial_of_a_path_runs_no_source() {
    let (server, daemon, source) = (PathServer::start(TOKEN), Daemon::start(), Source::new(TOKEN));
    for (path, no) in [("/401/", 401), ("/403/", 403), ("/404/", 404)] {
        server.answer(path, no, &[], "");
    }
    source.add(&daemon, "corp", &server, "/");
    assert_eq!(status(&daemon, &server, "/a"), 200);
    let runs = source.runs();
    for number in 0..4 {
        for no in [401, 403, 404] {
            assert_eq!(status(&daemon, &server, &format!("/{no}/{number}")), no);
        }
        assert_eq!(status(&daemon, &server, "/a"), 200);
    }
    assert_eq!(source.runs(), runs);
}

/// The source is asked for another token, and writes are closed meanwhile.
#[test]
fn a_request_is_authorized_again_before_its_second_attempt() {
    const WRITE: &str = "/token";
    let (server, daemon) = (PathServer::start("t0ken-of-the-first-run"), Daemon::start());
    daemon.register_secret("t0ken-of-the-first-run");
    daemon.register_secret(TOKEN);
    let source = Source::new("t0ken-of-the-first-run");
    let (waits, asked) = (source.folder.path().join("waits"), source.folder.path().join("asked"));
    let (waits, asked) = (waits.as_path(), asked.as_path());
    let script = fs::read_to_string(source.program()).unwrap();
    let hold = format!(
        "if [ -e {0} ]; then touch {1}; while [ -e {0} ]; do sleep 0.05; done; fi",
        waits.display(),
        asked.display()
    );
    exec::write_program(
        &source.program(),
        script.replace("#!/bin/sh\n", &format!("#!/bin/sh\n{hold}\n")),
    );
    source.add(&daemon, "corp", &server, "/");
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    assert_eq!(status(&daemon, &server, "/index"), 200);

    server.accept(&[TOKEN]);
    source.give(TOKEN);
    fs::write(waits, "").unwrap();
    let curl = Curl::new().behind(&daemon);
    let writing = curl.start(&server.url(&format!("{WRITE}?scope=repository:x:push")));
    poll::wait_for("the source to be asked", || asked.exists().then_some(()));
    assert_eq!(server.tokens(WRITE), ["t0ken-of-the-first-run"]);
    daemon.ctl(&["deny", "corp"]).succeeds();
    fs::remove_file(waits).unwrap();
    let refused = writing.finish().response();
    assert_eq!(
        (refused.status, refused.header("regauth-error")),
        (403, Some("write-denied"))
    );
    assert_eq!(server.tokens(WRITE).len(), 1, "nothing was sent after the `deny`");
    assert_eq!(status(&daemon, &server, "/index"), 200);
}

/// All clients are bearers, and none may end the service for the others.
#[test]
fn bearers_cannot_switch_off_a_registry_whose_token_was_never_accepted() {
    let server = PathServer::start(TOKEN);
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    server.answer("/private/", 401, &[], "");
    server.answer_everybody("/", 500, &[], "");
    server.answer("/mine/", 200, &[], "");
    add(&daemon, &server, &["--no-verify"]).succeeds();
    let (first, second) = (bearer(&daemon), bearer(&daemon));
    for number in 0..6 {
        let denied = first.get(&server.url(&format!("/private/{number}")));
        assert!(matches!(denied.status, 401 | 403), "{}", denied.status);
    }
    assert_eq!(second.get(&server.url("/mine/a")).status, 200);
    assert_eq!(state(&daemon), "ready");
}

/// The daemon asks again for a page that a client has read. A bearer may choose that page, and then close it.
#[test]
fn a_page_that_a_bearer_chose_and_closed_says_nothing_against_the_token() {
    let server = PathServer::start(TOKEN);
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    server.answer_everybody("/", 500, &[], "");
    server.answer("/theirs/", 200, &[], "");
    server.answer("/mine/", 200, &[], "");
    add(&daemon, &server, &["--no-verify"]).succeeds();
    let (attacker, other) = (bearer(&daemon), bearer(&daemon));
    assert_eq!(attacker.get(&server.url("/mine/a")).status, 200);
    server.answer("/mine/", 403, &[], "");
    for number in 0..6 {
        assert_eq!(attacker.get(&server.url(&format!("/mine/{number}"))).status, 403);
        assert_eq!(other.get(&server.url("/theirs/a")).status, 200, "request {number}");
    }
    assert_eq!(state(&daemon), "ready");
}

#[test]
fn a_token_that_gets_403_everywhere_is_shown_as_rejected_and_sent_no_more_if_403_is_listed() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    server.reject_with(403, &[]);
    add(&daemon, &server, &["--no-verify", "--rejected-by", "401"]).succeeds();
    assert_eq!(status(&daemon, &server, "/a"), 200);
    server.accept(&[]);
    for _ in 0..2 {
        assert_eq!(status(&daemon, &server, "/a"), 403);
    }
    assert_eq!(state(&daemon), "ready", "403 is about pages here");
    assert_eq!(
        daemon.ctl(&["verify", "corp"]).exits(1).json["registries"][0]["result"],
        "unclear"
    );
    daemon
        .ctl(&["set", "corp", "rejected-by", "401", "403", "--no-verify"])
        .succeeds();
    assert_eq!(
        daemon.ctl(&["show", "corp"]).json["rejected-by"],
        serde_json::json!([401, 403])
    );
    assert_eq!(status(&daemon, &server, "/a"), 403);
    poll::wait_for("the check", || (state(&daemon) == "rejected").then_some(()));
    let listed = daemon.ctl(&["list"]).succeeds().json;
    assert_eq!(listed["registries"][0]["credential"]["state"], "rejected");
    let sent = server.count(403);
    let refused = get(&daemon, &server, "/a");
    assert_eq!(refused.header("regauth-error"), Some("token-rejected"));
    for command in ["regauthctl verify corp", "regauthctl rotate corp"] {
        assert!(refused.body().contains(command), "{}", refused.body());
    }
    assert_eq!(server.count(403), sent, "the token was not sent again");
    server.accept(&[TOKEN]);
    daemon.ctl(&["verify", "corp"]).succeeds();
    assert_eq!(status(&daemon, &server, "/a"), 200);
    assert_eq!(state(&daemon), "ready");
}

#[test]
fn a_registry_that_rejects_tokens_with_400_is_believed_and_its_401s_are_about_pages() {
    let authority = Authority::new("Corp Root");
    let token = format!("\"Bearer {TOKEN}\"");
    let reject = format!(
        "if ($http_authorization = \"\") {{ return 401; }} if ($http_authorization != {token}) {{ return 400; }}"
    );
    let nginx = Nginx::builder(&authority.issue(&["localhost"]))
        .location("/quarantined/", "return 401;")
        // Its front page is missing, which is no answer to the token although 404 is listed.
        .location("= /", &format!("{reject} return 404;"))
        .location("/", &format!("{reject} return 200 ok;"))
        .start();
    let daemon = Daemon::start();
    let scope = nginx.url("/");
    let location = ["--scope", &scope, "--kind", "generic", "--rejected-by", "400,404"];
    let add = |token| daemon.try_add("corp", &location, &Scheme::bearer(), &authority.file(), token);
    let refused = add("t0ken-that-has-ended").exits(4);
    assert!(
        refused.json["err"]["message"]
            .as_str()
            .unwrap()
            .contains("answered 400"),
        "{}",
        refused.json
    );
    add(TOKEN).succeeds();
    let get = |path: &str| Curl::new().behind(&daemon).get(&nginx.url(path));
    for number in 0..4 {
        let denied = get(&format!("/quarantined/{number}"));
        assert_eq!((denied.status, denied.header("regauth-error")), (401, None));
    }
    assert_eq!((get("/a").status, state(&daemon).as_str()), (200, "ready"));
    let ended = daemon.rotate("corp", "t0ken-that-has-ended").exits(4);
    assert!(
        ended.json["err"]["message"].as_str().unwrap().contains("answered 400"),
        "{}",
        ended.json
    );
}

#[test]
fn a_token_that_never_worked_is_cut_off_though_no_probe_tells() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    server.accept(&[]).answer_everybody("/", 500, &[], "");
    server.answer_everybody("/a", 401, &[], "");
    add(&daemon, &server, &["--no-verify"]).succeeds();
    for _ in 0..3 {
        let refused = get(&daemon, &server, "/a");
        assert_eq!(
            (refused.status, refused.header("regauth-error")),
            (403, Some("token-rejected"))
        );
    }
    let sent = server.count(401);
    assert_eq!(status(&daemon, &server, "/a"), 403);
    assert_eq!((server.count(401), state(&daemon).as_str()), (sent, "rejected"));
}

#[test]
fn programs_that_would_ask_for_a_password_get_403_for_a_path() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    server.answer("/private/", 401, &[("www-authenticate", "Basic realm=\"corp\"")], "");
    add(&daemon, &server, &[]).succeeds();
    for agent in [
        "git/2.47.1",
        "pip/24.0 {\"ci\":null}",
        "cargo/1.95.0",
        "git-lfs/3.4.0 (GitHub)",
    ] {
        let curl = Curl::new().behind(&daemon).header(&format!("user-agent: {agent}"));
        let denied = curl.get(&server.url("/private/a"));
        assert_eq!(
            (denied.status, denied.header("regauth-error")),
            (403, Some("access-denied")),
            "{agent}"
        );
        assert!(denied.body().contains("regauthctl verify corp"), "{}", denied.body());
        assert_eq!(curl.get(&server.url("/index")).status, 200, "{agent}");
    }
    let git = Git::new().behind(&daemon);
    let cloned = git.clone_from(&server.url("/private/app.git")).fails();
    assert!(!cloned.report().contains("Username"), "{}", cloned.report());
    assert!(cloned.report().contains("403"), "{}", cloned.report());
    assert_eq!(state(&daemon), "ready");
}

#[test]
fn a_referral_to_a_token_server_reaches_the_client() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    let challenge = "Bearer realm=\"https://localhost/token\",service=\"corp\"";
    server.answer_everybody("/v2/", 401, &[("www-authenticate", challenge)], "");
    let location = ["--scope", &server.url("/v2/"), "--kind", "generic"];
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN);
    let added = added.succeeds();
    assert_eq!(added.json["verified"], false);
    assert!(notes(&added).contains("token server"), "{}", notes(&added));
    for _ in 0..5 {
        let referred = get(&daemon, &server, "/v2/");
        assert_eq!(
            (referred.status, referred.header("www-authenticate")),
            (401, Some(challenge))
        );
    }
    assert_eq!(state(&daemon), "ready");
}

#[test]
fn uv_ignores_the_status_that_its_user_names() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    server.answer("/feed/simple/", 401, &[], "");
    server.answer("/feed/simple/anchor/", 200, &[], "anchor");
    let location = ["--scope", &server.url("/feed/"), "--kind", "pypi", "--no-verify"];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN)
        .succeeds();
    assert_eq!(status(&daemon, &server, "/feed/simple/anchor/"), 200);
    // An index without the package, where uv would go on if the first index could be ignored.
    server.answer_everybody("/public/", 404, &[], "");
    let user = User::new(&daemon);
    let project = format!(
        "[project]\nname = \"p\"\nversion = \"1\"\nrequires-python = \">=3\"\ndependencies = [\"numpy\"]\n\n\
         [[tool.uv.index]]\nname = \"corp\"\nurl = \"{}\"\nignore-error-codes = [401]\n\n\
         [[tool.uv.index]]\nname = \"public\"\nurl = \"{}\"\ndefault = true\n",
        server.url("/feed/simple/"),
        server.url("/public/simple/"),
    );
    user.write("pyproject.toml", &project);
    let line = format!(
        "eval \"$('{}' env)\"; exec {} lock --no-cache",
        regauth_tests::programs::binary("regauthctl").display(),
        tool("python/bin/uv").display()
    );
    let locked = user.run("sh", &["-c", &line]).fails();
    assert!(locked.report().contains("numpy was not found"), "{}", locked.report());
    let asked = server.paths_with_token();
    assert!(asked.iter().any(|path| path == "/feed/simple/numpy/"), "{asked:?}");
}

#[test]
fn a_denied_request_does_not_wait_for_another_verb() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    server.answer("/private/", 401, &[], "");
    add(&daemon, &server, &[]).succeeds();
    assert_eq!(status(&daemon, &server, "/index"), 200);
    // Accepts connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let scope = format!("https://localhost:{}/", silent.local_addr().unwrap().port());
    let ca = server.ca();
    std::thread::scope(|threads| {
        let adding = threads.spawn(|| {
            let location = ["--scope", &scope, "--kind", "generic"];
            daemon.try_add("silent", &location, &Scheme::bearer(), &ca, TOKEN)
        });
        let (_connection, _) = silent.accept().unwrap();
        assert_eq!(status(&daemon, &server, "/private/a"), 401);
        assert!(!adding.is_finished(), "the other verb still waits");
        assert_eq!(status(&daemon, &server, "/index"), 200);
        drop(_connection);
        drop(adding.join().unwrap());
    });
}

#[test]
fn a_git_host_whose_front_page_tells_nothing_is_added_with_a_note_and_doctor_trusts_its_requests() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    for (scope, front_page) in [("/", 302), ("/team/", 404)] {
        server.answer_everybody(scope, front_page, &[("location", "/users/sign_in")], "");
        let location = ["--scope", &server.url(scope), "--kind", "git"];
        let added = daemon.try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN);
        let added = added.succeeds();
        assert_eq!(added.json["verified"], false);
        assert!(notes(&added).contains("could not be told"), "{}", notes(&added));
        let verified = daemon.ctl(&["verify", "corp"]).exits(1).json;
        assert_eq!(verified["registries"][0]["result"], "inconclusive");
        assert_eq!(daemon.rotate("corp", TOKEN).succeeds().json["verified"], false);
        let doctor = daemon.ctl(&["doctor"]);
        let findings = doctor.json["findings"].as_array().unwrap().clone();
        let of_code = |code: &str| findings.iter().find(|finding| finding["code"] == code).cloned();
        assert_eq!(of_code("token-unproven").unwrap()["broken"], false, "{findings:?}");
        assert_eq!(of_code("registry-unclear"), None);

        server.answer(&format!("{scope}app.git/"), 200, &[], "refs");
        let references = format!("{scope}app.git/info/refs?service=git-upload-pack");
        assert_eq!(status(&daemon, &server, &references), 200);
        let findings = daemon.ctl(&["doctor"]).json["findings"].to_string();
        assert!(!findings.contains("token-unproven"), "{findings}");
        let verified = daemon.ctl(&["verify", "corp"]).json;
        assert_eq!(verified["registries"][0]["result"], "accepted", "{verified}");
        daemon.ctl(&["remove-registry", "corp"]).succeeds();
    }
}

#[test]
fn a_git_host_is_asked_for_the_tokens_user() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    server.answer_everybody("/", 302, &[("location", "/users/sign_in")], "");
    server.answer("/api/v4/user", 200, &[], r#"{"id":1,"username":"me"}"#);
    let location = ["--scope", &server.url("/"), "--kind", "git"];
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN);
    assert_eq!(added.succeeds().json["verified"], true);
    daemon.ctl(&["verify", "corp"]).succeeds();
    // Below a path, the API is out of scope, so the token does not go there.
    let asked = server.count(200);
    server.answer_everybody("/team/", 404, &[], "");
    let location = ["--scope", &server.url("/team/"), "--kind", "git"];
    let added = daemon.try_add("team", &location, &Scheme::bearer(), &server.ca(), TOKEN);
    assert_eq!(added.succeeds().json["verified"], false);
    assert_eq!(server.count(200), asked);
}

#[test]
fn an_npm_registry_without_whoami_is_added() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    server.answer_everybody("/npm/", 404, &[], "");
    let location = ["--scope", &server.url("/npm/"), "--kind", "npm"];
    let added = daemon.try_add("none", &location, &Scheme::bearer(), &server.ca(), TOKEN);
    let added = added.succeeds();
    assert_eq!(added.json["verified"], false);
    assert!(notes(&added).contains("could not be told"), "{}", notes(&added));
    daemon.ctl(&["remove-registry", "none"]).succeeds();

    server.answer_everybody("/npm/-/whoami", 404, &[], "");
    server.answer("/npm/-/ping", 200, &[], "{}");
    let added = daemon.try_add("ping", &location, &Scheme::bearer(), &server.ca(), TOKEN);
    assert_eq!(added.succeeds().json["verified"], true);
}

#[test]
fn a_page_that_is_missing_or_a_wrong_token_is_still_an_error() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    server.answer("/index/", 404, &[], "");
    let index = format!("sparse+{}", server.url("/index/"));
    let added = daemon.try_add("corp", &["--index", &index], &Scheme::bearer(), &server.ca(), TOKEN);
    assert_eq!(added.exits(1).json["err"]["kind"], "not-verified");
    let location = ["--scope", &server.url("/"), "--kind", "git"];
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), &server.ca(), "another");
    assert_eq!(added.exits(4).json["err"]["kind"], "token-rejected");
}

#[test]
fn archives_outside_of_the_scopes_are_found_when_a_python_index_is_added() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    let archive = "/org/7f/_packaging/3a/pypi/download/anchor-1.0.whl";
    server.answer(
        "/org/feed/pypi/simple/",
        200,
        &[],
        "<html><body><a href=\"anchor/\">anchor</a>",
    );
    let page = format!("<a href=\"{archive}#sha256=00\">anchor-1.0.whl</a>");
    server.answer("/org/feed/pypi/simple/anchor/", 200, &[], &page);
    let location = ["--scope", &server.url("/org/feed/pypi/"), "--kind", "pypi"];
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN);
    let added = added.succeeds();
    let scope = server.url("/org/");
    let command = format!("regauthctl add-scope corp {scope}");
    assert!(notes(&added).contains(&command), "{}", notes(&added));
}

#[test]
fn refused_requests_outside_of_the_scopes_are_counted_and_the_printed_command_covers_them() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    let archive = "/org/7f/download/anchor-1.0.zip";
    let location = ["--scope", &server.url("/org/feed/"), "--kind", "generic"];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN)
        .succeeds();
    let scope = server.url("/org/");
    assert_eq!(status(&daemon, &server, archive), 401);
    assert_eq!(status(&daemon, &server, archive), 401);
    let shown = daemon.ctl(&["show", "corp"]).succeeds().json;
    assert_eq!(
        (&shown["refused-outside"], &shown["wider-scope"]),
        (&2.into(), &scope.clone().into())
    );
    let findings = daemon.ctl(&["doctor"]).json["findings"].clone();
    let finding = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["code"] == "outside-scopes");
    let finding = finding.unwrap_or_else(|| panic!("{findings}"));
    let command = format!("regauthctl add-scope corp {scope}");
    assert_eq!((&finding["mend"], &finding["broken"]), (&command.into(), &false.into()));

    daemon.add_scope("corp", &scope, TOKEN);
    assert_eq!(status(&daemon, &server, archive), 200);
    let findings = daemon.ctl(&["doctor"]).json["findings"].to_string();
    assert!(!findings.contains("outside-scopes"), "{findings}");
}

#[test]
fn archives_outside_of_the_scopes_are_found_when_an_npm_registry_is_added() {
    let (server, daemon) = (PathServer::start(TOKEN), Daemon::start());
    let root = "/api/v4/groups/9/-/packages/npm/";
    server.answer(&format!("{root}-/whoami"), 200, &[], r#"{"username":"me"}"#);
    let found = r#"{"objects":[{"package":{"name":"@corp/anchor"}}]}"#;
    server.answer(&format!("{root}-/v1/search"), 200, &[], found);
    let tarball = server.url("/api/v4/projects/7/packages/npm/anchor-1.0.0.tgz");
    let document = format!(r#"{{"versions":{{"1.0.0":{{"dist":{{"tarball":"{tarball}"}}}}}}}}"#);
    server.answer(&format!("{root}@corp%2fanchor"), 200, &[], &document);
    let location = ["--scope", &server.url(root), "--kind", "npm"];
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN);
    let added = added.succeeds();
    let command = format!("regauthctl add-scope corp {}", server.url("/api/v4/"));
    assert!(notes(&added).contains(&command), "{}", notes(&added));
    daemon.ctl(&["remove-registry", "corp"]).succeeds();

    // Where archives are below the index, there is nothing to say.
    let document = document.replace(&tarball, &server.url(&format!("{root}anchor-1.0.0.tgz")));
    server.answer(&format!("{root}@corp%2fanchor"), 200, &[], &document);
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), &server.ca(), TOKEN);
    assert_eq!(notes(&added.succeeds()), "null");
}
