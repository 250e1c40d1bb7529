//! cargo's walk through the dependency graph, as far as the entries tell it. Pure.
//!
//! cargo resolves the newest allowed release of each crate, with the features that its dependents enable, and asks for the
//! entry of each dependency: normal and build ones of every target, optional ones if a feature enables them, those of
//! tests only for its own packages. Its own packages are not known here. So a crate that no known crate depends on counts
//! as wanted in its newest release, with default features.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use semver::{Comparator, VersionReq};

use crate::proxy::read_ahead::CrateName;
use crate::proxy::read_ahead::entry::{Dependency, Entry, Release, size_of_text};

/// Crates of one walk.
///
/// Entries come from many authors, so their effect is bounded: a full walk takes no more, and one entry causes little work.
#[derive(Debug, Default)]
pub struct Walk {
    crates: HashMap<CrateName, Node>,
    size: usize,
}

/// Crate of which an entry was read, or which another crate wants.
#[derive(Debug, Default)]
struct Node {
    wants: HashSet<Want>,
    entry: Option<Entry>,
    /// Enabled features of each release whose dependencies are known to the walk.
    settled: BTreeMap<usize, BTreeSet<String>>,
    /// Bytes of the settled features.
    settled_size: usize,
}

/// Wish of a dependent: a release, and its features.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Want {
    requirement: VersionReq,
    features: BTreeSet<String>,
}

impl Walk {
    /// Adds the entry of a crate. Returns the crates whose entries cargo asks for next, each once in a walk and with the crate
    /// that depends on it.
    pub fn read(&mut self, name: &CrateName, entry: Entry) -> Vec<Step> {
        if !self.has_room_for(name, &entry) {
            return Vec::new();
        }
        self.insert(name, entry);
        let mut steps = Vec::new();
        let mut unsettled = vec![name.clone()];
        let mut work = Work(MAX_WORK);
        while let Some(from) = unsettled.pop() {
            let Some(node) = self.crates.get_mut(&from) else {
                continue;
            };
            let size = node.settled_size;
            let wanted = node.settle(&mut work);
            self.size = self.size + node.settled_size - size;
            for (to, want) in wanted {
                match self.add(&to, want) {
                    Some(true) => steps.push(Step { from: from.clone(), to }),
                    Some(false) => unsettled.push(to),
                    None => {}
                }
            }
        }
        steps
    }

    /// Bytes in memory, about.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Crates that the entry of a crate names, if it was read.
    pub(super) fn potential_dependencies(&self, name: &CrateName) -> Option<BTreeSet<CrateName>> {
        let entry = self.crates.get(name)?.entry.as_ref()?;
        Some(entry.potential_dependencies().cloned().collect())
    }

    fn has_room_for(&self, name: &CrateName, entry: &Entry) -> bool {
        let is_known = self.crates.contains_key(name);
        (is_known || self.crates.len() < MAX_CRATES) && self.size + entry.size() <= MAX_SIZE
    }

    fn insert(&mut self, name: &CrateName, entry: Entry) {
        self.size += entry.size();
        let node = self.crates.entry(name.clone()).or_insert_with(|| {
            self.size += NODE_SIZE;
            Node::default()
        });
        let previous = node.entry.replace(entry);
        node.settled.clear();
        let settled = std::mem::take(&mut node.settled_size);
        self.size -= settled + previous.map_or(0, |previous| previous.size());
    }

    /// Adds a wish for a crate. Tells whether its entry is to be asked for; `None` if it changes nothing.
    fn add(&mut self, to: &CrateName, want: Want) -> Option<bool> {
        let size = want.size();
        if self.size + size > MAX_SIZE || (self.crates.len() >= MAX_CRATES && !self.crates.contains_key(to)) {
            return None;
        }
        let node = self.crates.entry(to.clone()).or_insert_with(|| {
            self.size += NODE_SIZE;
            Node::default()
        });
        let is_new = node.wants.is_empty() && node.entry.is_none();
        if !node.add(want) {
            return None;
        }
        self.size += size;
        (is_new || node.entry.is_some()).then_some(is_new)
    }
}

/// Work that an entry may still cause, in features that are looked at.
struct Work(usize);

