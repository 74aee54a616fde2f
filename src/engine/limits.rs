//! What a step may use, looked at while it runs.
//!
//! The kernel's own limits do not say it: a limit of address space ends programs that reserve much
//! and use little, a limit of processes counts all of a user's. So the supervisor looks, some times a
//! second, at what the step's processes hold and what stands in its folders.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
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

/// At most so many descriptors are asked about in one look, some tenths of a second's work. The next
/// look goes on where it ended.
const DESCRIPTORS: usize = 50_000;

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
    /// The process whose descriptors are looked at first.
    first: i32,
    /// The bytes in memory that only descriptors lead to, as they were last looked at.
    in_memory: u64,
}

impl<'b> Watch<'b> {
    pub(super) fn new(bounds: &'b Bounds) -> Self {
        // What just began holds nothing yet.
        let due = Instant::now() + PROCESSES_EVERY;
        Self {
            bounds,
            processes_due: due,
            disk_due: due,
            first: 0,
            in_memory: 0,
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
            hit = self.disk(root);
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
        let own: u64 = below.iter().map(|seen| memory_of(seen.mark.pid)).sum();
        (own + self.in_memory > self.bounds.memory)
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

    /// Looks at the folders, and at what the processes below `root` hold open and no folder has.
    fn disk(&mut self, root: i32) -> Option<LimitHit> {
        let mut seen = HashSet::new();
        let unlinked = self.unlinked(root, &mut seen);
        self.in_memory = unlinked.memory;
        let held: u64 = self
            .bounds
            .folders
            .iter()
            .map(|folder| disk_of(folder, &mut seen))
            .sum();
        (held + unlinked.disk > self.bounds.disk)
            .then(|| hit(Limit::Disk, self.bounds.disk))
            .flatten()
    }

    /// What the processes below `root` hold open of files that have no name any more.
    fn unlinked(&mut self, root: i32, seen: &mut HashSet<(u64, u64)>) -> Unlinked {
        let mut found = Unlinked::default();
        let mut pids: Vec<i32> = descendants(root)
            .into_iter()
            .flatten()
            .map(|below| below.mark.pid)
            .collect();
        pids.sort_unstable();
        // Those before the first come last, so that none is beyond the bound each time.
        let start = pids.partition_point(|pid| *pid < self.first);
        pids.rotate_left(start);
        let mut left = DESCRIPTORS;
        self.first = 0;
        for pid in pids {
            if left == 0 {
                self.first = pid;
                break;
            }
            found.look(pid, &mut left, seen);
        }
        found
    }
}

/// The bytes of files that only descriptors lead to: their names were removed, or they had none.
#[derive(Debug, Default)]
struct Unlinked {
    memory: u64,
    disk: u64,
}

impl Unlinked {
    /// Adds what one process holds, each file once, and takes from `left` what was looked at.
    fn look(&mut self, pid: i32, left: &mut usize, seen: &mut HashSet<(u64, u64)>) {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        for entry in descriptors.into_iter().flatten().flatten() {
            if *left == 0 {
                return;
            }
            *left -= 1;
            let path = entry.path();
            // This follows the link to the open file itself, whatever its name is by now.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.nlink() != 0
                || !metadata.is_file()
                || !seen.insert((metadata.dev(), metadata.ino()))
            {
                continue;
            }
            let named = fs::read_link(&path).unwrap_or_default();
            let named = named.as_os_str().as_bytes();
            let bytes = metadata.blocks() * 512;
            // Of memory that is shared there is no file in any folder.
            if named.starts_with(b"/memfd:") || named.starts_with(b"/dev/zero") {
                self.memory += bytes;
            } else {
                self.disk += bytes;
            }
        }
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it ends chains of looks, of which each may find nothing"
)]
fn hit(limit: Limit, allowed: u64) -> Option<LimitHit> {
    Some(LimitHit { limit, allowed })
}

/// What a process holds for itself, in bytes, in memory or swapped out: not the programs and files
/// that it shares with others and that the kernel can drop at any time. 0 for one that is gone.
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
    (kib("RssAnon:") + kib("RssShmem:") + kib("VmSwap:")) * 1024
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
    use std::io::Write as _;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    /// No process has this number, and none is below it.
    const NOBODY: i32 = i32::MAX;

    /// A process that holds a file open, and does nothing else.
    struct Holder(std::process::Child);

    impl Holder {
        fn of(file: fs::File) -> Self {
            let mut command = std::process::Command::new("sleep");
            Self(command.arg("60").stdin(file).spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id().cast_signed()
        }
    }

    impl Drop for Holder {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn bounds(limits: Limits, folder: &Path) -> Bounds {
        let file = folder.join("stdout");
        Bounds::new(&limits, vec![folder.to_owned()], [(file, Limit::Output)])
    }

    #[test]
    fn a_step_within_its_limits_hits_none() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = bounds(Limits::default(), folder.path());
        let mut watch = Watch::new(&bounds);
        assert_eq!(watch.processes(std::process::id().cast_signed()), None);
        assert_eq!((watch.files(), watch.disk(NOBODY)), (None, None));
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
        assert_eq!(Watch::new(&bounds).disk(NOBODY), None);
        fs::write(inner.join("large"), vec![1; 2 << 20]).unwrap();
        let hit = Watch::new(&bounds).disk(NOBODY).unwrap();
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

    #[test]
    fn a_file_that_is_held_open_and_has_no_name_counts_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            disk: 1 << 20,
            ..Limits::default()
        };
        let bounds = bounds(limits, folder.path());
        let mut file = tempfile::tempfile_in(folder.path()).unwrap();
        file.write_all(&vec![1; 2 << 20]).unwrap();
        let _holder = Holder::of(file);
        let mut watch = Watch::new(&bounds);
        let hit = watch.disk(std::process::id().cast_signed()).unwrap();
        assert_eq!(hit.key(), "disk");
    }

    #[test]
    fn memory_that_only_a_descriptor_leads_to_counts_for_memory() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            memory: 64 << 20,
            ..Limits::default()
        };
        let bounds = bounds(limits, folder.path());
        let held = memfd_create("m", MemfdFlags::CLOEXEC).unwrap();
        let mut file = fs::File::from(held);
        for _ in 0..65 {
            file.write_all(&vec![1; 1 << 20]).unwrap();
        }
        let holder = Holder::of(file);
        let mut watch = Watch::new(&bounds);
        let us = std::process::id().cast_signed();
        assert_eq!(watch.disk(us), None, "it is not on the disk");
        assert_eq!(watch.processes(us).unwrap().key(), "memory");
        drop(holder);
    }

    #[test]
    fn each_file_without_a_name_is_counted_once_and_no_more_descriptors_are_looked_at_than_is_said()
    {
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(&vec![1; 1 << 20]).unwrap();
        let holders = [(); 2].map(|()| Holder::of(file.try_clone().unwrap()));
        let (mut found, mut left, mut seen) = (Unlinked::default(), 100, HashSet::new());
        for holder in &holders {
            found.look(holder.pid(), &mut left, &mut seen);
        }
        assert!((1 << 20..2 << 20).contains(&found.disk), "{found:?}");
        let mut none = Unlinked::default();
        none.look(holders[0].pid(), &mut 0, &mut HashSet::new());
        assert_eq!((none.disk, none.memory), (0, 0));
    }
}
