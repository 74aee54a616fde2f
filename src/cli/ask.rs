//! Commands to the daemon from its own machine.

use anyhow::{Context as _, bail};

use super::{ConfigArgument, Exit, shown};
use crate::clock::now;
use crate::config::Config;
use crate::id::{RepoName, WorkspaceName};
use crate::serve::DaemonSeen;
use crate::store::{NewCommand, Store};

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

fn note(store: &Store, repo: &RepoName, line: String) -> anyhow::Result<Exit> {
    store.add_command(&NewCommand {
        repo: repo.clone(),
        comment: None,
        issue: None,
        author: std::env::var("USER").unwrap_or_else(|_| "the daemon's machine".to_owned()),
        line: line.clone(),
        written_at: now(),
        head: None,
    })?;
    match DaemonSeen::look(store)? {
        DaemonSeen::Runs { .. } | DaemonSeen::Silent { .. } => anstream::eprintln!(
            "Asked the daemon: `{line}` in {repo}. `mainstay status` shows what becomes of it."
        ),
        DaemonSeen::Nowhere => anstream::eprintln!(
            "Noted for the daemon, which does not run now: `{line}` in {repo}. It is done when `mainstay serve` is started."
        ),
    }
    Ok(Exit::Nothing)
}
