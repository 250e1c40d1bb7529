//! Verification of a chain: line by line, in the order of the files.

use super::{Header, LineHash, Link, Note};

/// Verifier of one record.
///
/// ```
/// use regauth_shared::audit::{Content, Link, Verifier};
///
/// let mut link = Link::START;
/// let lines: Vec<String> = (0..3).map(|_| link.next_line(&Content::Event("{}"))).collect();
/// let mut verifier = Verifier::default();
/// for line in [&lines[0], &lines[2]] {
///     verifier.line(line.trim_end().as_bytes());
/// }
/// let findings = verifier.finish();
/// assert_eq!(findings.len(), 1);
/// assert_eq!(findings[0].to_string(), "line 2 is missing");
/// ```
#[derive(Debug, Default)]
pub struct Verifier {
    /// Lines read so far.
    read: u64,
    /// Link of the first line to the line before it.
    start: Option<Link>,
    last: Option<Link>,
    /// Line that must be there, as somebody else knows it.
    expected: Option<Link>,
    /// Hash of the line with the expected number.
    found: Option<LineHash>,
    /// Last lines that the record says were deleted.
    pruned: Vec<Link>,
    /// True if the line before differs from its hash in the last line.
    is_mismatched: bool,
    /// Unreadable lines since the last line.
    unreadable: u64,
    findings: Vec<Finding>,
}

/// Fault of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Position of the line at which the fault shows, from 0, in the order of reading.
    pub position: u64,
    /// Fault.
    pub kind: FindingKind,
}

/// Kind of fault of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// Lines that do not fit their hash in the next line. In a run of several, the last one was changed; the others may
    /// be as they were written, because its hash proves nothing about them.
    Changed {
        /// First line of the run.
        first: u64,
        /// Last line of the run.
        last: u64,
    },
    /// Lines that are not there.
    Missing {
        /// First missing line.
        first: u64,
        /// Last missing line.
        last: u64,
    },
    /// Line that stands behind a later one.
    Misplaced {
        /// Number of the line.
        line: u64,
    },
    /// Second line of one number.
    Repeated {
        /// Number of the line.
        line: u64,
    },
    /// Line that is none of the record's, where `line` is expected.
    Unreadable {
        /// Number of the expected line.
        line: u64,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            FindingKind::Changed { first, last } if first == last => write!(f, "line {first} was changed"),
            FindingKind::Changed { first, last } => {
                write!(f, "lines {first} to {last}: at least line {last} was changed")
            }
            FindingKind::Missing { first, last } if first == last => write!(f, "line {first} is missing"),
            FindingKind::Missing { first, last } => write!(f, "lines {first} to {last} are missing"),
            FindingKind::Misplaced { line } => write!(f, "line {line} is in the wrong place"),
            FindingKind::Repeated { line } => write!(f, "line {line} is there twice"),
            FindingKind::Unreadable { line } => write!(f, "in place of line {line} is a line that cannot be read"),
        }
    }
}

impl Verifier {
    /// Requires a line that somebody else knows: the daemon that wrote it, or a person who noted it. Without it, the chain
    /// cannot show that its last lines were changed or removed.
    pub fn expecting(line: Link) -> Self {
        Self {
            expected: Some(line).filter(|line| *line != Link::START),
            ..Self::default()
        }
    }

