//! Tests of the tables `[registries.NAME]`: each invalid key, scopes, and shared credentials.

use super::*;

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
