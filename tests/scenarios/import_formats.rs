//! `regauthctl import` reads each file as its owner does: a token goes to the host that it is for, whole, and no other
//! line is removed.

use regauth_shared::exit_code;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::Output;
use regauth_tests::mock_server::MockServer;
use regauth_tests::user::User;
use serde_json::Value;

/// Hosts with different addresses, since the readers of `.netrc` know no ports.
struct Hosts {
    authority: Authority,
    servers: Vec<MockServer>,
    daemon: Daemon,
    user: User,
}

impl Hosts {
    fn new(names: &[&str]) -> Self {
        let authority = Authority::new("Corp Root");
        let host = |name: &&str| {
            MockServer::builder(&authority, name)
                .answer(200, &[], r#"{"username":"me"}"#)
                .start()
        };
        let servers = names.iter().map(host).collect();
        let daemon = Daemon::start();
        let user = User::new(&daemon);
        Self {
            authority,
            servers,
            daemon,
            user,
        }
    }

    fn import(&self, arguments: &[&str]) -> Output {
        let ca = self.authority.file();
        let import = ["import", "--json", "--no-verify", "--ca-file", ca.to_str().unwrap()];
        self.user.ctl(&[&import[..], arguments].concat())
    }

    /// `Authorization` that a server receives from a client without a token.
    fn sent(&self, server: usize, path: &str) -> String {
        let server = &self.servers[server];
        assert_eq!(Curl::new().behind(&self.daemon).get(&server.url(path)).status, 200);
        server
            .requests()
            .pop()
            .unwrap()
            .header("authorization")
            .unwrap_or_default()
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.report()))
}

/// Place and masked token of everything found.
fn found(output: &Output) -> Vec<(String, String)> {
    let json = json(output);
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let found = json["found"].as_array().unwrap();
    found
        .iter()
        .map(|line| (text(line, "place"), text(line, "token")))
        .collect()
}

fn basic(user: &str, password: &str) -> String {
    Scheme::basic(user).value(password)
}

#[test]
fn a_netrc_password_that_begins_with_a_number_sign_stays_with_its_host() {
    let hosts = Hosts::new(&["localhost", "localhost"]);
    let [a, b] = [0, 1].map(|server| hosts.servers[server].authority());
    let netrc = format!("machine {a}\n  login me\n  password #s3cret-one\nmachine {b} login you password tok#two\n");
    hosts.user.write(".netrc", &netrc);
    hosts.import(&["--all", "--remove-originals"]).succeeds();
    assert_eq!(hosts.sent(0, "/"), basic("me", "#s3cret-one"));
    assert_eq!(hosts.sent(1, "/"), basic("you", "tok#two"));
    assert_eq!(hosts.user.read(".netrc").unwrap(), "");
    hosts.import(&["--undo"]).succeeds();
    assert_eq!(hosts.user.read(".netrc").unwrap(), netrc);
}

#[test]
fn a_broken_netrc_entry_is_skipped_with_a_note_and_stays() {
    let hosts = Hosts::new(&["localhost"]);
    let a = hosts.servers[0].authority();
    for broken in [
        "machine broken.example login me password\n",
        "machine broken.example login me password with blanks in it\n",
        "machine broken.example login CORP\\me password x\n",
        "machine https://broken.example login me password x\n",
        "default login me password x\n",
    ] {
        let text = format!("{broken}machine {a} login you password good\n");
        hosts.user.write(".netrc", &text);
        let shown = hosts.import(&["--dry-run"]).succeeds();
        assert_eq!(
            found(&shown),
            [(format!("https://{a}/"), "… (4 characters)".to_owned())],
            "{text}"
        );
        let notes = json(&shown)["notes"].to_string();
        assert!(notes.contains(".netrc, line 1: an entry was skipped"), "{notes}");
        hosts.import(&["--all", "--remove-originals"]).succeeds();
        assert_eq!(hosts.user.read(".netrc").unwrap(), broken);
    }
    // A macro takes lines up to an empty one, also with CRLF.
    let text =
        format!("macdef init\r\nmachine no.example login x password y\r\n\r\nmachine {a} login you password good\r\n");
    hosts.user.write(".netrc", &text);
    assert_eq!(found(&hosts.import(&["--dry-run"]).succeeds()).len(), 1);
}

