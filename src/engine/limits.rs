//! What a step may use, looked at while it runs.
//!
//! The kernel's own limits do not say it: a limit of address space ends programs that reserve much
//! and use little, a limit of processes counts all of a user's. So the supervisor looks, some times a
//! second, at what the step's processes hold and what stands in its folders.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::process::descendants;
use crate::config::{Limits, Size};

/// How often what is printed is looked at. In this time a program prints up to 100 MiB.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often processes and their memory are looked at.
const PROCESSES_EVERY: Duration = Duration::from_millis(250);

/// Looking at the disk takes at most this part of the time.
const DISK_SHARE: u32 = 20;

/// What is limited. Time is not here: it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Memory.
    Memory,
    /// Processes.
    Processes,
    /// Open files of one process.
    OpenFiles,
    /// Files on the disk.
    Disk,
    /// What is printed.
    Output,
    /// The plan, as a file or as JSON.
    Plan,
}

/// A limit that a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitHit {
    /// Which.
    pub limit: Limit,
    /// What is allowed: bytes, or a count.
    pub allowed: u64,
}

impl LimitHit {
    /// The key in `[limits]` that raises it.
    pub fn key(&self) -> &'static str {
        match self.limit {
            Limit::Memory => "memory",
            Limit::Processes => "processes",
            Limit::OpenFiles => "open_files",
            Limit::Disk => "disk",
            Limit::Output => "output",
            Limit::Plan => "plan",
        }
    }
}

/// What happened, as the end of a sentence: `used more than 4 GiB of memory`.
impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = self.allowed;
        let size = Size(allowed);
        match self.limit {
            Limit::Memory => write!(f, "used more than {size} of memory"),
            Limit::Processes => write!(f, "had more than {allowed} processes at once"),
            Limit::OpenFiles => write!(f, "needed more than {allowed} open files in one process"),
            Limit::Disk => write!(f, "put more than {size} on the disk"),
            Limit::Output => write!(f, "printed more than {size}"),
            Limit::Plan => write!(f, "made a plan of more than {size}"),
        }
    }
}

/// What a supervisor is to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bounds {
    /// Bytes of memory.
    memory: u64,
    /// Processes at once.
    processes: u64,
    /// Open files of one process.
    open_files: u64,
    /// Bytes on the disk.
    disk: u64,
    /// The folders whose bytes count.
    folders: Vec<PathBuf>,
    /// Files that may each hold so many bytes, and what they are.
    files: Vec<(PathBuf, Limit, u64)>,
}

impl Bounds {
    pub(super) fn new(
        limits: &Limits,
        folders: Vec<PathBuf>,
        files: impl IntoIterator<Item = (PathBuf, Limit)>,
    ) -> Self {
        let files = files.into_iter().map(|(path, limit)| {
            let allowed = match limit {
                Limit::Plan => limits.plan,
                _ => limits.output,
            };
            (path, limit, allowed)
        });
        Self {
            memory: limits.memory,
            processes: limits.processes,
            open_files: limits.open_files,
            disk: limits.disk,
            folders,
            files: files.collect(),
        }
    }

    /// Sets what the kernel itself holds, for this process and all that it starts: open files, the
    /// size of one file, and no core dumps, which would hold secrets.
    pub(super) fn lay_down(&self) -> std::io::Result<()> {
        for (resource, most) in [
            (Resource::Nofile, self.open_files),
            (Resource::Fsize, self.disk),
            (Resource::Core, 0),
        ] {
            // What is allowed already is not raised: only root could.
            let most = getrlimit(resource)
                .maximum
                .map_or(most, |max| max.min(most));
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            setrlimit(resource, limit)?;
        }
        Ok(())
    }
}

impl Bounds {
    /// Cuts what was printed to what is allowed, so that nobody reads more of it.
    pub(super) fn cut(&self) -> std::io::Result<()> {
        for (path, _, allowed) in &self.files {
            if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() > *allowed) {
                fs::File::options()
                    .write(true)
                    .open(path)?
                    .set_len(*allowed)?;
            }
        }
        Ok(())
    }
}

/// Looks at a step.
pub(super) struct Watch<'b> {
    bounds: &'b Bounds,
    /// When processes are looked at again.
    processes_due: Instant,
    /// When the disk is looked at again.
    disk_due: Instant,
}

impl<'b> Watch<'b> {
    pub(super) fn new(bounds: &'b Bounds) -> Self {
        // What just began holds nothing yet.
        let due = Instant::now() + PROCESSES_EVERY;
        Self {
            bounds,
            processes_due: due,
            disk_due: due,
        }
    }

