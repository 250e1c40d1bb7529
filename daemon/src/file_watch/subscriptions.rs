//! Table of the readers that follow an entry of a folder, or a file. Pure: inotify's numbers in, readers out.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Number of a watch in inotify. The kernel does not use one again soon.
pub(super) type Descriptor = i32;

/// Number of a reader.
pub(super) type WatchId = u64;

/// Interest of a reader in one entry of a folder. The name is empty for a file itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subscription {
    pub(super) watch: Descriptor,
    pub(super) name: Box<OsStr>,
}

/// Report of a change to one reader.
#[derive(Debug, Default)]
pub(super) struct Signal {
    has_changed: AtomicBool,
    raised: Notify,
}

impl Signal {
    fn raise(&self) {
        self.has_changed.store(true, Ordering::Release);
        self.raised.notify_one();
    }

    /// Waits for a change, or a request to look, since the last [`Signal::raised`]. Cancel safe.
    pub(super) async fn raised(&self) {
        self.raised.notified().await;
    }

    /// True if there was a change since the last call: the path may lead elsewhere.
    pub(super) fn take(&self) -> bool {
        self.has_changed.swap(false, Ordering::AcqRel)
    }
}

/// All readers and what they follow.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    last_id: WatchId,
    readers: HashMap<WatchId, Arc<Signal>>,
    /// Readers by watch and name, in the order of their numbers.
    entries: HashMap<Descriptor, HashMap<OsString, Vec<WatchId>>>,
}

impl Subscriptions {
    /// A new reader, which follows nothing yet.
    pub(super) fn join(&mut self) -> (WatchId, Arc<Signal>) {
        let signal = Arc::<Signal>::default();
        self.last_id += 1;
        self.readers.insert(self.last_id, Arc::clone(&signal));
        (self.last_id, signal)
    }

    pub(super) fn leave(&mut self, id: WatchId) {
        self.readers.remove(&id);
    }

    pub(super) fn add(&mut self, id: WatchId, watch: Descriptor, name: &OsStr) {
        let names = self.entries.entry(watch).or_default();
        match names.get_mut(name) {
            Some(ids) => {
                if let Err(place) = ids.binary_search(&id) {
                    ids.insert(place, id);
                }
            }
            None => drop(names.insert(name.to_owned(), vec![id])),
        }
    }

    /// Returns true if nobody needs the watch any more.
    pub(super) fn remove(&mut self, id: WatchId, subscription: &Subscription) -> bool {
        let Some(names) = self.entries.get_mut(&subscription.watch) else {
            return false;
        };
        if let Some(ids) = names.get_mut(&*subscription.name) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                names.remove(&*subscription.name);
            }
        }
        let is_unused = names.is_empty();
        if is_unused {
            self.entries.remove(&subscription.watch);
        }
        is_unused
    }

    /// Reports a change of an entry to its readers.
    pub(super) fn report(&self, watch: Descriptor, name: &OsStr) {
        let ids = self.entries.get(&watch).and_then(|names| names.get(name));
        self.raise(ids.into_iter().flatten());
    }

    /// Reports that a folder or file has gone, with its watch.
    pub(super) fn report_gone(&mut self, watch: Descriptor) {
        let names = self.entries.remove(&watch).unwrap_or_default();
        self.raise(names.values().flatten());
    }

    /// Reports a change to every reader.
    pub(super) fn report_all(&self) {
        self.readers.values().for_each(|reader| reader.raise());
    }

    /// Has every reader look at its files once, as they all did every second without events.
    pub(super) fn request_looks(&self) {
        self.readers.values().for_each(|reader| reader.raised.notify_one());
    }

    /// Number of the watches in use.
    #[cfg(test)]
    pub(super) fn watches(&self) -> usize {
        self.entries.len()
    }

    fn raise<'a>(&self, ids: impl Iterator<Item = &'a WatchId>) {
        ids.filter_map(|id| self.readers.get(id))
            .for_each(|reader| reader.raise());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_the_readers_of_its_entry_and_no_others() {
        let mut table = Subscriptions::default();
        let (one, two) = (table.join(), table.join());
        table.add(one.0, 7, OsStr::new("a"));
        table.add(one.0, 7, OsStr::new("a"));
        table.add(two.0, 7, OsStr::new("a"));
        table.add(two.0, 7, OsStr::new("b"));
        for (name, expected) in [("a", (true, true)), ("b", (false, true)), ("c", (false, false))] {
            table.report(7, OsStr::new(name));
            assert_eq!((one.1.take(), two.1.take()), expected, "{name}");
        }
        table.report_gone(7);
        assert_eq!((one.1.take(), two.1.take()), (true, true));
        table.report(7, OsStr::new("a"));
        assert_eq!((one.1.take(), two.1.take()), (false, false));
        table.report_all();
        assert_eq!((one.1.take(), two.1.take()), (true, true));
    }

    #[test]
    fn a_watch_is_needed_until_its_last_reader_leaves() {
        let mut table = Subscriptions::default();
        let (one, two) = (table.join().0, table.join().0);
        let entry = |name: &str| Subscription {
            watch: 7,
            name: OsStr::new(name).into(),
        };
        for id in [one, two] {
            table.add(id, 7, OsStr::new("a"));
        }
        table.add(two, 7, OsStr::new("b"));
        assert!(!table.remove(one, &entry("a")));
        assert!(!table.remove(two, &entry("a")));
        assert!(table.remove(two, &entry("b")));
        assert!(!table.remove(two, &entry("b")), "it has been given back");
        assert_eq!(table.watches(), 0);
    }
}