impl Work {
    /// Takes a part. False if not so much is left.
    fn take(&mut self, features: usize) -> bool {
        let is_left = features <= self.0;
        self.0 = self.0.saturating_sub(features);
        is_left
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

impl Want {
    fn size(&self) -> usize {
        let comparators = self.requirement.comparators.len() * size_of::<Comparator>();
        size_of::<Self>() + comparators + size_of_texts(&self.features)
    }
}

fn size_of_texts(texts: &BTreeSet<String>) -> usize {
    texts.iter().map(|text| size_of_text(text)).sum()
}

impl Node {
    /// Adds a wish; false if it is known.
    fn add(&mut self, want: Want) -> bool {
        self.wants.len() < MAX_WANTS && self.wants.insert(want)
    }

    /// Wishes of the releases that are wanted with more features than before.
    fn settle(&mut self, work: &mut Work) -> Vec<(CrateName, Want)> {
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
            if !work.take(1 + want.features.len()) {
                return Vec::new();
            }
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
                wishes.extend(wishes_of(release, &features, work));
            }
            self.settled_size += size_of_texts(&features);
            let previous = self.settled.insert(number, features);
            self.settled_size -= previous.as_ref().map_or(0, size_of_texts);
        }
        wishes
    }
}

/// Wishes of a release with these features, as many as the work allows.
fn wishes_of(release: &Release, features: &BTreeSet<String>, work: &mut Work) -> Vec<(CrateName, Want)> {
    let enabled = Enabled::of(release, features, work);
    let dependencies = release.dependencies.iter();
    let active =
        dependencies.filter(|dependency| !dependency.is_optional || enabled.dependencies.contains(&*dependency.key));
    active
        .map_while(|dependency| {
            let want = enabled.want(dependency);
            let is_allowed = work.take(1 + want.features.len());
            is_allowed.then(|| (dependency.package.clone(), want))
        })
        .collect()
}

/// Dependencies and features that the features of a release enable (the Cargo book, "Features").
#[derive(Default)]
struct Enabled<'a> {
    features: BTreeSet<&'a str>,
    /// Optional dependencies, by name in the manifest.
    dependencies: BTreeSet<&'a str>,
    /// Features of dependencies by their names in the manifest: `name/feature`, also with `?`.
    of_dependencies: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Enabled<'a> {
    fn of(release: &'a Release, features: &'a BTreeSet<String>, work: &mut Work) -> Self {
        let mut enabled = Self::default();
        let mut unread: Vec<&str> = features.iter().map(String::as_str).collect();
        while let Some(name) = unread.pop() {
            if !work.take(1) {
                break;
            }
            if let Some(dependency) = name.strip_prefix("dep:") {
                enabled.dependencies.insert(dependency);
            } else if let Some((dependency, feature)) = name.split_once('/') {
                let strong = dependency.strip_suffix('?').is_none();
                let dependency = dependency.trim_end_matches('?');
                if strong {
                    enabled.dependencies.insert(dependency);
                }
                enabled.of_dependencies.entry(dependency).or_default().insert(feature);
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
        let named = self
            .of_dependencies
            .get(&*dependency.key)
            .into_iter()
            .flatten()
            .copied();
        let own = dependency.features.iter().map(String::as_str);
        let default = dependency.uses_default_features.then_some(DEFAULT);
        let features = default.into_iter().chain(own).chain(named).take(MAX_WANTED_FEATURES);
        Want {
            requirement: dependency.requirement.clone(),
            features: features.map(str::to_owned).collect(),
        }
    }
}

const DEFAULT: &str = "default";
/// Twice the crates of the largest programs.
const MAX_CRATES: usize = 8192;
/// Different wishes for one crate that are followed.
const MAX_WANTS: usize = 64;
/// Features of one wish. Users of bindings to a browser enable some hundred.
const MAX_WANTED_FEATURES: usize = 512;
/// Bytes of a walk that takes no more. A large program with a thousand crates needs about ten million.
pub(super) const MAX_SIZE: usize = 16 * 1024 * 1024;
/// Features that one entry may have looked at, about ten milliseconds.
const MAX_WORK: usize = 64 * 1024;
/// Bytes of a node and its name.
const NODE_SIZE: usize = 256;

#[cfg(test)]
mod tests;
