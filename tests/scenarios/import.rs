//! `regauthctl import`: tokens in the files of cargo, git, curl, pip and npm are found, imported, removed and restored byte
//! for byte.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use regauth_shared::exit_code;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::Output;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::registry::Registry;
use regauth_tests::user::User;
use serde_json::Value;

#[test]
fn tokens_of_each_kind_are_imported_removed_and_restored_byte_for_byte() {
    let home = PlaintextTokens::new();
    let before = home.files();
    let shown = home.import(&["--dry-run"]).succeeds();
    home.assert_prints_no_token(&shown);
    assert_eq!(home.states(&shown), [("new", KINDS.len() + 1)], "{}", shown.report());
    assert_eq!(home.files(), before);

    let imported = home.import(&["--all", "--remove-originals"]);
    assert_eq!(
        imported.status.code(),
        Some(1),
        "the host in .netrc cannot be reached: {}",
        imported.report()
    );
    assert_eq!(home.states(&imported), [("added", KINDS.len()), ("failed", 1)]);
    let imported_rest = home
        .import(&["--only", "localhost", "--no-verify", "--remove-originals"])
        .succeeds();
    assert_eq!(home.states(&imported_rest), [("added", 1)]);
    home.assert_prints_no_token(&imported);
    home.assert_served();
    home.assert_clean();
    assert!(
        home.read(".gitconfig")
            .starts_with("# mine\n[user]\n\tname = Me # really\n")
    );
    assert!(
        home.read(".gitconfig").contains("insteadOf = git@b:"),
        "the insteadOf rewrite stays"
    );
    assert_eq!(home.read(".netrc"), "# curl's\nmachine other.example login nobody\n");
    assert_eq!(home.read("cargo/credentials.toml"), "# kept by hand\n");

    let registries = home.registries();
    let again = home.import(&["--all", "--remove-originals"]).succeeds();
    assert_eq!(home.states(&again), []);
    assert_eq!(home.registries(), registries, "a registry was added twice");

    home.import(&["--undo"]).succeeds();
    assert_eq!(home.files(), before, "a file differs in its content or mode");
    let present = home.import(&["--all"]).succeeds();
    assert_eq!(home.states(&present), [("present", KINDS.len() + 1)]);
    assert_eq!(home.registries(), registries, "a registry was added twice");
    assert_eq!(home.files(), before, "a file changed without --remove-originals");
}

#[test]
fn the_backup_is_private_and_can_be_deleted() {
    let home = PlaintextTokens::new();
    let imported = home.import(&["--all", "--no-verify", "--remove-originals"]).succeeds();
    let backup = home.daemon.home().join("state/import");
    assert_eq!(json(&imported)["originals"]["backup"], backup.to_str().unwrap());
    assert_eq!(mode(&backup), 0o700);
    let copies: Vec<_> = fs::read_dir(&backup)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(copies.len(), home.files().len() + 1, "{copies:?}");
    assert!(copies.iter().all(|copy| mode(copy) == 0o600));
    let record = fs::read_to_string(backup.join("record.json")).unwrap();
    for token in home.tokens() {
        LeakScan::new(&token).scan("the record", &record).assert_clean();
    }
    home.import(&["--forget-backup"]).succeeds();
    assert!(!backup.exists());
    home.import(&["--undo"]).succeeds().says("there is no backup");
    home.assert_clean();
    let mut scan = LeakScan::new(KINDS[0].1);
    scan.scan("the log", home.daemon.log());
    scan.scan_folder(home.daemon.home(), &[]).assert_clean();
}

#[test]
fn undo_keeps_edits_made_since() {
    let home = PlaintextTokens::new();
    home.import(&["--all", "--no-verify", "--remove-originals"]).succeeds();
    let edited = format!("# new\n{}", home.read(".npmrc"));
    home.user.write(".npmrc", &edited);
    home.user.write(".netrc", "machine all.new login me\n");
    let undone = home.import(&["--undo"]).succeeds();
    assert_eq!(home.read(".npmrc"), format!("# new\n{}", home.original(".npmrc")));
    assert_eq!(home.read(".netrc"), "machine all.new login me\n");
    assert_eq!(home.read(".gitconfig"), home.original(".gitconfig"));
    let notes = json(&undone)["notes"].to_string();
    assert!(
        notes.contains(".netrc was edited since") && notes.contains("state/import/"),
        "{notes}"
    );
}

