//! Tests of the edits: files before and after.

use super::*;

fn settings() -> Vec<Setting> {
    let setting = |key: &[&str], value: SettingValue| Setting {
        key: key.iter().map(ToString::to_string).collect(),
        value,
    };
    vec![
        setting(&["httpsProxy"], SettingValue::Text("http://p:1".to_owned())),
        setting(
            &["npmRegistries", "//npm.corp:8443", "npmAuthToken"],
            SettingValue::Placeholder("none".to_owned()),
        ),
    ]
}

#[track_caller]
fn check(before: &str, after: &str) {
    let first = apply(before, &settings()).unwrap();
    assert_eq!(first.text, after);
    let again = apply(after, &settings()).unwrap();
    assert!(again.settings.is_empty() && again.text == after, "{again:?}");
    let back = revert(after, &first.settings).unwrap();
    assert!(back.kept.is_empty());
    assert_eq!(back.text.trim_end(), before.trim_end());
}

const TOKEN: &str = "  \"//npm.corp:8443\":\n    npmAuthToken: none\n";

#[test]
fn applies_and_reverts_with_comments_and_order_kept() {
    check("", &format!("httpsProxy: http://p:1\nnpmRegistries:\n{TOKEN}"));
    check(
        "# mine\nnodeLinker: node-modules # two\n\nplugins:\n- a\n- b\n\n# the end\n",
        &format!(
            "# mine\nnodeLinker: node-modules # two\n\nplugins:\n- a\n- b\nhttpsProxy: http://p:1\nnpmRegistries:\n\
             {TOKEN}\n# the end\n"
        ),
    );
    check(
        "npmRegistries:\n  # other\n  '//other':\n    npmAlwaysAuth: true\nhttpsProxy: 'http://corp' # why\nx: 1",
        &format!(
            "npmRegistries:\n  # other\n  '//other':\n    npmAlwaysAuth: true\n{TOKEN}httpsProxy: http://p:1\nx: 1"
        )
        .replace("p:1\nx", "p:1 # why\nx"),
    );
    check(
        "npmRegistries:\n    \"//npm.corp:8443\":\n        npmAlwaysAuth: true\n",
        "npmRegistries:\n    \"//npm.corp:8443\":\n        npmAlwaysAuth: true\n        npmAuthToken: none\nhttpsProxy: \
         http://p:1\n",
    );
}

#[test]
fn keeps_line_endings_and_values_changed_since() {
    let first = apply("a: 1\r\nb: |\r\n  httpsProxy: x\r\n", &settings()).unwrap();
    assert!(
        first.text.lines().count() == 7 && first.text.matches("\r\n").count() == 7,
        "{}",
        first.text
    );
    let edited = first.text.replace("http://p:1", "http://mine");
    let back = revert(&edited, &first.settings).unwrap();
    assert_eq!(back.kept, ["httpsProxy"]);
    assert_eq!(
        back.text,
        "a: 1\r\nb: |\r\n  httpsProxy: x\r\nhttpsProxy: http://mine\r\n"
    );
}

#[test]
fn a_token_of_the_user_stays() {
    let mine = "npmRegistries:\n  \"//npm.corp:8443\":\n    npmAuthToken: s3cret\n";
    let applied = apply(mine, &settings()).unwrap();
    assert!(applied.text.starts_with(mine), "{}", applied.text);
    let key = settings().pop().unwrap().key;
    assert_eq!(value(mine, &key).as_deref(), Some("s3cret"));
}

#[test]
fn refuses_other_forms_with_the_line() {
    for (text, line) in [
        ("- a\n- b\n", 1),
        ("{a: 1}\n", 1),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: 1\nwords\n", 2),
        ("a: 1\nnpmRegistries: {}\n", 2),
        ("a:\n\tb: 1\n", 2),
        ("  a: 1\nb: 2\n", 2),
        ("npmRegistries:\n  - a\n", 2),
        ("<<: *base\n", 1),
    ] {
        let refused = apply(text, &settings()).unwrap_err();
        assert!(
            [' ', ':']
                .iter()
                .any(|end| refused.message.contains(&format!("line {line}{end}"))),
            "{text}: {}",
            refused.message
        );
    }
}