#[test]
fn npm_values_are_read_with_their_quotes_comments_and_escapes() {
    let hosts = Hosts::new(&["localhost"]);
    let location = hosts.servers[0].url("").replacen("https:", "", 1);
    for (value, token) in [
        ("T0ken-of-npm ; mine", "T0ken-of-npm"),
        ("'T0ken'", "T0ken"),
        ("\"T0k=n\"", "T0k=n"),
        ("a\\;b\\#c", "a;b#c"),
    ] {
        let text = format!("fund=false\n{location}/npm/:_authToken={value}\n");
        hosts.user.write(".npmrc", &text);
        let name = json(&hosts.import(&["--dry-run"]))["found"][0]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        hosts.import(&["--all", "--remove-originals"]).succeeds();
        assert_eq!(hosts.sent(0, "/npm/x"), format!("Bearer {token}"), "{value}");
        assert_eq!(hosts.user.read(".npmrc").unwrap(), "fund=false\n");
        hosts.daemon.ctl(&["remove-registry", &name]).succeeds();
    }
}

#[test]
fn only_the_npm_lines_that_npm_uses_are_removed() {
    let hosts = Hosts::new(&["localhost"]);
    let location = hosts.servers[0].url("/").replacen("https:", "", 1);
    let rest = format!(
        "{location}:_authToken=an-older-one\n{location}:_auth=bWU6cGFzc3dvcmQ=\n[section]\n{location}:_authToken=of-a-section\n"
    );
    let (first, others) = rest.split_once('\n').unwrap();
    hosts.user.write(
        "elsewhere/npmrc",
        &format!("{first}\n{location}:_authToken=the-last-one\n{others}"),
    );
    // npm reads its variables in any case.
    let user = User::at(&hosts.daemon, hosts.user.home());
    let file = hosts.user.home().join("elsewhere/npmrc");
    let user = user.env("npm_config_userconfig", file.to_str().unwrap());
    let ca = hosts.authority.file();
    user.ctl(&[
        "import",
        "--all",
        "--remove-originals",
        "--no-verify",
        "--ca-file",
        ca.to_str().unwrap(),
    ])
    .succeeds();
    assert_eq!(hosts.sent(0, "/x"), "Bearer the-last-one");
    assert_eq!(hosts.user.read("elsewhere/npmrc").unwrap(), rest);
    user.ctl(&["setup", "npm"]).succeeds().says("elsewhere/npmrc");
    assert_eq!(hosts.user.read(".npmrc"), None);
}

#[test]
fn the_header_of_one_section_is_removed_and_that_of_another_stays() {
    let hosts = Hosts::new(&["localhost", "localhost"]);
    let [a, b] = [0, 1].map(|server| hosts.servers[server].url("/"));
    let header = "\textraHeader = Authorization: Bearer the-same-token\n";
    let other = format!("[http \"{b}\"]\n{header}");
    hosts
        .user
        .write(".gitconfig", &format!("[http \"{a}\"]\n{header}{other}"));
    let names = json(&hosts.import(&["--dry-run"]));
    let name = |url: &str| {
        let found = names["found"].as_array().unwrap();
        let line = found.iter().find(|line| line["place"] == url).unwrap();
        line["name"].as_str().unwrap().to_owned()
    };
    hosts.import(&["--only", &name(&a), "--remove-originals"]).succeeds();
    assert_eq!(
        hosts.user.read(".gitconfig").unwrap(),
        format!("[http \"{a}\"]\n{other}")
    );
    assert_eq!(hosts.sent(0, "/"), "Bearer the-same-token");
}

