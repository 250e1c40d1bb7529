//! Memory of earlier walks: names only. Pure.
//!
//! An entry names more crates than cargo asks for, and cargo learns of a layer of the graph only from the entries of the
//! one before. The memory has the dependencies of each crate, with a mark at those that cargo has asked for. So the first
//! request of the next walk tells all of them at once. It has no content of any entry, only its validator.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::proxy::read_ahead::CrateName;
use crate::proxy::read_ahead::validator::Validator;

/// Dependencies and validators of the crates of one index.
#[derive(Debug, Default)]
pub(super) struct Memory {
    crates: HashMap<CrateName, Remembered>,
    /// Dependencies of all crates together.
    links: usize,
}

#[derive(Debug, Default)]
struct Remembered {
    validator: Option<Validator>,
    /// True if the dependencies are those of the entry with the validator.
    is_read: bool,
    /// Each dependency, and whether cargo asked for it in the last walk.
    dependencies: Vec<(CrateName, bool)>,
    /// True if cargo asked for none of them in the last walk, which ended at this crate.
    was_last: bool,
}

impl Memory {
    /// Crates that the last walks reached from a crate, nearest first. Those that are not `new` have been followed before.
    pub(super) fn reached_from(&self, name: &CrateName, is_new: impl Fn(&CrateName) -> bool) -> Vec<CrateName> {
        let mut seen = HashSet::from([name]);
        let mut unread = VecDeque::from([name]);
        let mut reached = Vec::new();
        while let Some(from) = unread.pop_front() {
            let dependencies = self.crates.get(from).into_iter().flat_map(|known| &known.dependencies);
            for (to, _) in dependencies.filter(|(_, is_used)| *is_used) {
                if is_new(to) && seen.insert(to) {
                    reached.push(to.clone());
                    unread.push_back(to);
                }
            }
        }
        reached
    }

    /// True if the last walk had no use for a dependency.
    pub(super) fn is_unused(&self, from: &CrateName, to: &CrateName) -> bool {
        let known = self.crates.get(from);
        known.is_some_and(|known| known.dependencies.iter().any(|(name, is_used)| name == to && !is_used))
    }

    /// True if the dependencies of the entry with this validator are known.
    pub(super) fn knows(&self, name: &CrateName, validator: Option<&Validator>) -> bool {
        let known = self.crates.get(name);
        known.is_some_and(|known| known.is_read && validator.is_some() && known.validator.as_ref() == validator)
    }

    /// Validator of the entry that the registry sent last.
    pub(super) fn validator(&self, name: &CrateName) -> Option<&Validator> {
        self.crates.get(name)?.validator.as_ref()
    }

    /// Records the validator of an entry, unless it is long.
    pub(super) fn note_validator(&mut self, name: &CrateName, validator: Option<Validator>) {
        let validator = validator.and_then(|validator| validator.copy(MAX_VALIDATOR_SIZE));
        let known = self.remembered(name);
        if known.validator != validator {
            known.validator = validator;
            known.is_read = false;
        }
    }

    /// Records at the end of a walk which dependencies of a crate cargo has `asked` for. `named` are all that its entry
    /// names, if it was read. `cargo info` and `cargo publish` read single entries: one walk that ends at a crate changes
    /// nothing that is known.
    pub(super) fn learn(&mut self, name: &CrateName, named: Option<BTreeSet<CrateName>>, asked: &HashSet<CrateName>) {
        let known = self.remembered(name);
        let is_last = !known.dependencies.iter().any(|(to, _)| asked.contains(to))
            && !named.iter().flatten().any(|to| asked.contains(to));
        let was_last = std::mem::replace(&mut known.was_last, is_last);
        if is_last && !was_last && !known.dependencies.is_empty() {
            return;
        }
        match named {
            Some(named) => {
                known.is_read = true;
                let (used, unused): (Vec<_>, Vec<_>) = named.into_iter().partition(|to| asked.contains(to));
                let used = used.into_iter().map(|to| (to, true));
                let marked = used.chain(unused.into_iter().map(|to| (to, false)));
                let before = known.dependencies.len();
                known.dependencies = marked.take(MAX_DEPENDENCIES).collect();
                let after = known.dependencies.len();
                self.links = self.links + after - before;
            }
            None => known
                .dependencies
                .iter_mut()
                .for_each(|(to, is_used)| *is_used = asked.contains(to)),
        }
    }

    fn remembered(&mut self, name: &CrateName) -> &mut Remembered {
        let is_full = self.crates.len() >= MAX_CRATES && !self.crates.contains_key(name);
        if is_full || self.links > MAX_LINKS {
            *self = Self::default();
        }
        self.crates.entry(name.clone()).or_default()
    }
}

