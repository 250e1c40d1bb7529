//! Index entry of a crate: its releases and their dependencies. Pure.
//!
//! An index file has a line of JSON for each release (the Cargo book, "Index Format"). cargo tries the newest release that
//! a requirement allows, so only the newest of each compatible range is read: 1.x, 2.x, 0.3.x.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use memchr::memmem;
use semver::{Comparator, Version, VersionReq};
use serde::Deserialize;

use crate::proxy::read_ahead::CrateName;

/// Newest release of each compatible range, newest first.
#[derive(Debug)]
pub struct Entry {
    releases: Vec<Release>,
    size: usize,
}

/// Release with all that decides which crates cargo asks for next.
#[derive(Debug)]
pub struct Release {
    version: Version,
    /// Dependencies for builds of other crates: normal and build, of every target.
    pub(super) dependencies: Vec<Dependency>,
    /// Content of each feature.
    pub(super) features: BTreeMap<String, Vec<String>>,
}

/// Dependency on a crate of the same index.
#[derive(Debug)]
pub(super) struct Dependency {
    /// Name in the manifest, by which features name it.
    pub(super) key: String,
    pub(super) package: CrateName,
    pub(super) requirement: VersionReq,
    pub(super) is_optional: bool,
    pub(super) uses_default_features: bool,
    pub(super) features: Vec<String>,
}

impl Entry {
    /// Parses an index file. `is_own` tells whether the URL of another index is this one. A line that cannot be read or has
    /// too much in it is left out. `None` if no line can be read.
    pub fn parse(file: &[u8], is_own: impl Fn(&str) -> bool) -> Option<Self> {
        let mut newest: BTreeMap<Range, (Version, &[u8])> = BTreeMap::new();
        for line in file.split(|byte| *byte == b'\n').take(MAX_LINES) {
            if line.len() > MAX_LINE_SIZE {
                continue;
            }
            let Some(version) = version_of(line) else { continue };
            let range = Range::of(&version);
            let present = newest.get(&range).map(|(present, _)| present);
            if present.is_none_or(|present| is_preferred(&version, present)) && !is_yanked(line) {
                newest.insert(range, (version, line));
            }
        }
        let newest = newest.into_values().rev().take(MAX_RANGES);
        let releases = newest.filter_map(|(version, line)| Release::parse(version, line, &is_own));
        let mut releases: Vec<Release> = releases.collect();
        releases.sort_unstable_by_key(|release| Reverse((release.version.pre.is_empty(), release.version.clone())));
        let size = releases.iter().map(Release::size).sum();
        (!releases.is_empty()).then_some(Self { releases, size })
    }

    /// Bytes in memory, about.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Number of the release that cargo tries first for a requirement, or without one. If none of the known releases is
    /// allowed, that of the same range is next to it.
    pub(super) fn choose(&self, requirement: Option<&VersionReq>) -> Option<usize> {
        let Some(requirement) = requirement else { return Some(0) };
        let mut versions = self.releases.iter().map(|release| &release.version);
        versions
            .clone()
            .position(|version| requirement.matches(version))
            .or_else(|| {
                let bound = requirement.comparators.first()?;
                let bound = Version::new(bound.major, bound.minor.unwrap_or(0), bound.patch.unwrap_or(0));
                versions.position(|version| Range::of(version) == Range::of(&bound))
            })
    }

    pub(super) fn release(&self, number: usize) -> Option<&Release> {
        self.releases.get(number)
    }

    /// All crates that a release here may need, with optional ones.
    pub(super) fn potential_dependencies(&self) -> impl Iterator<Item = &CrateName> {
        let dependencies = self.releases.iter().flat_map(|release| &release.dependencies);
        dependencies.map(|dependency| &dependency.package)
    }
}

