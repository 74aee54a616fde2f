//! Processes as `/proc` shows them: named so that a reused number is never mistaken.

use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process, named by its number and by when it began.
///
/// The kernel gives numbers out again; number and beginning together it does
/// not, until the machine starts anew (see [`boot_id`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Its number.
    pub pid: i32,
    /// When it began, in clock ticks since the machine started (field 22 of `/proc/PID/stat`).
    pub began: u64,
}

impl ProcessMark {
    /// Marks the process that has the number `pid` now.
    ///
    /// # Errors
    ///
    /// There is no such process, or `/proc` cannot be read.
    pub fn of(pid: i32) -> io::Result<Self> {
        Seen::read(pid).map(|seen| seen.mark)
    }

    /// Whether the process still runs. One that ended and was not yet waited for does not.
    pub fn is_alive(self) -> bool {
        Seen::read(self.pid).is_ok_and(|seen| seen.mark == self && !seen.ended())
    }

    /// Sends it a signal, and never sends it to another process that got its number.
    pub(super) fn signal(self, signal: Signal) -> io::Result<Delivery> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(Delivery::Gone);
        };
        // The descriptor pins the process: what is checked after it was
        // opened is what the signal goes to.
        let pinned = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pinned) => pinned,
            Err(rustix::io::Errno::SRCH) => return Ok(Delivery::Gone),
            Err(error) => return Err(error.into()),
        };
        if !self.is_alive() {
            return Ok(Delivery::Gone);
        }
        match pidfd_send_signal(&pinned, signal) {
            Ok(()) => Ok(Delivery::Sent),
            Err(rustix::io::Errno::SRCH) => Ok(Delivery::Gone),
            Err(error) => Err(error.into()),
        }
    }
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It was sent.
    Sent,
    /// There was nobody to send it to any more.
    Gone,
}

/// A process as one reading of `/proc` showed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) mark: ProcessMark,
    parent: i32,
    session: i32,
    state: char,
}

impl Seen {
    fn read(pid: i32) -> io::Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(pid, &text).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat is unreadable"),
            )
        })
    }

    /// Reads a line of `/proc/PID/stat`. The second field is the program's
    /// name in parentheses and may itself hold spaces and parentheses.
    fn parse(pid: i32, line: &str) -> Option<Self> {
        let rest = &line[line.rfind(')')? + 1..];
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // State is field 3, the parent 4, the session 6, the beginning 22.
        let session = fields.nth(1)?.parse().ok()?;
        let began = fields.nth(15)?.parse().ok()?;
        Some(Self {
            mark: ProcessMark { pid, began },
            parent,
            session,
            state,
        })
    }

    fn ended(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Every living process of the session that `leader` began, whether or not it lives itself.
///
/// While a session has members the kernel does not give its number out again:
/// another process with this number means that the session is gone.
///
/// # Errors
///
/// `/proc` cannot be listed.
pub(super) fn session_of(leader: ProcessMark) -> io::Result<Vec<Seen>> {
    if Seen::read(leader.pid).is_ok_and(|seen| seen.mark != leader) {
        return Ok(Vec::new());
    }
    let mut members = everything()?;
    members.retain(|seen| seen.session == leader.pid && !seen.ended());
    Ok(members)
}

fn everything() -> io::Result<Vec<Seen>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may have ended since the listing.
        if let Ok(seen) = Seen::read(pid) {
            all.push(seen);
        }
    }
    Ok(all)
}

/// The processes that `parent` started, or took over, and that it has not waited for.
///
/// # Errors
///
/// `/proc` cannot be listed.
pub(super) fn children(parent: i32) -> io::Result<Vec<ProcessMark>> {
    let mut all = everything()?;
    all.retain(|seen| seen.parent == parent);
    Ok(all.into_iter().map(|seen| seen.mark).collect())
}

/// Every living process below `root`, nearest first.
///
/// # Errors
///
/// `/proc` cannot be listed.
pub(super) fn descendants(root: i32) -> io::Result<Vec<Seen>> {
    let mut all = everything()?;
    let mut below: Vec<Seen> = Vec::new();
    let mut parents = vec![root];
    while !parents.is_empty() {
        let (next, rest): (Vec<Seen>, Vec<Seen>) = all
            .into_iter()
            .partition(|seen| parents.contains(&seen.parent));
        parents = next.iter().map(|seen| seen.mark.pid).collect();
        below.extend(next);
        all = rest;
    }
    below.retain(|seen| !seen.ended());
    Ok(below)
}

/// The id that the kernel gave itself when the machine started; numbers of
/// processes mean nothing beyond it. Empty where the kernel tells none.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b (c) S 3 6 5 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4242 0";
        let seen = Seen::parse(7, line).unwrap();
        assert_eq!((seen.parent, seen.session, seen.state), (3, 5, 'S'));
        assert_eq!(seen.mark.began, 4242);
    }

    #[test]
    fn a_process_is_alive_until_it_ends_even_before_it_is_waited_for() {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mark = ProcessMark::of(child.id().cast_signed()).unwrap();
        assert!(mark.is_alive());
        assert_eq!(mark.signal(Signal::KILL).unwrap(), Delivery::Sent);
        for _ in 0..500 {
            if !mark.is_alive() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(!mark.is_alive());
        child.wait().unwrap();
        assert_eq!(mark.signal(Signal::KILL).unwrap(), Delivery::Gone);
    }

    #[test]
    fn a_signal_never_reaches_another_process_with_the_same_number() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mark = ProcessMark::of(child.id().cast_signed()).unwrap();
        let stale = ProcessMark {
            began: mark.began - 1,
            ..mark
        };
        assert!(!stale.is_alive());
        assert_eq!(stale.signal(Signal::KILL).unwrap(), Delivery::Gone);
        assert!(mark.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn grandchildren_are_found_below_their_grandparent() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .spawn()
            .unwrap();
        let shell = child.id().cast_signed();
        let mut below = Vec::new();
        for _ in 0..500 {
            below = descendants(shell).unwrap();
            if !below.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(below.len(), 1);
        assert!(
            descendants(std::process::id().cast_signed())
                .unwrap()
                .iter()
                .any(|seen| seen.mark == below[0].mark)
        );
        below[0].mark.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
    }
}
