//! Tests of reading: texts, and the configurations or problems that they give.

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
    let shown = registries::REGISTRY_KEYS.len() - 1;
    assert_eq!(
        keys, shown,
        "the example shows every key but credential-of, which excludes source"
    );
    assert!(corp.client_identity.is_some());
}

#[test]
fn a_token_service_is_for_container_registries() {
    let of = |kind: &str| {
        format!(
            "[registries.images]\nscopes = ['https://registry.example/v2/']\nkind = '{kind}'\ntoken-service = 'https://auth.example/token'"
        )
    };
    let images = &Config::read(&of("oci")).unwrap().registries[&"images".parse().unwrap()];
    let service = images.token_service.as_ref().map(ToString::to_string);
    assert_eq!(service.as_deref(), Some("https://auth.example/token"));
    check(
        &of("generic"),
        &[
            "4:17: `token-service` in [registries.images]: it is for container registries: add kind = \"oci\" or remove it",
        ],
    );
    check(
        &of("oci").replace("https://auth", "http://auth"),
        &[
            "4:17: `token-service` in [registries.images]: a token service is asked over https://; http:// is for loopback only",
        ],
    );
}

#[test]
fn listening_beyond_loopback_needs_grants() {
    let config = Config::read("listen = '0.0.0.0:9001'\nclients = 'grants'").unwrap();
    assert_eq!((config.listen.port(), config.clients), (9001, Clients::Grants));
    check(
        "clients = 'all'",
        &["1:11: `clients`: clients are \"same-user\", \"grants\" or \"gateway\""],
    );
}

#[test]
fn a_gateway_is_read_with_its_listener_and_its_rules() {
    let text = r#"
clients = "gateway"
drain-delay = "5s"
authorities = "/etc/regauth/authorities"

[listen-tls]
address = "0.0.0.0:9443"
cert = "/tls.crt"
key = "/tls.key"
proxy-protocol = ["10.0.0.0/8"]

[[trust]]
issuer = "https://issuer.example"
audience = "regauth"
jwks = "https://issuer.example/jwks"
match = { repository = "corp/*", ref = ["refs/heads/main", "refs/tags/**"] }
registries = ["corp"]
operations = ["read", "write"]

[[trust]]
issuer = "https://kubernetes.default.svc"
audience = "regauth"
jwks = "/jwks.json"
registries = ["corp", "wheels"]
"#;
    let config = Config::read(text).unwrap();
    let listener = config.listen_tls.unwrap();
    assert_eq!((listener.address.port(), listener.proxy_protocol.len()), (9443, 1));
    assert_eq!(config.drain_delay.as_secs(), 5);
    let [first, second] = &config.trust[..] else {
        panic!("{:?}", config.trust)
    };
    assert!(first.write && !first.fits_everything() && first.claims["ref"].len() == 2);
    assert!(!second.write && second.fits_everything() && second.registries.len() == 2);
}