#[test]
fn a_user_in_the_url_of_a_header_is_left_out() {
    let hosts = Hosts::new(&["localhost"]);
    let url = hosts.servers[0].url("/org/");
    let with_user = url.replacen("://", "://me@", 1);
    let text = format!(
        "[http \"{with_user}\"] extraHeader = \"Authorization: \\\n Basic bWU6cGFzcy13MHJk\" # mine\n\tproxy = p\n"
    );
    hosts.user.write(".gitconfig", &text);
    hosts.import(&["--all", "--remove-originals"]).succeeds();
    assert_eq!(hosts.sent(0, "/org/x"), basic("me", "pass-w0rd"));
    assert_eq!(
        hosts.user.read(".gitconfig").unwrap(),
        format!("[http \"{with_user}\"] \n\tproxy = p\n")
    );
}

#[test]
fn a_token_in_cargos_configuration_is_found_and_its_index_stays() {
    let hosts = Hosts::new(&["localhost"]);
    let index = format!("sparse+{}", hosts.servers[0].url("/index/"));
    let rest = format!("[registries.\"my.corp\"]\nindex = \"{index}\"\n");
    hosts.user.write(
        "cargo/config.toml",
        &format!("{rest}token = \"Bearer of-the-configuration\"\n"),
    );
    hosts.import(&["--all", "--remove-originals"]).succeeds();
    assert_eq!(hosts.sent(0, "/index/config.json"), "Bearer of-the-configuration");
    assert_eq!(hosts.user.read("cargo/config.toml").unwrap(), rest);
    let project = format!("[registries.b]\nindex = \"{index}b/\"\ntoken = \"of-a-project\"\n");
    hosts.user.write(".cargo/config.toml", &project);
    assert_eq!(found(&hosts.import(&["--dry-run"]).succeeds()).len(), 1);
}

#[test]
fn a_name_in_pips_configuration_is_no_token_and_a_short_token_is_one() {
    let hosts = Hosts::new(&["localhost"]);
    let url = |userinfo: &str| {
        hosts.servers[0]
            .url("/simple")
            .replacen("://", &format!("://{userinfo}"), 1)
    };
    for userinfo in [
        "first.lastname%40corp.example@",
        "${PIP_USER}:${PIP_PASS}@",
        "a-rather-long-user-name@",
    ] {
        hosts.user.write(
            ".config/pip/pip.conf",
            &format!("[global]\nindex-url = {}\n", url(userinfo)),
        );
        assert_eq!(found(&hosts.import(&["--dry-run"]).succeeds()), [], "{userinfo}");
    }
    let text = format!("[global]\nindex-url = {}\n", url("0123456789abcdef@"));
    hosts.user.write(".config/pip/pip.conf", &text);
    hosts.import(&["--all", "--remove-originals"]).succeeds();
    assert_eq!(hosts.sent(0, "/packages/x"), basic("0123456789abcdef", ""));
    assert_eq!(
        hosts.user.read(".config/pip/pip.conf").unwrap(),
        text.replace("0123456789abcdef@", "")
    );
}

#[test]
fn a_password_beyond_ascii_is_imported_for_basic_and_refused_for_bearer() {
    let hosts = Hosts::new(&["localhost"]);
    let a = hosts.servers[0].authority();
    hosts
        .user
        .write(".netrc", &format!("machine {a} login mé password pässwörd\n"));
    hosts.import(&["--all", "--remove-originals"]).succeeds();
    assert_eq!(hosts.sent(0, "/"), basic("mé", "pässwörd"));
    let name = a.replace(':', "-");
    let rotate = ["rotate", &name, "--token-stdin", "--no-verify"];
    hosts.daemon.ctl_with_input(&rotate, "schlüsselwort").succeeds();
    assert_eq!(hosts.sent(0, "/"), basic("mé", "schlüsselwort"));
    let add = "add-registry other --scope https://other.example/ --scheme bearer --token-stdin --no-verify";
    let add: Vec<&str> = add.split(' ').collect();
    let refused = hosts.daemon.ctl_with_input(&add, "schlüsselwort");
    assert_eq!(refused.exit, i32::from(exit_code::USAGE));
    let shown = hosts.daemon.ctl(&["show", "other"]);
    assert_eq!(shown.exit, i32::from(exit_code::NOT_FOUND));
}
