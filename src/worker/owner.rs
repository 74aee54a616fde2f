//! Who works on a run: a process, told apart from a later one with the same number.

use std::fmt;

use crate::engine::{ProcessMark, boot_id};

/// A process of this machine, since its last start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    process: ProcessMark,
    boot: String,
}

impl Owner {
    /// This process.
    pub fn this_process() -> Self {
        let pid = std::process::id().cast_signed();
        // Where /proc cannot be read no owner is ever taken for alive but by its number.
        let process = ProcessMark::of(pid).unwrap_or(ProcessMark { pid, began: 0 });
        Self {
            process,
            boot: boot_id(),
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let pid = parts.next()?.parse().ok()?;
        let began = parts.next()?.parse().ok()?;
        let boot = parts.next()?.to_owned();
        Some(Self {
            process: ProcessMark { pid, began },
            boot,
        })
    }

    /// Its process number.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.boot == boot_id() && self.process.is_alive()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}",
            self.process.pid, self.process.began, self.boot
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_reads_back() {
        let owner = Owner::this_process();
        assert!(owner.is_alive());
        assert_eq!(Owner::read(&owner.to_string()), Some(owner));
    }

    #[test]
    fn a_process_with_a_reused_number_is_another() {
        let mut owner = Owner::this_process();
        owner.process.began += 1;
        assert!(!owner.is_alive());
    }

    #[test]
    fn no_process_outlives_a_restart_of_the_machine() {
        let mut owner = Owner::this_process();
        owner.boot = "another".to_owned();
        assert!(!owner.is_alive());
    }
}
