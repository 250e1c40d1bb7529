//! First and last lines of the record's files, which link one file to the next.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use regauth_shared::audit::{Link, link_before, link_of};

/// Last whole lines of a file.
pub(super) struct Tail {
    text: Vec<u8>,
    /// Length of the incomplete line behind them.
    pub(super) torn: u64,
}

impl Tail {
    pub(super) fn read(file: &mut File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut start = length.saturating_sub(MAX_LINE);
        loop {
            let mut text = Vec::new();
            file.seek(SeekFrom::Start(start))?;
            file.read_to_end(&mut text)?;
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            // The first line may begin before the tail.
            let first = if start == 0 {
                0
            } else {
                text.iter().position(|byte| *byte == b'\n').map_or(whole, |end| end + 1)
            };
            if first < whole || start == 0 {
                let torn = (text.len() - whole) as u64;
                text.truncate(whole);
                text.drain(..first);
                return Ok(Self { text, torn });
            }
            start = 0;
        }
    }

    pub(super) fn lines(&self) -> Vec<&[u8]> {
        self.text
            .split_inclusive(|byte| *byte == b'\n')
            .map(without_line_feed)
            .collect()
    }
}

/// Number and hash of a file's last line; `None` if that line is incomplete or cannot be read.
pub(super) fn last_link(file: &Path) -> Option<Link> {
    let tail = Tail::read(&mut File::open(file).ok()?).ok()?;
    let last = tail.lines().last().copied().filter(|_| tail.torn == 0);
    link_of(last?)
}

/// Link of a file's first line to the line before it.
pub(super) fn first_link(file: &Path) -> Option<Link> {
    let mut start = Vec::new();
    File::open(file).ok()?.take(MAX_LINE).read_to_end(&mut start).ok()?;
    link_before(start.split(|byte| *byte == b'\n').next()?)
}

fn without_line_feed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Longest line: paths of a program and of its working folder have at most 4 KiB each, six bytes a byte in JSON.
const MAX_LINE: u64 = 128 * 1024;
