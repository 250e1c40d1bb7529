//! Places of the connections to the control socket: a number for each user.
//!
//! Programs of one user can neither keep another user from the daemon, nor take the file descriptors and the memory that its
//! clients need.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of each user.
#[derive(Debug, Default)]
pub(super) struct UserPlaces(Mutex<HashMap<Option<u32>, usize>>);

/// Place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct UserPlace {
    places: Arc<UserPlaces>,
    user: Option<u32>,
}

impl UserPlaces {
    /// Takes a place for a connection of this user; `None` if its [`MAX_CONNECTIONS`] are taken. Root always gets one.
    pub(super) fn take(self: &Arc<Self>, user: Option<u32>) -> Option<UserPlace> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(user).or_default();
        if *count >= MAX_CONNECTIONS && user != Some(rustix::process::Uid::ROOT.as_raw()) {
            return None;
        }
        *count += 1;
        Some(UserPlace {
            places: Arc::clone(self),
            user,
        })
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        let mut counts = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

/// More than a large parallel build has at a time.
pub(super) const MAX_CONNECTIONS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_keeps_no_other_user_out_and_gets_its_places_back() {
        let places = Arc::new(UserPlaces::default());
        let take = |user| places.take(Some(user));
        let taken: Vec<_> = (0..MAX_CONNECTIONS).map(|_| take(1000).unwrap()).collect();
        assert!(take(1000).is_none());
        assert!(take(1001).is_some());
        let root: Vec<_> = (0..=MAX_CONNECTIONS).map_while(|_| take(0)).collect();
        assert_eq!(root.len(), MAX_CONNECTIONS + 1);
        drop((taken, root));
        assert!(take(1000).is_some());
        assert!(places.0.lock().unwrap().is_empty());
    }
}
