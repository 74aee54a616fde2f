//! Time: points in it, spans as people write them, and schedules.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// A point in time, in UTC.
pub type Timestamp = DateTime<Utc>;

/// The time now.
pub fn now() -> Timestamp {
    Utc::now()
}

/// When something is due again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// This long after the last time.
    Every(Duration),
    /// At the times of a cron line (five fields, UTC).
    Cron(String),
}
