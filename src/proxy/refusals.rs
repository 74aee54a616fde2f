//! What the proxy refused, in a file: written as it happens, so that nothing is lost with a process.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Different hosts that are noted; who asks for more is not asking for hosts.
const MOST: usize = 1_000;

/// Characters of what was asked for that are noted: no name is longer.
const LONGEST: usize = 260;

/// Bytes that are read of the file: more than what is written.
const READ_LIMIT: u64 = 2 << 20;

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The host and port, as they were asked for. It is text of a stranger's.
    pub asked: String,
    /// Why not; `None` where it only is not on the list.
    #[serde(default)]
    pub why: Option<String>,
}

/// Where refusals are noted.
#[derive(Debug)]
pub struct Refusals {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    seen: HashSet<String>,
}

impl Refusals {
    /// Notes them in the file at `path`, which is made, and which its owner alone reads.
    ///
    /// # Errors
    ///
    /// Where the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            inner: Mutex::new(Inner {
                file,
                seen: HashSet::new(),
            }),
        })
    }

    /// Notes one, unless the same was noted before.
    pub(super) fn note(&self, asked: &str, why: Option<String>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let asked: String = asked.chars().take(LONGEST).collect();
        if inner.seen.len() >= MOST || !inner.seen.insert(asked.clone()) {
            return;
        }
        if let Ok(mut line) = serde_json::to_vec(&Refusal { asked, why }) {
            line.push(b'\n');
            // It is refused all the same where it cannot be noted: the disk is full, say.
            let _ = inner.file.write_all(&line);
        }
    }
}

/// What was refused, as the file at `path` says; nothing where there is no such file. A line that
/// was cut is passed over.
///
/// # Errors
///
/// Where the file is there and cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<Refusal>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut text = Vec::new();
    file.take(READ_LIMIT).read_to_end(&mut text)?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_is_noted_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refused");
        assert_eq!(read(&path).unwrap(), []);
        let refusals = Refusals::create(&path).unwrap();
        for _ in 0..3 {
            refusals.note("evil.example:443", None);
            refusals.note("a.example:80", Some("it is loopback".into()));
        }
        let read = read(&path).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].asked, "evil.example:443");
        assert_eq!(read[1].why.as_deref(), Some("it is loopback"));
    }

    #[test]
    fn who_asks_without_end_fills_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refused");
        let refusals = Refusals::create(&path).unwrap();
        for number in 0..(MOST + 500) {
            refusals.note(&format!("{number}{}", "x".repeat(1_000)), None);
        }
        assert_eq!(read(&path).unwrap().len(), MOST);
        assert!(std::fs::metadata(&path).unwrap().len() < 600_000);
    }
}
