//! Commands to the daemon from its own machine.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::TimeDelta;

use super::{ConfigArgument, Exit, shown};
use crate::clock::now;
use crate::config::Config;
use crate::id::{RepoName, WorkspaceName};
use crate::serve::DaemonSeen;
use crate::store::{Command, CommandState, NewCommand, Store, StoreError};

/// Writes a command into the record, where the daemon finds it.
pub(super) fn ask(
    verb: &str,
    workspaces: &[WorkspaceName],
    repo: Option<&str>,
    config: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (_, store, repo) = open(repo, config)?;
    let known: Vec<WorkspaceName> = store
        .workspaces(&repo)?
        .into_iter()
        .map(|w| w.name)
        .collect();
    for name in workspaces {
        if !known.contains(name) {
            bail!(
                "the record of {repo} has no workspace `{name}`; {}",
                shown::nearest(name.as_str(), &known)
            );
        }
    }
    let mut line = format!("mainstay {verb}");
    for name in workspaces {
        line.push(' ');
        line.push_str(name.as_str());
    }
    note(&store, &repo, line)
}

/// Writes into the record that a policy is overridden, and why.
pub(super) fn overrule(
    policy: &str,
    reason: &[String],
    repo: Option<&str>,
    config: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (_, store, repo) = open(repo, config)?;
    // A command is one line of words.
    let reason = reason.join(" ");
    let reason: Vec<&str> = reason.split_whitespace().collect();
    let line = format!("mainstay override {policy} {}", reason.join(" "));
    match crate::decide::read(&line, &[]) {
        Some(Ok(_)) => note(&store, &repo, line),
        Some(Err(refusal)) => bail!("{refusal}"),
        None => bail!(
            "`{policy}` is no name of a policy, or the reason is longer than a comment may be; \
             `mainstay policy list` shows the names"
        ),
    }
}

/// The settings, the record, and the repository that is meant.
pub(super) fn open(
    repo: Option<&str>,
    config: &ConfigArgument,
) -> anyhow::Result<(Config, Store, RepoName)> {
    let (config, declarations) = shown::load(config)?;
    let store = Store::open_existing(&config.data_dir)?;
    let repos: Vec<RepoName> = declarations.into_iter().map(|d| d.repo).collect();
    let repo = match (repo, repos.as_slice()) {
        (Some(name), all) => all.iter().find(|r| r.as_str() == name).with_context(|| {
            format!(
                "no repository `{name}` is declared; {}",
                shown::nearest(name, all)
            )
        })?,
        (None, [only]) => only,
        (None, all) => bail!(
            "several repositories are declared: name one by --repo; {}",
            shown::nearest("", all)
        ),
    };
    let repo = repo.clone();
    Ok((config, store, repo))
}

/// How long a daemon may take to answer before we no longer wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often its answer is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn note(store: &Store, repo: &RepoName, line: String) -> anyhow::Result<Exit> {
    let asked = NewCommand {
        repo: repo.clone(),
        comment: None,
        issue: None,
        author: std::env::var("USER").unwrap_or_else(|_| "the daemon's machine".to_owned()),
        line: line.clone(),
        written_at: now(),
        head: None,
    };
    store.add_command(&asked)?;
    match DaemonSeen::look(store)? {
        DaemonSeen::Runs { .. } => {
            let answer = answer(store, &asked)?;
            match answer.map(|command| (command.state, command.reason)) {
                Some((CommandState::Refused, reason)) => bail!(
                    "the daemon refused `{line}` in {repo}: {}",
                    reason.unwrap_or_else(|| "it gave no reason".to_owned())
                ),
                Some((CommandState::Accepted | CommandState::Done, _)) => anstream::eprintln!(
                    "The daemon does it: `{line}` in {repo}. `mainstay status` shows what becomes of it."
                ),
                Some((CommandState::New, _)) | None => anstream::eprintln!(
                    "Asked the daemon, which has not answered yet: `{line}` in {repo}. It answers after its \
                     next look; `mainstay status` and `mainstay audit` show what becomes of it."
                ),
            }
        }
        DaemonSeen::Silent { .. } => anstream::eprintln!(
            "Asked the daemon, which gives no sign of life: `{line}` in {repo}. `mainstay status` shows \
             what becomes of it."
        ),
        DaemonSeen::Nowhere => anstream::eprintln!(
            "Noted for the daemon, which does not run now: `{line}` in {repo}. It is done when `mainstay serve` is started."
        ),
    }
    Ok(Exit::Nothing)
}

/// How a command of ours stands once the daemon has taken it up; as it stands where that takes long.
fn answer(store: &Store, asked: &NewCommand) -> Result<Option<Command>, StoreError> {
    let began = Instant::now();
    loop {
        let commands = store.commands(&asked.repo)?;
        let ours = commands.into_iter().rev().find(|c| {
            c.what.line == asked.line
                && c.what.author == asked.author
                && (c.what.written_at - asked.written_at).abs() < TimeDelta::milliseconds(1)
        });
        let taken_up = ours.as_ref().is_some_and(|c| c.state != CommandState::New);
        if taken_up || began.elapsed() > PATIENCE {
            return Ok(ours);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
