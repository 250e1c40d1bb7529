//! A stored token goes where it was given for: a configuration that says more is served as before, until a person confirms
//! it with the token. The attacker's ways are in `same_user.rs`.

mod case;

use std::fs;

use regauth_tests::certificates::{Authority, concatenate};
use regauth_tests::curl::Curl;
use regauth_tests::keyring::Keyring;
use regauth_tests::mock_server::MockServer;
use serde_json::{Value, json};

use self::case::{Case, in_keyring};

const TOKEN: &str = "t0ken-that-is-bound";
const NEW_TOKEN: &str = "t0ken-after-a-rotation";
const PASSPHRASE: &str = "correct horse battery staple";

#[test]
fn a_changed_configuration_is_served_as_before_until_the_token_confirms_it() {
    let case = Case::start();
    let held = Curl::new().behind(&case.daemon).start(&case.registry.url("/corp/"));
    let elsewhere = case.elsewhere.url("/edited/");
    case.edit("]", &format!(", \"{elsewhere}\"]"));
    let changes = case.reload_finds(&[&format!("it sends its token to {elsewhere}")]);
    held.finish();
    assert_eq!((case.sent("/corp/"), case.received("/edited/")), (bearer(), None));
    // An answer says what to do, and a wrong token changes nothing.
    let refused = case.daemon.ctl(&["confirm", "corp"]).exits(8);
    assert_eq!(refused.json["err"]["kind"], "presence-needed", "{}", refused.json);
    assert!(refused.json["err"]["hint"].as_str().unwrap().contains("--token-stdin"));
    let refused = case.confirm("another-token").exits(8);
    assert_eq!(refused.json["err"]["kind"], "refused", "{}", refused.json);
    assert_eq!((case.changes(), case.received("/edited/")), (changes, None));
    let other = json!({"method": "confirm", "name": "corp", "changes": ["it opens writes for good"], "proof": TOKEN});
    assert_eq!(case.daemon.request(other)["err"]["kind"], "invalid");
    case.confirm(TOKEN).succeeds();
    assert_eq!((case.changes(), case.received("/edited/")), (json!([]), bearer()));
    let nothing_new = case.daemon.ctl(&["confirm", "corp"]).succeeds();
    assert_eq!(nothing_new.json["scopes"].as_array().unwrap().len(), 2);
}

