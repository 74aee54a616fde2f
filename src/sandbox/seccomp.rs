//! The filter of system calls that goes with Landlock.
//!
//! It denies what a plan never needs and what looks into other processes, changes the machine, or
//! gets round Landlock; all the rest is allowed, since what providers need is not known. What is
//! denied fails with "operation not permitted". It holds for the machine's own kind of programs;
//! those of another kind (32 bits) are killed.

use seccompiler::{TargetArch, apply_filter, compile_from_json};

use super::Network;

/// Denied outright. The names are those of `syscalls(2)`.
const DENIED: [&str; 48] = [
    // Other processes' memory and files.
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "perf_event_open",
    "userfaultfd",
    // Another view of the disk.
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "open_by_handle_at",
    "mknodat",
    "quotactl",
    "quotactl_fd",
    "swapon",
    "swapoff",
    // Calls by another way, which no filter sees.
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    // The kernel and the machine.
    "bpf",
    "keyctl",
    "add_key",
    "request_key",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "reboot",
    "syslog",
    "acct",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "sethostname",
    "setdomainname",
];

/// `clone` with this flag makes a user namespace, in which a process has every right.
const CLONE_NEWUSER: u32 = 0x1000_0000;

/// Ways by which sockets are made that no filter sees.
const UNSEEN: [&str; 3] = ["io_uring_setup", "io_uring_enter", "io_uring_register"];

/// Kinds of sockets: `AF_UNIX`, by which providers are spoken to.
const WITHIN: [u32; 1] = [1];

/// The same with `AF_INET`, `AF_INET6` and `AF_NETLINK`, which belong to a network of one's own.
/// Others reach the machine in spite of it: `AF_VSOCK` does.
const OF_A_NETWORK: [u32; 4] = [1, 2, 10, 16];

/// The number of `EPERM`, as of Linux on every kind of machine.
const EPERM: u32 = 1;

/// The number of `ENOSYS`.
const ENOSYS: u32 = 38;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error("there is no filter of system calls for this kind of machine ({0})")]
    Architecture(&'static str),
    #[error("the filter of system calls cannot be set up: {0}")]
    Refused(String),
}

/// Denies this process, and all that it becomes and starts, the calls above. There is no way back.
pub(super) fn apply(network: Network) -> Result<(), FilterError> {
    install(&rules(network))
}

/// Denies this process, and all that it becomes and starts, sockets alone. There is no way back.
pub(super) fn apply_to_sockets(network: Network) -> Result<(), FilterError> {
    let mut denied = sockets(network);
    denied.extend(UNSEEN.map(|name| serde_json::json!({ "syscall": name })));
    install(&serde_json::json!({
        "denied": {
            "mismatch_action": "allow",
            "match_action": { "errno": EPERM },
            "filter": denied,
        },
    }))
}

fn install(rules: &serde_json::Value) -> Result<(), FilterError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| FilterError::Architecture(std::env::consts::ARCH))?;
    let refused = |error: seccompiler::Error| FilterError::Refused(error.to_string());
    let programs = compile_from_json(rules.to_string().as_bytes(), arch).map_err(refused)?;
    // A refusal outranks a leave, whichever filter comes first.
    programs
        .values()
        .try_for_each(|program| apply_filter(program).map_err(refused))
}

/// What is denied of sockets: all kinds but those that belong to what is left of the network.
fn sockets(network: Network) -> Vec<serde_json::Value> {
    let left: &[u32] = match network {
        Network::Shared => return Vec::new(),
        Network::Door => &OF_A_NETWORK,
        Network::Nothing => &WITHIN,
    };
    let other_than = |kinds: &[u32]| {
        kinds
            .iter()
            .map(|kind| serde_json::json!({ "index": 0, "type": "dword", "op": "ne", "val": kind }))
            .collect::<Vec<_>>()
    };
    vec![
        serde_json::json!({ "syscall": "socket", "args": other_than(left) }),
        serde_json::json!({ "syscall": "socketpair", "args": other_than(&WITHIN) }),
    ]
}

fn rules(network: Network) -> serde_json::Value {
    let mut denied: Vec<serde_json::Value> = DENIED
        .iter()
        .map(|name| serde_json::json!({ "syscall": name }))
        .collect();
    denied.push(serde_json::json!({
        "syscall": "clone",
        "args": [{
            "index": 0,
            "type": "qword",
            "op": { "masked_eq": CLONE_NEWUSER },
            "val": CLONE_NEWUSER,
        }],
    }));
    denied.extend(sockets(network));
    serde_json::json!({
        "denied": {
            "mismatch_action": "allow",
            "match_action": { "errno": EPERM },
            "filter": denied,
        },
        // Its flags stand in memory, where a filter does not see them. Whoever is told that there is
        // no such call takes `clone`.
        "unknown": {
            "mismatch_action": "allow",
            "match_action": { "errno": ENOSYS },
            "filter": [{ "syscall": "clone3" }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_that_the_kernel_knows() {
        for arch in [TargetArch::x86_64, TargetArch::aarch64] {
            for network in [Network::Shared, Network::Door, Network::Nothing] {
                let rules = rules(network).to_string();
                let programs = compile_from_json(rules.as_bytes(), arch).unwrap();
                assert_eq!(programs.len(), 2);
                assert!(programs["denied"].len() > DENIED.len());
            }
        }
    }
}
