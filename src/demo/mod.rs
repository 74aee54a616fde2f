//! The whole job on a throw-away repository: what `mainstay demo` shows.

pub mod example;
mod stage;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::stage::{Say, Stage};
use crate::clock::now;
use crate::config::{self, InvalidConfig};
use crate::engine::CancelToken;
use crate::fleet::{Fleet, Tracked};
use crate::id::{BranchName, ProposalKey, WorkspaceName};
use crate::provider;
use crate::report;
use crate::run::{Purpose, Run, State};
use crate::sandbox::Sandbox;
use crate::serve::{
    Daemon, Forges, StartError, find_engine, load_policies, open_fleet, own_environment,
};
use crate::store::{NewCommand, RunFilter, StoreError};
use crate::tell::{Wanted, drift_report};

/// How long one step of the demo may take before something must be wrong.
const STEP_LIMIT: Duration = Duration::from_secs(120);

/// How often the demo looks at the daemon's record.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The branch that the demo proposes.
const PROPOSAL: &str = "proposal/summer";

/// What the demo does after the drift was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It ends.
    End,
    /// It goes on for the person to play with.
    KeepRunning,
}

/// Why the demo did not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A program that it needs is not there.
    #[error(
        "the demo needs {name}: found no program `{program}` in {looked_in}; get it from your \
         distribution, or from {from}"
    )]
    Missing {
        /// What people call it.
        name: &'static str,
        /// The program's name.
        program: &'static str,
        /// Where it was looked for.
        looked_in: String,
        /// Who makes it.
        from: &'static str,
    },
    /// The demo's provider could not be locked.
    #[error("`terraform init` failed in {folder}: {said}")]
    InitFailed {
        /// The folder of the workspace.
        folder: PathBuf,
        /// What it said.
        said: String,
    },
    /// A git command failed.
    #[error("`git {command}` failed: {said}")]
    GitFailed {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// The daemon did not start.
    #[error("the daemon did not start")]
    Start(#[from] StartError),
    /// The settings that the demo wrote are not accepted.
    #[error("the settings that the demo wrote are not accepted")]
    Config(#[from] InvalidConfig),
    /// The record cannot be read.
    #[error("the record cannot be read")]
    Store(#[from] StoreError),
    /// The provider cannot be installed.
    #[error("the demo's provider cannot be installed")]
    Provider(#[from] provider::InstallError),
    /// A file cannot be used.
    #[error("cannot use {path}")]
    File {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Something was waited for and did not come.
    #[error("{what} did not come within {} s{}", STEP_LIMIT.as_secs(), hint(.failure))]
    Late {
        /// What was waited for.
        what: String,
        /// A run that failed meanwhile.
        failure: Option<String>,
    },
    /// A part ended by a panic.
    #[error("the daemon was cut short")]
    CutShort(#[from] tokio::task::JoinError),
    /// The person ended it.
    #[error("ended before it was over")]
    Ended,
}

fn hint(failure: &Option<String>) -> String {
    failure
        .as_ref()
        .map(|f| format!(": {f}"))
        .unwrap_or_default()
}

/// Shows the whole job.
///
/// # Errors
///
/// [`DemoError`] says which step did not come about.
pub async fn run(
    after: After,
    colour: bool,
    width: usize,
    end: &CancelToken,
) -> Result<(), DemoError> {
    let say = Say::new(colour, width);
    stage::look_for("git", "git", "git-scm.com")?;
    stage::look_for(
        "Terraform",
        "terraform",
        "developer.hashicorp.com/terraform/install",
    )?;
    let stage = Stage::set()?;
    let loaded = config::load(&stage.config);
    let (config, declarations) = loaded.into_valid()?;
    let engine = find_engine(&config)?;
    let policies = load_policies(&config, &declarations)?;
    let forges = Forges::new(&config, &declarations)?;
    let fleet = open_fleet(config, declarations, &forges)?;
    let mut environment = own_environment();
    environment.retain(|(name, _)| name != "TF_CLI_CONFIG_FILE" && name != "TF_PLUGIN_CACHE_DIR");
    environment.extend(stage.environment());
    let Some(daemon) = Daemon::new(
        Arc::clone(&fleet),
        engine,
        Sandbox::none(),
        policies,
        environment,
        end,
    )
    .await?
    else {
        return Ok(());
    };
    let stop = CancelToken::new();
    let running = tokio::spawn(daemon.run(stop.clone()));
    let show = Show {
        say: &say,
        stage: &stage,
        fleet: &fleet,
        end,
    };
    let shown = show.all(after).await;
    stop.cancel();
    running.await?;
    match shown {
        // Ctrl-C is how one leaves what keeps running.
        Err(DemoError::Ended) if after == After::KeepRunning => Ok(()),
        other => other,
    }
}

/// What the steps of the demo share.
struct Show<'s> {
    say: &'s Say,
    stage: &'s Stage,
    fleet: &'s Arc<Fleet>,
    end: &'s CancelToken,
}

impl Show<'_> {
    async fn all(&self, after: After) -> Result<(), DemoError> {
        self.introduce();
        self.first_sight().await?;
        self.propose().await?;
        self.merge().await?;
        self.drift().await?;
        match after {
            After::End => {
                self.say
                    .line("That was the whole job. The folder is removed now.");
                Ok(())
            }
            After::KeepRunning => {
                self.suggest();
                self.end.cancelled().await;
                self.say.line("\nEnding. The folder is removed.");
                Ok(())
            }
        }
    }

    fn introduce(&self) {
        let (say, stage) = (self.say, self.stage);
        say.title("Mainstay, the whole job on a throw-away repository");
        say.line(&format!(
            "The infrastructure is a little shop in three workspaces: network, web and database.\n\
             What stands in for the world is a folder of files: {}\n\
             The provider that keeps them is part of this program; Terraform, git and the daemon are the\n\
             real ones. There is no GitHub: the repository is a plain git remote, where a branch\n\
             `proposal/*` is what a pull request is on GitHub: {}",
            stage.world.display(),
            stage.remote.display()
        ));
    }

    /// The daemon sees the repository for the first time and brings the world to it.
    async fn first_sight(&self) -> Result<(), DemoError> {
        self.say
            .step("1. The daemon looks at the repository for the first time");
        self.say.line("Nothing exists yet, so it applies what main says. `database` is set to wait for a person.");
        let head = self.stage.head()?;
        self.merged(
            &head,
            &[
                ("network", State::Applied),
                ("web", State::Applied),
                ("database", State::Held),
            ],
        )
        .await?;
        let held = self.newest("database", Purpose::Merge)?;
        if let Some(reason) = held.and_then(|run| run.result.hold) {
            self.say
                .line(&format!("database is held: {reason}. A person agrees:"));
        }
        self.say.command("mainstay apply database");
        let tracked = self.tracked();
        self.fleet.store.add_command(&NewCommand {
            repo: tracked.repo().clone(),
            comment: None,
            issue: None,
            author: "you".to_owned(),
            line: "mainstay apply database".to_owned(),
            written_at: now(),
            head: None,
        })?;
        self.merged(&head, &[("database", State::Applied)]).await?;
        self.say.line("Everything is applied. The world now:");
        self.say.block(&world::listing(&self.stage.world)?);
        Ok(())
    }

    /// Somebody proposes a change.
    async fn propose(&self) -> Result<(), DemoError> {
        self.say.step("2. Somebody proposes a change");
        let edits = example::proposal_files();
        let names: Vec<&str> = edits.iter().map(|(path, _)| *path).collect();
        self.say.line(&format!(
            "They edit {} on a branch and push it:",
            names.join(" and ")
        ));
        self.say.command(&format!("git push origin {PROPOSAL}"));
        let began = Instant::now();
        let head = self.stage.propose(PROPOSAL, edits)?;
        let key = ProposalKey::Branch(branch(PROPOSAL));
        let target = format!("comment {key}");
        let body = self
            .wait("the plan of the proposal", || {
                let row = self.fleet.store.proposal(self.tracked().repo(), &key)?;
                if row.is_none_or(|row| row.proposal.head.as_str() != head) {
                    return Ok(None);
                }
                let telling = self.fleet.store.telling(self.tracked().repo(), &target)?;
                Ok(
                    telling.and_then(|t| match serde_json::from_value(t.wanted) {
                        Ok(Wanted::Comment { body, .. }) => Some(body),
                        _ => None,
                    }),
                )
            })
            .await?;
        self.say.line(&format!(
            "{:.1} s later the plan is there. On GitHub this comment would stand on the pull request:",
            began.elapsed().as_secs_f64()
        ));
        self.say.block(without_marker(&body));
        Ok(())
    }

    /// It is merged, and applied.
    async fn merge(&self) -> Result<(), DemoError> {
        self.say.step("3. It is merged to main");
        self.say.command(&format!(
            "git merge --no-ff {PROPOSAL} && git push origin main"
        ));
        let head = self.stage.merge(PROPOSAL)?;
        self.merged(
            &head,
            &[("network", State::Applied), ("web", State::Applied)],
        )
        .await?;
        self.say.line(
            "The daemon planned again, found the very changes that were shown, and applied them:",
        );
        self.say.block(&world::listing(&self.stage.world)?);
        Ok(())
    }

    /// The world changes behind Terraform's back.
    async fn drift(&self) -> Result<(), DemoError> {
        self.say
            .step("4. Somebody changes the world behind Terraform's back");
        let page = self.stage.world.join("web/index.html");
        self.say
            .command(&format!("echo '<h1>Closed</h1>' > {}", page.display()));
        std::fs::write(&page, "<h1>Closed</h1>\n").map_err(|source| DemoError::File {
            path: page.clone(),
            source,
        })?;
        self.say
            .line("The daemon looks for drift every few seconds here; every hour is more usual.");
        let run = self
            .wait("the drift", || {
                Ok(self.newest("web", Purpose::Drift)?.filter(|run| {
                    run.result
                        .plan
                        .as_ref()
                        .is_some_and(crate::plan::Plan::has_drift)
                }))
            })
            .await?;
        if let Some(report) = drift_report(&self.tracked(), &run)
            && let Ok(body) = report::drift_issue(&report, &report::Templates::default())
        {
            self.say.line("It found it. On GitHub this issue, `Drift in web`, would be open until the drift is gone:");
            self.say.block(without_marker(&body));
        }
        Ok(())
    }

    fn suggest(&self) {
        let (say, stage) = (self.say, self.stage);
        say.step("The daemon keeps running. Things to try, in another terminal");
        let commands = [
            ("settings, programs, and into the checkout", format!(". {}", stage.env.display())),
            ("what the daemon knows", "mainstay status".to_owned()),
            ("what it did", "mainstay runs".to_owned()),
            (
                "a change of your own",
                "git switch -c proposal/mine && sed -i 's/every day but Monday/every day/' web/main.tf"
                    .to_owned(),
            ),
            ("what would it do?", "mainstay dry-run".to_owned()),
            ("propose it", "git commit -am 'Open on Mondays' && git push origin HEAD".to_owned()),
            ("the comment on it", "mainstay status --comments".to_owned()),
            (
                "merge it: it is applied",
                "git switch main && git merge proposal/mine && git push origin main".to_owned(),
            ),
            ("roll it back", "git revert --no-edit HEAD && git push origin main".to_owned()),
            ("drift", format!("rm {}/web/contact.html && mainstay drift", stage.world.display())),
            ("put the world back", "mainstay apply web".to_owned()),
        ];
        for (meaning, line) in commands {
            say.remark(meaning);
            say.command(&line);
        }
        say.line("Ctrl-C ends it and removes the folder.");
    }

    fn tracked(&self) -> Arc<Tracked> {
        let first = self.fleet.repositories.values().next();
        Arc::clone(first.expect("the demo declares one repository"))
    }

    fn newest(&self, workspace: &str, purpose: Purpose) -> Result<Option<Run>, StoreError> {
        let filter = RunFilter {
            workspace: Some(name(workspace)),
            purpose: Some(purpose),
            limit: 1,
            ..RunFilter::default()
        };
        Ok(self.fleet.store.runs(&filter)?.pop())
    }

    /// Waits until the newest merge run of each workspace is at `commit` and stands there.
    async fn merged(&self, commit: &str, wanted: &[(&str, State)]) -> Result<(), DemoError> {
        for (workspace, state) in wanted {
            let run = self
                .wait(&format!("{workspace} being {state}"), || {
                    Ok(self
                        .newest(workspace, Purpose::Merge)?
                        .filter(|run| run.what.commit.as_str() == commit && run.state == *state))
                })
                .await?;
            let counts = run
                .result
                .plan
                .map(|plan| plan.counts.to_string())
                .unwrap_or_default();
            self.say.done(&format!(
                "{workspace} is {state} at {} ({counts})",
                run.what.commit.short()
            ));
        }
        Ok(())
    }

    async fn wait<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, StoreError>,
    ) -> Result<T, DemoError> {
        let began = Instant::now();
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if self.end.is_cancelled() {
                return Err(DemoError::Ended);
            }
            if began.elapsed() > STEP_LIMIT {
                return Err(DemoError::Late {
                    what: what.to_owned(),
                    failure: self.failure()?,
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn failure(&self) -> Result<Option<String>, StoreError> {
        let runs = self.fleet.store.runs(&RunFilter {
            limit: 20,
            ..RunFilter::default()
        })?;
        let failed = runs.into_iter().find_map(|run| run.result.failure);
        let repository = self
            .fleet
            .store
            .repositories()?
            .into_iter()
            .find_map(|r| r.error);
        Ok(failed
            .map(|f| f.summary)
            .or(repository.map(|(text, _)| text)))
    }
}

/// A comment without the marker that it is found by, which nobody sees on GitHub.
fn without_marker(body: &str) -> &str {
    match body.split_once('\n') {
        Some((first, rest)) if first.starts_with("<!-- mainstay:") => rest,
        _ => body,
    }
}

fn branch(text: &str) -> BranchName {
    text.parse().expect("a valid branch name")
}

fn name(text: &str) -> WorkspaceName {
    text.parse().expect("a valid workspace name")
}
