//! The command line: parse, call, exit code.

mod ask;
mod check;
mod dry_run;
mod run_drift;
mod runs;
mod shown;
mod start;
mod status;
mod table;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::id::{RunId, WorkspaceName};

/// How a command ends. `dry-run` and `drift` use all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nothing to change.
    Nothing,
    /// Something failed.
    Error,
    /// There are changes, or there is drift.
    Changes,
    /// A policy denies it.
    #[expect(
        dead_code,
        reason = "no policy is evaluated yet; the code is part of the contract"
    )]
    Denied,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Nothing => 0,
            Exit::Error => 1,
            Exit::Changes => 2,
            Exit::Denied => 3,
        })
    }
}

const OVERVIEW: &str = "\
Examples:
  mainstay demo                       see the whole job on a throw-away repository
  mainstay dry-run                    what would this checkout change?
  mainstay check --online             is the configuration right, and does GitHub answer?
  mainstay serve                      run the daemon

Settings are read from ./mainstay.toml, or from the file that --config or MAINSTAY_CONFIG names.
Results go to standard output, everything else to standard error. NO_COLOR is kept.";

/// Keeps real infrastructure equal to what is committed.
///
/// Plans pull requests with the real Terraform (or OpenTofu) and tells the reviewer in one
/// comment, applies what is merged, and looks for drift.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, after_help = OVERVIEW, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Where the settings are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConfigArgument {
    /// The settings [default: $MAINSTAY_CONFIG, else ./mainstay.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the whole job on a throw-away repository; no account is needed
    #[command(after_help = "\
Makes a repository from the built-in example, starts the daemon on it, proposes a change, shows its
comment, merges and applies it, changes the world behind Terraform's back and finds the drift. Then
it keeps running for you to play with; with --once it ends there.

Terraform and git must be on the PATH. Nothing outside a temporary folder is touched.

Examples:
  mainstay demo
  mainstay demo --once")]
    Demo {
        /// End after the drift was found
        #[arg(long)]
        once: bool,
    },
    /// Runs the daemon: plans pull requests, applies merges, looks for drift
    #[command(after_help = "\
Ends in order on SIGTERM or Ctrl-C: plans are dropped, running applies finish. Killed at any
instant, the next start goes on from the record.