#[test]
fn a_changed_header_root_or_index_waits_for_the_token_and_a_restart_does_not_take_it_in() {
    let mut case = Case::start();
    case.replace_line("ca-file", &format!("ca-file = {:?}", case.two_roots()));
    let index = case.elsewhere.url("/index/");
    case.edit(
        "scopes =",
        &format!("scheme = \"x-key: {{token}}\"\nwrites = \"allow\"\nindex = \"sparse+{index}\"\nscopes ="),
    );
    let found = case.daemon.ctl(&["reload"]).succeeds().json["notes"].to_string();
    for part in [
        "corp has changed",
        "header x-key",
        "opens writes",
        "SHA-256",
        "/index/",
        "regauthctl confirm corp",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    assert_eq!(case.changes().as_array().unwrap().len(), 4);
    case.daemon.restart();
    assert_eq!(case.changes().as_array().unwrap().len(), 4);
    assert_eq!(case.sent("/corp/"), bearer(), "the header is as before");
    assert_eq!(case.put().status, 403);
    // A question of the daemon itself goes to the registry, not to the new index.
    case.daemon.ctl(&["verify", "corp"]);
    assert_eq!(case.elsewhere.requests().len(), 0);
    // status says so, and what to do.
    let problems = case.daemon.ctl(&["status"]).json["problems"].to_string();
    assert!(
        problems.contains("corp has changed") && problems.contains("regauthctl confirm corp"),
        "{problems}"
    );
    let doctor = case.daemon.ctl(&["doctor"]).output.stdout;
    assert!(doctor.contains("corp has changed"), "{doctor}");
    case.confirm(TOKEN).succeeds();
    case.get("/corp/");
    let last = case.registry.requests().pop().unwrap();
    assert_eq!(last.header("x-key").as_deref(), Some(TOKEN));
    assert_eq!(case.put().status, 200);
}

#[test]
fn a_root_that_is_added_to_the_ca_file_verifies_nobody_before_it_is_confirmed() {
    let case = Case::start();
    // The name leads to the attacker's server: its certificate is from the attacker's authority.
    let attacker = Authority::new("Attacker");
    let server = MockServer::builder(&attacker, "localhost").start();
    case.edit("]", &format!(", \"{}\"]", server.url("/")));
    case.confirm_after_reload(TOKEN);
    let both = concatenate(&[&case.root.file(), &attacker.file()]);
    fs::copy(&both, &case.ca_file).unwrap();
    case.daemon.ctl(&["reload"]).succeeds();
    assert_eq!(Curl::new().behind(&case.daemon).get(&server.url("/")).status, 502);
    assert_eq!(case.sent("/corp/"), bearer());
    assert_eq!(server.requests().len(), 0);
    let shown = case.changes();
    // A file that is replaced after it was shown: the certificate that was shown is confirmed, and no other.
    let third = Authority::new("Nobody has seen this one");
    fs::copy(concatenate(&[&case.root.file(), &third.file()]), &case.ca_file).unwrap();
    case.confirm(TOKEN).succeeds();
    assert_eq!(Curl::new().behind(&case.daemon).get(&server.url("/")).status, 502);
    let left = case.changes();
    assert!(left.as_array().unwrap().len() == 1 && left != shown, "{left}");
    fs::copy(&both, &case.ca_file).unwrap();
    case.daemon.ctl(&["reload"]).succeeds();
    assert_eq!(case.changes(), json!([]));
    assert_eq!(Curl::new().behind(&case.daemon).get(&server.url("/")).status, 200);
}

#[test]
fn narrowing_needs_nobody_and_adding_a_scope_needs_the_token() {
    let case = Case::start();
    let elsewhere = case.elsewhere.url("/more/");
    let add = ["add-scope", "corp", &elsewhere, "--token-stdin"];
    case.daemon.ctl_with_input(&add, "another-token").exits(8);
    assert!(!case.config().contains("/more/"));
    case.daemon.ctl_with_input(&add, TOKEN).succeeds();
    assert_eq!(case.received("/more/"), bearer());
    // A scope that was there is no addition, and a narrower one neither.
    case.daemon
        .ctl(&["add-scope", "corp", &format!("{elsewhere}deeper/")])
        .succeeds();
    case.edit(&elsewhere, &format!("{elsewhere}deeper/"));
    case.daemon.ctl(&["reload"]).succeeds();
    assert_eq!(case.changes(), json!([]));
    assert_eq!(
        (case.received("/more/"), case.received("/more/deeper/")),
        (None, bearer())
    );
}

#[test]
fn a_registry_shares_a_token_only_with_the_token_and_its_index_widens_nothing() {
    let case = Case::start();
    // An index whose downloads are elsewhere on its own host.
    let config = format!(r#"{{"dl": "{}"}}"#, "https://localhost/dl/");
    let index = MockServer::builder(&case.root, "localhost")
        .answer(200, &[], &config)
        .start();
    let (url, ca) = (
        format!("sparse+{}", index.url("/index/")),
        case.ca_file.to_str().unwrap().to_owned(),
    );
    let add = [
        "add-registry",
        "copy",
        "--credential-of",
        "corp",
        "--index",
        &url,
        "--ca-file",
        &ca,
    ];
    case.daemon.ctl(&add).exits(8);
    assert_eq!(index.requests().len(), 0, "not even to verify");
    let with_token = [&add[..], &["--token-stdin"]].concat();
    case.daemon.ctl_with_input(&with_token, TOKEN).succeeds();
    let shared = case.daemon.ctl(&["show", "copy"]).json;
    assert_eq!(shared["scopes"], json!([index.url("/index/")]));
    // After its removal, an edit by hand does not bring it back into service.
    let text = case.config();
    case.daemon.ctl(&["remove-registry", "copy"]).succeeds();
    fs::write(case.config_file(), text).unwrap();
    case.daemon.ctl(&["reload"]).succeeds();
    index.clear_requests();
    let refused = Curl::new().behind(&case.daemon).get(&index.url("/index/config.json"));
    assert!(refused.body().contains("regauthctl confirm copy"), "{}", refused.body());
    assert_eq!(index.requests().len(), 0);
    assert_eq!(case.sent("/corp/"), bearer());
}

#[test]
fn a_rotation_and_a_move_to_another_store_keep_the_binding() {
    let keyring = Keyring::start();
    let mut case = Case::start_with(|daemon| in_keyring(daemon, &keyring));
    let elsewhere = case.elsewhere.url("/edited/");
    case.edit("]", &format!(", \"{elsewhere}\"]"));
    case.daemon.ctl(&["reload"]).succeeds();
    let rotated = case
        .daemon
        .ctl_with_input(&["rotate", "corp", "--token-stdin"], NEW_TOKEN)
        .succeeds();
    assert!(
        rotated.json["notes"].to_string().contains("corp has changed"),
        "{}",
        rotated.json
    );
    case.daemon.ctl(&["store", "move", "vault"]).succeeds();
    case.daemon.restart();
    assert_eq!(case.changes(), json!([format!("it sends its token to {elsewhere}")]));
    assert_eq!(case.received("/edited/"), None);
    assert_eq!(case.sent("/corp/"), Some(format!("Bearer {NEW_TOKEN}")));
    case.confirm(TOKEN).exits(8);
    case.confirm(NEW_TOKEN).succeeds();
    assert_eq!(case.received("/edited/"), Some(format!("Bearer {NEW_TOKEN}")));
}

#[test]
fn a_store_that_opens_after_the_start_serves_as_far_as_the_binding_goes() {
    let keyring = Keyring::start();
    let mut case = Case::start_with(|daemon| in_keyring(daemon, &keyring));
    let elsewhere = case.elsewhere.url("/edited/");
    case.edit("]", &format!(", \"{elsewhere}\"]"));
    case.daemon.stop();
    keyring.lock();
    case.daemon.start_again();
    case.wait_for_state("locked");
    keyring.unlock();
    case.wait_for_state("ready");
    assert_eq!((case.received("/edited/"), case.sent("/corp/")), (None, bearer()));
}

#[test]
fn a_token_of_an_older_release_is_bound_once_to_what_the_configuration_says() {
    let mut case = Case::start();
    case.daemon.stop();
    case.change_vault(|items| drop(items.remove("binding:corp").unwrap()));
    case.make_journal_old();
    case.daemon.restart();
    assert_eq!((case.sent("/corp/"), case.changes()), (bearer(), json!([])));
    assert!(case.daemon.log().contains("bound the token of an older release"));
    // Once: a later change is new.
    case.edit("]", &format!(", \"{}\"]", case.elsewhere.url("/edited/")));
    case.daemon.restart();
    assert_eq!(case.changes().as_array().unwrap().len(), 1);
    assert_eq!(case.received("/edited/"), None);
}

/// A program can have changed the configuration and the journal before the person unlocks the vault.
#[test]
fn a_token_of_an_older_release_in_a_locked_vault_waits_for_the_person() {
    let mut case = Case::start();
    let set = ["unlock", "--set-passphrase", "--passphrase-stdin"];
    case.daemon.ctl_with_input(&set, PASSPHRASE).succeeds();
    case.daemon.stop();
    case.write_key_of_passphrase();
    case.change_vault(|items| drop(items.remove("binding:corp").unwrap()));
    case.make_journal_old();
    case.edit("]", &format!(", \"{}\"]", case.elsewhere.url("/edited/")));
    case.daemon.restart();
    let unlock = ["unlock", "--passphrase-stdin"];
    case.daemon.ctl_with_input(&unlock, PASSPHRASE).succeeds();
    let changes = case.changes();
    assert_eq!(changes[0], "nothing records what its token was given for", "{changes}");
    assert!(changes.to_string().contains("/edited/"), "{changes}");
    let refused = Curl::new().behind(&case.daemon).get(&case.elsewhere.url("/edited/"));
    assert!(refused.body().contains("regauthctl confirm corp"), "{}", refused.body());
    assert_eq!(case.elsewhere.requests().len(), 0);
    case.confirm(TOKEN).succeeds();
    assert_eq!((case.sent("/corp/"), case.changes()), (bearer(), json!([])));
}

#[test]
fn a_token_whose_record_is_lost_is_not_sent_before_it_is_confirmed() {
    let mut case = Case::start();
    case.daemon.stop();
    case.change_vault(|items| drop(items.remove("binding:corp").unwrap()));
    case.daemon.restart();
    let refused = case.get("/corp/");
    assert!(refused.body().contains("regauthctl confirm corp"), "{}", refused.body());
    assert_eq!(case.registry.requests().len(), 0);
    case.confirm("another-token").exits(8);
    case.confirm(TOKEN).succeeds();
    assert_eq!(case.sent("/corp/"), bearer());
    // A damaged record, and a new token: the person has given it for the configuration.
    case.daemon.stop();
    case.change_vault(|items| drop(items.insert("binding:corp".to_owned(), "no record".into())));
    case.daemon.restart();
    let header = "it sends its token in the header authorization".to_owned();
    let everything = [
        "nothing records what its token was given for".to_owned(),
        case.scope(),
        header,
    ];
    let changes = case.changes();
    let (root, rest) = changes.as_array().unwrap().split_last().unwrap();
    assert_eq!(rest, everything.map(Value::from));
    assert!(root.to_string().contains("SHA-256"), "{root}");
    case.daemon
        .ctl_with_input(&["rotate", "corp", "--token-stdin", "--no-verify"], NEW_TOKEN)
        .succeeds();
    assert_eq!(case.sent("/corp/"), Some(format!("Bearer {NEW_TOKEN}")));
    assert_eq!(case.changes(), json!([]));
}

fn bearer() -> Option<String> {
    Some(format!("Bearer {TOKEN}"))
}
