//! Registries that do not confirm a token: unreachable, untrusted, redirecting, failing, or rejecting it.

use regauth_shared::exit_code::{FAILED, TOKEN_REJECTED, USAGE};
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::mock_server::MockServer;
use regauth_tests::registry::Registry;

use super::{Fixture, TOKEN, hint};

#[test]
fn a_token_is_not_stored_when_its_registry_gives_no_clear_answer() {
    let fixture = Fixture::start();
    let mock_server = || MockServer::builder(&fixture.authority, "127.0.0.1");
    let target = mock_server().start();
    let gone = mock_server().answer(404, &[], "").start();
    let busy = mock_server().answer(503, &[], "").start();
    let moved = mock_server().redirect(302, &target.url("/caught")).start();
    for (location, says) in [
        ("https://127.0.0.1:1/".to_owned(), "refuses connections"),
        ("https://registry.invalid/".to_owned(), "registry.invalid"),
        (gone.url("/"), "404"),
        (busy.url("/"), "503"),
        (moved.url("/"), "a redirect"),
    ] {
        let add = format!("add-registry new --token-stdin --scope {location}");
        let refused = fixture.refuses(&fixture.trusting(&add), FAILED, says);
        assert!(hint(&refused).contains("it was not added"), "{}", refused.json);
    }
    assert!(target.requests().is_empty(), "a redirect was followed");
    let add = format!(
        "add-registry new --token-stdin --index sparse+{}",
        target.url("/index/")
    );
    fixture.refuses(&fixture.trusting(&add), FAILED, "is this the index's URL?");
}

#[test]
fn an_untrusted_certificate_gets_no_token_and_the_fix_is_printed() {
    let fixture = Fixture::start();
    let other_authority = Authority::new("Somebody");
    let other = MockServer::builder(&other_authority, "127.0.0.1").start();
    let misnamed = MockServer::builder(&fixture.authority, "127.0.0.2").start();
    let by_another_name = misnamed.url("/").replace("127.0.0.2", "localhost");
    let add = format!("add-registry new --token-stdin --scope {}", other.url("/"));
    fixture.refuses(&add, FAILED, "--ca-file");
    fixture.refuses(&fixture.trusting(&add), FAILED, "--ca-file");
    let config = fixture.home().join("config.toml");
    fixture.refuses(&format!("{add} --ca-file {}", config.display()), USAGE, "PEM");
    assert!(other.requests().is_empty(), "an untrusted server got a request");
    let added = fixture.ctl(&format!("{add} --ca-file {}", other_authority.file().display()), TOKEN);
    added.succeeds();
    let add = format!("add-registry misnamed --token-stdin --scope {by_another_name}");
    let refused = fixture.ctl(&fixture.trusting(&add), TOKEN);
    assert_eq!(refused.exit, i32::from(FAILED), "{}", refused.output.report());
    assert!(misnamed.requests().is_empty(), "an untrusted server got a request");
}

#[test]
fn a_token_that_the_registry_rejects_is_not_stored() {
    let fixture = Fixture::start();
    let registry = Registry::builder(Scheme::bearer(), "the-right-token").start();
    let add = format!(
        "add-registry new --token-stdin --index {} --ca-file {}",
        registry.index(),
        registry.ca().display()
    );
    fixture.refuses(&add, TOKEN_REJECTED, "does not accept this token");
    fixture.refuses(&format!("{add} --scheme raw"), TOKEN_REJECTED, "--scheme");
    fixture.ctl(&add, "the-right-token").succeeds();
    fixture.refuses("rotate new --token-stdin", TOKEN_REJECTED, "the old token stays in use");
    assert_eq!(fixture.items()["new"], "the-right-token");
    fixture.ctl("verify new", "").succeeds();
}

#[test]
fn without_verification_the_registry_gets_no_request() {
    let fixture = Fixture::start();
    let registry = Registry::builder(Scheme::bearer(), "the-right-token").start();
    let add = format!(
        "add-registry new --token-stdin --no-verify --index {} --ca-file {}",
        registry.index(),
        registry.ca().display()
    );
    assert_eq!(fixture.ctl(&add, TOKEN).succeeds().json["verified"], false);
    assert_eq!(fixture.items()["new"], TOKEN);
    let rotated = fixture.ctl("rotate new --token-stdin --no-verify", "another-wrong-token");
    assert_eq!(rotated.succeeds().json["verified"], false);
    assert_eq!(fixture.items()["new"], "another-wrong-token");
    assert!(registry.nginx.requests().is_empty(), "the registry got a request");
    assert_eq!(fixture.ctl("verify new", "").exit, i32::from(TOKEN_REJECTED));
}
