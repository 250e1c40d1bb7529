//! Tests of walks: entries arrive, and steps follow.

use serde_json::{Value, json};

use super::*;

fn name(text: &str) -> CrateName {
    CrateName::parse(text).unwrap()
}

fn dependency(name: &str, more: &Value) -> Value {
    let mut dependency = json!({"name": name, "req": "^1", "features": [], "optional": false,
        "default_features": true, "target": null, "kind": "normal"});
    let object = dependency.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    dependency
}

/// Reads an entry with one release and returns the names of the next crates.
fn read(walk: &mut Walk, crate_name: &str, dependencies: &[Value], features: &Value) -> Vec<String> {
    let line = json!({"name": crate_name, "vers": "1.0.0", "deps": dependencies, "features": features});
    let entry = Entry::parse(line.to_string().as_bytes(), |_| false).unwrap();
    let steps = walk.read(&name(crate_name), entry);
    steps.into_iter().map(|step| step.to.to_string()).collect()
}

#[test]
fn each_crate_is_a_step_once() {
    let mut walk = Walk::default();
    let none = json!({});
    let [left, right, end] = ["left", "right", "end"].map(|name| dependency(name, &none));
    assert_eq!(read(&mut walk, "top", &[left, right], &none), ["left", "right"]);
    assert_eq!(read(&mut walk, "left", std::slice::from_ref(&end), &none), ["end"]);
    assert!(read(&mut walk, "right", &[end, dependency("top", &none)], &none).is_empty());
    assert!(read(&mut walk, "end", &[], &none).is_empty());
}

#[test]
fn optional_dependencies_follow_their_features() {
    let optional = json!({"optional": true});
    let dependencies = ["a", "b", "c", "d", "e"].map(|name| dependency(name, &optional));
    let features = json!({"default": ["std"], "std": ["dep:a", "b/x", "c?/y"], "more": ["d"], "d": ["dep:d"]});
    let mut walk = Walk::default();
    assert_eq!(read(&mut walk, "root", &dependencies, &features), ["a", "b"]);
    let mut walk = Walk::default();
    let with = dependency("root", &json!({"default_features": false, "features": ["more", "e"]}));
    read(&mut walk, "top", &[with], &json!({}));
    assert_eq!(read(&mut walk, "root", &dependencies, &features), ["d", "e"]);
}

#[test]
fn a_later_dependent_enables_more() {
    let mut walk = Walk::default();
    let none = json!({});
    let bare = dependency("base", &json!({"default_features": false}));
    let full = dependency("base", &json!({"default_features": false, "features": ["full"]}));
    read(&mut walk, "one", &[bare], &none);
    let extra = dependency("extra", &json!({"optional": true}));
    assert!(read(&mut walk, "base", &[extra], &json!({"full": ["dep:extra"]})).is_empty());
    assert_eq!(read(&mut walk, "two", &[full], &none), ["extra"]);
}

#[test]
fn features_of_a_dependency_reach_it_through_its_dependent() {
    let mut walk = Walk::default();
    let none = json!({});
    read(
        &mut walk,
        "top",
        &[dependency("base", &none)],
        &json!({"default": ["base/extra"]}),
    );
    let extra = dependency("extra", &json!({"optional": true}));
    assert_eq!(read(&mut walk, "base", &[extra], &none), ["extra"]);
}

#[test]
fn a_cycle_of_wishes_ends() {
    let mut walk = Walk::default();
    let to = |name: &str, feature: &str| dependency(name, &json!({"features": [feature]}));
    read(&mut walk, "a", &[to("b", "x")], &json!({"y": ["b/z"]}));
    assert!(read(&mut walk, "b", &[to("a", "y")], &json!({"z": ["a/w"]})).is_empty());
}

/// Dependencies with one key, and many features of it.
fn crowd(name: &str, dependencies: usize, features: usize) -> (Vec<Value>, Value) {
    let package = |number| dependency("d", &json!({"package": format!("{name}-{number}")}));
    let features: Vec<String> = (0..features).map(|number| format!("d/{number:04}")).collect();
    ((0..dependencies).map(package).collect(), json!({"default": features}))
}

#[test]
fn one_entry_has_little_effect() {
    let (dependencies, features) = crowd("top", 512, 6000);
    let mut walk = Walk::default();
    let steps = read(&mut walk, "top", &dependencies, &features).len();
    assert!((100..=MAX_WORK / MAX_WANTED_FEATURES).contains(&steps), "{steps}");
    let wants = walk.crates.values().flat_map(|node| &node.wants);
    assert_eq!(wants.map(|want| want.features.len()).max(), Some(MAX_WANTED_FEATURES));
    assert!(walk.size() < MAX_SIZE / 3, "{}", walk.size());
}

#[test]
fn a_walk_that_is_full_takes_no_more() {
    let mut walk = Walk::default();
    let mut sizes = Vec::new();
    for number in 0..40 {
        let name = format!("top{number}");
        let (dependencies, features) = crowd(&name, 60, 500);
        let steps = read(&mut walk, &name, &dependencies, &features).len();
        sizes.push((steps, walk.size()));
    }
    assert_eq!(sizes[0].0, 60);
    let (steps, size) = sizes[sizes.len() - 1];
    assert_eq!(steps, 0);
    assert!((MAX_SIZE / 8 * 7..=MAX_SIZE / 8 * 9).contains(&size), "{size}");
}

#[test]
fn a_replaced_entry_does_not_count() {
    let mut walk = Walk::default();
    let (dependencies, features) = crowd("top", 10, 10);
    read(&mut walk, "top", &dependencies, &features);
    let size = walk.size();
    read(&mut walk, "top", &dependencies, &features);
    assert_eq!(walk.size(), size);
}

#[test]
fn a_crate_that_many_want_is_settled_within_the_work() {
    let mut walk = Walk::default();
    let features = |from: usize| (0..500).map(move |number| format!("f{from}-{number}"));
    for number in 0..MAX_WANTS {
        let features: Vec<String> = features(number).collect();
        let to = dependency("base", &json!({"features": features}));
        read(&mut walk, &format!("top{number}"), &[to], &json!({}));
    }
    let deep = dependency("deep", &json!({}));
    assert_eq!(
        read(&mut walk, "base", std::slice::from_ref(&deep), &json!({})),
        ["deep"]
    );
    let mut work = Work(1000);
    let base = walk.crates.get_mut(&name("base")).unwrap();
    base.settled.clear();
    assert!(base.settle(&mut work).is_empty(), "its wishes take more work");
    assert!(base.settled.is_empty());
}
