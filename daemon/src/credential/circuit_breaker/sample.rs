//! URL that a registry has accepted with a generation, to ask for it again in checks.

use std::sync::atomic::Ordering;

use http::Uri;

use super::CircuitBreaker;

/// URL of a request that the registry has accepted with the generation.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The URL, in absolute form.
    pub(crate) uri: Uri,
    /// True if the registry is known to refuse the URL without the token.
    pub(crate) is_private: bool,
    /// True if the bearer of a grant chose the URL. A bearer may be able to have it refused, so it never speaks against
    /// the token.
    pub(crate) is_of_bearer: bool,
}

impl Sample {
    /// Sample whose URL may be public.
    pub(crate) fn new(uri: Uri, is_of_bearer: bool) -> Self {
        Self {
            uri,
            is_private: false,
            is_of_bearer,
        }
    }
}

impl CircuitBreaker {
    /// True if an accepted URL would be kept for later checks.
    pub(crate) fn wants_sample(&self) -> bool {
        !self.has_sample.load(Ordering::Relaxed)
    }

    /// Keeps a URL that the registry has accepted, if there is none.
    pub(crate) fn offer_sample(&self, sample: Sample) {
        let mut inner = self.lock();
        inner.sample.get_or_insert(sample);
        self.has_sample.store(true, Ordering::Relaxed);
    }

    /// URL that the registry has accepted.
    pub(crate) fn sample(&self) -> Option<Sample> {
        self.lock().sample.clone()
    }

    /// Records that the registry refuses the sample without the token.
    pub(crate) fn confirm_sample(&self) {
        if let Some(sample) = &mut self.lock().sample {
            sample.is_private = true;
        }
    }

    /// Makes room for another sample.
    pub(crate) fn forget_sample(&self) {
        self.lock().sample = None;
        self.has_sample.store(false, Ordering::Relaxed);
    }

    /// Forgets a sample that the registry gives to everybody. It proved nothing, and neither did the answer to it.
    pub(crate) fn discard_sample(&self) {
        let mut inner = self.lock();
        inner.sample = None;
        self.has_sample.store(false, Ordering::Relaxed);
        if !inner.is_proven {
            self.was_accepted.store(false, Ordering::Relaxed);
        }
    }
}
