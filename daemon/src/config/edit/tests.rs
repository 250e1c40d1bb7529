//! Tests of edits: a text, an edit, the resulting text.

use std::time::Duration;

use super::*;
use crate::config::{Config, INITIAL};
use crate::registry::{ClientIdentity, Command, Kind, Output, Scheme, Source, Writes};

const HAND_WRITTEN: &str = "\
# Head of the file.

# The port that IT opened.
listen = \"127.0.0.1:9100\" # not 9001

# About old.
[registries.old]   # since 2019
# Inside old.
index = \"sparse+https://old.example/\"

# Still inside old.

source = { command = [
  \"a\", # one
  \"b\",
] }

# About nobody.

# The proxy.
[upstream]
no-proxy = []

[registries.kept]
index = \"https://kept.example/index.git\" # git
# Tail of the file.
";

#[test]
fn an_added_registry_reads_back_from_any_file() {
    let hosts = [
        "",
        "# only this",
        INITIAL,
        HAND_WRITTEN,
        "registries = { kept = { index = 'https://kept.example/' }, corp = { index = 'https://x/' } }\n",
        "registries.kept.index = 'https://kept.example/'\r\nregistries.corp.index = 'https://x/'\r\n",
        "[registries]\nkept = { index = 'https://kept.example/' }\n\n[upstream]",
        "[registries.kept]\nindex = 'https://kept.example/'\n[registries.corp.source]\ncommand = ['x']\n",
    ];
    let name = name("corp");
    for (number, registry) in registries().into_iter().enumerate() {
        let host = hosts[number % hosts.len()];
        let mut file = ConfigFile::parse(host).unwrap();
        file.add_registry(&name, &registry);
        let text = file.to_string();
        let config = Config::read(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(config.registries[&name], registry, "{text}");
        assert_eq!(
            config.registries.contains_key(&self::name("kept")),
            host.contains("kept"),
            "{text}"
        );
        assert!(file.remove_registry(&name) && !file.remove_registry(&name), "{text}");
        let mut rest = config;
        rest.registries.remove(&name);
        assert_eq!(Config::read(&file.to_string()).unwrap(), rest, "{text}\n---\n{file}");
    }
}

#[test]
fn adding_appends_and_removing_restores_the_text() {
    for text in [INITIAL, HAND_WRITTEN] {
        let mut file = ConfigFile::parse(text).unwrap();
        file.add_registry(
            &name("new"),
            &registry("index = 'sparse+https://new.example/index'\nwrites = 'allow'"),
        );
        let block = "\n[registries.new]\nindex = \"sparse+https://new.example/index/\"\nscopes = \
                     [\"https://new.example/index/\"]\nwrites = \"allow\"\n";
        assert_eq!(file.to_string(), format!("{text}{block}"));
        assert!(file.remove_registry(&name("new")));
        assert_eq!(file.to_string(), text);
    }
}

#[test]
fn removing_keeps_comments_about_something_else() {
    let mut file = ConfigFile::parse(HAND_WRITTEN).unwrap();
    assert!(file.remove_registry(&name("old")));
    let (before, rest) = HAND_WRITTEN.split_once("# About old.\n").unwrap();
    let (_, after) = rest.split_once("] }\n\n").unwrap();
    assert_eq!(file.to_string(), format!("{before}{after}"));
    assert!(file.remove_registry(&name("kept")));
    assert!(
        file.to_string().ends_with("no-proxy = []\n\n# Tail of the file.\n"),
        "{file}"
    );
    assert!(!file.remove_registry(&name("kept")));
}

#[test]
fn removes_a_registry_in_every_toml_style() {
    for (text, left) in [
        ("registries.a.index = 'https://a/'\n", ""),
        (
            "# Head.\n\n# About a.\nregistries.a.index = 'https://a/'\n# b\nregistries.b.index = 'https://b/'\n\
             # a again\nregistries.a.kind = 'git'\n",
            "# Head.\n\n# b\nregistries.b.index = 'https://b/'\n",
        ),
        (
            "[registries]\na = { index = 'https://a/' }\n# b\nb = {} # b\n",
            "[registries]\n# b\nb = {} # b\n",
        ),
        (
            "[registries]\na.index = 'https://a/'\n\na.source.command = [\n'a',\n]",
            "[registries]\n",
        ),
        (
            "registries = { a = { kind = 'git' }, b = {} } # both\n",
            "registries = { b = {} } # both\n",
        ),
        (
            "[registries.a.source]\ncommand = ['a']\n[upstream]\n# p\nproxy = ''\n\n# a\n[registries.a]\nkind = 'git'\n",
            "[upstream]\n# p\nproxy = ''\n",
        ),
        (
            "# one\r\n\r\n[registries.a]\r\nkind = 'git'\r\n\r\n[upstream]\r\n",
            "# one\n\n[upstream]\n",
        ),
        ("['registries'.\"a\"]\nkind = 'git'", ""),
    ] {
        let mut file = ConfigFile::parse(text).unwrap();
        assert!(file.remove_registry(&name("a")), "{text}");
        assert_eq!(file.to_string(), left, "{text}");
    }
}

#[test]
fn adds_only_missing_scopes_and_keeps_the_layout() {
    let scopes = ["https://a.example/", "https://b.example/x/"].map(|scope| scope.parse().unwrap());
    for (text, after) in [
        (
            "# a\n[registries.a]\nscopes = ['https://a.example'] # mine\nkind = 'git' # git\n",
            "# a\n[registries.a]\nscopes = ['https://a.example', \"https://b.example/x/\"] # mine\nkind = 'git' # git\n",
        ),
        (
            "[registries.a]\nscopes = [\n  'https://z.example/',\n  # a\n  'https://a.example/', # mine\n]\n",
            "[registries.a]\nscopes = [\n  'https://z.example/',\n  # a\n  'https://a.example/', # mine\n  \
             \"https://b.example/x/\",\n]\n",
        ),
        (
            "[registries.a]\nindex = 'https://a.example/' # mine\n\n# b\n[registries.b]\nindex = 'https://b.example/'\n",
            "[registries.a]\nindex = 'https://a.example/' # mine\nscopes = [\n    \"https://a.example/\",\n    \
             \"https://b.example/x/\",\n]\n\n# b\n[registries.b]\nindex = 'https://b.example/'\n",
        ),
        ("# nobody\n", "# nobody\n"),
    ] {
        let mut file = ConfigFile::parse(text).unwrap();
        file.add_scopes(&name("a"), &scopes);
        assert_eq!(file.to_string(), after, "{text}");
        Config::read(&file.to_string()).unwrap();
    }
    let mut file = ConfigFile::parse("registries = { a = { index = 'https://a.example/' } }\n").unwrap();
    file.add_scopes(&name("a"), &scopes);
    assert_eq!(
        Config::read(&file.to_string()).unwrap().registries[&name("a")].scopes,
        scopes
    );
}

#[test]
fn records_the_store_above_the_tables() {
    for (text, recorded) in [
        ("", "store = \"vault\"\n"),
        ("# head", "# head\nstore = \"vault\"\n"),
        ("store = 'memory' # why\n", "store = \"vault\" # why\n"),
        (
            "listen = '127.0.0.1:1'\n\n# a\n[upstream]\n",
            "listen = '127.0.0.1:1'\nstore = \"vault\"\n\n# a\n[upstream]\n",
        ),
        (
            "# head\n\n# a\n[upstream]\n",
            "# head\nstore = \"vault\"\n\n# a\n[upstream]\n",
        ),
        (
            "[upstream]\nno-proxy = []\n",
            "store = \"vault\"\n\n[upstream]\nno-proxy = []\n",
        ),
    ] {
        let mut file = ConfigFile::parse(text).unwrap();
        file.set_store(StoreKind::Vault);
        assert_eq!(file.to_string(), recorded, "{text}");
    }
    let mut file = ConfigFile::parse(INITIAL).unwrap();
    file.set_store(StoreKind::Keychain);
    assert!(
        file.to_string()
            .contains("\n# store = \"keychain\"\nstore = \"keychain\"\n\n# The proxy"),
        "{file}"
    );
    assert_eq!(
        Config::read(&file.to_string()).unwrap().store,
        Some(StoreKind::Keychain)
    );
}

#[test]
fn a_company_proxy_and_its_roots_read_back_from_any_file() {
    let proxy = ProxyUrl::from_file("http://me:p%40ss@proxy.corp.example:3128").unwrap();
    for text in [
        "",
        INITIAL,
        HAND_WRITTEN,
        "# head\nlisten = '127.0.0.1:1'\n",
        "[registries.a]\nindex = 'https://a.example/'\n# tail\n",
        "[upstream] # ours\n# none\n[registries.a]\nindex = 'https://a.example/'\n",
        "upstream.no-proxy = ['.lab']\n[registries.a]\nindex = 'https://a.example/'\n",
        "upstream = { no-proxy = ['.lab'] }\n",
        "registries = { a = { index = 'https://a.example/' } }\n",
    ] {
        let mut file = ConfigFile::parse(text).unwrap();
        file.set_proxy(&proxy, &[".corp.example".to_owned()], false);
        file.set_ca_file(Path::new("/etc/corp-root.pem"));
        let written = file.to_string();
        let (before, after) = (Config::read(text).unwrap(), Config::read(&written).unwrap());
        assert_eq!(after.upstream.proxy.as_ref(), Some(&proxy), "{written}");
        let kept = before
            .upstream
            .no_proxy
            .unwrap_or_else(|| vec![".corp.example".to_owned()]);
        assert_eq!(after.upstream.no_proxy, Some(kept), "{written}");
        assert_eq!(
            after.ca_file.as_deref(),
            Some(Path::new("/etc/corp-root.pem")),
            "{written}"
        );
        assert_eq!(after.registries, before.registries, "{written}");
        let comments = |text: &str| text.matches('#').count();
        assert_eq!(comments(&written), comments(text), "{written}");
    }
}

#[test]
fn refuses_text_that_is_not_toml() {
    let problems = ConfigFile::parse("listen = 1\nstore = keychain\n").unwrap_err();
    assert_eq!(
        problems.to_string(),
        "config.toml:2:9: string values must be quoted, expected literal string"
    );
}

fn name(text: &str) -> RegistryName {
    text.parse().unwrap()
}

fn registry(keys: &str) -> Registry {
    let mut config = Config::read(&format!("[registries.x]\n{keys}")).unwrap();
    config.registries.remove(&name("x")).unwrap()
}

/// Registries with every combination of the possible values.
fn registries() -> Vec<Registry> {
    let mut all = vec![registry("index = 'sparse+https://corp.example/api/index/'")];
    let mut vary = |change: &dyn Fn(&mut Registry)| {
        let mut changed = all.clone();
        changed.iter_mut().for_each(change);
        all.extend(changed);
    };
    vary(&|registry| registry.index = Some("https://corp.example:8443/a-b/index.git".parse().unwrap()));
    vary(&|registry| registry.kind = Kind::Generic);
    vary(&|registry| registry.index = None);
    vary(&|registry| {
        registry.scopes = ["http://localhost:8080/x_y-z~/", "https://[::1]:4/x/", "https://a.b/"]
            .map(|scope| scope.parse().unwrap())
            .into();
    });
    vary(&|registry| registry.scheme = Scheme::parse("basic", Some("\"me\\' ü\u{200b}")).unwrap());
    vary(&|registry| registry.scheme = Scheme::parse("X-Api-Key:  a='{token}'\\\"", None).unwrap());
    vary(&|registry| registry.source = Source::Environment("A_TOKEN".to_owned()));
    vary(&|registry| {
        registry.source = Source::Command(Command {
            command: ["/bin/a b", "", "'\"\"\"\\\n\t\u{7f}# = ["].map(str::to_owned).into(),
            output: Output::Json {
                token: "/a~0b/0".to_owned(),
                expires: (registry.index.is_some()).then(|| "/e".to_owned()),
            },
            ttl: (registry.index.is_none()).then_some(Duration::from_secs(90_061)),
            timeout: Duration::from_millis(20_500),
            environment: (registry.ca_file.iter()).map(|_| "A_B".to_owned()).collect(),
            preset: None,
        });
    });
    vary(&|registry| {
        registry.source = "vault:path=a b/'c\"".parse().unwrap();
    });
    for source in [
        "jfrog:host=h:8443,provider=a b,audience=\"ü,ttl=1h",
        "github-app:client-id=a,installation=1,private-key=env:APP_KEY",
        "vault:address=http://localhost/,role=r,path=s/p,identity=file:/run/id",
    ] {
        vary(&|registry| registry.source = source.parse().unwrap());
    }
    vary(&|registry| registry.writes = Writes::Allow);
    vary(&|registry| registry.ca_file = Some("/etc/my \"roots\"/ü.pem".into()));
    vary(&|registry| {
        registry.client_identity = Some(ClientIdentity {
            certificate: "/c".into(),
            key: "/k".into(),
        });
    });
    all
}