impl Release {
    fn parse(version: Version, line: &[u8], is_own: impl Fn(&str) -> bool) -> Option<Self> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let mut features = line.features;
        features.extend(line.features2.unwrap_or_default());
        let dependencies = line.deps.into_iter().take(MAX_DEPENDENCIES);
        let release = Self {
            version,
            dependencies: dependencies
                .filter_map(|dependency| dependency.for_builds(&is_own))
                .collect(),
            features,
        };
        (release.strings().count() <= MAX_FEATURES).then_some(release)
    }

    /// All features: their names, their content, and those of dependencies.
    fn strings(&self) -> impl Iterator<Item = &String> {
        let features = self.features.iter();
        let features = features.flat_map(|(name, content)| std::iter::once(name).chain(content));
        features.chain(self.dependencies.iter().flat_map(|dependency| &dependency.features))
    }

    fn size(&self) -> usize {
        let strings: usize = self.strings().map(|text| size_of_text(text)).sum();
        let requirement = |dependency: &Dependency| dependency.requirement.comparators.len() * size_of::<Comparator>();
        let dependency = |dependency: &Dependency| {
            size_of::<Dependency>() + dependency.key.len() + NAME_SIZE + requirement(dependency)
        };
        size_of::<Self>() + strings + self.dependencies.iter().map(dependency).sum::<usize>()
    }
}

/// Bytes of a string in memory, with what an allocation and a set of strings add to it.
pub(super) fn size_of_text(text: &str) -> usize {
    text.len() + 2 * size_of::<String>()
}

/// Releases that a caret requirement takes as compatible.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Range(u64, u64, u64);

impl Range {
    fn of(version: &Version) -> Self {
        match (version.major, version.minor) {
            (0, 0) => Self(0, 0, version.patch),
            (0, minor) => Self(0, minor, 0),
            (major, _) => Self(major, 0, 0),
        }
    }
}

/// cargo takes a pre-release only if nothing else is allowed.
fn is_preferred(version: &Version, present: &Version) -> bool {
    (version.pre.is_empty(), version) > (present.pre.is_empty(), present)
}

/// Version in a line, found without parsing it: nearly all lines are of old releases.
fn version_of(line: &[u8]) -> Option<Version> {
    let text = value_of(b"\"vers\"", line)?.strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', text)?;
    Version::parse(std::str::from_utf8(text.get(..end)?).ok()?).ok()
}

fn is_yanked(line: &[u8]) -> bool {
    value_of(b"\"yanked\"", line).is_some_and(|value| value.starts_with(b"true"))
}

/// Text from the value of a key on.
fn value_of<'a>(key: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    let after = line.get(memmem::find(line, key)? + key.len()..)?;
    Some(after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    deps: Vec<LineDependency>,
    #[serde(default)]
    features: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    features2: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Deserialize)]
struct LineDependency {
    name: String,
    req: String,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default = "yes")]
    default_features: bool,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    registry: Option<String>,
    #[serde(default)]
    package: Option<String>,
}

fn yes() -> bool {
    true
}

impl LineDependency {
    /// `None` for a dependency of tests, and for one on another index.
    fn for_builds(self, is_own: impl Fn(&str) -> bool) -> Option<Dependency> {
        let is_elsewhere = self.registry.as_deref().is_some_and(|registry| !is_own(registry));
        if is_elsewhere || self.kind.as_deref() == Some("dev") {
            return None;
        }
        Some(Dependency {
            package: CrateName::parse(self.package.as_deref().unwrap_or(&self.name))?,
            requirement: VersionReq::parse(&self.req).ok()?,
            key: self.name,
            is_optional: self.optional,
            uses_default_features: self.default_features,
            features: self.features,
        })
    }
}

/// crates.io has some thousand releases of its most released crate.
const MAX_LINES: usize = 16_384;
/// The longest lines of crates.io, those of bindings to operating systems and browsers, have half of that.
const MAX_LINE_SIZE: usize = 128 * 1024;
const MAX_RANGES: usize = 12;
const MAX_DEPENDENCIES: usize = 512;
/// Features of a release and of its dependencies. Bindings to browsers have some thousand.
const MAX_FEATURES: usize = 8192;
/// Bytes of a name with its allocation; most have fewer.
const NAME_SIZE: usize = 64;

#[cfg(test)]
mod tests;
