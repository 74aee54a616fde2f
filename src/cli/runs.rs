//! The runs on record: `runs` lists them, `run` shows one.

use std::fmt::Write as _;

use anyhow::bail;
use serde_json::{Value, json};

use super::table::{Rows, ago, counted, one_line, proposal};
use super::{ConfigArgument, Exit, Format, ListFormat, run_drift, shown};
use crate::clock::{Timestamp, human_duration};
use crate::config::Config;
use crate::fleet;
use crate::id::{RepoName, RunId, WorkspaceName};
use crate::plan::Counts;
use crate::report::{self, DriftReport};
use crate::run::{Event, Purpose, Run, State};
use crate::store::{RunFilter, Store, StoreError};
use crate::tell::run_report;
use crate::worker::Places;
use crate::workspace::Declaration;

/// Lists runs, newest first.
pub(super) fn runs(
    workspace: Option<WorkspaceName>,
    limit: u32,
    format: ListFormat,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (config, declarations) = shown::load(argument)?;
    let (store, _) = Store::open_to_read(&config.data_dir)?;
    if let Some(name) = &workspace {
        known(&store, &declarations, name)?;
    }
    let runs = store.runs(&RunFilter {
        workspace,
        limit,
        ..RunFilter::default()
    })?;
    match format {
        ListFormat::Json => {
            let all: Vec<Value> = runs.iter().map(run_json).collect();
            let value = json!({ "schema": "mainstay.runs/1", "runs": all });
            anstream::println!("{}", serde_json::to_string_pretty(&value)?);
        }
        ListFormat::Text if runs.is_empty() => anstream::eprintln!("No runs are recorded yet."),
        ListFormat::Text => print(&runs),
    }
    Ok(Exit::Nothing)
}

/// Whether a workspace of that name is on record.
fn known(store: &Store, declarations: &[Declaration], name: &WorkspaceName) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for declaration in declarations {
        all.extend(
            store
                .workspaces(&declaration.repo)?
                .into_iter()
                .map(|w| w.name),
        );
    }
    if all.contains(name) {
        return Ok(());
    }
    // A workspace that was taken away still has its runs.
    let filter = RunFilter {
        workspace: Some(name.clone()),
        limit: 1,
        ..RunFilter::default()
    };
    if !store.runs(&filter)?.is_empty() {
        return Ok(());
    }
    bail!(
        "no workspace `{name}` is on record; {}",
        shown::nearest(name.as_str(), &all)
    );
}

fn print(runs: &[Run]) {
    let several = runs.iter().any(|run| run.what.repo != runs[0].what.repo);
    let mut head = vec!["run", "when"];
    if several {
        head.push("repository");
    }
    head.extend([
        "workspace",
        "purpose",
        "proposal",
        "commit",
        "state",
        "plan",
    ]);
    let mut rows = Rows::new(&head);
    for run in runs {
        let mut cells = vec![run.id.to_string(), ago(run.created_at)];
        if several {
            cells.push(tail_of(&run.what.repo));
        }
        cells.extend([
            run.what.workspace.to_string(),
            run.what.purpose.to_string(),
            run.what
                .proposal
                .as_ref()
                .map_or_else(|| "-".to_owned(), proposal),
            run.what.commit.short().to_owned(),
            run.state.to_string(),
            outcome(run),
        ]);
        rows.add(cells);
    }
    rows.print();
}

/// Shows one run.
pub(super) fn run(id: RunId, format: Format, argument: &ConfigArgument) -> anyhow::Result<Exit> {
    let (config, declarations) = shown::load(argument)?;
    let (store, _) = Store::open_to_read(&config.data_dir)?;
    let run = match store.run(id) {
        Err(StoreError::NotFound { .. }) => bail!("{}", missing(&store, id)?),
        run => run?,
    };
    let settings = declarations
        .iter()
        .find(|d| d.repo == run.what.repo)
        .and_then(|d| d.settings(&run.what.workspace));
    let branch = declarations
        .iter()
        .find(|d| d.repo == run.what.repo)
        .map(|d| d.branch.clone());
    let drift = match (&run.result.plan, &branch, run.what.purpose) {
        // Its plan changes nothing: what the world changed is what it is about.
        (Some(plan), Some(branch), Purpose::Drift) => Some(DriftReport {
            marker: String::new(),
            workspace: run.what.workspace.clone(),
            environment: settings.and_then(|s| s.environment.clone()),
            commit: run.what.commit.clone(),
            branch: branch.clone(),
            plan: plan.clone(),
        }),
        _ => None,
    };
    let mut report = run_report(&run, settings, branch);
    report.data_types = config.data_types.clone();
    match format {
        Format::Json => {
            let value = json!({
                "schema": "mainstay.run/1",
                "run": run_json(&run),
                "report": report::json(&report),
                "drift": drift.map(|drift| run_drift::found(&drift.plan)),
                "events": store.events(id)?.into_iter().map(|(at, event)| json!({ "at": at, "event": event })).collect::<Vec<_>>(),
                "steps": steps(&store, id)?,
            });
            anstream::println!("{}", serde_json::to_string_pretty(&value)?);
        }
        Format::Markdown => {
            let (templates, _) = fleet::templates(&config);
            let text = match drift {
                Some(drift) => report::drift_issue(&drift, &templates)?,
                None => report::comment(&report, &templates)?,
            };
            anstream::println!("{}", text.trim_start());
        }
        Format::Text if run.what.purpose == Purpose::Drift => {
            run_drift::print(&run);
            anstream::println!("\n{}", history(&config, &store, &run)?);
        }
        Format::Text => {
            let colour = if shown::colour(&std::io::stdout()) {
                report::Colour::Yes
            } else {
                report::Colour::No
            };
            anstream::println!("{}", report::terminal(&report, colour, shown::width()));
            anstream::println!("{}", history(&config, &store, &run)?);
        }
    }
    Ok(Exit::Nothing)
}

