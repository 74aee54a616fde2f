//! `mainstay state`, `mainstay unseal` and `mainstay key`: what people do with what rests sealed.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::{ConfigArgument, Exit, ask, shown};
use crate::clock::now;
use crate::config::Config;
use crate::engine::{self, Force, KeptState};
use crate::id::WorkspaceName;
use crate::seal::Keys;
use crate::store::Store;
use crate::worker::Places;

fn keys(config: &Config) -> Keys {
    Keys::of(&config.data_dir, config.key_file.as_deref())
}

/// The state of a workspace, with the settings and the record that it belongs to.
fn kept(
    workspace: &WorkspaceName,
    repo: Option<&str>,
    argument: &ConfigArgument,
) -> anyhow::Result<(KeptState, Store)> {
    let (config, store, repo) = ask::open(repo, argument)?;
    let kept = KeptState {
        path: Places::new(&config.data_dir).state(&repo, workspace),
        keys: keys(&config),
        repo,
        workspace: workspace.clone(),
        commit: None,
    };
    Ok((kept, store))
}

/// Prints the state that is kept of a workspace.
pub(super) fn pull(
    workspace: &WorkspaceName,
    repo: Option<&str>,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (kept, _) = kept(workspace, repo, argument)?;
    let Some(state) = kept.content()? else {
        bail!(
            "Mainstay keeps no state of `{workspace}` in {}: nothing was applied yet, or its configuration names a backend",
            kept.repo
        );
    };
    std::io::stdout()
        .write_all(&state)
        .context("cannot write the state")?;
    Ok(Exit::Nothing)
}

/// Puts a state in the place of the one that is kept of a workspace.
pub(super) fn push(
    workspace: &WorkspaceName,
    file: &Path,
    force: Force,
    repo: Option<&str>,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (kept, store) = kept(workspace, repo, argument)?;
    kept.keys.ready()?;
    for active in store.active_runs()? {
        let run = store.run(active.id)?;
        if (&run.what.repo, &run.what.workspace) == (&kept.repo, workspace) {
            bail!(
                "run {} works on `{workspace}` in {}: wait for its end, or cancel it",
                run.id,
                kept.repo
            );
        }
    }
    let by = std::env::var("USER").unwrap_or_else(|_| "the daemon's machine".to_owned());
    let states = (engine::state_mark(&kept.path), engine::state_mark(file));
    // On the log before it is done, and only where it will be.
    kept.push(file, force, now().timestamp(), || {
        store
            .state_is_pushed((&kept.repo, workspace), &by, states, now())
            .map_err(Into::into)
    })?;
    anstream::eprintln!(
        "The state of {workspace} in {} is the one of {} now; the one before it is kept as a version.",
        kept.repo,
        file.display()
    );
    Ok(Exit::Nothing)
}

/// Prints what a sealed file holds.
pub(super) fn unseal(file: &Path, argument: &ConfigArgument) -> anyhow::Result<Exit> {
    let (config, _) = shown::load(argument)?;
    // Whole in memory first: nothing is printed that was changed.
    let mut content = Vec::new();
    let label = keys(&config).show(file, &mut content)?;
    let mut of = format!(
        "{:?} of {} in {}",
        label.kind, label.workspace, label.repository
    );
    if let Some(run) = label.run {
        of.push_str(&format!(", run {run}"));
    }
    anstream::eprintln!("{of}");
    std::io::stdout()
        .write_all(&content)
        .context("cannot write what it holds")?;
    Ok(Exit::Nothing)
}

/// Makes a new key and seals everything with it.
pub(super) fn rotate(argument: &ConfigArgument) -> anyhow::Result<Exit> {
    let (config, _) = shown::load(argument)?;
    let keys = keys(&config);
    keys.ready()?;
    let places = Places::new(&config.data_dir);
    let rotated = keys.rotate(&[config.data_dir.join("states"), places.runs()])?;
    for (path, error) in &rotated.left {
        anstream::eprintln!("{} stays as it is: {error}", path.display());
    }
    anstream::println!(
        "{} is the new key in {}: {} files were sealed with it, and {} older keys are gone",
        rotated.key,
        keys.file().display(),
        rotated.resealed,
        rotated.retired.len()
    );
    if rotated.left.is_empty() {
        Ok(Exit::Nothing)
    } else {
        Ok(Exit::Error)
    }
}
