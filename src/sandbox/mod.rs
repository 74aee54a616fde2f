//! The sandbox that Terraform runs in.
//!
//! A plan runs code that the author of a pull request chose. Here is what keeps it from the rest
//! of the machine: a [`Sandbox`] of some [`Level`] turns a [`Confinement`], which says what a run
//! may reach, into the command that Terraform's is put behind.
//!
//! What is not named in a confinement is not there (bubblewrap) or cannot be opened (Landlock).

mod bubblewrap;
pub mod confine;
mod landlock;
mod network;
mod probe;
mod seccomp;
mod toolchain;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::network::NetworkRule;

pub use self::landlock::Abi;
pub use self::network::Network;
pub use self::probe::{NotAvailable, find};
pub use self::toolchain::CliPaths;

/// What keeps runs from the rest of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// Namespaces, made by this program `bwrap`: what is not named does not exist inside.
    Bubblewrap {
        /// Where the program is.
        program: PathBuf,
    },
    /// The kernel's Landlock with a filter of system calls: what is not named cannot be opened.
    Landlock {
        /// What this kernel's Landlock can.
        abi: Abi,
    },
    /// Nothing: a run can do whatever the daemon can.
    None,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bubblewrap { .. } => "bubblewrap",
            Self::Landlock { .. } => "landlock",
            Self::None => "none",
        })
    }
}

/// A sandbox that was tried and works on this machine, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    level: Level,
    /// Our own program, which confines itself before it becomes another.
    helper: PathBuf,
    /// How it takes runs from the network.
    closing: Closing,
}

/// How a sandbox takes runs from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// By a network of their own with a door in it.
    Door,
    /// By the filter of system calls: all or nothing.
    Sockets,
}

/// What a run may reach, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The folder that it starts in.
    pub cwd: PathBuf,
    /// The private folder for temporary files.
    pub tmp_dir: PathBuf,
    /// What it may read besides the toolchain; what is not there is passed over.
    pub read: Vec<PathBuf>,
    /// What it may write; what is not there is passed over.
    pub write: Vec<PathBuf>,
    /// Whether it outlives the one that started it.
    pub lifetime: Lifetime,
    /// What of the network it has.
    pub network: Network,
}

/// Whether what runs in a sandbox outlives the process that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifetime {
    /// It is killed with it, at once and with everything that it started, where the level can.
    WithParent,
    /// It goes on by itself, as an apply must.
    OnItsOwn,
}

impl Sandbox {
    /// No sandbox at all.
    pub fn none() -> Self {
        Self {
            level: Level::None,
            helper: PathBuf::new(),
            closing: Closing::Sockets,
        }
    }

    /// What it is.
    pub fn level(&self) -> &Level {
        &self.level
    }

    /// What it cannot keep runs from, in words; `None` where it keeps all that is promised.
    pub fn weakness(&self) -> Option<&'static str> {
        match &self.level {
            Level::Bubblewrap { .. } => None,
            Level::Landlock { abi } => abi.weakness(),
            Level::None => Some("a run can do whatever the daemon can"),
        }
    }

    /// What of the network a run has by a rule. A rule that this sandbox was not tried for leaves
    /// nothing.
    pub fn network(&self, rule: &NetworkRule) -> Network {
        match (rule, self.closing) {
            (NetworkRule::Allow, _) => Network::Shared,
            (NetworkRule::Deny | NetworkRule::Hosts(_), Closing::Door) => Network::Door,
            (NetworkRule::Deny | NetworkRule::Hosts(_), Closing::Sockets) => Network::Nothing,
        }
    }

    /// The command, with its arguments, that a program's is put behind; empty where there is no sandbox.
    ///
    /// `program` is the one that will run in it, and is made readable.
    pub fn wrapper(&self, program: &Path, confinement: &Confinement) -> Vec<OsString> {
        match &self.level {
            Level::Bubblewrap { program: bwrap } => {
                let mut command = bubblewrap::command(bwrap, &self.helper, program, confinement);
                if confinement.network != Network::Shared {
                    command.extend(confine::inner_command(&self.helper, confinement.network));
                }
                command
            }
            Level::Landlock { .. } => confine::command(&self.helper, program, confinement),
            Level::None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_sandbox_a_program_is_put_behind_nothing() {
        let confinement = Confinement {
            cwd: "/checkout".into(),
            tmp_dir: "/tmp/mst-x".into(),
            read: Vec::new(),
            write: Vec::new(),
            lifetime: Lifetime::WithParent,
            network: Network::Shared,
        };
        let sandbox = Sandbox::none();
        assert!(
            sandbox
                .wrapper(Path::new("/bin/terraform"), &confinement)
                .is_empty()
        );
        assert!(sandbox.weakness().is_some());
    }
}
