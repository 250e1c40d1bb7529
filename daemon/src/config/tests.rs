//! Tests of reading: texts, and the configurations or problems that they give.

mod gateway;
mod registries;

use std::path::PathBuf;

use super::*;
use crate::policy::Rejections;
use crate::registry::{ClientIdentity, Command, Kind, Output, Scheme, Source, Writes};

/// File with every key.
const FULL: &str = r#"
listen = "[::1]:0"
clients = "same-user"
store = "vault"
drain-timeout = "1m 30s"
ca-file = "/etc/company.pem"

[upstream]
proxy = "http://me:canary@proxy.corp.example:3128"
no-proxy = ["localhost", ".corp.example", "10.0.0.0"]

[registries.corp]
kind = "cargo"
index = "sparse+https://corp.example/api/cargo/index/"
scopes = ["https://corp.example/api/cargo/", "https://files.corp.example/"]
scheme = "basic"
username = "me@corp.example"
source = "env:CORP_TOKEN"
writes = "allow"
read-ahead = false
rejected-by = [404, 401]
ca-file = "/etc/corp-root.pem"
programs = ["cargo", "/usr/bin/git"]
client-cert = "/etc/me.pem"
client-key = "/etc/me.key"

[registries.aws.source]
command = ["aws", "codeartifact", "get-authorization-token"]
format = "json"
token = "/authorizationToken"
expires = "/expiration"
ttl = "11h"
timeout = "5s"
env = ["AWS_PROFILE"]

[registries.aws]
kind = "pypi"
scopes = ["https://aws.example/"]
scheme = "X-Api-Key: {token}"
"#;

#[test]
fn reads_every_key() {
    let config = Config::read(FULL).unwrap();
    assert_eq!(config.listen, "[::1]:0".parse().unwrap());
    assert_eq!(config.store, Some(StoreKind::Vault));
    assert_eq!(config.drain_timeout, Duration::from_secs(90));
    let proxy = config.upstream.proxy.unwrap();
    assert_eq!(proxy.to_string(), "http://proxy.corp.example:3128");
    assert_eq!(proxy.login.unwrap().password.as_deref(), Some("canary"));
    assert_eq!(config.ca_file, Some(PathBuf::from("/etc/company.pem")));
    assert_eq!(config.upstream.no_proxy.unwrap().len(), 3);
    let corp = Registry {
        kind: Kind::Cargo,
        index: Some("sparse+https://corp.example/api/cargo/index/".parse().unwrap()),
        scopes: vec![
            "https://corp.example/api/cargo/".parse().unwrap(),
            "https://files.corp.example/".parse().unwrap(),
        ],
        scheme: Scheme::parse("basic", Some("me@corp.example")).unwrap(),
        source: Source::Environment("CORP_TOKEN".to_owned()),
        writes: Writes::Allow,
        programs: vec!["cargo".parse().unwrap(), "/usr/bin/git".parse().unwrap()],
        token_service: None,
        rejected_by: Rejections::new(&[401, 404]).unwrap(),
        read_ahead: false,
        ca_file: Some(PathBuf::from("/etc/corp-root.pem")),
        client_identity: Some(ClientIdentity {
            certificate: PathBuf::from("/etc/me.pem"),
            key: PathBuf::from("/etc/me.key"),
        }),
        bound_roots: None,
    };
    assert_eq!(config.registries[&"corp".parse().unwrap()], corp);
    let aws = &config.registries[&"aws".parse().unwrap()];
    let source = Source::Command(Command {
        command: ["aws", "codeartifact", "get-authorization-token"]
            .map(str::to_owned)
            .into(),
        output: Output::Json {
            token: "/authorizationToken".to_owned(),
            expires: Some("/expiration".to_owned()),
        },
        ttl: Some(Duration::from_secs(11 * 3600)),
        timeout: Duration::from_secs(5),
        environment: vec!["AWS_PROFILE".to_owned()],
        preset: None,
    });
    assert_eq!(aws.source, source);
    assert_eq!(aws.scheme.to_string(), "x-api-key: {token}");
}

