//! The program that the daemon takes for Terraform: it writes down each start and what lives
//! beside it, and then *becomes* Terraform.
//!
//! It does not stay in between. The supervisor's one signal, the exit code, the output and a
//! `kill -9` therefore reach Terraform itself, and no kill of the shim can leave a Terraform
//! that nobody knows. The price is that nobody is left to write down the end, so the kernel
//! does: before it becomes Terraform the shim opens a file of its workspace and locks it, alone
//! for an apply, with others for what changes nothing. The open file goes on to Terraform, its
//! providers and all that they start, and the lock ends with the last of them, however it ends.
//! Whoever cannot have the lock at its start has found something of the workspace alive, and
//! says so in its line. A line also has the process with the time of its beginning, so that
//! whether it lives can be asked at any instant.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::localfs;

/// The shim of one world.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    program: PathBuf,
    log: PathBuf,
}

/// One start of Terraform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// Nanoseconds since 1970.
    pub(crate) at: u64,
    pub(crate) pid: i32,
    /// When the kernel began the process, in its own unit.
    pub(crate) born: u64,
    /// `plan`, `apply` and so on.
    pub(crate) step: String,
    /// Which revision of the place the checkout holds.
    pub(crate) revision: u64,
    /// The place, as the checkout names itself.
    pub(crate) place: String,
    pub(crate) beside: Beside,
    /// The folder that it was started in.
    pub(crate) folder: String,
    pub(crate) arguments: String,
}

/// What lived in the same workspace when a Terraform was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Nobody,
    /// An apply, or something beside an apply.
    Somebody,
}

impl Shim {
    /// Writes the program and its folders below `folder`.
    pub(crate) fn write(folder: &Path) -> Self {
        let folder = folder.join("shim");
        std::fs::create_dir_all(folder.join("locks")).expect("the folder of the locks can be made");
        // The engine asks at each start; one true answer serves them all.
        let version = Command::new("terraform")
            .args(["version", "-json"])
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_CLI_CONFIG_FILE", localfs::cli_config())
            .current_dir(&folder)
            .output()
            .expect("Terraform can be started");
        std::fs::write(folder.join("version.json"), version.stdout).expect("it can be kept");
        let shim = Self {
            program: folder.join("terraform-shim"),
            log: folder.join("starts"),
        };
        std::fs::write(&shim.program, script(&folder)).expect("the shim can be written");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&shim.program, executable).expect("it can be made a program");
        shim
    }

    /// The path for `engine`.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Every start so far, oldest first.
    pub(crate) fn starts(&self) -> Vec<Start> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        // What is being written has no end of its line yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(read).collect()
    }

    /// Those that live.
    pub(crate) fn alive(&self) -> Vec<Start> {
        let mut starts = self.starts();
        starts.retain(Start::is_alive);
        starts
    }
}

impl Start {
    /// Whether this very process lives; one that ended and was not waited for does not.
    pub(crate) fn is_alive(&self) -> bool {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) else {
            return false;
        };
        // The name before it may hold spaces. State is field 3, the beginning 22.
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' ').collect())
            .unwrap_or_default();
        let born = fields.get(19).and_then(|born| born.parse().ok());
        born == Some(self.born) && !matches!(fields[0], "Z" | "X")
    }

    /// Kills it as a lack of memory would.
    pub(crate) fn kill(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid).expect("a process has a number");
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }

    pub(crate) fn applies(&self) -> bool {
        self.step == "apply"
    }
}

fn read(line: &str) -> Start {
    let fields: Vec<&str> = line.splitn(9, ' ').collect();
    let [
        at,
        pid,
        born,
        step,
        revision,
        place,
        beside,
        folder,
        arguments,
    ] = fields[..]
    else {
        panic!("`{line}` is no line of the shim");
    };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("`{line}`: {text}"));
    Start {
        at: number(at),
        pid: pid.parse().unwrap_or_else(|_| panic!("`{line}`: {pid}")),
        born: number(born),
        step: step.to_owned(),
        revision: number(revision),
        place: place.to_owned(),
        beside: match beside {
            "alone" => Beside::Nobody,
            _ => Beside::Somebody,
        },
        folder: folder.to_owned(),
        arguments: arguments.to_owned(),
    }
}

/// The script. The first line of each `main.tf` is `# REVISION PLACE`.
fn script(folder: &Path) -> String {
    format!(
        r##"#!/bin/sh
case "$1" in version) exec cat '{0}/version.json' ;; esac
read -r _ revision place < main.tf
read -r stat < /proc/$$/stat
born() {{ shift 19; echo "$1"; }}
born=$(born ${{stat##*") "}})
exec 9>> "{0}/locks/$place"
case "$1" in apply) how=-x ;; *) how=-s ;; esac
if flock -n "$how" 9; then beside=alone; else beside=beside; fi
echo "$(date +%s%N) $$ $born $1 $revision $place $beside $PWD $*" >> '{0}/starts'
exec terraform "$@"
"##,
        folder.display()
    )
}
