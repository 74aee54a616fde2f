//! The chain over the records: each holds the hash of the one before it.
//!
//! A record that is changed no longer has its hash; one that is changed with its hash is not the
//! one that the next record names; one that is dropped leaves a gap. What a chain cannot show by
//! itself is that its end was cut off: for that, the [`Head`] is kept outside of it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::Record;

/// What the first record names as the hash of the one before it.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A record as it is stored: its text, and the hash of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chained {
    /// Where it stands.
    pub number: u64,
    /// The record as JSON, with its number and the hash of the one before it.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub hash: String,
}

/// How far the log has come: so many records, the last with this hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How many records there are.
    pub count: u64,
    /// The hash of the last one.
    pub hash: String,
}

impl Head {
    /// The head of an empty log.
    pub fn beginning() -> Self {
        Self {
            count: 0,
            hash: BEGINNING.to_owned(),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.count, self.hash)
    }
}

/// A text was no head of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no head of an audit log: it is written COUNT:HASH, as `mainstay audit verify` prints it"
)]
pub struct InvalidHead(pub String);

impl FromStr for Head {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let invalid = || InvalidHead(text.chars().take(100).collect());
        let (count, hash) = text.trim().split_once(':').ok_or_else(invalid)?;
        let count = count.parse().map_err(|_| invalid())?;
        if hash.len() != BEGINNING.len() || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        Ok(Self {
            count,
            hash: hash.to_ascii_lowercase(),
        })
    }
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// Gives a record its place after `head`.
pub fn seal(head: &Head, mut record: Record) -> Chained {
    record.number = head.count + 1;
    record.previous.clone_from(&head.hash);
    let text =
        serde_json::to_string(&record).expect("a record has string keys and no failing serialiser");
    Chained {
        number: record.number,
        hash: hash(&text),
        text,
    }
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A record was changed after it was written.
    Changed {
        /// Its number.
        number: u64,
    },
    /// Records were dropped from the middle or the beginning.
    Dropped {
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
    /// Records were cut off the end.
    Cut {
        /// How many records there are.
        have: u64,
        /// How many there were once.
        had: u64,
    },
    /// The log is another one than the head tells of: it was written anew up to that record, or the
    /// record itself was changed with its hash.
    Rewritten {
        /// The record that the head is of.
        number: u64,
    },
    /// Nothing outside of the log says how far it had come.
    NoHead,
    /// A start found the log other than the head told, and noted it.
    Noted {
        /// The record that says so.
        number: u64,
        /// What it says.
        reason: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { number } => {
                write!(f, "record {number} was changed after it was written")
            }
            Self::Dropped { first, last } if first == last => {
                write!(f, "record {first} was dropped")
            }
            Self::Dropped { first, last } => write!(f, "records {first} to {last} were dropped"),
            Self::Cut { have, had } => write!(
                f,
                "the end was cut off: there were {had} records, and {have} are left"
            ),
            Self::Rewritten { number } => write!(
                f,
                "record {number} is not the one that the head was noted of: it was changed with its hash, or the log \
                 was written anew"
            ),
            Self::NoHead => f.write_str(
                "nothing beside the log says how far it had come, so that a cut end could not be seen: the file \
                 `audit.head` is missing or cannot be read",
            ),
            Self::Noted { number, reason } => write!(f, "record {number} notes: {reason}"),
        }
    }
}

/// What looking through a log came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// How far the log has come.
    pub head: Head,
    /// What is wrong, in the order of the log.
    pub faults: Vec<Fault>,
}

/// Looks through a log, record by record from the first.
#[derive(Debug)]
pub struct Verifier {
    head: Head,
    faults: Vec<Fault>,
    /// Heads that were noted outside and are still to be met.
    noted: Vec<Head>,
}

impl Verifier {
    /// A verifier that holds the log against heads that were noted outside of it.
    pub fn new(noted: Vec<Head>) -> Self {
        Self {
            head: Head::beginning(),
            faults: Vec::new(),
            noted,
        }
    }

    /// Takes the next record.
    pub fn take(&mut self, row: &Chained) {
        let record = serde_json::from_str::<Record>(&row.text).ok();
        let expected = self.head.count + 1;
        let gap = row.number > expected;
        if gap {
            self.faults.push(Fault::Dropped {
                first: expected,
                last: row.number - 1,
            });
        }
        let whole =
            record.as_ref().is_some_and(|r| r.number == row.number) && hash(&row.text) == row.hash;
        if !whole {
            self.changed(row.number);
        } else if !gap
            && record
                .as_ref()
                .is_some_and(|r| r.previous != self.head.hash)
        {
            // This record is as it was written, so it is the one before that is not.
            match self.head.count {
                0 => self.changed(row.number),
                before => self.changed(before),
            }
        }
        if let Some(record) = record.filter(|r| whole && r.what == super::What::Gap) {
            self.faults.push(Fault::Noted {
                number: row.number,
                reason: record.reason.unwrap_or_default(),
            });
        }
        if self
            .noted
            .iter()
            .any(|head| head.count == row.number && head.hash != row.hash)
        {
            self.faults.push(Fault::Rewritten { number: row.number });
        }
        self.head = Head {
            count: row.number,
            hash: row.hash.clone(),
        };
    }

