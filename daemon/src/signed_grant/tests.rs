//! Tests of signed grants and of the list of revoked ones.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use base64::engine::general_purpose::STANDARD;

use super::revoked_list::parse_revoked;
use super::*;
use crate::bearer::Bearer;
use crate::config::Config;
use crate::policy::Operation;
use crate::registry::Registry;

const CORP: &str = "https://corp.example/";

fn grants(folder: &std::path::Path) -> SignedGrants {
    let key = Ed25519KeyPair::generate().unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    std::fs::write(folder.join("key"), pem).unwrap();
    std::fs::write(folder.join("revoked"), "# none\n").unwrap();
    again(folder)
}

fn again(folder: &std::path::Path) -> SignedGrants {
    let files = SignedGrantFiles {
        key: folder.join("key"),
        revoked: folder.join("revoked"),
    };
    SignedGrants::read(&files).unwrap()
}

fn registry(scope: &str) -> Registry {
    let config = Config::read(&format!("registries.corp.scopes = [\"{scope}\"]\n")).unwrap();
    config.registries.into_values().next().unwrap()
}

fn create(grants: &SignedGrants, seconds: i64) -> (String, String) {
    let now = OffsetDateTime::now_utc();
    let registries = Some(BTreeMap::from([("corp".parse().unwrap(), registry(CORP).digest())]));
    let (grant, token) = grants
        .create(registries, false, now, now + time::Duration::seconds(seconds))
        .unwrap();
    (grant.terms.id.clone(), token)
}

#[test]
fn another_daemon_with_the_key_verifies_a_grant_until_it_is_revoked_or_expires() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (grants(folder.path()), again(folder.path()));
    let (id, token) = create(&one, 60);
    let [corp, other]: [RegistryName; 2] = ["corp", "other"].map(|name| name.parse().unwrap());
    let grant = two.find(token.as_bytes()).unwrap();
    assert!(grant.covers(&corp, Operation::Read));
    assert!(!grant.covers(&corp, Operation::Write) && !grant.covers_registry(&other));
    assert!(
        Arc::ptr_eq(&grant, &two.find(token.as_bytes()).unwrap()),
        "bearers share it"
    );
    assert_eq!(SignedGrants::parse_id(&id.to_uppercase()), Some(id.clone()));
    assert_eq!(SignedGrants::parse_id("3f9a1c2e"), None);

    one.revoke(&id).unwrap();
    assert!(one.find(token.as_bytes()).is_none());
    two.take(read_revoked(&folder.path().join("revoked")));
    assert!(!grant.is_valid() && two.find(token.as_bytes()).is_none());
    assert!(
        again(folder.path()).find(token.as_bytes()).is_none(),
        "a new daemon reads the list"
    );
    assert!(one.find(create(&one, 0).1.as_bytes()).is_none(), "expired");
}

#[test]
fn a_grant_opens_no_other_registry_of_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let grants = grants(folder.path());
    let bearer = Bearer::Grant(grants.find(create(&grants, 60).1.as_bytes()).unwrap());
    let name = "corp".parse().unwrap();
    let other = registry("https://other.example/");
    assert!(bearer.covers(&name, &registry(CORP), Operation::Read));
    assert!(!bearer.covers(&name, &other, Operation::Read) && !bearer.covers_registry(&name, &other));
    // A grant for all registries is for later ones, too.
    let now = OffsetDateTime::now_utc();
    let (every, _) = grants
        .create(None, false, now, now + time::Duration::seconds(60))
        .unwrap();
    assert!(Bearer::Grant(every).covers(&name, &other, Operation::Read));
    // A grant of a former release has no digests.
    let claims = format!(
        r#"{{"iss":"regauth","jti":"0123456789abcdef","iat":{0},"exp":{1},"registries":["corp"],"write":false}}"#,
        now.unix_timestamp(),
        now.unix_timestamp() + 60,
    );
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(grants.key.sign(signed.as_bytes()));
    assert!(grants.find(format!("{signed}.{signature}").as_bytes()).is_none());
}