/// More than a company's programs use together. At about 200 bytes each.
const MAX_CRATES: usize = 8192;
/// Dependencies that are remembered of one crate, used ones first.
const MAX_DEPENDENCIES: usize = 256;
/// Dependencies of all crates, at about 60 bytes each.
const MAX_LINKS: usize = 16 * MAX_CRATES;
/// ETags and dates are shorter.
const MAX_VALIDATOR_SIZE: usize = 128;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn names(texts: &[&str]) -> Vec<CrateName> {
        texts.iter().map(|text| CrateName::parse(text).unwrap()).collect()
    }

    fn learn(memory: &mut Memory, asked: &[&str], graph: &[(&str, &[&str])]) {
        let asked: HashSet<CrateName> = names(asked).into_iter().collect();
        for (name, named) in graph {
            let named = names(named).into_iter().collect();
            memory.learn(&names(&[name])[0], Some(named), &asked);
        }
    }

    #[test]
    fn only_used_dependencies_are_reached() {
        let mut memory = Memory::default();
        let graph: &[(&str, &[&str])] = &[("top", &["base", "extra"]), ("base", &["end", "top"]), ("end", &[])];
        learn(&mut memory, &["top", "base", "end"], graph);
        let [top, extra] = ["top", "extra"].map(|name| CrateName::parse(name).unwrap());
        assert_eq!(memory.reached_from(&top, |_| true), names(&["base", "end"]));
        assert!(memory.is_unused(&top, &extra));
        learn(&mut memory, &["top", "extra"], &[("top", &["base", "extra"])]);
        assert_eq!(memory.reached_from(&top, |_| true), names(&["extra"]));
    }

    #[test]
    fn an_unread_entry_keeps_its_names() {
        let mut memory = Memory::default();
        learn(&mut memory, &["top", "base"], &[("top", &["base"])]);
        let top = CrateName::parse("top").unwrap();
        memory.learn(&top, None, &HashSet::from([top.clone()]));
        assert_eq!(
            memory.reached_from(&top, |_| true),
            names(&["base"]),
            "cargo has read a single entry"
        );
        memory.learn(&top, None, &HashSet::from([top.clone()]));
        assert!(memory.reached_from(&top, |_| true).is_empty());
        memory.learn(&top, None, &names(&["top", "base"]).into_iter().collect());
        assert_eq!(memory.reached_from(&top, |_| true), names(&["base"]));
    }

    #[test]
    fn an_entry_is_known_by_its_validator() {
        let mut memory = Memory::default();
        let tag = |text: &'static str| Some(Validator::Tag(HeaderValue::from_static(text)));
        let top = CrateName::parse("top").unwrap();
        memory.note_validator(&top, tag("\"1\""));
        assert!(!memory.knows(&top, tag("\"1\"").as_ref()), "not learned yet");
        learn(&mut memory, &["top"], &[("top", &[])]);
        assert!(memory.knows(&top, tag("\"1\"").as_ref()));
        assert!(!memory.knows(&top, tag("\"2\"").as_ref()) && !memory.knows(&top, None));
        memory.note_validator(&top, tag("\"2\""));
        assert!(!memory.knows(&top, tag("\"2\"").as_ref()));
    }

    #[test]
    fn a_full_memory_starts_again() {
        let mut memory = Memory::default();
        for number in 0..=MAX_CRATES {
            memory.note_validator(&CrateName::parse(&format!("c{number}")).unwrap(), None);
        }
        assert_eq!(memory.crates.len(), 1);
    }

    #[test]
    fn dependencies_are_limited_for_each_crate_and_together() {
        let texts: Vec<String> = (0..1000).map(|number| format!("d{number:03}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut memory = Memory::default();
        learn(&mut memory, &["d999"], &[("top", &texts)]);
        let top = CrateName::parse("top").unwrap();
        assert_eq!(memory.reached_from(&top, |_| true), names(&["d999"]), "used ones first");
        for number in 0..2 * MAX_LINKS / MAX_DEPENDENCIES {
            learn(&mut memory, &[], &[(&format!("c{number}"), &texts)]);
            let links = memory.crates.values().map(|known| known.dependencies.len());
            assert_eq!(links.sum::<usize>(), memory.links);
            assert!(memory.links <= MAX_LINKS + MAX_DEPENDENCIES);
        }
    }

    #[test]
    fn a_long_validator_is_not_remembered() {
        let mut memory = Memory::default();
        let top = CrateName::parse("top").unwrap();
        for (length, is_remembered) in [(MAX_VALIDATOR_SIZE, true), (MAX_VALIDATOR_SIZE + 1, false)] {
            let tag = HeaderValue::from_str(&"x".repeat(length)).unwrap();
            memory.note_validator(&top, Some(Validator::Tag(tag)));
            assert_eq!(memory.validator(&top).is_some(), is_remembered);
        }
    }
}
