//! `mainstay drift`: looks for drift now.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::table::counted;
use super::{ConfigArgument, Exit, Format, shown};
use crate::clock::now;
use crate::config::LogFormat;
use crate::decide::drift_order;
use crate::engine::CancelToken;
use crate::fleet::{Fleet, Tracked};
use crate::id::{RunId, WorkspaceName};
use crate::plan::{Plan, Sign};
use crate::report;
use crate::run::{Run, State, Trigger};
use crate::serve::{Forges, find_engine, find_sandbox, keep_leases, open_fleet, own_environment};
use crate::store::{RunUpdate, StoreError};
use crate::tell::drift_report;
use crate::worker::{Owner, Wishes, Worker};

/// How often a run that another process does is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks for drift in the workspaces, and shows what was found.
pub(super) fn drift(
    names: &[WorkspaceName],
    format: Format,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (config, declarations) = shown::load(argument)?;
    // What fails is shown below, and would be there twice.
    shown::log(LogFormat::Text, "error,octocrab=off");
    let engine = find_engine(&config)?;
    let sandbox = find_sandbox(&config)?;
    let forges = Forges::offline(&config, &declarations);
    shown::runtime()?.block_on(async {
        let fleet = open_fleet(config, declarations, &forges)?;
        let worker = Worker::new(
            Arc::clone(&fleet),
            engine,
            sandbox,
            // What looks for drift changes nothing, and no policy judges it.
            Arc::default(),
            own_environment(),
        );
        let chosen = choose(&fleet, names)?;
        // What it finds is recorded for as long as it holds the lease of the workspace.
        let _renewed = keep_leases(Arc::clone(&fleet.store), CancelToken::new());
        let mut exit = Exit::Nothing;
        let mut results = Vec::new();
        for (tracked, name) in chosen {
            let run = look(&fleet, &worker, &tracked, &name).await?;
            exit = worse(exit, outcome(&run));
            match format {
                Format::Text => print(&run),
                Format::Markdown => match drift_report(&tracked, &run) {
                    Some(report) => {
                        println!("{}\n", report::drift_issue(&report, &fleet.templates)?)
                    }
                    None => print(&run),
                },
                Format::Json => results.push(json!({
                    "repository": run.what.repo,
                    "workspace": run.what.workspace,
                    "commit": run.what.commit,
                    "run": run.id,
                    "drift": run.result.plan.as_ref().map(found),
                    "failure": run.result.failure,
                })),
            }
        }
        if format == Format::Json {
            let value = json!({ "schema": "mainstay.drift/1", "workspaces": results });
            println!("{}", serde_json::to_string_pretty(&value)?);
        }
        Ok(exit)
    })
}

/// What a look for drift found, for programs.
pub(super) fn found(plan: &Plan) -> Value {
    json!({
        "found": plan.has_drift(),
        "resources": plan.drift,
        "resources_left_out": plan.left_out.drift,
        "outputs": plan.outputs,
    })
}

/// The workspaces to look at: those named, or all that are at a commit.
fn choose(
    fleet: &Fleet,
    names: &[WorkspaceName],
) -> anyhow::Result<Vec<(Arc<Tracked>, WorkspaceName)>> {
    let mut known = Vec::new();
    for tracked in fleet.repositories.values() {
        for row in fleet.store.workspaces(tracked.repo())? {
            known.push((Arc::clone(tracked), row));
        }
    }
    for name in names {
        if !known.iter().any(|(_, row)| &row.name == name) {
            let names: Vec<_> = known.iter().map(|(_, row)| &row.name).collect();
            bail!(
                "no workspace `{name}` is on record; {}",
                shown::nearest(name.as_str(), &names)
            );
        }
    }
    let chosen: Vec<_> = known
        .into_iter()
        .filter(|(_, row)| {
            if names.is_empty() {
                row.applied.is_some()
            } else {
                names.contains(&row.name)
            }
        })
        .map(|(tracked, row)| (tracked, row.name))
        .collect();
    if chosen.is_empty() {
        bail!(
            "no workspace was brought to a commit yet: drift is the difference between the world and what `mainstay serve` applied"
        );
    }
    Ok(chosen)
}

