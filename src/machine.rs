//! What this machine has, and how many runs of the engine that carries.

use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// What one plan may need, in bytes. Measured: a plan with the provider of a large cloud peaked at
/// 817 MiB; most need far less.
const EACH: u64 = 817 * MIB;

/// With less memory at hand than this, in bytes, no further run is begun beside another: a plan of a
/// thousand resources takes about half of it, and what comes next is the kernel's killing.
const FLOOR: u64 = 512 * MIB;

const MIB: u64 = 1024 * 1024;

/// What this machine has for the processes of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// How many processes run at once without waiting for each other.
    pub cores: NonZeroUsize,
    /// How much memory can be taken before something must give way, in bytes; `None` where the
    /// kernel does not tell.
    pub memory: Option<u64>,
}

impl Machine {
    /// Looks at this machine as it is now: the memory that the kernel calls available, or what a
    /// control group leaves of it, whichever is less.
    pub fn look() -> Self {
        Self {
            cores: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            memory: memory_below(Path::new("/")),
        }
    }

    /// How many runs it carries at once: as many as it has cores, as far as there is memory for as
    /// many plans. One always.
    pub fn carries(&self) -> NonZeroUsize {
        let by_memory = self.memory.map_or(usize::MAX, |memory| {
            usize::try_from(memory / EACH).unwrap_or(usize::MAX)
        });
        NonZeroUsize::new(by_memory.min(self.cores.get())).unwrap_or(NonZeroUsize::MIN)
    }

    /// Whether there is memory for one run more beside so many that are under way. The first may
    /// always begin: waiting would not give it more.
    pub fn has_room(&self, under_way: usize) -> bool {
        under_way == 0 || self.memory.is_none_or(|memory| memory >= FLOOR)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cores.get() {
            1 => write!(f, "1 core")?,
            cores => write!(f, "{cores} cores")?,
        }
        match self.memory {
            Some(memory) => write!(
                f,
                ", {} MiB of memory at hand, up to {} MiB for a plan",
                memory / MIB,
                EACH / MIB
            ),
            None => f.write_str(", and the memory at hand is not known"),
        }
    }
}

/// How much memory is at hand, by the files of the kernel below `top`.
fn memory_below(top: &Path) -> Option<u64> {
    let available = fs::read_to_string(top.join("proc/meminfo"))
        .ok()
        .and_then(|text| mem_available(&text));
    let groups = fs::read_to_string(top.join("proc/self/cgroup")).unwrap_or_default();
    let limited = group_folders(top, &groups)
        .iter()
        .filter_map(|folder| left_in(folder))
        .min();
    available.into_iter().chain(limited).min()
}

/// `MemAvailable` of `/proc/meminfo`, which is told in KiB.
fn mem_available(meminfo: &str) -> Option<u64> {
    let rest = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The folders of the control groups that limit this process's memory: its own and all above.
///
/// In a container the path of its group may be the host's, of which only the top is there to see;
/// that then is the container's own.
fn group_folders(top: &Path, groups: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let hierarchy = if controllers.is_empty() {
            top.join("sys/fs/cgroup")
        } else if controllers.split(',').any(|name| name == "memory") {
            top.join("sys/fs/cgroup/memory")
        } else {
            continue;
        };
        let own = hierarchy.join(path.trim_start_matches('/'));
        folders.extend(
            own.ancestors()
                .take_while(|folder| folder.starts_with(&hierarchy))
                .map(Path::to_owned),
        );
    }
    folders
}

/// What a control group leaves of its limit, in bytes; `None` where it has none. What is cached of
/// files and can be dropped at once is not counted as used.
fn left_in(folder: &Path) -> Option<u64> {
    // The first names are those of version 2, the others of version 1.
    let number = |names: [&str; 2]| -> Option<u64> {
        let text = names
            .iter()
            .find_map(|name| fs::read_to_string(folder.join(name)).ok())?;
        // `max` is no number, and no limit.
        text.trim().parse().ok()
    };
    let limit = number(["memory.max", "memory.limit_in_bytes"])?;
    let used = number(["memory.current", "memory.usage_in_bytes"])?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = |name: &str| -> Option<u64> {
        let mut lines = stat.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    };
    let cached = cached("total_inactive_file").or_else(|| cached("inactive_file"));
    Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * MIB;

    fn machine(cores: usize, memory: Option<u64>) -> Machine {
        Machine {
            cores: NonZeroUsize::new(cores).unwrap(),
            memory,
        }
    }

    #[test]
    fn cores_and_memory_say_how_many_runs_are_carried() {
        let table = [
            (2, Some(24 * GIB), 2),
            (8, Some(24 * GIB), 8),
            (64, Some(24 * GIB), 30),
            (8, Some(2 * GIB), 2),
            (8, Some(GIB), 1),
            (8, Some(100 * MIB), 1),
            (8, Some(0), 1),
            (8, None, 8),
        ];
        for (cores, memory, expected) in table {
            let carried = machine(cores, memory).carries().get();
            assert_eq!(carried, expected, "{cores} cores, {memory:?}");
        }
    }

    #[test]
    fn with_little_memory_one_run_begins_and_no_second() {
        let little = machine(8, Some(FLOOR - 1));
        assert!(little.has_room(0));
        assert!(!little.has_room(1));
        assert!(machine(8, Some(FLOOR)).has_room(5));
        assert!(machine(8, None).has_room(5));
    }

    /// A folder with these files of the kernel.
    fn kernel(files: &[(&str, &str)]) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = top.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        top
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       8388608 kB\nMemFree:  100 kB\nMemAvailable:   4194304 kB\n",
    );

    #[test]
    fn without_a_control_group_the_kernel_says_what_is_available() {
        let top = kernel(&[MEMINFO, ("proc/self/cgroup", "0::/\n")]);
        assert_eq!(memory_below(top.path()), Some(4 * GIB));
        assert_eq!(memory_below(kernel(&[]).path()), None);
    }

    #[test]
    fn the_narrowest_control_group_limits_what_is_available() {
        let group = "sys/fs/cgroup/system.slice";
        let own = format!("{group}/mainstay.service");
        let top = kernel(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/system.slice/mainstay.service\n"),
            (&format!("{own}/memory.max"), "max\n"),
            (&format!("{own}/memory.current"), "1000\n"),
            (&format!("{group}/memory.max"), "2147483648\n"),
            (&format!("{group}/memory.current"), "1610612736\n"),
            (
                &format!("{group}/memory.stat"),
                "anon 5\ninactive_file 536870912\n",
            ),
        ]);
        assert_eq!(memory_below(top.path()), Some(GIB));
    }

    #[test]
    fn a_control_group_of_the_first_version_limits_too() {
        let group = "sys/fs/cgroup/memory";
        let top = kernel(&[
            MEMINFO,
            // The path is the host's: in the container only its top is there.
            (
                "proc/self/cgroup",
                "9:name=systemd:/\n4:cpu,memory:/docker/967f\n",
            ),
            (&format!("{group}/memory.limit_in_bytes"), "1073741824\n"),
            (&format!("{group}/memory.usage_in_bytes"), "1048576\n"),
            (
                &format!("{group}/memory.stat"),
                "inactive_file 0\ntotal_inactive_file 1048576\n",
            ),
        ]);
        assert_eq!(memory_below(top.path()), Some(GIB));
        // Without a limit the file holds a number larger than any memory.
        let file = top.path().join(group).join("memory.limit_in_bytes");
        fs::write(file, "9223372036854771712\n").unwrap();
        assert_eq!(memory_below(top.path()), Some(4 * GIB));
    }
}
