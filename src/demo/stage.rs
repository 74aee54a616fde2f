//! The demo's props: folders, a bare repository, a checkout, settings, and the voice.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anstyle::{AnsiColor, Style};

use super::{DemoError, example};
use crate::provider;

/// The declaration of the shop, with a placeholder for the repository.
const DECLARATION: &str = include_str!("../../workspaces/shop.toml");

/// The placeholder in it.
const PLACEHOLDER: &str = "/srv/git/shop.git";

/// The settings of the demo's daemon.
const SETTINGS: &str = "\
# The settings of the demo's daemon.
data_dir   = \"var\"
poll_every = \"1s\"
listen     = \"off\"

[sandbox]
level = \"none\" # nobody's code is planned here but the demo's own, and yours
";

/// The workspaces of the shop, each in the folder of its name.
const WORKSPACES: [&str; 3] = ["database", "network", "web"];

/// Looks for a program that the demo needs.
pub(super) fn look_for(
    name: &'static str,
    program: &'static str,
    from: &'static str,
) -> Result<PathBuf, DemoError> {
    which::which(program).map_err(|_| DemoError::Missing {
        name,
        program,
        looked_in: match std::env::var("PATH") {
            Ok(path) if !path.is_empty() => format!("the PATH, {path}"),
            _ => "the PATH, which is empty".to_owned(),
        },
        from,
    })
}

/// Everything that the demo plays with, below one temporary folder.
pub(super) struct Stage {
    /// The folder of files that stands in for the world.
    pub(super) world: PathBuf,
    /// The bare repository.
    pub(super) remote: PathBuf,
    /// A checkout of it.
    pub(super) checkout: PathBuf,
    /// The daemon's settings.
    pub(super) config: PathBuf,
    /// What a shell reads to be in the demo.
    pub(super) env: PathBuf,
    cli_config: PathBuf,
    folder: tempfile::TempDir,
}

impl Drop for Stage {
    /// Removes the folder for good: a look that is under way when the demo ends may still make one of
    /// its folders anew.
    fn drop(&mut self) {
        const TRIES: usize = 20;
        let folder = self.folder.path();
        for _ in 0..TRIES {
            // What cannot be removed now is tried again, and then by the folder's own end.
            std::fs::remove_dir_all(folder).ok();
            std::thread::sleep(std::time::Duration::from_millis(50));
            if !folder.exists() {
                return;
            }
        }
    }
}

