//! `mainstay demo`: the whole job, as somebody sees it who has just built the program.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::checkout::{Checkout, path_of, snapshot};
use insta::assert_snapshot;

/// How long the demo may take on a slow machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn once_it_shows_the_comment_the_applied_world_and_the_drift_and_leaves_nothing() {
    let folder = Checkout::without_git("anywhere");
    let ran = folder.run(&["demo", "--once"]).ended_with(0);
    assert_eq!(ran.stderr, "", "nothing is amiss");
    let mut rest = ran.stdout.as_str();
    // Each after the one before.
    for said in [
        "What stands in for the world is a folder of files",
        "1. The daemon looks at the repository for the first time",
        "✓ network is applied",
        "✓ database is held",
        "$ mainstay apply database",
        "✓ database is applied",
        "2. Somebody proposes a change",
        "### 2 of 2 workspaces change · 1 destroyed · 1 replaced",
        "localfs_file.subnet[\"backend\"]",
        "On merge: `network`, `web` are applied.",
        "3. It is merged to main",
        "✓ web is applied",
        "web/garden.html",
        "4. Somebody changes the world behind Terraform's back",
        "`Drift in web`",
        "+       <h1>Closed</h1>",
        "That was the whole job. The folder is removed now.",
    ] {
        let at = rest.find(said);
        let at = at.unwrap_or_else(|| panic!("`{said}` is not said in its place:\n{}", ran.stdout));
        rest = &rest[at + said.len()..];
    }
    assert!(
        !ran.stdout.contains("<!--"),
        "a marker that nobody would see:\n{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("Warning:"), "{}", ran.stdout);
}

#[test]
fn terraform_missing_is_one_sentence_that_says_how_to_get_it() {
    let folder = Checkout::without_git("anywhere");
    let bin = path_of(folder.folder(), &["git"]);
    let mut command = folder.mainstay(&["demo", "--once"]);
    command.env("PATH", &bin);
    let ran = folder.finish(command).ended_with(1);
    assert_eq!(ran.stdout, "");
    assert_snapshot!(ran.stderr.replace(bin.to_str().unwrap(), "BIN"), @"error: the demo needs Terraform: found no program `terraform` in the PATH, BIN; get it from your distribution, or from developer.hashicorp.com/terraform/install");
}

#[test]
fn git_missing_is_one_sentence_that_says_how_to_get_it() {
    let folder = Checkout::without_git("anywhere");
    let mut command = folder.mainstay(&["demo"]);
    command.env("PATH", "");
    let ran = folder.finish(command).ended_with(1);
    assert_eq!(ran.stdout, "");
    assert_snapshot!(ran.stderr, @"error: the demo needs git: found no program `git` in the PATH, which is empty; get it from your distribution, or from git-scm.com");
}

/// The demo, running for somebody to play with.
struct Running {
    child: Option<Child>,
    folder: Checkout,
}

impl Running {
    fn start() -> Self {
        let folder = Checkout::without_git("anywhere");
        let output = |name: &str| File::create(folder.folder().join(name)).unwrap();
        let child = folder
            .mainstay(&["demo"])
            .stdout(output("out"))
            .stderr(output("err"))
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            child: Some(child),
            folder,
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.folder().join("out")).unwrap()
    }

    /// Waits until the demo says `text`.
    fn says(&mut self, text: &str) {
        let began = Instant::now();
        while !self.said().contains(text) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}: {}", self.said());
            assert!(
                began.elapsed() < PATIENCE,
                "`{text}` was not said: {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses Ctrl-C. Gives the exit code.
    fn interrupt(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        child.wait().unwrap().code()
    }

    /// Runs a line in a shell that has read what the demo says to read.
    fn shell(&self, line: &str) -> String {
        let said = self.said();
        let (_, rest) = said.split_once("$ . ").expect("the demo says what to read");
        let env = rest.lines().next().unwrap();
        let output = Command::new("sh")
            .args(["-c", &format!(". {env}\n{line}")])
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.folder.folder().join("home"))
            .env("TMPDIR", self.folder.folder().join("home"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn it_keeps_running_to_be_played_with_until_ctrl_c() {
    let mut demo = Running::start();
    demo.says("Ctrl-C ends it and removes the folder.");
    // Every command that it suggests, in its order, must do what it is there for.
    let status = demo.shell("mainstay status");
    assert!(status.contains("The daemon runs"), "{status}");
    assert!(status.contains("drifted"), "{status}");
    let runs = demo.shell("mainstay runs");
    assert!(runs.contains("proposal/summer"), "{runs}");
    let suggested = suggestions(&demo.said());
    let edit = suggested
        .iter()
        .find(|line| line.starts_with("git switch -c"))
        .unwrap();
    demo.shell(edit);
    let plan = demo.shell("mainstay dry-run");
    assert!(plan.starts_with("web changes"), "{plan}");
    let propose = suggested
        .iter()
        .find(|line| line.starts_with("git commit"))
        .unwrap();
    demo.shell(propose);
    eventually(|| {
        let comments = demo.shell("mainstay status --comments");
        comments.contains("── proposal/mine ──\n### `web` changes")
    });
    let merge = suggested
        .iter()
        .find(|line| line.starts_with("git switch main"))
        .unwrap();
    demo.shell(merge);
    eventually(|| {
        let status = demo.shell("mainstay status");
        let row = status.lines().find(|line| line.contains("proposal/mine"));
        row.is_some_and(|row| row.contains("Applied: "))
    });
    let drift = suggested
        .iter()
        .find(|line| line.starts_with("rm "))
        .unwrap();
    let found = demo.shell(drift);
    assert!(
        found.contains("web at") && found.contains("the world differs"),
        "{found}"
    );
    let asked = demo.shell("mainstay apply web");
    assert!(asked.contains("The daemon does it"), "{asked}");
    let gone = drift
        .strip_prefix("rm ")
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap();
    eventually(|| Path::new(gone).exists());

    assert_eq!(demo.interrupt(), Some(0));
    assert!(
        demo.said().ends_with("Ending. The folder is removed.\n"),
        "{}",
        demo.said()
    );
    let left: Vec<_> = snapshot(&demo.folder.tmp()).into_keys().collect();
    assert!(left.is_empty(), "these are left behind: {left:?}");
    assert!(!demo.said().contains('\u{1b}'), "an escape code");
    let left = processes_below(&demo.folder.tmp());
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// The commands that the demo suggests.
fn suggestions(said: &str) -> Vec<String> {
    let (_, list) = said
        .split_once("Things to try")
        .expect("there are things to try");
    let commands = list.lines().filter_map(|line| line.strip_prefix("  $ "));
    commands.map(str::to_owned).collect()
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it did not come about");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn ctrl_c_half_way_ends_it_and_removes_the_folder() {
    let mut demo = Running::start();
    demo.says("1. The daemon looks");
    demo.interrupt();
    let left: Vec<_> = snapshot(&demo.folder.tmp()).into_keys().collect();
    assert!(left.is_empty(), "these are left behind: {left:?}");
    let left = processes_below(&demo.folder.tmp());
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// Processes that work below a folder.
fn processes_below(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc")
        .expect("there is /proc")
        .flatten();
    processes
        .filter(|process| {
            let works_in = std::fs::read_link(process.path().join("cwd"));
            works_in.is_ok_and(|works_in| works_in.starts_with(folder))
        })
        .map(|process| process.path().display().to_string())
        .collect()
}