/// What to say of a run that is not there.
fn missing(store: &Store, id: RunId) -> Result<String, StoreError> {
    let newest = RunFilter {
        limit: 1,
        ..RunFilter::default()
    };
    Ok(match store.runs(&newest)?.first() {
        Some(last) => format!(
            "there is no run {id}; the newest is {}, and `mainstay runs` lists them",
            last.id
        ),
        None => format!("there is no run {id}: none is recorded yet"),
    })
}

fn steps(store: &Store, id: RunId) -> anyhow::Result<Vec<Value>> {
    Ok(store
        .steps(id)?
        .into_iter()
        .map(|s| json!({ "step": s.step, "started_at": s.started_at, "ended_at": s.ended_at, "outcome": s.outcome }))
        .collect())
}

/// What happened to a run and which steps it took, in the order of time.
fn history(config: &Config, store: &Store, run: &Run) -> anyhow::Result<String> {
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for (at, event) in store.events(run.id)? {
        lines.push((at, told(&event)));
    }
    for step in store.steps(run.id)? {
        let took = step
            .ended_at
            .and_then(|end| (end - step.started_at).to_std().ok())
            .map_or_else(|| "not seen to end".to_owned(), human_duration);
        let outcome = step.outcome.map(|o| format!(", {}", one_line(&o)));
        let line = format!(
            "terraform {}: {took}{}",
            step.step,
            outcome.unwrap_or_default()
        );
        lines.push((step.started_at, line));
    }
    // Stable: what was recorded at one instant stays in its order.
    lines.sort_by_key(|(at, _)| *at);
    let what = &run.what;
    let mut text = format!(
        "Run {} · {} of {} in {} at {} · {}\n",
        run.id,
        what.purpose,
        what.workspace,
        what.repo,
        what.commit.short(),
        run.state
    );
    for (at, line) in lines {
        writeln!(text, "  {}  {line}", at.format("%Y-%m-%d %H:%M:%S"))?;
    }
    match &run.result.interruption {
        Some(own) if own.run == run.id => {
            writeln!(text, "  Its apply was interrupted: {}", own.how_far())?;
        }
        Some(before) => writeln!(
            text,
            "  It follows run {}. {}",
            before.run,
            before.before_this_plan()
        )?,
        None => {}
    }
    for mended in &run.result.mended {
        writeln!(text, "  {}", one_line(mended))?;
    }
    write!(
        text,
        "  Its files are in {}",
        Places::new(&config.data_dir).run(run.id).display()
    )?;
    Ok(text)
}

/// An event as people say it. Times are UTC.
fn told(event: &Event) -> String {
    match event {
        Event::Started => "taken up".to_owned(),
        Event::CheckedOut => "checked out".to_owned(),
        Event::PlanMade => "planned".to_owned(),
        Event::NothingToApply => "planned: nothing to apply".to_owned(),
        Event::HeldBack { reason } => format!("held: {}", one_line(reason)),
        Event::Released { by } => format!("let go by {}", one_line(by)),
        Event::ApplyStarted => "planned; applying".to_owned(),
        Event::ApplyDone => "applied".to_owned(),
        Event::StepFailed { summary } => format!("failed: {}", one_line(summary)),
        Event::Superseded { by } => format!("superseded by {}", one_line(by)),
        Event::Cancelled { by } => format!("cancelled by {}", one_line(by)),
        Event::WorkerLost => "its worker was lost".to_owned(),
    }
}

fn run_json(run: &Run) -> Value {
    json!({
        "id": run.id,
        "repository": run.what.repo,
        "workspace": run.what.workspace,
        "purpose": run.what.purpose,
        "proposal": run.what.proposal,
        "commit": run.what.commit,
        "state": run.state,
        "created_at": run.created_at,
        "changed_at": run.changed_at,
        "counts": run.result.plan.as_ref().map(|p| counts(&p.counts)),
        "hold": run.result.hold,
        "failure": run.result.failure,
        "interruption": run.result.interruption,
        "mended": run.result.mended,
        "lock_id": run.result.lock_id,
    })
}

/// The counts of a plan by the names that a report has for them.
fn counts(counts: &Counts) -> Value {
    let Counts {
        create,
        update,
        replace,
        destroy,
        import,
        moved,
        forget,
    } = counts;
    json!({
        "create": create, "update": update, "replace": replace, "destroy": destroy,
        "import": import, "move": moved, "forget": forget,
    })
}

fn outcome(run: &Run) -> String {
    if let Some(failure) = &run.result.failure {
        return one_line(&failure.summary);
    }
    if let Some(hold) = run
        .result
        .hold
        .as_ref()
        .filter(|_| run.state == State::Held)
    {
        return hold.clone();
    }
    match (&run.result.plan, run.what.purpose) {
        (Some(plan), Purpose::Drift) if plan.drifted() > 0 => {
            format!("drift in {}", counted(plan.drifted(), "resource"))
        }
        (Some(plan), Purpose::Drift) if plan.has_drift() => "drift in outputs".to_owned(),
        (Some(_), Purpose::Drift) => "no drift".to_owned(),
        (Some(plan), _) => plan.counts.to_string(),
        (None, _) => run
            .result
            .ended_by
            .as_ref()
            .map(|by| format!("by {by}"))
            .unwrap_or_default(),
    }
}

/// The end of a repository's name: a URL is long, and its end tells it apart.
fn tail_of(repo: &RepoName) -> String {
    let parts: Vec<&str> = repo.as_str().rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}