impl Stage {
    /// Makes the folders, the repository with its first commit, and the settings.
    pub(super) fn set() -> Result<Self, DemoError> {
        let folder = tempfile::Builder::new()
            .prefix("mainstay-demo-")
            .tempdir()
            .map_err(|source| DemoError::File {
                path: std::env::temp_dir(),
                source,
            })?;
        let top = folder.path().to_owned();
        let executable = std::env::current_exe().map_err(|source| DemoError::File {
            path: PathBuf::from("mainstay"),
            source,
        })?;
        let cli_config = provider::install(&top.join("provider"), &executable)?
            .path()
            .to_owned();
        let stage = Self {
            world: top.join("world"),
            remote: top.join("shop.git"),
            checkout: top.join("shop"),
            config: top.join("mainstay.toml"),
            env: top.join("env"),
            cli_config,
            folder,
        };
        make_folder(&stage.world)?;
        stage.write_settings()?;
        stage.write_env(&top.join("bin"), &executable)?;
        git(
            None,
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                text(&stage.remote)?,
            ],
        )?;
        git(
            None,
            &[
                "clone",
                "--quiet",
                text(&stage.remote)?,
                text(&stage.checkout)?,
            ],
        )?;
        stage.git(&["switch", "--quiet", "--orphan", "main"])?;
        // For what a person commits here, whoever they are elsewhere.
        stage.git(&["config", "user.name", "Demo"])?;
        stage.git(&["config", "user.email", "demo@mainstay.invalid"])?;
        stage.write_files(example::example_files())?;
        let locks = stage.lock_providers()?;
        let mut add = vec!["add", "--force"];
        add.extend(locks.iter().map(String::as_str));
        stage.git(&add)?;
        stage.commit("The shop, as it begins")?;
        stage.git(&["push", "--quiet", "origin", "main"])?;
        Ok(stage)
    }

    /// What Terraform is given besides the person's own environment.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        vec![
            (
                "TF_CLI_CONFIG_FILE".to_owned(),
                self.cli_config.display().to_string(),
            ),
            ("LOCALFS_ROOT".to_owned(), self.world.display().to_string()),
        ]
    }

    /// The head of main.
    pub(super) fn head(&self) -> Result<String, DemoError> {
        self.git(&["rev-parse", "main"])
    }

    /// Pushes a branch with these edits. Gives its head.
    pub(super) fn propose(
        &self,
        branch: &str,
        edits: &[example::ExampleFile],
    ) -> Result<String, DemoError> {
        self.git(&["switch", "--quiet", "--create", branch])?;
        self.write_files(edits)?;
        self.commit("Get ready for the summer")?;
        self.git(&["push", "--quiet", "origin", branch])?;
        self.git(&["rev-parse", branch])
    }

    /// Merges a branch to main and pushes it. Gives main's head.
    pub(super) fn merge(&self, branch: &str) -> Result<String, DemoError> {
        self.git(&["switch", "--quiet", "main"])?;
        let message = format!("Merge {branch}");
        self.git(&["merge", "--quiet", "--no-ff", "-m", &message, branch])?;
        self.git(&["push", "--quiet", "origin", "main"])?;
        self.head()
    }

    fn write_files(&self, files: &[example::ExampleFile]) -> Result<(), DemoError> {
        for (path, content) in files {
            let path = self.checkout.join(path);
            if let Some(folder) = path.parent() {
                make_folder(folder)?;
            }
            write(&path, content)?;
        }
        Ok(())
    }

    fn commit(&self, message: &str) -> Result<(), DemoError> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "-m", message])?;
        Ok(())
    }

    /// Writes the lock file of each workspace, as belongs into every repository: without one
    /// Terraform warns in each plan. Gives their paths in the checkout.
    fn lock_providers(&self) -> Result<Vec<String>, DemoError> {
        let mut locks = Vec::new();
        for workspace in WORKSPACES {
            let folder = self.checkout.join(workspace);
            let data = self.config.with_file_name("init");
            let failed = |said: String| DemoError::InitFailed {
                folder: folder.clone(),
                said,
            };
            let output = Command::new("terraform")
                .args(["init", "-backend=false", "-input=false", "-no-color"])
                .current_dir(&folder)
                .envs(self.environment())
                .env("TF_DATA_DIR", &data)
                .stdin(Stdio::null())
                .output()
                .map_err(|error| failed(error.to_string()))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(failed(
                    said.split_whitespace().collect::<Vec<_>>().join(" "),
                ));
            }
            locks.push(format!("{workspace}/.terraform.lock.hcl"));
        }
        Ok(locks)
    }

    fn git(&self, arguments: &[&str]) -> Result<String, DemoError> {
        git(Some(&self.checkout), arguments)
    }

    /// Writes what a shell reads to be in the demo: this very program, its settings, the provider.
    fn write_env(&self, bin: &Path, executable: &Path) -> Result<(), DemoError> {
        make_folder(bin)?;
        std::os::unix::fs::symlink(executable, bin.join("mainstay")).map_err(|source| {
            DemoError::File {
                path: bin.to_owned(),
                source,
            }
        })?;
        let mut lines = format!("export PATH={}:\"$PATH\"\n", quoted(bin)?);
        lines.push_str(&format!(
            "export MAINSTAY_CONFIG={}\n",
            quoted(&self.config)?
        ));
        for (name, value) in self.environment() {
            lines.push_str(&format!("export {name}={}\n", quoted(Path::new(&value))?));
        }
        lines.push_str(&format!("cd {}\n", quoted(&self.checkout)?));
        write(&self.env, &lines)
    }

    fn write_settings(&self) -> Result<(), DemoError> {
        write(&self.config, SETTINGS)?;
        let workspaces = self.config.with_file_name("workspaces");
        make_folder(&workspaces)?;
        let declaration = DECLARATION
            .replace(PLACEHOLDER, text(&self.remote)?)
            // An hour is usual; nobody waits that long for a demo.
            .replace("every = \"1m\"", "every = \"5s\"");
        write(&workspaces.join("shop.toml"), &declaration)
    }
}