    /// Takes the next line, without its line feed.
    pub fn line(&mut self, bytes: &[u8]) {
        let position = self.read;
        self.read += 1;
        let Ok(header) = serde_json::from_slice::<Header<'_>>(bytes) else {
            return self.unreadable(position);
        };
        if let Some(note) = header.note
            && let Ok(Note::Pruned { through, .. }) = serde_json::from_str(note.get())
        {
            self.pruned.push(through);
        }
        let (line, hash) = (header.line, LineHash::of(bytes));
        match self.last {
            None => {
                self.start = Some(Link {
                    line: line.saturating_sub(1),
                    hash: header.previous,
                });
            }
            Some(last) if line <= last.line => return self.out_of_order(position, line),
            Some(last) if line > last.line + 1 => {
                // Unreadable lines stand in their place.
                if line > last.line + 1 + self.unreadable {
                    let (first, last) = (last.line + 1 + self.unreadable, line - 1);
                    self.add(position, FindingKind::Missing { first, last });
                }
                self.is_mismatched = false;
            }
            Some(last) => self.compare(position, last, header.previous),
        }
        self.last = Some(Link { line, hash });
        self.unreadable = 0;
        if self.expected.is_some_and(|expected| expected.line == line) {
            self.found = Some(hash);
        }
    }

    /// Last line so far.
    pub fn last(&self) -> Option<Link> {
        self.last
    }

    /// Number of lines read.
    pub fn lines(&self) -> u64 {
        self.read
    }

    /// Ends the verification. Returns all faults, in the order of the record.
    pub fn finish(mut self) -> Vec<Finding> {
        self.check_expected();
        // Lines before the first one are missing, unless the record says that they were deleted.
        if let Some(start) = self.start
            && start != Link::START
            && !self.pruned.contains(&start)
        {
            let missing = FindingKind::Missing {
                first: 1,
                last: start.line.max(1),
            };
            self.findings.insert(
                0,
                Finding {
                    position: 0,
                    kind: missing,
                },
            );
        }
        self.findings
    }

    fn check_expected(&mut self) {
        let Some(expected) = self.expected else { return };
        let end = self.last.map_or(0, |last| last.line);
        let position = self.read.saturating_sub(1);
        let is_named = |finding: &Finding| matches!(finding.kind, FindingKind::Changed { first, last } if (first..=last).contains(&expected.line));
        if expected.line > end {
            let (first, last) = (end + 1, expected.line);
            self.add(position, FindingKind::Missing { first, last });
        } else if self.found.is_some_and(|hash| hash != expected.hash) && !self.findings.iter().any(is_named) {
            let (first, last) = (expected.line, expected.line);
            self.add(position, FindingKind::Changed { first, last });
        }
    }

    /// Compares the line before with its hash in this one. Neighbouring mismatches are one finding.
    fn compare(&mut self, position: u64, last: Link, previous: LineHash) {
        let mismatches = last.hash != previous;
        if mismatches {
            match self.findings.last_mut().map(|finding| &mut finding.kind) {
                Some(FindingKind::Changed { last: end, .. }) if self.is_mismatched => *end = last.line,
                _ => self.add(
                    position.saturating_sub(1),
                    FindingKind::Changed {
                        first: last.line,
                        last: last.line,
                    },
                ),
            }
        }
        self.is_mismatched = mismatches;
    }

    fn unreadable(&mut self, position: u64) {
        self.unreadable += 1;
        let line = self.last.map_or(0, |last| last.line) + self.unreadable;
        self.add(position, FindingKind::Unreadable { line });
    }

    fn out_of_order(&mut self, position: u64, line: u64) {
        let mut was_missing = false;
        let mut left = Vec::with_capacity(self.findings.len());
        for finding in std::mem::take(&mut self.findings) {
            let FindingKind::Missing { first, last } = finding.kind else {
                left.push(finding);
                continue;
            };
            if !(first..=last).contains(&line) {
                left.push(finding);
                continue;
            }
            was_missing = true;
            for (first, last) in [(first, line - 1), (line + 1, last)] {
                if first <= last {
                    let kind = FindingKind::Missing { first, last };
                    left.push(Finding { kind, ..finding });
                }
            }
        }
        self.findings = left;
        self.add(
            position,
            if was_missing {
                FindingKind::Misplaced { line }
            } else {
                FindingKind::Repeated { line }
            },
        );
    }

    fn add(&mut self, position: u64, kind: FindingKind) {
        self.findings.push(Finding { position, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Content;
    use super::*;

    fn lines(number: usize) -> Vec<String> {
        let mut link = Link::START;
        let event = |number: usize| format!("{{\"number\":{number}}}");
        let lines = (1..=number).map(|number| link.next_line(&Content::Event(&event(number))).trim_end().to_owned());
        lines.collect()
    }

    fn verify(lines: &[String]) -> Vec<String> {
        let mut verifier = Verifier::default();
        lines.iter().for_each(|line| verifier.line(line.as_bytes()));
        verifier.finish().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unchanged_record_has_no_fault() {
        assert_eq!(verify(&lines(9)), Vec::<String>::new());
        assert_eq!(verify(&[]), Vec::<String>::new());
    }

    #[test]
    fn names_each_kind_of_tampering() {
        let check = |tamper: fn(&mut Vec<String>), expected: &[&str]| {
            let mut lines = lines(9);
            tamper(&mut lines);
            assert_eq!(verify(&lines), expected);
        };
        check(|all| all[3] = all[3].replace("4}}", "5}}"), &["line 4 was changed"]);
        check(
            |all| {
                all[3] = all[3].replace("4}}", "5}}");
                all[6] = all[6].replace("7}}", "8}}");
            },
            &["line 4 was changed", "line 7 was changed"],
        );
        // Its own hash of the line before was changed as well.
        check(
            |all| {
                let zeros = LineHash::NONE.to_string();
                all[3].replace_range(22..22 + zeros.len(), &zeros);
            },
            &["lines 3 to 4: at least line 4 was changed"],
        );
        check(|all| drop(all.remove(3)), &["line 4 is missing"]);
        check(|all| drop(all.drain(3..6)), &["lines 4 to 6 are missing"]);
        check(|all| drop(all.remove(0)), &["line 1 is missing"]);
        check(|all| drop(all.drain(..4)), &["lines 1 to 4 are missing"]);
        check(|all| all.swap(3, 4), &["line 4 is in the wrong place"]);
        check(
            |all| all.swap(2, 6),
            &[
                "line 4 is in the wrong place",
                "line 5 is in the wrong place",
                "line 6 is in the wrong place",
                "line 3 is in the wrong place",
            ],
        );
        check(|all| all.insert(5, all[2].clone()), &["line 3 is there twice"]);
        let unreadable = "in place of line 4 is a line that cannot be read";
        check(|all| all[3] = "not a line".to_owned(), &[unreadable]);
        check(|all| all.insert(3, "not a line".to_owned()), &[unreadable]);
    }

    #[test]
    fn the_end_of_a_record_is_known_by_somebody_else() {
        let lines = lines(9);
        let hash = LineHash::of(lines[8].as_bytes());
        let check = |lines: &[String], expected: &[&str]| {
            let mut verifier = Verifier::expecting(Link { line: 9, hash });
            lines.iter().for_each(|line| verifier.line(line.as_bytes()));
            let findings: Vec<String> = verifier.finish().iter().map(ToString::to_string).collect();
            assert_eq!(findings, expected);
        };
        check(&lines, &[]);
        check(&lines[..7], &["lines 8 to 9 are missing"]);
        check(&[], &["lines 1 to 9 are missing"]);
        let mut changed = lines.clone();
        changed[8] = changed[8].replace("9}}", "8}}");
        check(&changed, &["line 9 was changed"]);
    }

    #[test]
    fn lines_that_the_record_says_were_deleted_are_not_missing() {
        let mut link = Link::START;
        let deleted: Vec<_> = (0..3).map(|_| link.next_line(&Content::Event("{}"))).collect();
        let through = link;
        let mut kept = vec![link.next_line(&Content::Event("{}"))];
        let time = 1;
        kept.push(link.next_line(&Content::Note(Note::Pruned { time, through })));
        let kept: Vec<String> = kept.iter().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(deleted.len(), 3);
        assert_eq!(verify(&kept), Vec::<String>::new());
        assert_eq!(verify(&kept[1..]), ["lines 1 to 4 are missing"]);
    }
}