    /// Notes a changed record, once.
    fn changed(&mut self, number: u64) {
        let fault = Fault::Changed { number };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// What it came to, after the last record.
    pub fn finish(mut self) -> Findings {
        let furthest = self.noted.iter().map(|head| head.count).max();
        if let Some(had) = furthest.filter(|had| *had > self.head.count) {
            self.faults.push(Fault::Cut {
                have: self.head.count,
                had,
            });
        }
        Findings {
            head: self.head,
            faults: self.faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::What;
    use crate::clock::now;

    fn log(length: u64) -> (Vec<Chained>, Head) {
        let mut head = Head::beginning();
        let mut rows = Vec::new();
        for _ in 0..length {
            let row = seal(&head, Record::new(What::DaemonStarted, now()));
            head = Head {
                count: row.number,
                hash: row.hash.clone(),
            };
            rows.push(row);
        }
        (rows, head)
    }

    fn faults(rows: &[Chained], noted: &[Head]) -> Vec<Fault> {
        let mut verifier = Verifier::new(noted.to_vec());
        for row in rows {
            verifier.take(row);
        }
        verifier.finish().faults
    }

    #[test]
    fn a_log_as_it_was_written_has_no_fault() {
        let (rows, head) = log(5);
        assert_eq!(faults(&rows, &[head]), []);
        // A head that was noted earlier is met on the way.
        let earlier = Head {
            count: 3,
            hash: rows[2].hash.clone(),
        };
        assert_eq!(faults(&rows, &[earlier]), []);
    }

    #[test]
    fn a_record_that_was_changed_is_named() {
        let (mut rows, head) = log(5);
        rows[2].text = rows[2].text.replace("daemon_started", "applied");
        assert_eq!(faults(&rows, &[head]), [Fault::Changed { number: 3 }]);
    }

    #[test]
    fn a_record_that_was_changed_with_its_hash_is_named() {
        let (mut rows, head) = log(5);
        rows[2].text = rows[2].text.replace("daemon_started", "applied");
        rows[2].hash = hash(&rows[2].text);
        assert_eq!(faults(&rows, &[head]), [Fault::Changed { number: 3 }]);
    }

    #[test]
    fn the_last_record_changed_with_its_hash_shows_by_the_head() {
        let (mut rows, head) = log(5);
        rows[4].text = rows[4].text.replace("daemon_started", "applied");
        rows[4].hash = hash(&rows[4].text);
        assert_eq!(
            faults(&rows, std::slice::from_ref(&head)),
            [Fault::Rewritten { number: 5 }]
        );
        // Without a head outside nothing tells.
        assert_eq!(faults(&rows, &[]), []);
    }

    #[test]
    fn a_record_that_was_dropped_is_named() {
        let (mut rows, head) = log(5);
        rows.remove(2);
        assert_eq!(
            faults(&rows, &[head]),
            [Fault::Dropped { first: 3, last: 3 }]
        );
    }

    #[test]
    fn records_dropped_from_the_beginning_are_named() {
        let (mut rows, head) = log(5);
        rows.drain(..2);
        assert_eq!(
            faults(&rows, &[head]),
            [Fault::Dropped { first: 1, last: 2 }]
        );
    }

    #[test]
    fn a_record_dropped_and_the_rest_numbered_anew_is_found() {
        let (mut rows, head) = log(5);
        rows.remove(2);
        for (index, row) in rows.iter_mut().enumerate() {
            row.number = index as u64 + 1;
        }
        assert!(faults(&rows, &[head]).contains(&Fault::Changed { number: 3 }));
    }

    #[test]
    fn an_end_that_was_cut_shows_by_the_head() {
        let (mut rows, head) = log(5);
        rows.truncate(3);
        assert_eq!(faults(&rows, &[head]), [Fault::Cut { have: 3, had: 5 }]);
    }

    #[test]
    fn a_log_that_was_written_anew_shows_by_the_head() {
        let (_, head) = log(5);
        let (mut other, _) = log(4);
        let mut head_of_other = Head {
            count: 4,
            hash: other[3].hash.clone(),
        };
        for _ in 0..2 {
            let row = seal(&head_of_other, Record::new(What::Applied, now()));
            head_of_other = Head {
                count: row.number,
                hash: row.hash.clone(),
            };
            other.push(row);
        }
        assert_eq!(faults(&other, &[head]), [Fault::Rewritten { number: 5 }]);
    }

    #[test]
    fn a_head_reads_back_and_nothing_else_is_one() {
        let (_, head) = log(2);
        assert_eq!(head.to_string().parse(), Ok(head));
        for text in ["", "5", "x:y", "5:abc", &format!("-1:{BEGINNING}")] {
            assert!(text.parse::<Head>().is_err(), "{text}");
        }
    }
}