#[test]
fn another_token_for_the_same_url_needs_rotate() {
    let home = PlaintextTokens::new();
    let npm = home.npm();
    home.import(&["--only", &npm, "--keep-originals"]).succeeds();
    let text = home.read(".npmrc").replace(KINDS[NPM].1, "another-token-of-npm");
    home.user.write(".npmrc", &text);
    let differs = home.import(&["--only", &npm, "--remove-originals"]);
    assert_eq!(
        differs.status.code(),
        Some(i32::from(exit_code::EXISTS)),
        "{}",
        differs.report()
    );
    assert_eq!(home.state(&differs, &npm), "differs");
    assert_eq!(
        home.read(".npmrc"),
        text,
        "a token that was not imported must stay in its file"
    );
    assert_eq!(home.sent(NPM), format!("Bearer {}", KINDS[NPM].1));
    let rotated = home
        .import(&["--only", &npm, "--rotate", "--remove-originals"])
        .succeeds();
    assert_eq!(home.state(&rotated, &npm), "rotated");
    assert_eq!(home.sent(NPM), "Bearer another-token-of-npm");
    assert!(!home.read(".npmrc").contains("another-token-of-npm"));
}

#[test]
fn a_rejected_token_stays_in_its_file() {
    let registry = Registry::builder(Scheme::raw(), "the-good-token").start();
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .token("corp", "the-stale-token");
    let daemon = Daemon::start();
    let user = User::at(&daemon, cargo.home());
    let before = user.read("cargo/credentials.toml");
    let ca = registry.ca();
    let refused = user.ctl(&[
        "import",
        "--all",
        "--remove-originals",
        "--ca-file",
        ca.to_str().unwrap(),
    ]);
    assert_eq!(
        refused.status.code(),
        Some(i32::from(exit_code::TOKEN_REJECTED)),
        "{}",
        refused.report()
    );
    assert_eq!(user.read("cargo/credentials.toml"), before);
    assert_eq!(daemon.ctl(&["list"]).json["registries"], serde_json::json!([]));
}

#[test]
fn cargo_builds_after_its_token_is_imported() {
    let registry = Registry::builder(Scheme::raw(), "t0ken-of-cargo")
        .auth_required()
        .start();
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .token("corp", "t0ken-of-cargo")
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    let daemon = Daemon::start();
    let user = User::at(&daemon, cargo.home());
    let ca = registry.ca();
    user.ctl(&[
        "import",
        "--all",
        "--remove-originals",
        "--ca-file",
        ca.to_str().unwrap(),
    ])
    .succeeds()
    .says("`regauthctl setup cargo` sets it up");
    user.ctl(&["setup", "cargo"]).succeeds();
    cargo.build().succeeds().says("Compiling anchor v1.0.0");
    LeakScan::new("t0ken-of-cargo")
        .scan_folder(&cargo.home().join("cargo"), &[])
        .assert_clean();
    user.ctl(&["import", "--all"]).succeeds().says("No tokens were found");
}

/// User with a token of each kind in plain text.
struct PlaintextTokens {
    daemon: Daemon,
    user: User,
    /// One host for each of [`KINDS`].
    hosts: Vec<MockServer>,
    originals: Vec<(String, String)>,
    authority: Authority,
}

