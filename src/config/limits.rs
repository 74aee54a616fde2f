//! What one run may use, and what git may bring: the `[limits]` table.

use std::fmt;

use super::reader::TableReader;

/// What one run may use, and what git may bring, in bytes where it is no count.
///
/// Time is not here: it is a workspace's `plan_timeout` and `apply_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory that the processes of a step hold for themselves, together.
    pub memory: u64,
    /// How many processes of a step there are at once.
    pub processes: u64,
    /// How many files one process has open.
    pub open_files: u64,
    /// What stands in the run's own folders on the disk.
    pub disk: u64,
    /// What a step prints.
    pub output: u64,
    /// A plan, as a file and as JSON, each.
    pub plan: u64,
    /// What a remote sends in one fetch.
    pub pack: u64,
    /// What a checkout writes.
    pub tree: u64,
    /// How many files and folders a tree has.
    pub files: u64,
    /// One file that is read or checked out.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The plan of a large cloud provider takes nearly 1 GiB, one of 10,000 resources 330 MiB.
            memory: 4 << 30,
            processes: 512,
            open_files: 16_384,
            // One provider is up to half a GiB, and there are several.
            disk: 10 << 30,
            output: 64 << 20,
            // About 300,000 resources. It is read in a process of its own, which takes several times as
            // much memory.
            plan: 256 << 20,
            // The first fetch brings all of the history.
            pack: 2 << 30,
            tree: 1 << 30,
            files: 500_000,
            // Programs for functions in a cloud are up to 250 MiB; a file is read as a whole.
            file: 256 << 20,
        }
    }
}

/// A text is no size.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no size above 0 like `64MiB` or `4GiB` (KiB, MiB, GiB or TiB)")]
pub(super) struct InvalidSize(String);

/// Reads a size, `500MiB` or `2GiB`, and gives it in bytes.
pub(super) fn size(given: &str) -> Result<u64, InvalidSize> {
    let invalid = || InvalidSize(given.to_owned());
    let digits = given.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match given[digits.len()..].trim() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(invalid()),
    };
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    // No machine has as much; beyond it the sum would not fit.
    if number == 0 || number > 1 << 20 {
        return Err(invalid());
    }
    Ok(number << shift)
}

/// Shows bytes as `[limits]` writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", bytes >> shift);
            }
        }
        write!(f, "{bytes} bytes")
    }
}

/// More of anything than this is a slip of the finger.
const MOST: u32 = 1 << 20;

pub(super) fn read(mut table: TableReader<'_>) -> Limits {
    let mut limits = Limits::default();
    for (key, place) in [
        ("memory", &mut limits.memory),
        ("disk", &mut limits.disk),
        ("output", &mut limits.output),
        ("plan", &mut limits.plan),
        ("pack", &mut limits.pack),
        ("tree", &mut limits.tree),
        ("file", &mut limits.file),
    ] {
        if let Some(size) = table.parsed(key, size) {
            *place = size.value;
        }
    }
    for (key, place) in [
        ("processes", &mut limits.processes),
        ("open_files", &mut limits.open_files),
        ("files", &mut limits.files),
    ] {
        if let Some(count) = table.count(key, MOST) {
            *place = count.get() as u64;
        }
    }
    table.finish(|_| None);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_and_is_shown_as_it_is_written() {
        for (given, bytes, shown) in [
            ("1KiB", 1024, "1 KiB"),
            ("64MiB", 64 << 20, "64 MiB"),
            ("4 GiB", 4 << 30, "4 GiB"),
            ("2TiB", 2 << 40, "2 TiB"),
        ] {
            assert_eq!(size(given).unwrap(), bytes, "{given}");
            assert_eq!(Size(bytes).to_string(), shown);
        }
        for given in [
            "",
            "64",
            "64MB",
            "0GiB",
            "-1GiB",
            "GiB",
            "1.5GiB",
            "99999999TiB",
        ] {
            assert!(size(given).is_err(), "{given}");
        }
        assert_eq!(Size(1000).to_string(), "1000 bytes");
        assert_eq!(Size(1536 << 20).to_string(), "1536 MiB");
    }
}
