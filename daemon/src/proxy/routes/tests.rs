use super::*;
use crate::config::Config;
use crate::credential::Credential;
use crate::policy::path::tests::Server;
use crate::proxy::upstream::Trust;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::proxy_rules::ProxyRules;

/// Routes of a configuration's registries, without authorities.
pub(in crate::proxy) fn routes(text: &str) -> Routes {
    let config = Config::read(text).unwrap();
    let dialer = Dialer::new(ProxyRules::direct(), Trust::nobody()).unwrap();
    let route = |(name, registry): (RegistryName, Registry)| {
        let trust = Trust::system(&[]);
        Arc::new(RegistryRoute {
            name,
            credential: Credential::fixed().attach(registry.scheme.clone()),
            read_ahead: None,
            token_flow: None,
            registry,
            unconfirmed: None,
            is_placeholder: false,
            upstream: Arc::new(Upstream::new(&dialer, trust, 1).unwrap()),
            trouble: None,
            usage: Arc::default(),
        })
    };
    let registries: Vec<_> = config.registries.into_iter().map(route).collect();
    Routes::new(&registries, |_| None)
}

const CONFIGURED: &str = r#"
    registries.corp.scopes = ["https://corp.example/a/", "https://[::1]:8443/"]
    registries.local.scopes = ["http://127.0.0.1:8080/"]
"#;

fn is_intercepted(target: &Origin) -> bool {
    !matches!(routes(CONFIGURED).decide(target), Decision::Tunnel)
}

#[test]
fn a_configured_host_is_intercepted_in_every_spelling() {
    for (target, intercepted) in [
        ("corp.example:443", true),
        ("CORP.example.:443", true),
        ("[0::1]:8443", true),
        ("corp.example:8443", false),
        ("www.corp.example:443", false),
        ("[::1]:443", false),
        ("127.0.0.1:8080", false),
    ] {
        let origin = Origin::parse(target, None).unwrap();
        assert_eq!(is_intercepted(&origin), intercepted, "{target}");
    }
}

const OVERLAPPING: &str = r#"
    registries.cargo.scopes = ["https://corp.example/cargo/", "https://corp.example/cargo/inner/cargo/"]
    registries.inner.scopes = ["https://corp.example/cargo/inner/", "https://corp.example/a@b/"]
    registries.team.scopes = ["https://corp.example/a/team%2Fapp/"]
    registries.app.scopes = ["https://corp.example/a/team/", "https://corp.example/a/"]
"#;

const NESTED: &str = r#"
    registries.all.scopes = ["https://corp.example/"]
    registries.cargo.scopes = ["https://corp.example/cargo/", "https://corp.example:8443/"]
    registries.inner.scopes = ["https://corp.example/cargo/inner/"]
"#;

fn matched(routes: &Routes, path: &str) -> Result<String, PathProblem> {
    let host = routes.host(&Origin::parse("corp.example:443", None).unwrap()).unwrap();
    let registry = host.match_scope(path)?;
    Ok(registry.map_or_else(String::new, |registry| registry.name.to_string()))
}

#[test]
fn the_longest_scope_wins() {
    let routes = routes(NESTED);
    for (path, name) in [
        ("/", "all"),
        ("/cargo-evil/x", "all"),
        ("/cargo", "cargo"),
        ("/cargo/x%20y", "cargo"),
        ("/cargo/innermost", "cargo"),
        ("/cargo/inner/x", "inner"),
        ("/cargo/inne%72/x", "inner"),
    ] {
        assert_eq!(matched(&routes, path).as_deref(), Ok(name), "{path}");
    }
    for path in [
        "/cargo//inner/x",
        "/x/../cargo/y",
        "/cargo/inner%2fx",
        "/cargo;x/inner/",
    ] {
        assert!(matched(&routes, path).is_err(), "{path}");
    }
}

#[test]
fn equivalent_spellings_match_a_scope() {
    let routes = routes(
        r#"
            registries.devpi.scopes = ["https://corp.example/root/dev/+f/"]
            registries.azure.scopes = ["https://corp.example/My%20Project/feed%40Release/"]
            registries.gitlab.scopes = ["https://corp.example/projects/team%2Fapp/"]
            registries.other.scopes = ["https://corp.example/projects/team/apps/"]
        "#,
    );
    for (path, name) in [
        ("/root/dev/%2Bf/x", "devpi"),
        ("/root/dev/+f/x", "devpi"),
        ("/My%20Project/feed@Release/x", "azure"),
        ("/My%20Project/feed%40Release/%40s%2fp", "azure"),
        ("/projects/team%2Fapp/x", "gitlab"),
        ("/projects/team%2fapp", "gitlab"),
        ("/projects/team/apps/x", "other"),
        ("/projects/team/ap", ""),
    ] {
        assert_eq!(matched(&routes, path).as_deref(), Ok(name), "{path}");
    }
    for path in [
        "/projects/team/app/x",
        "/projects/team%2Fapp%2Fx",
        "/projects/team%2Fapps/x",
    ] {
        assert_eq!(matched(&routes, path), Err(PathProblem::DifferentScopes), "{path}");
    }
}