    /// The first limit that the processes below `root` have come to.
    pub(super) fn look(&mut self, root: i32) -> Option<LimitHit> {
        let now = Instant::now();
        let mut hit = self.files();
        if hit.is_none() && now >= self.processes_due {
            self.processes_due = now + PROCESSES_EVERY;
            hit = self.processes(root);
        }
        if hit.is_none() && now >= self.disk_due {
            hit = self.disk();
            self.disk_due = Instant::now() + PROCESSES_EVERY.max(now.elapsed() * DISK_SHARE);
        }
        hit
    }

    fn processes(&self, root: i32) -> Option<LimitHit> {
        let below = descendants(root).ok()?;
        let count = below.len() as u64;
        if count > self.bounds.processes {
            return hit(Limit::Processes, self.bounds.processes);
        }
        let held: u64 = below.iter().map(|seen| memory_of(seen.mark.pid)).sum();
        (held > self.bounds.memory)
            .then(|| hit(Limit::Memory, self.bounds.memory))
            .flatten()
    }

    /// The first file that holds too much.
    pub(super) fn files(&self) -> Option<LimitHit> {
        let too_large = self.bounds.files.iter().find(|(path, _, allowed)| {
            // A link is not followed: what it leads to is somebody else's.
            fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() > *allowed)
        });
        too_large.and_then(|(_, limit, allowed)| hit(*limit, *allowed))
    }

    fn disk(&self) -> Option<LimitHit> {
        let mut seen = HashSet::new();
        let held: u64 = self
            .bounds
            .folders
            .iter()
            .map(|folder| disk_of(folder, &mut seen))
            .sum();
        (held > self.bounds.disk)
            .then(|| hit(Limit::Disk, self.bounds.disk))
            .flatten()
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it ends chains of looks, of which each may find nothing"
)]
fn hit(limit: Limit, allowed: u64) -> Option<LimitHit> {
    Some(LimitHit { limit, allowed })
}

/// What a process holds for itself, in bytes: not the programs and files that it shares with
/// others and that the kernel can drop at any time. 0 for one that is gone.
fn memory_of(pid: i32) -> u64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return 0;
    };
    let kib = |name: &str| -> u64 {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    (kib("RssAnon:") + kib("RssShmem:")) * 1024
}

/// The bytes that the files below a folder take on the disk, each file once. What cannot be read
/// counts for nothing: the owner of the files could, and the step is its owner.
fn disk_of(folder: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
    let mut bytes = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            // Links are not followed.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.nlink() > 1
                && !metadata.is_dir()
                && !seen.insert((metadata.dev(), metadata.ino()))
            {
                continue;
            }
            // Counted in 512 bytes, whatever the disk's own blocks are.
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(limits: Limits, folder: &Path) -> Bounds {
        let file = folder.join("stdout");
        Bounds::new(&limits, vec![folder.to_owned()], [(file, Limit::Output)])
    }

    #[test]
    fn a_step_within_its_limits_hits_none() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = bounds(Limits::default(), folder.path());
        let watch = Watch::new(&bounds);
        assert_eq!(watch.processes(std::process::id().cast_signed()), None);
        assert_eq!((watch.files(), watch.disk()), (None, None));
    }

    #[test]
    fn files_on_the_disk_are_counted_and_holes_and_links_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = bounds(
            Limits {
                disk: 1 << 20,
                ..Limits::default()
            },
            folder.path(),
        );
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let sparse = fs::File::create(inner.join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/usr", inner.join("link")).unwrap();
        assert_eq!(Watch::new(&bounds).disk(), None);
        fs::write(inner.join("large"), vec![1; 2 << 20]).unwrap();
        let hit = Watch::new(&bounds).disk().unwrap();
        assert_eq!(hit.to_string(), "put more than 1 MiB on the disk");
    }

    #[test]
    fn what_is_printed_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            output: 10,
            ..Limits::default()
        };
        let bounds = bounds(limits, folder.path());
        fs::write(folder.path().join("stdout"), [b'x'; 10]).unwrap();
        assert_eq!(Watch::new(&bounds).files(), None);
        fs::write(folder.path().join("stdout"), [b'x'; 11]).unwrap();
        let hit = Watch::new(&bounds).files().unwrap();
        assert_eq!(
            (hit.key(), hit.to_string().as_str()),
            ("output", "printed more than 10 bytes")
        );
        bounds.cut().unwrap();
        assert_eq!(Watch::new(&bounds).files(), None);
    }

    #[test]
    fn our_own_memory_is_some_and_that_of_nobody_none() {
        assert!(memory_of(std::process::id().cast_signed()) > 100 << 10);
        assert_eq!(memory_of(i32::MAX), 0);
    }
}