/// One run, done here or by the daemon, whoever takes it first.
async fn look(
    fleet: &Fleet,
    worker: &Worker,
    tracked: &Tracked,
    name: &WorkspaceName,
) -> anyhow::Result<Run> {
    let facts = fleet.facts(tracked)?;
    let known = facts.workspaces.iter().find(|w| &w.name == name);
    let trigger = Trigger::Person {
        name: std::env::var("USER").unwrap_or_else(|_| "the command line".to_owned()),
    };
    let order = known
        .and_then(|known| drift_order(&facts, known, trigger))
        .with_context(|| format!("{name} of {} is at no commit for sure: an apply has not come to a good end; see `mainstay status`", tracked.repo()))?;
    let id: RunId = fleet.store.add_run(&order, now())?;
    let owner = Owner::this_process().to_string();
    let mut said = false;
    loop {
        match fleet.store.claim(id, &owner, now()) {
            Ok(RunUpdate::Now(_)) => {
                worker.work(id, &Wishes::default(), &|_| {}).await?;
                return Ok(fleet.store.run(id)?);
            }
            Ok(RunUpdate::Busy) => {
                if !said {
                    said = true;
                    eprintln!("{name} is taken by another run; waiting for it to end");
                }
                take_over_lost(fleet, worker, tracked, name).await?;
            }
            // The daemon was first, or somebody cancelled it.
            Err(StoreError::Illegal { .. }) => {
                let run = fleet.store.run(id)?;
                if run.state.is_end() {
                    return Ok(run);
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Takes over the run that has the workspace where its process is gone: there may be no daemon to.
async fn take_over_lost(
    fleet: &Fleet,
    worker: &Worker,
    tracked: &Tracked,
    name: &WorkspaceName,
) -> anyhow::Result<()> {
    let ours = Owner::this_process();
    for active in fleet.store.active_runs()? {
        let owner = active.owner.as_deref().and_then(Owner::read);
        let lost = owner.is_none_or(|owner| owner != ours && !owner.is_alive());
        if &active.what.repo == tracked.repo() && &active.what.workspace == name && lost {
            let run = fleet.store.run(active.id)?;
            let former = active.owner.as_deref();
            worker.recover(&run, former, &CancelToken::new()).await?;
        }
    }
    Ok(())
}

fn outcome(run: &Run) -> Exit {
    match (&run.result.plan, run.state) {
        (Some(plan), State::Planned) if plan.has_drift() => Exit::Changes,
        (Some(_), State::Planned) => Exit::Nothing,
        _ => Exit::Error,
    }
}

fn worse(a: Exit, b: Exit) -> Exit {
    match (a, b) {
        (Exit::Error, _) | (_, Exit::Error) => Exit::Error,
        (Exit::Changes, _) | (_, Exit::Changes) => Exit::Changes,
        _ => a,
    }
}

/// Prints what a look for drift found.
pub(super) fn print(run: &Run) {
    let name = &run.what.workspace;
    let at = run.what.commit.short();
    if let Some(note) = report::refused_note("the look for drift", &run.result.refused) {
        anstream::println!("{name} at {at}: {}", note.replace('`', ""));
    }
    if let Some(failure) = &run.result.failure {
        anstream::println!("{name} at {at}: could not be compared: {}", failure.summary);
        if let Some(advice) = &failure.advice {
            anstream::println!("  {advice}");
        }
        return;
    }
    let Some(plan) = run
        .result
        .plan
        .as_ref()
        .filter(|_| run.state == State::Planned)
    else {
        anstream::println!("{name} at {at}: {}", run.state);
        return;
    };
    if !plan.has_drift() {
        anstream::println!("{name} at {at}: no drift");
        return;
    }
    anstream::println!(
        "{name} at {at}: the world differs in {}",
        match plan.drifted() {
            0 => counted(plan.changed_outputs(), "output"),
            resources => counted(resources, "resource"),
        }
    );
    for change in &plan.drift {
        anstream::println!("  {} {}", change.action.symbol(), change.address);
        for line in &change.lines {
            let sign = match line.sign {
                Sign::Add => '+',
                Sign::Remove => '-',
                Sign::Change => '~',
                Sign::Same => ' ',
            };
            let indent = "  ".repeat(usize::from(line.depth));
            anstream::println!("    {sign} {indent}{}", line.text);
        }
    }
    if plan.left_out.drift > 0 {
        anstream::println!("  and {} more", plan.left_out.drift);
    }
    for output in &plan.outputs {
        anstream::println!("  ~ output {}", output.name);
    }
}
