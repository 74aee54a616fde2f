//! A person's checkout, made by git, and the program run in it.
//!
//! Every run is held to leave the checkout as it was, its temporary folder empty and no escape
//! code in what it prints.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::localfs;

/// A checkout with folders of its own round it.
pub(crate) struct Checkout {
    folder: tempfile::TempDir,
    dir: PathBuf,
    environment: Vec<(String, String)>,
}

/// What a run printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The run, where it ended with that code.
    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "\n--- standard output\n{}\n--- standard error\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// All that it printed, with the changing names replaced: folders, commits and times.
    pub(crate) fn stable(&self, checkout: &Checkout) -> String {
        let text = format!("{}{}", self.stdout, self.stderr);
        let text = text.replace(&*checkout.folder().to_string_lossy(), "HERE");
        let head = checkout.git(&["rev-parse", "HEAD"]);
        text.replace(&head, "HEAD").replace(&head[..7], "HEAD")
    }
}

impl Checkout {
    /// An empty repository on `main`.
    pub(crate) fn new() -> Self {
        Self::named("checkout")
    }

    /// The same in a folder of that name.
    pub(crate) fn named(name: &str) -> Self {
        let checkout = Self::without_git(name);
        checkout.git(&["init", "--quiet", "--initial-branch=main"]);
        checkout
    }

    /// A folder without a repository.
    pub(crate) fn without_git(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let dir = folder.path().join(name);
        for folder in [
            &dir,
            &folder.path().join("home"),
            &folder.path().join("tmp"),
        ] {
            std::fs::create_dir_all(folder).expect("a folder can be made");
        }
        std::fs::write(folder.path().join("terraform.tfrc"), "")
            .expect("Terraform's settings can be written");
        Self {
            folder,
            dir,
            environment: Vec::new(),
        }
    }

    /// The folder round everything.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The checkout.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The temporary folder of every run.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// A variable more for every run.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        let value = value.as_ref().to_str().expect("a value is text");
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Writes a file of the checkout.
    pub(crate) fn write(&self, path: &str, text: &str) {
        write(&self.dir.join(path), text);
    }

    /// Writes files and commits all there is.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            self.write(path, text);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "A change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the checkout.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.dir, arguments)
    }

    /// The program with an environment of its own.
    pub(crate) fn mainstay(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(localfs::MAINSTAY);
        command
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.folder.path().join("home"))
            .env("TMPDIR", self.tmp())
            .env(
                "TF_CLI_CONFIG_FILE",
                self.folder.path().join("terraform.tfrc"),
            )
            .env("CHECKPOINT_DISABLE", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, and holds what every run must hold.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(self.mainstay(arguments))
    }

    /// The same for a command that was prepared.
    pub(crate) fn finish(&self, mut command: Command) -> Ran {
        let before = snapshot(&self.dir);
        let output = command.output().expect("mainstay can be started");
        self.holds(&before);
        let ran = Ran::of(&output);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains('\u{1b}'), "an escape code in {text:?}");
        }
        ran
    }

    /// Holds that the checkout is as it was, and that nothing is left in the temporary folder.
    pub(crate) fn holds(&self, before: &Snapshot) {
        let after = snapshot(&self.dir);
        let differs: Vec<_> = before
            .iter()
            .filter(|(path, file)| after.get(*path) != Some(*file))
            .map(|(path, _)| path)
            .chain(after.keys().filter(|path| !before.contains_key(*path)))
            .collect();
        assert!(
            differs.is_empty(),
            "these differ after the run: {differs:?}"
        );
        let left: Vec<_> = snapshot(&self.tmp()).into_keys().collect();
        assert!(left.is_empty(), "these are left behind: {left:?}");
    }
}

/// Every file and folder below a folder, with its mode, the time of its last change, and its content.
pub(crate) type Snapshot = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

/// What is below a folder now.
pub(crate) fn snapshot(top: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut ahead = vec![top.to_owned()];
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(&folder)
            .expect("a folder can be read")
            .flatten()
        {
            let path = entry.path();
            let metadata = entry.metadata().expect("a file can be looked at");
            let content = if metadata.is_file() {
                std::fs::read(&path).expect("a file can be read")
            } else {
                Vec::new()
            };
            if metadata.is_dir() {
                ahead.push(path.clone());
            }
            let state = (
                metadata.mode(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                content,
            );
            found.insert(path, state);
        }
    }
    found
}

/// Writes a file, and the folders that it needs.
pub(crate) fn write(path: &Path, text: &str) {
    let folder = path.parent().expect("a file is in a folder");
    std::fs::create_dir_all(folder).expect("a folder can be made");
    std::fs::write(path, text).expect("a file can be written");
}

/// Writes a program.
pub(crate) fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    write(path, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .expect("a program can be made executable");
}

/// Runs git without anybody's settings.
pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.com")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.com")
        .stdin(Stdio::null())
        .output()
        .expect("git can be started");
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A folder with links to these programs and nothing else, for a `PATH`.
pub(crate) fn path_of(folder: &Path, programs: &[&str]) -> PathBuf {
    let bin = folder.join(format!("bin-{}", programs.join("-")));
    std::fs::create_dir_all(&bin).expect("a folder can be made");
    for program in programs {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())
            .unwrap_or_else(|| panic!("`{program}` is not in the PATH"));
        std::os::unix::fs::symlink(found, bin.join(program)).expect("a link can be made");
    }
    bin
}