#[test]
fn a_line_of_the_list_revokes_its_id_or_is_a_problem() {
    const ID: &str = "0123456789abcdef";
    for (text, ids, problem) in [
        ("", 0, None),
        ("# none\n\n  # indented\n", 0, None),
        (ID, 1, None),
        ("  0123456789abcdef\r\n", 1, None),
        ("\t0123456789ABCDEF # alice left\n", 1, None),
        ("0123456789abcdef alice left", 1, None),
        ("\u{feff}0123456789abcdef\n", 1, None),
        ("\"0123456789abcdef\"\n", 0, Some(1)),
        ("- 0123456789abcdef\n", 0, Some(1)),
        ("# list\n0123456789abcde\n0123456789abcdef\nx\n", 1, Some(2)),
        ("0123456789abcdef,fedcba9876543210", 0, Some(1)),
    ] {
        let list = parse_revoked(text);
        let expected = (ids == 1).then(|| ID.to_owned()).into_iter().collect();
        assert_eq!(list.ids, expected, "{text}");
        let problem = problem.map(|line| format!("line {line} has no id of 16 hexadecimal digits"));
        assert_eq!(list.problem, problem, "{text}");
    }
}

#[test]
fn a_list_with_a_wrong_line_is_a_problem_from_the_start_until_it_is_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    grants(folder.path());
    std::fs::write(&file, "revoke everything\n").unwrap();
    let grants = again(folder.path());
    assert!(grants.problem().unwrap().starts_with("line 1"));
    std::fs::write(&file, "").unwrap();
    grants.take(read_revoked(&file));
    assert_eq!(grants.problem(), None);
}

#[test]
fn revoking_adds_a_line_and_keeps_the_mode_and_the_lines_of_others() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    let grants = grants(folder.path());
    let id = create(&grants, 60).0;
    std::fs::write(&file, "fedcba9876543210 # another daemon").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
    grants.revoke(&id).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, format!("fedcba9876543210 # another daemon\n{id}\n"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o664);
    std::fs::write(&file, "").unwrap();
    grants.revoke(&id).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{id}\n"));
}

#[test]
fn daemons_that_revoke_at_the_same_time_lose_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let daemons = [grants(folder.path()), again(folder.path())];
    std::thread::scope(|scope| {
        for (number, daemon) in daemons.iter().enumerate() {
            scope.spawn(move || (0..50).for_each(|id| daemon.revoke(&format!("{number:08x}{id:08x}")).unwrap()));
        }
    });
    let list = read_revoked(&folder.path().join("revoked")).unwrap();
    assert_eq!((list.ids.len(), list.problem), (100, None));
}

#[test]
fn a_grant_that_this_daemon_has_revoked_stays_so_when_the_file_loses_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let grants = grants(folder.path());
    let (id, token) = create(&grants, 60);
    grants.revoke(&id).unwrap();
    grants.take(Ok(parse_revoked("")));
    assert!(grants.find(token.as_bytes()).is_none());
}

#[test]
fn tokens_of_others_and_changed_ones_are_no_grants() {
    let [mine, theirs] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let [mine, theirs] = [&mine, &theirs].map(|folder| grants(folder.path()));
    let token = create(&mine, 60).1;
    assert!(theirs.find(token.as_bytes()).is_none());
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = head.split_once('.').unwrap();
    let wider = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let wider = URL_SAFE_NO_PAD.encode(wider.replace("false", "true"));
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"regauth-grant"}"#);
    let identity = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"JWT"}"#);
    for changed in [
        format!("{header}.{wider}.{signature}"),
        format!("{header}.{claims}."),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{identity}.{claims}.{signature}"),
        String::new(),
        "..".to_owned(),
    ] {
        assert!(mine.find(changed.as_bytes()).is_none(), "{changed}");
    }
    assert!(mine.find(token.as_bytes()).is_some());
}