impl PlaintextTokens {
    fn new() -> Self {
        let authority = Authority::new("Corp Root");
        // Serves as cargo's config.json and as npm's `whoami`.
        let config = r#"{"dl":"https://cdn.example/","api":null,"username":"me"}"#;
        let host = |_| {
            MockServer::builder(&authority, "localhost")
                .answer(200, &[], config)
                .start()
        };
        let hosts: Vec<MockServer> = KINDS.iter().map(host).collect();
        let daemon = Daemon::start();
        let mut home = Self {
            user: User::new(&daemon),
            daemon,
            originals: token_files(&hosts),
            hosts,
            authority,
        };
        home.originals.sort();
        for (file, text) in &home.originals {
            home.user.write(file, text);
            fs::set_permissions(home.user.home().join(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let index = format!(
            "[registries.corp]\nindex = \"sparse+{}\"\n",
            home.hosts[0].url("/index/")
        );
        home.user.write("cargo/config.toml", &index);
        home
    }

    fn import(&self, arguments: &[&str]) -> Output {
        let ca = self.authority.file();
        let import = ["import", "--json", "--ca-file", ca.to_str().unwrap()];
        self.user.ctl(&[&import[..], arguments].concat())
    }

    /// Number of found tokens in each state.
    fn states(&self, output: &Output) -> Vec<(&'static str, usize)> {
        let json = json(output);
        let found = json["found"].as_array().unwrap();
        let count = |state| found.iter().filter(|line| line["state"] == state).count();
        let states = ["new", "present", "differs", "added", "rotated", "failed"].map(|state| (state, count(state)));
        states.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// State of the token for this registry.
    fn state(&self, output: &Output, name: &str) -> String {
        let json = json(output);
        let found = json["found"].as_array().unwrap();
        let line = found.iter().find(|line| line["name"] == name);
        line.unwrap_or_else(|| panic!("{json}"))["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Name that regauth gives the npm registry.
    fn npm(&self) -> String {
        format!("{}-npm", self.hosts[NPM].authority().replace(':', "-"))
    }

    /// Name, text and mode of each file.
    fn files(&self) -> Vec<(String, String, u32)> {
        let file = |(file, _): &(String, String)| (file.clone(), self.read(file), mode(&self.user.home().join(file)));
        self.originals.iter().map(file).collect()
    }

    fn original(&self, file: &str) -> &str {
        &self.originals.iter().find(|(name, _)| name == file).unwrap().1
    }

    fn read(&self, file: &str) -> String {
        self.user.read(file).unwrap()
    }

    fn registries(&self) -> usize {
        self.daemon.ctl(&["list"]).succeeds().json["registries"]
            .as_array()
            .unwrap()
            .len()
    }

    /// `Authorization` that the host receives from a client without a token.
    fn sent(&self, kind: usize) -> String {
        let url = self.hosts[kind].url(KINDS[kind].0);
        assert_eq!(Curl::new().behind(&self.daemon).get(&url).status, 200);
        self.hosts[kind]
            .requests()
            .pop()
            .unwrap()
            .header("authorization")
            .unwrap()
    }

    fn assert_served(&self) {
        for (kind, (_, token, user)) in KINDS.iter().enumerate() {
            let wanted = match user {
                Some(user) => Scheme::basic(user).value(token),
                None if kind == 0 => (*token).to_owned(),
                None => format!("Bearer {token}"),
            };
            assert_eq!(self.sent(kind), wanted, "{token}");
        }
    }

    fn tokens(&self) -> impl Iterator<Item = String> {
        KINDS
            .iter()
            .map(|(_, token, _)| (*token).to_owned())
            .chain([NETRC.to_owned()])
    }

    /// Asserts that no token is left in the user's files.
    fn assert_clean(&self) {
        for token in self.tokens() {
            LeakScan::new(&token).scan_folder(self.user.home(), &[]).assert_clean();
        }
    }

    fn assert_prints_no_token(&self, output: &Output) {
        for token in self.tokens() {
            let mut scan = LeakScan::new(&token);
            scan.scan("stdout", &output.stdout);
            scan.scan("stderr", &output.stderr).assert_clean();
        }
    }
}

/// Token files as users have them.
fn token_files(hosts: &[MockServer]) -> Vec<(String, String)> {
    let with = |kind: usize, path: &str| {
        let (user, token) = (KINDS[kind].2.unwrap().replace('@', "%40"), KINDS[kind].1);
        hosts[kind].url(path).replacen("://", &format!("://{user}:{token}@"), 1)
    };
    let location = |kind: usize, path: &str| hosts[kind].url(path).replacen("https:", "", 1);
    let npm_auth = base64(&format!("{}:{}", KINDS[6].2.unwrap(), KINDS[6].1));
    let header = base64(&format!("{}:{}", KINDS[3].2.unwrap(), KINDS[3].1));
    [
        ("cargo/credentials.toml", format!("# kept by hand\n[registries.corp]\ntoken = \"{}\"\n", KINDS[0].1)),
        (".git-credentials", format!("https://nobody@other.example\n{}\n", with(1, "/"))),
        (
            ".gitconfig",
            format!(
                "# mine\n[user]\n\tname = Me # really\n[url \"{}\"]\n\tinsteadOf = git@b:\n[http \"{}\"]\n\textraHeader = \
                 AUTHORIZATION: basic {header}\n\tfollowRedirects = initial\n",
                with(2, "/team/"),
                hosts[3].url("/")
            ),
        ),
        (
            ".config/pip/pip.conf",
            format!(
                "[global]\n# ours first\nindex-url = https://pypi.org/simple\nextra-index-url =\n    {}\ntimeout = 60\n",
                with(4, "/pypi/simple/")
            ),
        ),
        (
            ".npmrc",
            format!(
                "; mine\nfund=false\n{}:_authToken={}\n{}:_auth=\"{npm_auth}\"\n{}:_authToken=${{NPM_TOKEN}}",
                location(5, "/npm/"),
                KINDS[5].1,
                location(6, "/"),
                location(6, "/other/"),
            ),
        ),
        (
            ".netrc",
            format!("# curl's\nmachine localhost\n  login me\n  password {NETRC}\nmachine other.example login nobody\n"),
        ),
    ]
    .map(|(file, text)| (file.to_owned(), text))
    .into()
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.report()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Path on the host, token and user for each kind: cargo, .git-credentials, insteadOf, extraHeader, pip, npm twice.
const KINDS: [(&str, &str, Option<&str>); 7] = [
    ("/index/config.json", "secret-of-cargo", None),
    (
        "/any/repository.git",
        "secret-of-git-credentials",
        Some("me@corp.example"),
    ),
    ("/team/repository.git", "secret-of-instead-of", Some("me")),
    ("/repository.git", "secret-of-extra-header", Some("me")),
    ("/pypi/packages/a.whl", "secret-of-pip", Some("__token__")),
    ("/npm/package", "secret-of-npm", None),
    ("/package", "secret-of-npm-auth", Some("me")),
];
const NPM: usize = 5;
const NETRC: &str = "secret-of-netrc";
