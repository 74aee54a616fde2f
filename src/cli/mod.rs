//! The command line: parse, call, exit code.

mod ask;
mod at_rest;
mod audit;
mod backup;
mod check;
mod dry_run;
mod policy;
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

use self::audit::AuditFilter;
use crate::audit::Head;
use crate::engine::Force;
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
    /// Shows the audit log: who did what, when, on what ground
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
Every event of every run, every command and every force-push is a record, written together with what
it describes and before anything outside follows from it. Each record holds the hash of the one
before it.

Examples:
  mainstay audit
  mainstay audit --workspace network --since 7d
  mainstay audit --limit 0 --format json
  mainstay audit verify
  mainstay audit export --format csv --since 2026-01-01 --until 2026-04-01 > first-quarter.csv"
    )]
    Audit {
        #[command(subcommand)]
        command: Option<AuditCommand>,
        #[command(flatten)]
        listing: AuditListing,
    },
    /// Copies the record and the states into a new folder
    #[command(after_help = "\
Works while the daemon runs. The copy has the record as it was at one instant with its audit log, the
states that Mainstay keeps with their earlier versions, and the key of the fingerprints. Nothing is
overwritten, and half a copy is never left under that name.

States are sealed in the copy too, and the keys that open them are NOT in it: copy the file that the
command names to a place of its own, now and after each `mainstay key rotate`. A backup without its
keys is of no use for the states, and one that lies beside them is not sealed.

To restore, end the daemon, move the old `data_dir` away, put the copy in its place and the keys into
it as `seal.key`, and start.

Exit codes: 0 all is copied, 1 an error.

