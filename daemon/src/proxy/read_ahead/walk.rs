//! cargo's walk through the dependency graph, as far as the entries tell it. Pure.
//!
//! cargo resolves the newest allowed release of each crate, with the features that its dependents enable, and asks for the
//! entry of each dependency: normal and build ones of every target, optional ones if a feature enables them, those of
//! tests only for its own packages. Its own packages are not known here. So a crate that no known crate depends on counts
//! as wanted in its newest release, with default features.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use semver::VersionReq;

use crate::proxy::read_ahead::CrateName;
use crate::proxy::read_ahead::entry::{Dependency, Entry, Release};

/// Crates of one walk.
#[derive(Debug, Default)]
pub struct Walk {
    crates: HashMap<CrateName, Node>,
}

/// Crate of which an entry was read, or which another crate wants.
#[derive(Debug, Default)]
struct Node {
    wants: Vec<Want>,
    entry: Option<Entry>,
    /// Enabled features of each release whose dependencies are known to the walk.
    settled: BTreeMap<usize, BTreeSet<String>>,
}

/// Wish of a dependent: a release, and its features.
#[derive(Clone, Debug, PartialEq)]
struct Want {
    requirement: VersionReq,
    features: BTreeSet<String>,
}

impl Walk {
    /// Adds the entry of a crate. Returns the crates whose entries cargo asks for next, each once in a walk and with the crate
    /// that depends on it.
    pub fn read(&mut self, name: &CrateName, entry: Entry) -> Vec<Step> {
        let node = self.crates.entry(name.clone()).or_default();
        node.entry = Some(entry);
        node.settled.clear();
        let mut steps = Vec::new();
        let mut unsettled = vec![name.clone()];
        while let Some(from) = unsettled.pop() {
            let wanted = self.crates.get_mut(&from).map(Node::settle).unwrap_or_default();
            for (to, want) in wanted {
                if self.crates.len() >= MAX_CRATES && !self.crates.contains_key(&to) {
                    continue;
                }
                let node = self.crates.entry(to.clone()).or_default();
                let is_new = node.wants.is_empty() && node.entry.is_none();
                if !node.add(want) {
                    continue;
                }
                if is_new {
                    let from = from.clone();
                    steps.push(Step { from, to });
                } else if node.entry.is_some() {
                    unsettled.push(to);
                }
            }
        }
        steps
    }

    /// Crates that the entry of a crate names, if it was read.
    pub(super) fn potential_dependencies(&self, name: &CrateName) -> Option<BTreeSet<CrateName>> {
        let entry = self.crates.get(name)?.entry.as_ref()?;
        Some(entry.potential_dependencies().cloned().collect())
    }
}

/// Crate whose entry cargo asks for next, and the crate that depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Dependent.
    pub from: CrateName,
    /// Dependency.
    pub to: CrateName,
}

impl Node {
    /// Adds a wish; false if it is known.
    fn add(&mut self, want: Want) -> bool {
        let is_new = self.wants.len() < MAX_WANTS && !self.wants.contains(&want);
        if is_new {
            self.wants.push(want);
        }
        is_new
    }

    /// Wishes of the releases that are wanted with more features than before.
    fn settle(&mut self) -> Vec<(CrateName, Want)> {
        let Some(entry) = &self.entry else { return Vec::new() };
        let mut wanted: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        if self.wants.is_empty() {
            wanted.extend(
                entry
                    .choose(None)
                    .map(|release| (release, BTreeSet::from([DEFAULT.to_owned()]))),
            );
        }
        for want in &self.wants {
            if let Some(release) = entry.choose(Some(&want.requirement)) {
                wanted.entry(release).or_default().extend(want.features.iter().cloned());
            }
        }
        let mut wishes = Vec::new();
        for (number, features) in wanted {
            if self.settled.get(&number) == Some(&features) {
                continue;
            }
            if let Some(release) = entry.release(number) {
                wishes.extend(wishes_of(release, &features));
            }
            self.settled.insert(number, features);
        }
        wishes
    }
}

/// Wishes of a release with these features.
fn wishes_of(release: &Release, features: &BTreeSet<String>) -> Vec<(CrateName, Want)> {
    let enabled = Enabled::of(release, features);
    let dependencies = release.dependencies.iter();
    let active =
        dependencies.filter(|dependency| !dependency.is_optional || enabled.dependencies.contains(&*dependency.key));
    active
        .map(|dependency| (dependency.package.clone(), enabled.want(dependency)))
        .collect()
}

/// Dependencies and features that the features of a release enable (the Cargo book, "Features").
#[derive(Default)]
struct Enabled<'a> {
    features: BTreeSet<&'a str>,
    /// Optional dependencies, by name in the manifest.
    dependencies: BTreeSet<&'a str>,
    /// Features of dependencies: `name/feature`, also with `?`.
    of_dependencies: Vec<(&'a str, &'a str)>,
}

impl<'a> Enabled<'a> {
    fn of(release: &'a Release, features: &'a BTreeSet<String>) -> Self {
        let mut enabled = Self::default();
        let mut unread: Vec<&str> = features.iter().map(String::as_str).collect();
        while let Some(name) = unread.pop() {
            if let Some(dependency) = name.strip_prefix("dep:") {
                enabled.dependencies.insert(dependency);
            } else if let Some((dependency, feature)) = name.split_once('/') {
                let strong = dependency.strip_suffix('?').is_none();
                let dependency = dependency.trim_end_matches('?');
                if strong {
                    enabled.dependencies.insert(dependency);
                }
                enabled.of_dependencies.push((dependency, feature));
            } else if enabled.features.insert(name) {
                match release.features.get(name) {
                    Some(content) => unread.extend(content.iter().map(String::as_str)),
                    // An optional dependency is a feature too.
                    None => drop(enabled.dependencies.insert(name)),
                }
            }
        }
        enabled
    }

    fn want(&self, dependency: &Dependency) -> Want {
        let named = self.of_dependencies.iter();
        let named = named
            .filter(|(key, _)| *key == dependency.key)
            .map(|(_, feature)| *feature);
        let own = dependency.features.iter().map(String::as_str);
        let default = dependency.uses_default_features.then_some(DEFAULT);
        Want {
            requirement: dependency.requirement.clone(),
            features: own.chain(named).chain(default).map(str::to_owned).collect(),
        }
    }
}

const DEFAULT: &str = "default";
/// Twice the crates of the largest programs.
const MAX_CRATES: usize = 8192;
/// Different wishes for one crate that are followed.
const MAX_WANTS: usize = 64;

#[cfg(test)]
mod tests;
