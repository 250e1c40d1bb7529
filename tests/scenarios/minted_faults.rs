//! Faults around minted tokens: new keys of the identity provider, a clock that is off, a service that is down for longer
//! than a token lives.

use std::time::Duration;

use regauth_shared::exit_code;
use regauth_tests::curl::Curl;
use regauth_tests::forge::Forge;
use regauth_tests::openid_provider::OpenidProvider;
use regauth_tests::poll;
use regauth_tests::token_service::{Fault, Vendor};

#[test]
fn an_identity_of_new_keys_is_read_at_the_next_mint() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    let identity = forge.secret_file("identity", &forge.provider.identity("jfrog"));
    let daemon = forge.daemon();
    let source = format!("jfrog:host={},provider=corp,identity={identity}", service.host());
    forge.add(&daemon, &source, &[]).succeeds();
    let renewed = OpenidProvider::start(forge.registry.gate());
    service.trust(&renewed);
    let refused = daemon.ctl(&["rotate", "corp"]).exits(i32::from(exit_code::FAILED)).json;
    let message = refused["err"]["message"].as_str().unwrap();
    assert!(message.contains("answered 401: the signature is wrong"), "{message}");
    let file = forge.registry.file("f", 100);
    assert_eq!(
        Curl::new().behind(&daemon).get(&file).status,
        200,
        "the old token serves"
    );
    forge.secret_file("identity", &renewed.identity("jfrog"));
    daemon.ctl(&["rotate", "corp"]).succeeds();
    assert_eq!(service.minted().len(), 2);
    assert_eq!(Curl::new().behind(&daemon).get(&file).status, 200);
    service
        .secrets()
        .iter()
        .for_each(|secret| daemon.register_secret(secret));
}

#[cfg(target_os = "linux")]
#[test]
fn a_clock_that_is_off_is_named_with_its_error() {
    use regauth_tests::system_shim::SystemShim;
    use regauth_tests::token_service::app_key;

    let forge = Forge::bearer();
    let service = forge.service(Vendor::GithubApp);
    let shim = SystemShim::new();
    let daemon = shim.load_into(forge.job()).start();
    let key = forge.secret_file("app.pem", &app_key());
    let source = format!(
        "github-app:client-id=Iv23corp,installation=42,private-key={key},repositories=plans,permissions=contents:read,api={}",
        service.url()
    );
    shim.shift_clock(2 * 3600);
    let refused = forge
        .add(&daemon, &source, &[])
        .exits(i32::from(exit_code::FAILED))
        .json;
    let message = refused["err"]["message"].as_str().unwrap();
    assert!(
        message.contains("answered 401: the identity is not valid now"),
        "{message}"
    );
    assert!(message.contains("clock is 2h"), "{message}");
    shim.shift_clock(0);
    forge.add(&daemon, &source, &[]).succeeds();
    service
        .secrets()
        .iter()
        .for_each(|secret| daemon.register_secret(secret));
}

#[test]
fn a_token_serves_to_its_end_while_its_service_is_down_and_no_longer() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    service.set_lifetime(Duration::from_secs(3));
    let daemon = forge.daemon();
    let source = format!("jfrog:host={},provider=corp,audience=jfrog", service.host());
    forge.add(&daemon, &source, &[]).succeeds();
    service.set_fault(Some(Fault::Down));
    let file = forge.registry.file("f", 100);
    let mut served = 0;
    poll::wait_for("the end of the token", || {
        let answer = Curl::new().behind(&daemon).get(&file);
        match answer.status {
            200 => served += 1,
            502 => assert_eq!(answer.header("regauth-error"), Some("credential-unavailable")),
            other => panic!("{other}: {}", answer.headers),
        }
        (answer.status == 502).then_some(())
    });
    assert!(served > 0);
    assert_eq!(forge.rejections(), 0, "a token was sent after its end");
    service.set_fault(None);
    poll::wait_for("another token", || {
        (Curl::new().behind(&daemon).get(&file).status == 200).then_some(())
    });
    service
        .secrets()
        .iter()
        .for_each(|secret| daemon.register_secret(secret));
}
