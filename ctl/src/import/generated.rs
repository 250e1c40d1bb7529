//! Generator of texts for tests that compare a reader with the program whose format it reads, and the question to that
//! program.

use std::io::Write;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

/// Gives the texts to a program as JSON and parses its answer; `None` if the program is missing or fails.
pub(crate) fn ask<T: DeserializeOwned>(program: &mut Command, texts: &[String]) -> Option<T> {
    let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    program.stdin.take()?.write_all(&serde_json::to_vec(texts).ok()?).ok()?;
    serde_json::from_slice(&program.wait_with_output().ok()?.stdout).ok()
}

/// Pseudo-random choices from a seed (splitmix64), so that a failure repeats.
#[derive(Debug)]
pub(crate) struct Generator(u64);

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % limit
    }

    /// One of the pieces.
    pub(crate) fn pick<'a>(&mut self, pieces: &[&'a str]) -> &'a str {
        pieces[self.below(pieces.len())]
    }

    /// Up to `most` pieces, one after another.
    pub(crate) fn text(&mut self, pieces: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| self.pick(pieces)).collect()
    }
}
