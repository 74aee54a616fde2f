//! The audit log: what a record says, how records are chained, and what an auditor reads in them.
//!
//! Nothing here touches the disk. The store writes each record in the transaction of the event that
//! it describes, so that neither is there without the other.

mod chain;
mod change;
mod record;

pub use chain::{Chained, Fault, Findings, Head, InvalidHead, Verifier, seal};
pub use change::{Basis, CSV_HEAD, Entry, Implemented, change_log, csv_line};
pub use record::{Record, What};
