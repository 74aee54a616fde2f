//! A growing file read line by line, with bounds on what is held of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A line longer than this many bytes is skipped: Terraform's events are a few
/// kilobytes, and one of a mebibyte is somebody's attempt at our memory.
const LINE_LIMIT: usize = 1 << 20;

/// How many bytes are read from the file at once.
const CHUNK: usize = 64 * 1024;

/// How many lines a tail keeps.
const TAIL_LINES: usize = 40;

/// How many bytes a tail keeps.
const TAIL_BYTES: usize = 8 * 1024;

/// One line of a file, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A whole line, as bytes: it need not be UTF-8.
    Whole(&'a [u8]),
    /// A line was longer than the limit, and is not held.
    TooLong,
}

/// A file that another process appends to, read from its beginning.
#[derive(Debug)]
pub(super) struct LineReader {
    file: File,
    /// What was read of the line that is not yet whole.
    begun: Vec<u8>,
    /// Whether that line is already too long, and its rest is thrown away.
    skipping: bool,
}

impl LineReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            begun: Vec::new(),
            skipping: false,
        })
    }

    /// Reads one chunk more, and gives each line that became whole to `each`.
    /// Returns whether there may be more to read now.
    pub(super) fn read(&mut self, mut each: impl FnMut(Line<'_>)) -> io::Result<More> {
        let mut chunk = vec![0; CHUNK];
        let length = match self.file.read(&mut chunk) {
            Ok(0) => return Ok(More::NotNow),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(More::Perhaps),
            Err(error) => return Err(error),
        };
        let mut rest = &chunk[..length];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.take(&rest[..end]);
            self.finish(&mut each);
            rest = &rest[end + 1..];
        }
        self.take(rest);
        Ok(More::Perhaps)
    }

    /// Gives the last line to `each` where the file does not end in a line's end.
    pub(super) fn close(mut self, mut each: impl FnMut(Line<'_>)) {
        if self.skipping || !self.begun.is_empty() {
            self.finish(&mut each);
        }
    }

    fn take(&mut self, part: &[u8]) {
        if self.begun.len() + part.len() > LINE_LIMIT {
            self.skipping = true;
            self.begun = Vec::new();
        }
        if !self.skipping {
            self.begun.extend_from_slice(part);
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(Line<'_>)) {
        if self.skipping {
            each(Line::TooLong);
        } else {
            each(Line::Whole(&self.begun));
        }
        self.begun.clear();
        self.skipping = false;
    }
}

/// Whether there may be more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    /// The end of what is there was not reached.
    Perhaps,
    /// The end was reached.
    NotNow,
}

/// The last lines of an output.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    /// Adds a line, which may hold line ends itself, and drops the oldest beyond the bounds.
    pub(super) fn push(&mut self, text: &str) {
        for line in text.lines() {
            let mut line = line.trim_end().to_owned();
            if line.is_empty() && self.lines.back().is_none_or(String::is_empty) {
                continue;
            }
            if line.len() > TAIL_BYTES {
                let mut end = TAIL_BYTES;
                while !line.is_char_boundary(end) {
                    end -= 1;
                }
                line.truncate(end);
            }
            self.bytes += line.len() + 1;
            self.lines.push_back(line);
            while self.lines.len() > TAIL_LINES || self.bytes > TAIL_BYTES + 1 {
                let Some(dropped) = self.lines.pop_front() else {
                    break;
                };
                self.bytes -= dropped.len() + 1;
            }
        }
    }

    /// The lines as one text.
    pub(super) fn text(&self) -> String {
        self.lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn all(reader: &mut LineReader) -> Vec<Option<Vec<u8>>> {
        let mut lines = Vec::new();
        while reader
            .read(|line| {
                lines.push(match line {
                    Line::Whole(bytes) => Some(bytes.to_vec()),
                    Line::TooLong => None,
                });
            })
            .unwrap()
            == More::Perhaps
        {}
        lines
    }

    #[test]
    fn a_line_that_is_still_being_written_waits_for_its_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut reader = LineReader::open(file.path()).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(all(&mut reader), [Some(b"one".to_vec())]);
        file.write_all(b"o\nthree").unwrap();
        assert_eq!(all(&mut reader), [Some(b"two".to_vec())]);
        let mut last = Vec::new();
        reader.close(|line| last.push(line == Line::Whole(b"three")));
        assert_eq!(last, [true]);
    }

    #[test]
    fn a_line_over_a_mebibyte_is_skipped_and_the_next_is_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![b'x'; LINE_LIMIT + 1]).unwrap();
        file.write_all(b"\nnext\n").unwrap();
        let mut reader = LineReader::open(file.path()).unwrap();
        assert_eq!(all(&mut reader), [None, Some(b"next".to_vec())]);
    }

    #[test]
    fn a_tail_keeps_the_last_forty_lines() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(&format!("line {number}"));
        }
        let text = tail.text();
        assert_eq!(text.lines().count(), TAIL_LINES);
        assert!(text.ends_with("line 99"), "{text}");
    }

    #[test]
    fn a_tail_keeps_eight_kibibytes() {
        let mut tail = Tail::default();
        for _ in 0..30 {
            tail.push(&"ü".repeat(1000));
        }
        tail.push("end");
        assert!(tail.text().len() <= TAIL_BYTES);
        assert!(tail.text().ends_with("end"));
        tail.push(&"ü".repeat(TAIL_BYTES));
        assert!(tail.text().len() <= TAIL_BYTES && !tail.text().is_empty());
    }
}
