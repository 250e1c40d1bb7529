//! Tests of entries: lines of an index file.

use serde_json::json;

use super::*;

fn entry(lines: &[serde_json::Value]) -> Option<Entry> {
    let file: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Entry::parse(file.as_bytes(), |url| url == "sparse+https://corp.example/index/")
}

fn versions(entry: &Entry) -> Vec<String> {
    entry
        .releases
        .iter()
        .map(|release| release.version.to_string())
        .collect()
}

fn release(version: &str) -> serde_json::Value {
    json!({"name": "a", "vers": version, "deps": [], "cksum": "00", "features": {}, "yanked": false})
}

#[test]
fn the_newest_of_each_range_is_read() {
    let lines = [
        "1.0.0",
        "0.3.1",
        "1.10.0",
        "1.9.0",
        "0.3.9",
        "2.0.0-rc.1",
        "0.0.1",
        "0.0.2",
        "1.11.0-pre",
    ];
    let entry = entry(&lines.map(release)).unwrap();
    assert_eq!(versions(&entry), ["1.10.0", "0.3.9", "0.0.2", "0.0.1", "2.0.0-rc.1"]);
}

#[test]
fn yanked_and_unreadable_lines_are_left_out() {
    let mut yanked = release("1.2.0");
    yanked["yanked"] = json!(true);
    let odd = json!({"vers": "not a version"});
    assert_eq!(
        versions(&entry(&[release("1.1.0"), yanked.clone(), odd.clone()]).unwrap()),
        ["1.1.0"]
    );
    assert!(entry(&[yanked, odd]).is_none());
    assert!(Entry::parse(b"<html>\n\n{\"vers\":\n", |_| true).is_none());
}

#[test]
fn a_requirement_chooses_as_cargo_does() {
    let entry = entry(&["0.3.9", "1.10.0", "2.4.0"].map(release)).unwrap();
    let chosen = |requirement: &str| {
        let requirement = requirement.parse().unwrap();
        versions(&entry)[entry.choose(Some(&requirement)).unwrap()].clone()
    };
    for (requirement, version) in [
        ("^1", "1.10.0"),
        ("1.2", "1.10.0"),
        ("*", "2.4.0"),
        (">=0.3, <2", "1.10.0"),
        ("0.3.1", "0.3.9"),
        // The release itself is not known, and that of its range has most likely the same dependencies.
        ("=1.2.3", "1.10.0"),
    ] {
        assert_eq!(chosen(requirement), version, "{requirement}");
    }
    assert_eq!(entry.choose(None), Some(0));
    assert_eq!(entry.choose(Some(&"^7".parse().unwrap())), None);
}

#[test]
fn dependencies_of_tests_and_of_other_indexes_are_left_out() {
    let dependency = |name: &str, kind: &str, registry: Option<&str>| {
        json!({"name": name, "req": "^1", "features": ["x"], "optional": false, "default_features": false,
            "target": "cfg(windows)", "kind": kind, "registry": registry, "package": null})
    };
    let mut line = release("1.0.0");
    line["deps"] = json!([
        dependency("normal", "normal", None),
        dependency("built", "build", Some("sparse+https://corp.example/index/")),
        dependency("tested", "dev", None),
        dependency("elsewhere", "normal", Some("https://github.com/rust-lang/crates.io-index")),
        {"name": "renamed", "req": "1.2", "package": "Real-Name"},
        {"name": "../../etc/passwd", "req": "1"},
    ]);
    let entry = entry(&[line]).unwrap();
    let names: Vec<String> = entry.potential_dependencies().map(ToString::to_string).collect();
    assert_eq!(names, ["normal", "built", "real-name"]);
    let [normal, _, renamed] = &entry.releases[0].dependencies[..] else {
        panic!("{entry:?}")
    };
    assert!(!normal.uses_default_features && renamed.uses_default_features);
    assert_eq!(
        (renamed.key.as_str(), &normal.features[..]),
        ("renamed", &["x".to_owned()][..])
    );
}

#[test]
fn lines_with_too_much_in_them_are_left_out() {
    let with = |features: usize, length: usize| {
        let mut line = release("2.0.0");
        line["features"] = json!({"default": vec!["d".repeat(length); features]});
        versions(&entry(&[release("1.0.0"), line]).unwrap())
    };
    assert_eq!(with(MAX_FEATURES - 1, 1), ["2.0.0", "1.0.0"]);
    assert_eq!(with(MAX_FEATURES, 1), ["1.0.0"], "features");
    assert_eq!(with(1, MAX_LINE_SIZE - 200), ["2.0.0", "1.0.0"]);
    assert_eq!(with(1, MAX_LINE_SIZE), ["1.0.0"], "bytes");
    let mut line = release("1.0.0");
    line["deps"] = json!(vec![json!({"name": "d", "req": "1", "features": vec!["x"; 100]}); 82]);
    assert!(entry(&[line]).is_none(), "features of dependencies");
}

#[test]
fn an_entry_knows_its_size() {
    let mut line = release("1.0.0");
    line["deps"] = json!([{"name": "d", "req": "1", "features": ["x".repeat(1000)]}]);
    line["features"] = json!({"y".repeat(1000): ["z".repeat(1000)]});
    let size = entry(&[line]).unwrap().size();
    assert!((3000..4000).contains(&size), "{size}");
}
