use super::*;

fn preset(name: &str) -> &'static Preset {
    all().iter().find(|preset| preset.name == name).unwrap()
}

#[track_caller]
fn check_offer(name: &str, url: &str, kind: Option<&str>, expected: Option<(&str, Login)>) {
    let offer = preset(name).offer_at(url, kind).unwrap();
    let found = offer.map(|offer| (offer.kind, &offer.login));
    let expected = expected.as_ref().map(|(kind, login)| (*kind, login));
    assert_eq!(found, expected, "{url}");
}

#[test]
fn a_repository_has_its_kind_and_login() {
    use Login::{OfPreset, OwnUser, Scheme, User};
    let gems = "https://a.example/artifactory/api/gems/r/";
    check_offer("artifactory", gems, None, Some(("rubygems", OfPreset)));
    let libs = "https://a.example/artifactory/libs/";
    check_offer("artifactory", libs, Some("maven"), Some(("maven", OfPreset)));
    let feed = "https://pkgs.dev.azure.com/o/p/_packaging/f/nuget/v3/index.json";
    check_offer("azure", feed, None, Some(("nuget", OfPreset)));
    let simple = "https://pkgs.dev.azure.com/o/_packaging/f/pypi/simple/";
    check_offer("azure", simple, None, Some(("pypi", OfPreset)));
    let aws = "https://d-1.d.codeartifact.eu-west-1.amazonaws.com/maven/r/";
    check_offer("codeartifact", aws, None, Some(("maven", User("aws"))));
    let images = "https://ghcr.io/v2/";
    check_offer("github", images, None, Some(("oci", OwnUser("your GitHub user name"))));
    let github = "https://maven.pkg.github.com/o/r/";
    check_offer(
        "github",
        github,
        None,
        Some(("maven", OwnUser("your GitHub user name"))),
    );
    let group = "https://g.example/api/v4/groups/9/-/packages/npm/";
    check_offer("gitlab", group, None, Some(("npm", Scheme("bearer"))));
    check_offer("gitlab", "https://g.example/team/", None, None);
    check_offer("kellnr", "https://k.example/x/", Some("maven"), None);
}

#[test]
fn a_product_has_its_own_statuses_for_a_rejected_token() {
    for preset in all() {
        let expected: &[u16] = match preset.name {
            "artifactory" => &[400, 401, 403],
            "nexus" => &[401],
            _ => &[],
        };
        assert_eq!(preset.rejected_by, expected, "{}", preset.name);
    }
}

#[test]
fn a_url_of_several_kinds_or_another_layout_is_an_error() {
    let url = "https://n.example/repository/r/";
    let unclear = preset("nexus").offer_at(url, None).unwrap_err();
    assert!(unclear.hint.unwrap().contains("--kind maven, --kind npm"));
    assert_eq!(preset("nexus").offer_at(url, Some("apt")).unwrap().unwrap().kind, "apt");
    let other = preset("artifactory")
        .offer_at("https://a.example/npm/", Some("npm"))
        .unwrap_err();
    assert!(
        other.message.contains("/artifactory/api/npm/{repository}/"),
        "{}",
        other.message
    );
    // Nexus has its cargo registries there, too.
    assert!(!preset("nexus").is_repository(url));
    assert!(preset("gitea").is_repository("https://t.example/api/packages/o/maven/"));
}

#[test]
fn every_offer_is_of_a_known_kind() {
    for preset in all() {
        for offer in offers::of(preset.name) {
            assert!(regauth_shared::kind::KINDS.contains(&offer.kind), "{offer:?}");
            assert!(offer.patterns.iter().all(|pattern| pattern.ends_with('/')), "{offer:?}");
        }
    }
}

#[test]
fn accepts_only_index_urls_that_match_a_pattern() {
    for (name, url, expected) in [
        (
            "artifactory",
            "sparse+https://corp.jfrog.io/artifactory/api/cargo/crates/index/",
            true,
        ),
        (
            "artifactory",
            "sparse+https://corp.jfrog.io/artifactory/api/cargo/crates/index",
            true,
        ),
        ("artifactory", "https://corp.jfrog.io/artifactory/git/crates.git", true),
        (
            "artifactory",
            "sparse+https://corp.jfrog.io/api/cargo/crates/index/",
            false,
        ),
        (
            "artifactory",
            "https://corp.jfrog.io/artifactory/api/cargo/crates/",
            false,
        ),
        (
            "codeartifact",
            "sparse+https://d-123.d.codeartifact.eu-west-1.amazonaws.com/cargo/r/",
            true,
        ),
        (
            "azure",
            "sparse+https://pkgs.dev.azure.com/o/p/_packaging/f/Cargo/index/",
            true,
        ),
        (
            "azure",
            "sparse+https://pkgs.dev.azure.com/o/_packaging/f/Cargo/index/",
            true,
        ),
        ("github", "https://github.com/corp/", true),
        ("github", "https://github.com.evil/corp/", false),
        ("kellnr", "sparse+https://kellnr.corp:8443/api/v1/crates/", true),
        ("shipyard", "https://anywhere/", true),
    ] {
        assert_eq!(preset(name).index_at(url).is_some(), expected, "{name} {url}");
    }
    let url = "https://corp.jfrog.io/artifactory/api/cargo/crates/index/";
    assert_eq!(preset("artifactory").index_at(url), Some(format!("sparse+{url}")));
}

#[test]
fn an_optional_user_name_selects_the_basic_scheme() {
    assert_eq!(preset("artifactory").scheme_for(None), Some("bearer"));
    assert_eq!(preset("artifactory").scheme_for(Some("me")), Some("basic"));
    assert_eq!(preset("margo").scheme_for(None), None);
}

#[test]
fn examples_of_an_index_have_no_marker_and_match_their_pattern() {
    for preset in all() {
        let examples: Vec<_> = preset.index_examples().collect();
        assert_eq!(examples.len(), preset.index_patterns.len(), "{}", preset.name);
        for (example, pattern) in examples.iter().zip(preset.index_patterns) {
            assert!(!example.contains(['{', '}']), "{example}");
            assert!(matches(pattern, example), "{example} {pattern}");
        }
    }
    let kellnr = all().iter().find(|preset| preset.name == "kellnr").unwrap();
    assert_eq!(
        kellnr.index_examples().collect::<Vec<_>>(),
        ["sparse+https://corp.example/api/v1/crates/"]
    );
}
