//! Paths as clients and registries spell them: equal spellings get the credential, and a path that servers read in
//! different ways is refused with the reason.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::mock_server::MockServer;

const TOKEN: &str = "t0ken-of-paths";

struct Fixture {
    daemon: Daemon,
    server: MockServer,
    /// Owns the ca-file, which a restarted daemon reads again.
    _root: Authority,
}

/// Registries on one host, one for each scope; writes are closed.
fn fixture(kind: &str, scopes: &[&str]) -> Fixture {
    let root = Authority::new("Corp Root");
    let server = MockServer::builder(&root, "localhost").start();
    let daemon = Daemon::builder().store("vault").start();
    for (number, scope) in scopes.iter().enumerate() {
        let location = ["--kind", kind, "--no-verify", "--scope", &server.url(scope)];
        let token = format!("{TOKEN}-{number}");
        daemon
            .try_add(
                &format!("r{number}"),
                &location,
                &Scheme::bearer(),
                &root.file(),
                &token,
            )
            .succeeds();
    }
    server.clear_requests();
    Fixture {
        daemon,
        server,
        _root: root,
    }
}

impl Fixture {
    /// Status and body of a GET, as curl sends the path.
    fn get(&self, path: &str) -> (u16, String) {
        let curl = Curl::new().behind(&self.daemon).with(&["--path-as-is", "--globoff"]);
        let response = curl.get(&self.server.url(path));
        (response.status, response.body())
    }

    /// Asserts that a path arrives as it was sent, with the token of this registry.
    fn assert_arrives(&self, path: &str, registry: Option<usize>) {
        self.server.clear_requests();
        assert_eq!(self.get(path).0, 200, "{path}");
        let request = self.server.requests().remove(0);
        assert!(request.uri.ends_with(path), "{} is not {path}", request.uri);
        let expected = registry.map(|number| format!("Bearer {TOKEN}-{number}"));
        assert_eq!(request.header("authorization"), expected, "{path}");
    }

    /// Asserts that a path is refused with a text that contains `reason`, and does not arrive.
    fn assert_refused(&self, path: &str, reason: &str) {
        self.server.clear_requests();
        let (status, body) = self.get(path);
        assert_eq!(status, 400, "{path}: {body}");
        assert!(body.contains(reason) && !body.contains("CONNECT"), "{path}: {body}");
        assert!(self.server.requests().is_empty(), "{path}");
    }
}

#[test]
fn equal_spellings_of_a_scope_get_its_credential() {
    let scopes = [
        "/My%20Project/feed%40Release/",
        "/root/dev/+f/",
        "/projects/team%2Fapp/",
        "/%7Eme/",
    ];
    let mut fixture = fixture("pypi", &scopes);
    for _ in 0..2 {
        for (path, registry) in [
            ("/My%20Project/feed%40Release/simple/", Some(0)),
            ("/My%20Project/feed@Release/simple/", Some(0)),
            ("/root/dev/%2Bf/ab/c.whl", Some(1)),
            ("/root/dev/+f/ab/c%2B1.whl", Some(1)),
            ("/projects/team%2Fapp/packages/@scope%2fname", Some(2)),
            ("/projects/team%2fapp/packages", Some(2)),
            ("/~me/x", Some(3)),
            ("/projects/other%2Fapp/x", None),
        ] {
            fixture.assert_arrives(path, registry);
        }
        fixture.assert_refused("/projects/team/app/packages", "encoded slashes");
        fixture.assert_refused("/projects/team%252Fapp/packages", "encoded slashes");
        // The scopes are read from the configuration again.
        fixture.daemon.restart();
    }
    let shown = fixture.daemon.ctl(&["show", "r2"]).succeeds().json["scopes"].to_string();
    assert!(shown.contains("/projects/team%2Fapp/"), "{shown}");
}

#[test]
fn a_path_that_servers_read_in_different_ways_is_refused_with_the_reason() {
    let fixture = fixture("generic", &["/repository/pypi/", "/repository/pypi/private/"]);
    for (path, reason) in [
        ("/repository//pypi/simple/", "double slashes"),
        ("/repository/pypi/private./x", "dots"),
        ("/repository/pypi/private%20/x", "dots"),
        ("/repository/pypi/private%3f/x", "different ways"),
        ("/repository/pypi/private;v=1/x", "`;`"),
        ("/repository/pypi/PRIVATE/x", "case of letters"),
        ("/repository/pypi/%EF%BD%90rivate/x", "different ways"),
        ("/repository/pypi/%u002e%u002e/x", "hexadecimal"),
        ("/repository/pypi/100%/x", "hexadecimal"),
        ("/repository/pypi/..%20/x", "`..`"),
        ("/repository/pypi/%2e%2e/x", "`..`"),
        ("/repository/pypi/%ef%bc%8e%ef%bc%8e/x", "look-alike"),
        ("/repository/pypi/%e2%80%a5/x", "look-alike"),
        ("/repository/pypi/%2525252525252e", "encoded several times"),
    ] {
        fixture.assert_refused(path, reason);
    }
    fixture.assert_arrives("/repository/pypi/private/x", Some(1));
    fixture.assert_arrives("/repository/pypi//simple/x/", Some(0));
    fixture.assert_arrives("/repository/pypi/what%3F.whl", Some(0));
    fixture.assert_arrives("/Repository/elsewhere", None);
}

#[test]
fn matrix_parameters_with_an_encoded_slash_arrive() {
    let fixture = fixture("generic", &["/", "/artifactory/other/"]);
    for parameters in [
        "build.name=app;build.number=34",
        "vcs.url=https%3A%2F%2Fgit.example%2Fx.git",
        "vcs.branch=feature%2Ffoo;a=b",
    ] {
        fixture.assert_arrives(&format!("/artifactory/libs/a.jar;{parameters}"), Some(0));
    }
    fixture.assert_refused("/artifactory/;x=%2Fother", "different ways");
    fixture.assert_refused("/artifactory/libs;x=%2F..%2Fother/a.jar", "`..`");
}

#[test]
fn an_encoded_question_mark_does_not_make_a_push_a_fetch() {
    let fixture = fixture("git", &["/"]);
    let curl = Curl::new().behind(&fixture.daemon).with(&["--data", "0000"]);
    let fetch = curl.header("Content-Type: application/x-git-upload-pack-request");
    let push = fetch.get(&fixture.server.url("/r.git/git-receive-pack%3f/git-upload-pack"));
    assert_eq!((push.status, push.header("regauth-error")), (403, Some("write-denied")));
    assert_eq!(fetch.get(&fixture.server.url("/r.git/git-upload-pack")).status, 200);
}

#[test]
fn a_scope_that_servers_read_in_different_ways_is_refused_with_a_way_out() {
    let daemon = Daemon::start();
    for scope in ["a%2e%2e/b", "a%2F/b", "a;b", "a%3Bb", "a.", "%zz", "a%252Fb"] {
        let scope = format!("https://corp.example/{scope}/");
        let refused = daemon.ctl_with_input(
            &[
                "add-registry",
                "corp",
                "--kind",
                "pypi",
                "--scope",
                &scope,
                "--token-stdin",
            ],
            TOKEN,
        );
        let text = format!("{:?}", refused.exits(2));
        assert!(
            text.contains("more than one way") && text.contains("the part of the path before it"),
            "{text}"
        );
    }
}