#[test]
fn matrix_parameters_stay_in_the_scope_before_them() {
    let routes = routes(NESTED);
    for (path, name) in [
        (
            "/artifactory/a.jar;vcs.url=https%3A%2F%2Fgit.example%2Fx.git",
            Some("all"),
        ),
        ("/cargo/a.jar;vcs.branch=feature%2Ffoo", Some("cargo")),
        // After the parameter is cut, or decoded, a deeper scope may be meant.
        ("/cargo/;x=%2Finner", None),
        ("/cargo;vcs.branch=feature%2Ffoo", None),
        ("/x;v=%2F..%2Fcargo", None),
    ] {
        assert_eq!(matched(&routes, path).ok().as_deref(), name, "{path}");
    }
}

#[test]
fn a_request_with_a_credential_may_not_mean_a_longer_scope_in_another_case() {
    let routes = routes(NESTED);
    for (path, name) in [
        ("/Cargo/x", None),
        ("/cargo/INNER/x", None),
        ("/cargo/Inne", Some("cargo")),
    ] {
        assert_eq!(matched(&routes, path).ok().as_deref(), name, "{path}");
    }
    let routes = self::routes(r#"registries.team.scopes = ["https://corp.example/Team/"]"#);
    assert_eq!(matched(&routes, "/team/x").as_deref(), Ok(""), "no credential is sent");
}

#[test]
fn readings_in_scopes_of_one_registry_match() {
    let routes = routes(OVERLAPPING);
    assert_eq!(matched(&routes, "/a/x//y").as_deref(), Ok("app"));
    assert_eq!(
        matched(&routes, "/a//team/x").ok(),
        None,
        "team%2Fapp is inside as well"
    );
    // Between `/cargo/` and `/cargo/inner/cargo/` lies another registry's scope.
    assert_eq!(matched(&routes, "/cargo/inner%2fcargo/x").ok(), None);
}

#[test]
fn a_credential_for_https_is_never_sent_in_the_clear() {
    let routes = routes(
        r#"
            registries.clear.scopes = ["http://localhost:8080/"]
            registries.secret.scopes = ["https://localhost:8080/secret/"]
        "#,
    );
    let host = routes.host(&Origin::parse("localhost:8080", None).unwrap()).unwrap();
    let registry = host.match_scope("/secret/x").unwrap().unwrap();
    assert_eq!((host.plain, registry.name.as_str()), (true, "clear"));
}

proptest::proptest! {
    #[test]
    fn no_other_host_is_intercepted(host in "([a-z]{0,3}\\.)?corp\\.example[a-z.]{0,2}|\\[::[0-2]\\]|[a-z]{1,5}", port in 1_u16..9000) {
        if let Ok(target) = Origin::parse(&format!("{host}:{port}"), None) {
            let text = target.to_string();
            let configured = ["corp.example:443", "[::1]:8443"].contains(&text.as_str());
            proptest::prop_assert_eq!(is_intercepted(&target), configured, "{}", text);
        }
    }

    /// A path matches by its literal form or not at all: no server interprets it into a scope of another registry.
    #[test]
    fn no_server_finds_another_registry(
        path in "(/cargo|/inner|/team%2fapp|/team/app|/a%40b|/[a-c]|//|/\\.|/\\.\\.|;|%2f|%69|%2e|%3f|%20|\\.|-){0,8}"
    ) {
        let routes = routes(OVERLAPPING);
        let host = routes.host(&Origin::parse("corp.example:443", None).unwrap()).unwrap();
        if let Ok(registry) = host.match_scope(&path) {
            for server in Server::all() {
                let covering = host.scopes.iter().filter(|(scope, _)| server.covers(scope, &path));
                let found = covering.max_by_key(|(scope, _)| server.interpret(scope.path()).len());
                let names = [registry, found.map(|(_, registry)| registry)]
                    .map(|registry| registry.map(|registry| &registry.name));
                proptest::prop_assert_eq!(names[0], names[1], "{:?} {}", server, path);
            }
        }
    }
}