#[test]
fn missing_keys_have_defaults() {
    assert_eq!(Config::read("").unwrap(), Config::default());
    let config = Config::read("registries.corp.index = \"sparse+https://corp.example/index\"\n").unwrap();
    let corp = &config.registries[&"corp".parse().unwrap()];
    assert_eq!(corp.scopes, ["https://corp.example/index/".parse().unwrap()]);
    assert_eq!((corp.kind, corp.writes), (Kind::Cargo, Writes::Deny));
    assert_eq!((&corp.scheme, &corp.source), (&Scheme::Bearer, &Source::Store));
    assert_eq!(corp.rejected_by.iter().collect::<Vec<_>>(), [401, 403]);
    let config = Config::read("[registries.a]\nscopes = ['https://a']\nsource = { command = ['a'] }\n").unwrap();
    let Source::Command(command) = &config.registries[&"a".parse().unwrap()].source else {
        panic!("not a command");
    };
    assert_eq!((&command.output, command.ttl), (&Output::Raw, None));
    assert_eq!(command.timeout, Duration::from_secs(20));
}

#[test]
fn the_initial_file_shows_every_key_and_sets_none() {
    assert_eq!(Config::read(INITIAL).unwrap(), Config::default());
    let is_setting = |line: &&str| line.starts_with("# ") && (line.contains(" = ") || line.starts_with("# ["));
    let settings: Vec<_> = (INITIAL.lines().filter(is_setting)).map(|line| &line[2..]).collect();
    // The example is no container registry.
    let of_cargo: Vec<_> = settings
        .iter()
        .filter(|line| !line.starts_with("token-service"))
        .copied()
        .collect();
    let config = Config::read(&of_cargo.join("\n")).unwrap();
    assert_eq!(
        (config.listen, config.drain_timeout),
        (DEFAULT_LISTEN, DEFAULT_DRAIN_TIMEOUT)
    );
    let corp = &config.registries[&"corp".parse().unwrap()];
    let keys = settings.iter().skip_while(|line| **line != "[registries.corp]").count() - 1;
    let shown = super::registries::REGISTRY_KEYS.len() - 1;
    assert_eq!(
        keys, shown,
        "the example shows every key but credential-of, which excludes source"
    );
    assert!(corp.client_identity.is_some());
}

#[test]
fn reports_every_problem_at_once_and_in_order() {
    check(
        r#"listen = "0.0.0.0:9001"
store = "keyring"
colour = "red"

[upstream]
proxy = "socks4://localhost"

[registries._corp]
index = "sparse+http://corp.example/index/"

[registries.corp]
shceme = "basic"
writes = true
"#,
        &[
            "1:10: `listen`: other machines can reach this address; set clients = \"grants\" in config.toml too, or use \
             127.0.0.1 or [::1]",
            "2:9: `store`: a store is keychain, vault or memory",
            "3:1: unknown key `colour`",
            "6:9: `proxy` in [upstream]: this kind of proxy is not supported; use an http://, https://, socks5h:// or \
             socks5:// URL",
            "8:13: a registry name is 1 to 64 letters, digits, `-`, `_` and `.`, and starts with a letter or a digit",
            "9:9: `index` in [registries._corp]: plain http would show the token to the network; only https is allowed \
             (loopback aside)",
            "11:1: `scopes` in [registries.corp] is missing: a registry needs an index or scopes",
            "12:1: unknown key `shceme` in [registries.corp]; did you mean `scheme`?",
            "13:10: `writes` in [registries.corp]: expected a string such as \"deny\", found a boolean",
        ],
    );
}

#[test]
fn reports_syntax_errors_and_problems_outside_the_guessed_lines() {
    check(
        "store = keychain\ncolour = 1\nlisten = 'x\nlisten = '127.0.0.1:0'\n[registries.corp]\nkind = 'x'\n[upstream\nproxi = ''\n",
        &[
            "1:9: string values must be quoted, expected literal string",
            "2:1: unknown key `colour`",
            "3:12: invalid literal string, expected `'`",
            "4:1: duplicate key",
            "6:8: `kind` in [registries.corp]: a kind is one of: cargo, git, pypi, npm, oci, maven, go, rubygems, composer, nuget, apt, generic",
            "7:10: unclosed table, expected `]`",
        ],
    );
    // A broken line gets no other problem, and no key is reported as missing because of it.
    check(
        "[registries.a]\nscheme = \"basic\nusername = \"me\"\nindex = \"https://a/\"\n[registries.b]\nindx = 'https://b\n",
        &[
            "2:16: invalid basic string, expected `\"`",
            "6:18: invalid literal string, expected `'`",
        ],
    );
}