/// A path as a shell reads it whatever is in it.
fn quoted(path: &Path) -> Result<String, DemoError> {
    Ok(format!("'{}'", text(path)?.replace('\'', "'\\''")))
}

fn text(path: &Path) -> Result<&str, DemoError> {
    path.to_str().ok_or_else(|| DemoError::File {
        path: path.to_owned(),
        source: std::io::Error::other(
            "its name is no valid UTF-8; set TMPDIR to a folder whose name is",
        ),
    })
}

fn make_folder(path: &Path) -> Result<(), DemoError> {
    std::fs::create_dir_all(path).map_err(|source| DemoError::File {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, content: &str) -> Result<(), DemoError> {
    std::fs::write(path, content).map_err(|source| DemoError::File {
        path: path.to_owned(),
        source,
    })
}

/// Runs git as a person without settings of their own, so that nothing of theirs gets in the way.
fn git(folder: Option<&Path>, arguments: &[&str]) -> Result<String, DemoError> {
    let mut command = Command::new("git");
    if let Some(folder) = folder {
        command.arg("-C").arg(folder);
    }
    let failed = |said: String| DemoError::GitFailed {
        command: arguments.join(" "),
        said,
    };
    let output = command
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Demo")
        .env("GIT_AUTHOR_EMAIL", "demo@mainstay.invalid")
        .env("GIT_COMMITTER_NAME", "Demo")
        .env("GIT_COMMITTER_EMAIL", "demo@mainstay.invalid")
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}

/// How the demo speaks.
pub(super) struct Say {
    title: Style,
    command: Style,
    good: Style,
    quiet: Style,
    width: usize,
}

impl Say {
    /// With colour or without, to lines of `width`.
    pub(super) fn new(colour: bool, width: usize) -> Self {
        let style = |style: Style| if colour { style } else { Style::new() };
        Self {
            title: style(Style::new().bold()),
            command: style(Style::new().fg_color(Some(AnsiColor::Cyan.into()))),
            good: style(Style::new().fg_color(Some(AnsiColor::Green.into()))),
            quiet: style(Style::new().dimmed()),
            width: width.min(100),
        }
    }

    /// The title.
    pub(super) fn title(&self, text: &str) {
        let Self { title, .. } = self;
        println!("{title}{text}{title:#}\n");
    }

    /// The head of a step.
    pub(super) fn step(&self, text: &str) {
        let Self { title, .. } = self;
        println!("\n{title}{text}{title:#}");
    }

    /// Plain words.
    pub(super) fn line(&self, text: &str) {
        println!("{text}");
    }

    /// A command that a person would type.
    pub(super) fn command(&self, text: &str) {
        let Self { command, .. } = self;
        println!("  {command}$ {text}{command:#}");
    }

    /// What the next command is for.
    pub(super) fn remark(&self, text: &str) {
        let Self { quiet, .. } = self;
        println!("  {quiet}# {text}{quiet:#}");
    }

    /// Something that came about.
    pub(super) fn done(&self, text: &str) {
        let Self { good, .. } = self;
        println!("  {good}✓{good:#} {text}");
    }

    /// A text of several lines, set off.
    pub(super) fn block(&self, text: &str) {
        let Self { quiet, .. } = self;
        let rule = "─".repeat(self.width);
        println!(
            "{quiet}{rule}{quiet:#}\n{}\n{quiet}{rule}{quiet:#}",
            text.trim_end()
        );
    }
}