#[test]
fn problems_of_a_gateway_are_named() {
    check(
        r#"clients = "gateway"
listen = "0.0.0.0:9001"
listen-tls = { address = "0.0.0.0:9443", cert = "tls.crt", proxy-protocol = ["corp"] }

[[trust]]
issuer = ""
audience = "regauth"
jwks = "http://issuer.example/jwks"
registries = []
operations = ["write"]
matches = { repository = "corp/*" }
"#,
        &[
            "2:10: `listen`: other machines can reach this address, and a gateway serves them over TLS only; use 127.0.0.1 or \
             [::1] here, and set listen-tls = { address = \"0.0.0.0:9443\", cert = \"…\", key = \"…\" } in config.toml",
            "3:14: `key` in [listen-tls] is missing: `listen-tls` needs an address, a certificate and its key",
            "3:49: `cert` in [listen-tls]: expected an absolute path",
            "3:78: `proxy-protocol` in [listen-tls]: expected an IP address or a network such as \"10.0.0.0/8\"",
            "6:10: `issuer` in [trust]: expected a text",
            "8:8: `jwks` in [trust]: expected an https:// URL of a JSON Web Key Set, or the absolute path of a file with one",
            "9:14: `registries` in [trust]: it must name a registry",
            "10:14: `operations` in [trust]: who writes has to read; use [\"read\", \"write\"]",
            "11:1: unknown key `matches` in [trust]; did you mean `match`?",
        ],
    );
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
fn reports_invalid_keys_of_a_registry() {
    for (keys, problem) in INVALID_KEYS {
        let text = format!("[registries.corp]\nindex = 'sparse+https://corp.example/index/'\n{keys}\n");
        let problem = problem.replace("CORP", "[registries.corp]");
        check(&text, &[&problem.replace("SOURCE", "[registries.corp.source]")]);
    }
}

const INVALID_KEYS: &[(&str, &str)] = &[
    (
        "kind = 'rust'",
        "3:8: `kind` in CORP: a kind is one of: cargo, git, pypi, npm, oci, maven, go, rubygems, composer, nuget, apt, generic",
    ),
    ("writes = 'yes'", "3:10: `writes` in CORP: writes are deny or allow"),
    (
        "scopes = []",
        "3:10: `scopes` in CORP: it must not be empty; without this key the scope is the index URL",
    ),
    (
        "scopes = 'https://a/'",
        "3:10: `scopes` in CORP: expected an array of strings such as [\"https://corp.example/api/cargo/\"], found a string",
    ),
    (
        "scopes = ['https://a/', 'a']",
        "3:25: `scopes` in CORP: it is not a URL of the form https://host/path/",
    ),
    (
        "scheme = 'basic'",
        "1:1: `username` in CORP is missing: the basic scheme needs a user name",
    ),
    (
        "username = 'me'",
        "3:12: `username` in CORP: only the basic scheme has a user name",
    ),
    (
        "scheme = 'basic'\nusername = 'a:b'",
        "4:12: `username` in CORP: a user name has no colon and no control characters",
    ),
    (
        "scheme = 'basic'\nusername = 1",
        "4:12: `username` in CORP: expected a string such as \"me@corp.example\", found an integer",
    ),
    (
        "scheme = 1\nusername = 'me'",
        "3:10: `scheme` in CORP: expected a string such as \"bearer\", found an integer",
    ),
    (
        "scheme = 'Basic'\nusername = 'me'",
        "3:10: `scheme` in CORP: a scheme is basic, bearer, raw or a header template such as \"X-Api-Key: {token}\"",
    ),
    (
        "scheme = 'Host: {token}'",
        "3:10: `scheme` in CORP: that header frames or routes the message and cannot carry a credential",
    ),
    (
        "rejected-by = 403",
        "3:15: `rejected-by` in CORP: expected an array of integers such as [401, 403], found an integer",
    ),
    (
        "rejected-by = [401, '403']",
        "3:21: `rejected-by` in CORP: expected an array of integers such as [401, 403], found a string",
    ),
    (
        "rejected-by = []",
        "3:15: `rejected-by` in CORP: it must not be empty; without it, the statuses are 401 and 403",
    ),
    (
        "rejected-by = [401, 500]",
        "3:21: `rejected-by` in CORP: 500 rejects no token: a status is from 400 to 499, but not 407, 408, 425 or 429",
    ),
    (
        "rejected-by = [0x1AD]",
        "3:16: `rejected-by` in CORP: 429 rejects no token: a status is from 400 to 499, but not 407, 408, 425 or 429",
    ),
    (
        "ca-file = 'root.pem'",
        "3:11: `ca-file` in CORP: expected an absolute path",
    ),
    (
        "ca-file = '~/root.pem'",
        "3:11: `ca-file` in CORP: expected an absolute path",
    ),
    (
        "client-cert = '/me.pem'",
        "1:1: `client-key` in CORP is missing: client-cert and client-key come together",
    ),
    (
        "client-key = '/me.pem'",
        "1:1: `client-cert` in CORP is missing: client-cert and client-key come together",
    ),
    (
        "source = 'keychain'",
        "3:10: `source` in CORP: a source is \"store\", \"env:VARIABLE\", \"file:/path\", an exchange (codeartifact, azure, jfrog, cloudsmith, google, github-app, vault, oauth), a preset (codeartifact, google, azure, vault, 1password) or a table with a command",
    ),
    (
        "source = 'file:token'",
        "3:10: `source` in CORP: what follows `file:` is not an absolute path",
    ),
    (
        "source = 1",
        "3:10: `source` in CORP: expected a string such as \"store\", found an integer",
    ),
    (
        "source = {}",
        "3:10: `command` in SOURCE is missing: the program and its arguments",
    ),
    (
        "source = { command = 'aws' }",
        "3:22: `command` in SOURCE: expected an array of strings such as [\"aws\", \"codeartifact\", \"get-authorization-token\"], found a string",
    ),
    (
        "source = { command = [] }",
        "3:22: `command` in SOURCE: the program comes first, then its arguments; there is no shell",
    ),
    (
        "source = { command = ['a'], format = 'yaml', token = '/t' }",
        "3:38: `format` in SOURCE: a format is raw or json",
    ),
    (
        "source = { command = ['a'], format = 'json' }",
        "3:10: `token` in SOURCE is missing: the JSON pointer to the token",
    ),
    (
        "source = { command = ['a'], format = 'json', token = 't' }",
        "3:54: `token` in SOURCE: expected a JSON pointer such as \"/Credentials/Token\"",
    ),
    (
        "source = { command = ['a'], token = '/t' }",
        "3:37: `token` in SOURCE: it is a pointer into JSON; add format = \"json\" or remove it",
    ),
    (
        "source = { command = ['a'], ttl = '0s' }",
        "3:35: `ttl` in SOURCE: it must be longer than zero",
    ),
    (
        "source = { command = ['a'], comand = 1 }",
        "3:29: unknown key `comand` in SOURCE; did you mean `command`?",
    ),
    (
        "source = { command = ['a'], env = ['A-B'] }",
        "3:36: `env` in SOURCE: expected the name of an environment variable",
    ),
    (
        "source = { exchange = 'aws' }",
        "3:23: `exchange` in SOURCE: an exchange is one of codeartifact, azure, jfrog, cloudsmith, google, github-app, vault, oauth",
    ),
    (
        "source = { exchange = 'jfrog', host = 'h' }",
        "3:10: `provider` in SOURCE is missing: `jfrog` needs provider, such as \"github-corp\"",
    ),
    (
        "source = { exchange = 'jfrog', host = 'h', provider = 'p', identity = 'me' }",
        "3:71: `identity` in SOURCE: an identity is github-actions, gitlab, kubernetes, circleci, buildkite, bitbucket, azure-pipelines, device, aws, \"file:/path\" or \"env:VARIABLE\"",
    ),
    (
        "source = { exchange = 'oauth', token-url = 'http://h/' }",
        "3:44: `token-url` in SOURCE: a token service is asked over https://; http:// is for loopback only",
    ),
    (
        "source = { exchange = 'jfrog', host = 'h', provider = 'p', ttl = '0s' }",
        "3:66: `ttl` in SOURCE: it must be longer than zero",
    ),
    (
        "source = { preset = 'aws' }",
        "3:21: `preset` in SOURCE: a preset is one of codeartifact, google, azure, vault, 1password",
    ),
    (
        "source = { preset = 'vault', field = 'x' }",
        "3:10: `path` in SOURCE is missing: `vault` needs path, such as \"secret/cargo\"",
    ),
    (
        "source = { preset = 'vault', path = '' }",
        "3:37: `path` in SOURCE: a value must not be empty and must not have control characters",
    ),
    (
        "source = { preset = 'google', path = 'x' }",
        "3:31: unknown key `path` in SOURCE",
    ),
    (
        "source = 'vault'",
        "3:10: `source` in CORP: `vault` needs path, such as \"secret/cargo\"",
    ),
    (
        "credential-of = '_corp'",
        "3:17: `credential-of` in CORP: a registry name is 1 to 64 letters, digits, `-`, `_` and `.`, and starts with a letter or a digit",
    ),
    (
        "credential-of = 'other'",
        "3:17: `credential-of` in CORP: there is no registry of that name",
    ),
    (
        "credential-of = 'corp'",
        "3:17: `credential-of` in CORP: it leads back to itself",
    ),
    (
        "source = 'store'\ncredential-of = 'corp'",
        "4:17: `credential-of` in CORP: the registry has a `source` too; remove one of them",
    ),
    (
        "ca_file = '/a'",
        "3:1: unknown key `ca_file` in CORP; did you mean `ca-file`?",
    ),
    (
        "proxy = 'http://p'",
        "3:1: unknown key `proxy` in CORP; it belongs in [upstream]",
    ),
    (
        "token = 'x'",
        "3:1: `token` in CORP: tokens do not belong in this file; use `regauthctl rotate corp`",
    ),
    (
        "api_key = 'x'",
        "3:1: `api_key` in CORP: tokens do not belong in this file; use `regauthctl rotate corp`",
    ),
];

#[test]
fn two_registries_cannot_have_the_same_scope() {
    check(
        "[registries.b]\nscopes = [\n 'https://corp.example/x',\n 'https://b.example']\n\n[registries.a]\nindex = \
         'https://CORP.example:443/x/'\n\n[registries.c]\nscopes = ['https://c', 'https://c/']\n",
        &[
            "7:9: `index` in [registries.a]: [registries.b] has the same scope in line 3; a scope belongs to one \
             registry, once",
            "10:24: `scopes` in [registries.c]: [registries.c] has the same scope in line 10; a scope belongs to one \
             registry, once",
        ],
    );
    // A scope inside another is allowed: the longest path wins.
    let nested = "[registries.a]\nscopes = ['https://a']\n[registries.b]\nscopes = ['https://a/b']\n";
    assert_eq!(Config::read(nested).unwrap().registries.len(), 2);
}

#[test]
fn credential_of_must_end_at_a_registry_with_a_source() {
    let text = "[registries.a]\nscopes = ['https://a']\n[registries.b]\nscopes = ['https://b']\ncredential-of = 'a'\n\
                [registries.c]\nscopes = ['https://c']\ncredential-of = 'b'\n";
    let config = Config::read(text).unwrap();
    let [a, c] = ["a", "c"].map(|name| name.parse().unwrap());
    assert_eq!((config.owner(&c), config.owner(&a)), (&a, &a));
    check(
        &text.replace("scopes = ['https://a']", "scopes = ['https://a']\ncredential-of = 'c'"),
        &["a", "b", "c"]
            .map(|name| {
                let line = match name {
                    "a" => 3,
                    "b" => 6,
                    _ => 9,
                };
                format!("{line}:17: `credential-of` in [registries.{name}]: it leads back to itself")
            })
            .each_ref()
            .map(String::as_str),
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