#[test]
fn reports_invalid_settings() {
    let listen = "1:10: `listen`: expected an IP address and a port such as \"127.0.0.1:9001\" or \"[::1]:0\"";
    check("listen = 'localhost:9001'", &[listen]);
    check("listen = '127.0.0.1'", &[listen]);
    let string = "1:17: `drain-timeout`: expected a string such as \"30s\", found an integer";
    check("drain-timeout = 30", &[string]);
    let duration = "1:17: `drain-timeout`: expected a duration such as \"30s\", \"5m\", \"11h\" or \"2d\"";
    check("drain-timeout = '30'", &[duration]);
    check("drain-timeout = 'soon'", &[duration]);
    check(
        "upstream = 'http://proxy'",
        &["1:12: `upstream`: expected a table such as [upstream], found a string"],
    );
    check(
        "[[registries]]\nname = 'corp'",
        &["1:1: `registries`: expected a table such as [registries.corp], found an array"],
    );
    check(
        "[registries]\ncorp = 'https://corp'",
        &["2:8: `corp` in [registries]: expected a table, found a string"],
    );
    check(
        "[upstream]\nproxy = 'p:1'\nno-proxy = ['a,b', 1, 'a:443']\nlisten = 'x'",
        &[
            "2:9: `proxy` in [upstream]: expected the URL of a proxy such as \"http://proxy.corp.example:3128\"",
            "3:13: `no-proxy` in [upstream]: expected one host, .suffix or address range for each string",
            "3:20: `no-proxy` in [upstream]: expected an array of strings such as [\"localhost\", \".corp.example\"], \
             found an integer",
            "3:23: `no-proxy` in [upstream]: expected a host without a port; the host is reached without the proxy on all \
             its ports",
            "4:1: unknown key `listen` in [upstream]; it belongs at the top, before the first [table]",
        ],
    );
    check(
        "proxy = 'http://p:1/x'\nproxy-url = ''\nscope = ''",
        &[
            "1:1: unknown key `proxy`; it belongs in [upstream]",
            "2:1: unknown key `proxy-url`",
            "3:1: unknown key `scope`",
        ],
    );
    check(
        "[upstream]\nproxy = 'http://p:1/x'",
        &["2:9: `proxy` in [upstream]: a proxy's URL ends after the port"],
    );
}

#[test]
fn problems_name_their_file() {
    let problems = Config::read("x = 1\n\"y z\" = 2").unwrap_err();
    assert_eq!(
        problems.in_file("/etc/regauth/config.toml".as_ref()).to_string(),
        "/etc/regauth/config.toml:1:1: unknown key `x`\n/etc/regauth/config.toml:2:1: unknown key (not shown)"
    );
}

#[test]
fn lines_and_columns_match_an_editor() {
    check(
        "# ü\r\nlisten = 'ü' # €\r\n\"ü€\" = 1 \r\n",
        &[
            "2:10: `listen`: expected an IP address and a port such as \"127.0.0.1:9001\" or \"[::1]:0\"",
            "3:1: unknown key (not shown)",
        ],
    );
    check(
        "source = { a = '€', token = 3 }",
        &["1:1: unknown key `source`; it belongs in [registries.NAME]"],
    );
}

#[test]
fn problems_never_repeat_a_value() {
    const CANARY: &str = "canary0123456789abcdefghijkl";
    assert!(!format!("{:?}", Config::read(FULL).unwrap()).contains("canary"));
    let check_hidden = |text: &str| {
        let problems = (Config::read(text).err()).map_or_else(String::new, |found| format!("{found}\n{found:?}"));
        assert!(!problems.contains("canary"), "{text}\n{problems}");
    };
    let lines: Vec<&str> = FULL.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        for value in [
            format!("'{CANARY}'"),
            format!("'https://me:{CANARY}@corp.example/'"),
            format!("'env:{CANARY}-'"),
            format!("'file:{CANARY}'"),
            format!("'X-Key: {CANARY}'"),
            format!("['{CANARY}']"),
            format!("{{ {CANARY} = '{CANARY}' }}"),
            CANARY.to_owned(),
            format!("'{CANARY}"),
            format!("\"\\{CANARY}\""),
            format!("'' '{CANARY}'"),
            format!("''\n{CANARY}"),
            format!("''\n{CANARY} = 1\ntoken = '{CANARY}'\npassword-of-mine = '{CANARY}'"),
            format!("''\n[registries.X{CANARY}]\ntoken = 1"),
            format!("''\n[registries.'{CANARY} ']\ntoken = 1"),
        ] {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            lines[number] = format!("{key} = {value}");
            check_hidden(&lines.join("\n"));
        }
    }
}

fn check(text: &str, problems: &[&str]) {
    let found = Config::read(text).unwrap_err();
    let found: Vec<String> = found.as_slice().iter().map(Problem::to_string).collect();
    assert_eq!(found, problems, "{text}");
}
