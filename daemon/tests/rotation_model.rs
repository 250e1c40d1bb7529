//! Model of a rotation under the memory model of C11, which is weaker than x86 and at least as weak as arm64.
//!
//! loom runs every order of the threads' steps, and every value that a load may return. The model has the parts that
//! a rotation (`Credential::replace_in_turn`, `Replaced::wait`) relies on: a pointer that is swapped, readers that announce a hold in a debt slot before they are
//! counted as `arc-swap` does, the count of an `Arc`, and the check of `Arc::get_mut`. A generation is a cell: a request
//! reads it while it holds a lease, and the rotation takes it exclusively, as proof that no request uses it. loom fails
//! when the two can overlap, or when a request can get the old generation after the rotation's answer.
//!
//! `arc-swap` orders its loads, swaps and debts sequentially consistently. loom knows that order for fences only, so here
//! fences stand for it; they promise less. The last tests weaken one ordering each, and expect loom to find the fault: the
//! model can fail.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a model fails loudly")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread;

/// A credential with the generations 0 and 1. The current one is an index instead of a pointer.
struct Credential {
    current: AtomicUsize,
    /// The generation that the one reader is about to hold, plus one; zero if there is none.
    debt: AtomicUsize,
    generations: [Generation; 2],
    /// True once the rotation has been answered.
    answered: AtomicBool,
    orderings: Orderings,
}

struct Generation {
    /// Holders: the credential itself or the rotation, and leases.
    count: AtomicUsize,
    /// Bytes of the token.
    token: UnsafeCell<usize>,
}

/// Orderings that a test may weaken.
#[derive(Clone, Copy)]
struct Orderings {
    /// True if the debt and the swap are sequentially consistent.
    fences: bool,
    /// Of the decrement when a lease ends.
    release: Ordering,
    /// Of the load in `Arc::get_mut`.
    get_mut: Ordering,
}

/// As in `arc-swap` and `Arc`.
const REAL: Orderings = Orderings {
    fences: true,
    release: Ordering::Release,
    get_mut: Ordering::Acquire,
};

impl Credential {
    fn new(orderings: Orderings) -> Self {
        let generation = |token| Generation {
            count: AtomicUsize::new(1),
            token: UnsafeCell::new(token),
        };
        Self {
            current: AtomicUsize::new(0),
            debt: AtomicUsize::new(0),
            generations: [generation(10), generation(11)],
            answered: AtomicBool::new(false),
            orderings,
        }
    }

    fn generation(&self, index: usize) -> &Generation {
        &self.generations[index]
    }

    fn order(&self) {
        if self.orderings.fences {
            fence(Ordering::SeqCst);
        }
    }

    /// `RegistryCredential::acquire`: announces a debt, confirms the pointer, and turns the debt into a count.
    fn acquire(&self) -> usize {
        let index = loop {
            let seen = self.current.load(Ordering::Acquire);
            self.debt.store(seen + 1, Ordering::Release);
            self.order();
            if self.current.load(Ordering::Acquire) == seen {
                break seen;
            }
            // The pointer has changed. If a swap has paid the debt, its count is ours to give back.
            if self
                .debt
                .compare_exchange(seen + 1, 0, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
            {
                self.generation(seen).count.fetch_sub(1, self.orderings.release);
            }
            loom::hint::spin_loop();
        };
        self.generation(index).count.fetch_add(1, Ordering::Relaxed);
        if self
            .debt
            .compare_exchange(index + 1, 0, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            self.generation(index).count.fetch_sub(1, self.orderings.release);
        }
        index
    }

    /// A request: reads the token while it holds a lease.
    fn request(&self) {
        let was_answered = self.answered.load(Ordering::Acquire);
        let index = self.acquire();
        let generation = self.generation(index);
        let token = generation.token.with(|token| {
            // SAFETY: loom reports an overlap with the exclusive access of `rotate`.
            #[expect(unsafe_code, reason = "loom checks the access")]
            unsafe {
                *token
            }
        });
        assert_eq!(token, 10 + index, "a whole token");
        assert!(!was_answered || index == 1, "the old token after the answer");
        generation.count.fetch_sub(1, self.orderings.release);
    }

    /// `replace_in_turn` and `Replaced::wait`: swaps, pays debts, waits until the count is one, and answers. `false` if it timed out.
    fn rotate(&self) -> bool {
        let old = self.current.swap(1, Ordering::AcqRel);
        self.order();
        let generation = self.generation(old);
        // Before the debts are read, the reference of the swap itself is counted already.
        generation.count.fetch_add(1, Ordering::Relaxed);
        if self
            .debt
            .compare_exchange(old + 1, 0, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            generation.count.fetch_sub(1, Ordering::Relaxed);
        }
        if generation.count.load(self.orderings.get_mut) == 1 {
            generation.token.with_mut(|token| {
                // SAFETY: loom reports an overlap with a request.
                #[expect(unsafe_code, reason = "loom checks the access")]
                unsafe {
                    *token = 0;
                }
            });
            self.answered.store(true, Ordering::Release);
            return true;
        }
        false
    }
}

fn check(orderings: Orderings) {
    loom::model(move || {
        let credential = Arc::new(Credential::new(orderings));
        let client = Arc::clone(&credential);
        let request = thread::spawn(move || client.request());
        credential.rotate();
        request.join().unwrap();
    });
}

#[test]
fn no_request_uses_a_token_after_its_rotation_in_any_order_of_steps() {
    check(REAL);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_model_fails_if_the_end_of_a_lease_is_not_released() {
    check(Orderings {
        release: Ordering::Relaxed,
        ..REAL
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_model_fails_if_the_count_is_not_acquired() {
    check(Orderings {
        get_mut: Ordering::Relaxed,
        ..REAL
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_model_fails_if_swap_and_debt_are_not_sequentially_consistent() {
    check(Orderings { fences: false, ..REAL });
}
