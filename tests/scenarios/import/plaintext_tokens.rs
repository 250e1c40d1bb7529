//! Home whose files hold tokens of each kind, as people have them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::Output;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::user::User;

use super::{json, mode};

/// User with a token of each kind in plain text.
pub(super) struct PlaintextTokens {
    pub(super) daemon: Daemon,
    pub(super) user: User,
    /// One host for each of [`KINDS`].
    hosts: Vec<MockServer>,
    originals: Vec<(String, String)>,
    authority: Authority,
}

impl PlaintextTokens {
    pub(super) fn new() -> Self {
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

    pub(super) fn import(&self, arguments: &[&str]) -> Output {
        let ca = self.authority.file();
        let import = ["import", "--json", "--ca-file", ca.to_str().unwrap()];
        self.user.ctl(&[&import[..], arguments].concat())
    }

    /// Number of found tokens in each state.
    pub(super) fn states(&self, output: &Output) -> Vec<(&'static str, usize)> {
        let json = json(output);
        let found = json["found"].as_array().unwrap();
        let count = |state| found.iter().filter(|line| line["state"] == state).count();
        let states = ["new", "present", "differs", "added", "rotated", "failed"].map(|state| (state, count(state)));
        states.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// State of the token for this registry.
    pub(super) fn state(&self, output: &Output, name: &str) -> String {
        let json = json(output);
        let found = json["found"].as_array().unwrap();
        let line = found.iter().find(|line| line["name"] == name);
        line.unwrap_or_else(|| panic!("{json}"))["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Name that regauth gives the npm registry.
    pub(super) fn npm(&self) -> String {
        format!("{}-npm", self.hosts[NPM].authority().replace(':', "-"))
    }

    /// Name, text and mode of each file.
    pub(super) fn files(&self) -> Vec<(String, String, u32)> {
        let file = |(file, _): &(String, String)| (file.clone(), self.read(file), mode(&self.user.home().join(file)));
        self.originals.iter().map(file).collect()
    }

    pub(super) fn original(&self, file: &str) -> &str {
        &self.originals.iter().find(|(name, _)| name == file).unwrap().1
    }

    pub(super) fn read(&self, file: &str) -> String {
        self.user.read(file).unwrap()
    }

    pub(super) fn registries(&self) -> usize {
        self.daemon.ctl(&["list"]).succeeds().json["registries"]
            .as_array()
            .unwrap()
            .len()
    }

    /// `Authorization` that the host receives from a client without a token.
    pub(super) fn sent(&self, kind: usize) -> String {
        let url = self.hosts[kind].url(KINDS[kind].0);
        assert_eq!(Curl::new().behind(&self.daemon).get(&url).status, 200);
        self.hosts[kind]
            .requests()
            .pop()
            .unwrap()
            .header("authorization")
            .unwrap()
    }

    pub(super) fn assert_served(&self) {
        for (kind, (_, token, user)) in KINDS.iter().enumerate() {
            let wanted = match user {
                Some(user) => Scheme::basic(user).value(token),
                None if kind == 0 => (*token).to_owned(),
                None => format!("Bearer {token}"),
            };
            assert_eq!(self.sent(kind), wanted, "{token}");
        }
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = String> {
        KINDS
            .iter()
            .map(|(_, token, _)| (*token).to_owned())
            .chain([NETRC.to_owned()])
    }

    /// Asserts that no token is left in the user's files.
    pub(super) fn assert_clean(&self) {
        for token in self.tokens() {
            LeakScan::new(&token).scan_folder(self.user.home(), &[]).assert_clean();
        }
    }

    pub(super) fn assert_prints_no_token(&self, output: &Output) {
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

/// Path on the host, token and user for each kind: cargo, .git-credentials, insteadOf, extraHeader, pip, npm twice.
pub(super) const KINDS: [(&str, &str, Option<&str>); 7] = [
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

pub(super) const NPM: usize = 5;
const NETRC: &str = "secret-of-netrc";
