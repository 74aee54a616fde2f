//! Landlock: the kernel lets a process open nothing but what is named.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use serde::{Deserialize, Serialize};

use super::toolchain::{OPENSSL, PROGRAMS, SETTINGS};
use super::{Confinement, Network};

/// What the rules are written for. What an older kernel does not know it does not hold.
const WRITTEN_FOR: ABI = ABI::V6;

/// Of `/proc` and `/sys` what tells of the machine and of no process, and the process itself.
/// Runtimes size themselves by it.
const FACTS: [&str; 14] = [
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/uptime",
    "/proc/version",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/kernel/ngroups_max",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/net/core/somaxconn",
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Devices without memory.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// The version of the kernel's Landlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Abi(pub i32);

impl Abi {
    /// The first that keeps files from being cut to nothing (Linux 6.2). Older ones are not used.
    pub const ENOUGH: Self = Self(3);

    /// The first that keeps signals and abstract sockets inside (Linux 6.12).
    pub const SCOPES: Self = Self(6);

    /// What this version cannot keep runs from, in words.
    pub fn weakness(self) -> Option<&'static str> {
        (self < Self::SCOPES)
            .then_some("this kernel is older than Linux 6.12: a run can send signals to the daemon")
    }
}

/// Why the rules do not hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum LandlockError {
    #[error("the kernel refused the rules")]
    Refused(#[from] RulesetError),
    #[error("the kernel has no Landlock, or it is switched off")]
    Missing,
    #[error(
        "the kernel's Landlock is of version {have}, and {} is needed (Linux 6.2)",
        Abi::ENOUGH.0
    )]
    TooOld { have: i32 },
}

/// Confines this process, and all that it becomes and starts. There is no way back.
pub(super) fn apply(program: &Path, confinement: &Confinement) -> Result<Abi, LandlockError> {
    let read = AccessFs::from_read(WRITTEN_FOR);
    let write = AccessFs::from_all(WRITTEN_FOR);
    let toolchain = PROGRAMS.iter().chain(&SETTINGS).copied().chain([OPENSSL]);
    let rules = Ruleset::default().handle_access(write)?;
    // The filter of system calls does it alone where the kernel is older than Linux 6.7.
    let rules = match confinement.network {
        Network::Nothing => rules.handle_access(AccessNet::from_all(WRITTEN_FOR))?,
        Network::Shared | Network::Door => rules,
    };
    let status = rules
        .scope(Scope::from_all(WRITTEN_FOR))?
        .create()?
        .add_rules(path_beneath_rules(toolchain.chain(FACTS), read))?
        .add_rules(path_beneath_rules([program], read))?
        .add_rules(path_beneath_rules(&confinement.read, read))?
        .add_rules(path_beneath_rules(
            DEVICES,
            AccessFs::ReadFile | AccessFs::WriteFile,
        ))?
        .add_rules(path_beneath_rules(
            confinement.write.iter().chain([&confinement.tmp_dir]),
            write,
        ))?
        .restrict_self()?;
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
        return Err(LandlockError::Missing);
    };
    let abi = Abi(effective_abi as i32);
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(LandlockError::Missing);
    }
    if abi < Abi::ENOUGH {
        return Err(LandlockError::TooOld { have: abi.0 });
    }
    Ok(abi)
}

/// The version of this kernel's Landlock, 0 for none. To ask is to be confined: this process opens
/// nothing any more.
pub(super) fn version() -> Abi {
    let asked = Ruleset::default()
        .handle_access(AccessFs::from_all(WRITTEN_FOR))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self());
    match asked.map(|status| status.landlock) {
        Ok(LandlockStatus::Available { effective_abi, .. }) => Abi(effective_abi as i32),
        _ => Abi(0),
    }
}
