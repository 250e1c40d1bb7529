//! `~/.git-credentials`: a URL a line (git-credential-store(1)).

use std::path::Path;

use super::text::{lines, range_of, read, with_user};
use super::{Entry, Findings, Origin};

/// What one such file holds.
pub(super) fn look(file: &Path, findings: &mut Findings) {
    let Some(text) = read(file, findings) else { return };
    for (_, line) in lines(&text) {
        if let Some(url) = with_user(line.trim()) {
            let origin = Origin::bytes(file, vec![range_of(&text, line)]);
            findings.found.push(Entry::of(url, "git", origin));
        }
    }
}
