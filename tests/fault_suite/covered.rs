//! What a run of the suite has met.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by what was met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Covered(BTreeMap<String, usize>);

impl Covered {
    /// Counts one more of these.
    pub(crate) fn met(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Counts what another has counted as well.
    pub(crate) fn add(&mut self, other: Self) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// How often this was met.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.0.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:6}  {what}")?;
        }
        Ok(())
    }
}