Examples:
  mainstay serve
  mainstay serve --config /etc/mainstay/mainstay.toml
  RUST_LOG=mainstay=debug mainstay serve")]
    Serve {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Plans the checkout as it is, uncommitted edits too, as the comment would show it
    #[command(after_help = "\
Plans the workspaces that differ from the base: the commit where this checkout left the remote's
default branch, or --base. Without a declaration of the repository it finds root modules by itself.
Nothing is changed and no file is left behind.

Exit codes: 0 nothing to change, 2 changes, 1 an error, 3 denied by a policy.

Examples:
  mainstay dry-run
  mainstay dry-run ~/infra --workspace network
  mainstay dry-run --base origin/release --format markdown > comment.md")]
    DryRun {
        /// A folder of the checkout
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Compare with this revision
        #[arg(long, value_name = "REV")]
        base: Option<String>,
        /// Plan this workspace, changed or not; may be given several times
        #[arg(long = "workspace", short, value_name = "NAME")]
        workspaces: Vec<WorkspaceName>,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Looks for drift now
    #[command(after_help = "\
Compares the world with the state at the applied commit, for every workspace or the ones named.
A running daemon sees the result and tells it in the drift issue.

Exit codes: 0 no drift, 2 drift, 1 an error.

Examples:
  mainstay drift
  mainstay drift --workspace network")]
    Drift {
        /// Only this workspace; may be given several times
        #[arg(long = "workspace", short, value_name = "NAME")]
        workspaces: Vec<WorkspaceName>,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Reads every setting and declaration and says what is wrong, and where
    #[command(after_help = "\
Exit codes: 0 nothing is wrong (there may be warnings), 1 something is.

Examples:
  mainstay check
  mainstay check --online --config /etc/mainstay/mainstay.toml")]
    Check {
        /// Also try the token, the repositories and Terraform
        #[arg(long)]
        online: bool,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Shows what the daemon knows: repositories, workspaces, proposals, what waits
    #[command(after_help = "\
It reads the record in `data_dir` and asks nobody else, so it works while the daemon is down.

Examples:
  mainstay status
  mainstay status --comments
  mainstay status --format json | jq '.repositories[].workspaces[] | select(.hold)'")]
    Status {
        /// Also print the comments, as they stand or would stand on the proposals
        #[arg(long)]
        comments: bool,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = ListFormat::Text)]
        format: ListFormat,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Lists runs, newest first
    #[command(after_help = "\
Examples:
  mainstay runs
  mainstay runs --workspace network -n 5
  mainstay runs --limit 0 --format json")]
    Runs {
        /// Only of this workspace
        #[arg(long, short, value_name = "NAME")]
        workspace: Option<WorkspaceName>,
        /// At most so many; 0 for all
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
        limit: u32,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = ListFormat::Text)]
        format: ListFormat,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Shows one run: its plan, its steps, what became of it
    #[command(after_help = "\
Examples:
  mainstay run 12
  mainstay run 12 --format json")]
    Run {
        /// The run's number, as `mainstay runs` shows it
        #[arg(value_name = "NUMBER", value_parser = run_number)]
        id: RunId,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Lets a hold go or repeats a failed apply, as the comment `mainstay apply` does
    #[command(after_help = "\
For repositories without pull requests, and for whoever has the daemon's machine. The daemon takes
the command up within seconds.

Examples:
  mainstay apply network
  mainstay apply --repo acme/infra network database")]
    Apply {
        /// The workspaces; all that wait where none is named
        #[arg(value_name = "WORKSPACE")]
        workspaces: Vec<WorkspaceName>,
        /// The repository, where several are declared
        #[arg(long, value_name = "NAME")]
        repo: Option<String>,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Stops what runs and what waits, as the comment `mainstay cancel` does
    #[command(after_help = "\
Examples:
  mainstay cancel
  mainstay cancel --repo acme/infra")]
    Cancel {
        /// The repository, where several are declared
        #[arg(long, value_name = "NAME")]
        repo: Option<String>,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Prints the completions of a shell
    #[command(after_help = "\
Examples:
  mainstay completions bash > ~/.local/share/bash-completion/completions/mainstay
  mainstay completions zsh > \"${fpath[1]}/_mainstay\"")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Reads a run's number, with or without the `#` that people put before one.
fn run_number(text: &str) -> Result<RunId, String> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    digits.parse().map(RunId).map_err(|_| {
        "a run has a number, as `mainstay runs` shows it in its first column".to_owned()
    })
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a terminal
    Text,
    /// As the comment on a pull request
    Markdown,
    /// For programs
    Json,
}

/// The form of a dry run's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For a terminal
    Text,
    /// As the comment on a pull request
    Markdown,
    /// For programs
    Json,
    /// The JSON Schema of that; nothing is planned
    JsonSchema,
}

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Json => "json",
        })
    }
}

impl fmt::Display for ReportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Json => "json",
            Self::JsonSchema => "json-schema",
        })
    }
}

impl fmt::Display for ListFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help is a result; a mistake is an error. Clap's own code for it, 2, means changes here.
            let code = if error.use_stderr() {
                Exit::Error
            } else {
                Exit::Nothing
            };
            let _ = error.print();
            return code.into();
        }
    };
    match call(arguments.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            shown::error(&error);
            Exit::Error.into()
        }
    }
}

fn call(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Demo { once } => start::demo(once),
        Command::Serve { config } => start::serve(&config),
        Command::DryRun {
            dir,
            base,
            workspaces,
            format,
            config,
        } => dry_run::dry_run(&dir, base.as_deref(), &workspaces, format, &config),
        Command::Drift {
            workspaces,
            format,
            config,
        } => run_drift::drift(&workspaces, format, &config),
        Command::Check { online, config } => check::check(online, &config),
        Command::Status {
            comments,
            format,
            config,
        } => status::status(comments, format, &config),
        Command::Runs {
            workspace,
            limit,
            format,
            config,
        } => runs::runs(workspace, limit, format, &config),
        Command::Run { id, format, config } => runs::run(id, format, &config),
        Command::Apply {
            workspaces,
            repo,
            config,
        } => ask::ask("apply", &workspaces, repo.as_deref(), &config),
        Command::Cancel { repo, config } => ask::ask("cancel", &[], repo.as_deref(), &config),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "mainstay",
                &mut std::io::stdout(),
            );
            Ok(Exit::Nothing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_run_reads_its_workspaces() {
        let arguments =
            Arguments::try_parse_from(["mainstay", "dry-run", "x", "--workspace", "a", "-w", "b"])
                .unwrap();
        let Command::DryRun { workspaces, .. } = arguments.command else {
            panic!()
        };
        assert_eq!(workspaces.len(), 2);
    }
}