Examples:
  mainstay backup /backup/mainstay-$(date +%F)")]
    Backup {
        /// The folder, which is made
        folder: PathBuf,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Prints or replaces the state that Mainstay keeps of a workspace
    #[command(subcommand)]
    State(StateCommand),
    /// Prints what a sealed file of the data folder holds
    #[command(after_help = "\
For the logs of runs, for earlier versions of a state, and for states that an apply could not save.
What belongs to what stands in the first lines of each file, in the clear. A file that was changed
since it was sealed, or whose time is over, is not opened.

Examples:
  mainstay unseal var/runs/12/1/1-plan/stdout.sealed
  mainstay unseal var/states/acme_infra-1a2b3c4d/network-5e6f7a8b/terraform.tfstate.7-1767225600.backup.sealed")]
    Unseal {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Makes a new key for what is sealed
    #[command(subcommand)]
    Key(KeyCommand),
    /// Goes on against a policy for one plan, as the comment `mainstay override` does
    #[command(after_help = "\
For every plan that the policy stops now, and for those plans only: a plan that differs is judged
again. The reason is kept in the record. A change that was held is planned again and goes on.

Examples:
  mainstay override keep-data the database was copied yesterday
  mainstay override blast-radius --repo acme/infra a planned move of everything")]
    Override {
        /// The policy, as the report names it
        #[arg(value_name = "POLICY")]
        policy: String,
        /// Why, in your own words
        #[arg(value_name = "REASON", required = true)]
        reason: Vec<String>,
        /// The repository, where several are declared
        #[arg(long, value_name = "NAME")]
        repo: Option<String>,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Tests the policies, or lists them
    #[command(subcommand)]
    Policy(PolicyCommand),
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

/// Which records of the audit log are listed, and how.
#[derive(Debug, Clone, clap::Args)]
struct AuditListing {
    #[command(flatten)]
    filter: AuditFilter,
    /// At most so many, the newest; 0 for all
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 40)]
    limit: u32,
    /// The form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,
    #[command(flatten)]
    config: ConfigArgument,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Lists records, newest first; so does `audit` alone
    Show(AuditListing),
    /// Looks for records that were changed, dropped or cut off
    #[command(after_help = "\
A record that was changed or dropped shows by the hashes. That the end was cut off shows by the file
`audit.head` beside the database. Whoever may write to both can write a log anew that has no fault:
note the head that is printed here elsewhere from time to time, and give it back with --head.

Exit codes: 0 the log is whole, 1 it is not, or it cannot be read.

Examples:
  mainstay audit verify
  mainstay audit verify --head 812:9f2c…")]
    Verify {
        /// A head that was noted earlier, as COUNT:HASH; may be given several times
        #[arg(long = "head", value_name = "COUNT:HASH")]
        heads: Vec<Head>,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Writes each change for an auditor: authorised by whom, how tested, implemented as agreed
    #[command(after_help = "\
One entry for each apply, and one for each change that nobody authorised and that was found as drift.
`emergency` says where a policy was overridden or where there was no proposal.

Exit codes: 0 all is written; 1 an error, or the log is not whole: what is left is written all the
same.

Examples:
  mainstay audit export > changes.jsonl
  mainstay audit export --format csv --workspace network --since 90d")]
    Export {
        /// The form of the result
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
        #[command(flatten)]
        filter: AuditFilter,
        #[command(flatten)]
        config: ConfigArgument,
    },
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// Prints the state of a workspace that names no backend
    #[command(after_help = "\
It is kept sealed, and printed in the clear with every secret in it. Works while the daemon runs; of an
apply that is under way it prints what Terraform has saved so far.

Examples:
  mainstay state pull network > state.json
  mainstay state pull network --repo acme/infra | jq .serial")]
    Pull {
        /// The workspace
        workspace: WorkspaceName,
        /// The repository, where several are declared
        #[arg(long, value_name = "NAME")]
        repo: Option<String>,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Replaces the state of a workspace that names no backend
    #[command(after_help = "\
To repair: pull it, mend it (by hand, or with `terraform state` and `-state=FILE`), give it a larger
serial, push it. It is refused where its lineage is another, where its serial is not larger, or where
a run works on the workspace. The state that it replaces is kept as a version. A plan that was made
before is not applied any more.

Examples:
  mainstay state push network state.json
  mainstay state push network kept-version.json --force")]
    Push {
        /// The workspace
        workspace: WorkspaceName,
        /// The file with the state
        file: PathBuf,
        /// Whatever its lineage and serial are
        #[arg(long)]
        force: bool,
        /// The repository, where several are declared
        #[arg(long, value_name = "NAME")]
        repo: Option<String>,
        #[command(flatten)]
        config: ConfigArgument,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Makes a new key, seals everything with it, and drops the old one
    #[command(after_help = "\
Works while the daemon runs, and may be ended at any instant: the next one goes on. The old key is
dropped when nothing is sealed with it any more. Copy the file of keys to where you keep it: backups
that were made before still need the old key.

Exit codes: 0 all is sealed with the new key, 1 something could not be, and its key stays.

Examples:
  mainstay key rotate
  mainstay key rotate --config /etc/mainstay/mainstay.toml")]
    Rotate {
        #[command(flatten)]
        config: ConfigArgument,
    },
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Runs the policies' own tests and says how much of the rules they reach
    #[command(after_help = "\
A test is a rule whose name begins with `test_`, in a file `*_test.rego` beside the policy. Nothing
but the folder is read. Every rule is also looked through for what would let plans pass unseen.

Exit codes: 0 all tests pass, 1 one fails or a file is wrong.

Examples:
  mainstay policy test
  mainstay policy test ./policies --format json")]
    Test {
        /// The folder of policies [default: that of the settings, else ./policies]
        dir: Option<PathBuf>,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = ListFormat::Text)]
        format: ListFormat,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Lists the policies: name, title, why, and who may override them
    #[command(after_help = "\
Examples:
  mainstay policy list
  mainstay policy list --format json | jq '.policies[].name'")]
    List {
        /// The folder of policies [default: that of the settings, else ./policies]
        dir: Option<PathBuf>,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = ListFormat::Text)]
        format: ListFormat,
        #[command(flatten)]
        config: ConfigArgument,
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

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// One JSON object a line
    Jsonl,
    /// A table for a spreadsheet
    Csv,
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        })
    }
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
        Command::Audit { command, listing } => {
            match command.unwrap_or(AuditCommand::Show(listing)) {
                AuditCommand::Show(AuditListing {
                    filter,
                    limit,
                    format,
                    config,
                }) => audit::list(&filter, limit, format, &config),
                AuditCommand::Verify { heads, config } => audit::verify(&heads, &config),
                AuditCommand::Export {
                    format,
                    filter,
                    config,
                } => audit::export(&filter, format, &config),
            }
        }
        Command::Backup { folder, config } => backup::backup(&folder, &config),
        Command::State(StateCommand::Pull {
            workspace,
            repo,
            config,
        }) => at_rest::pull(&workspace, repo.as_deref(), &config),
        Command::State(StateCommand::Push {
            workspace,
            file,
            force,
            repo,
            config,
        }) => {
            let force = if force { Force::Yes } else { Force::No };
            at_rest::push(&workspace, &file, force, repo.as_deref(), &config)
        }
        Command::Unseal { file, config } => at_rest::unseal(&file, &config),
        Command::Key(KeyCommand::Rotate { config }) => at_rest::rotate(&config),
        Command::Override {
            policy,
            reason,
            repo,
            config,
        } => ask::overrule(&policy, &reason, repo.as_deref(), &config),
        Command::Policy(PolicyCommand::Test {
            dir,
            format,
            config,
        }) => policy::run_tests(dir.as_deref(), format, &config),
        Command::Policy(PolicyCommand::List {
            dir,
            format,
            config,
        }) => policy::list(dir.as_deref(), format, &config),
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
