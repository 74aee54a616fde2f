//! What the daemon knows, from its store: `status`, `runs`, `run`.

use std::fmt::Write as _;

use chrono::TimeDelta;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{ConfigArgument, Exit, Format, ListFormat, shown};
use crate::clock::{Timestamp, human_duration, now};
use crate::config::Config;
use crate::decide::Settled;
use crate::id::{RepoName, RunId, WorkspaceName};
use crate::plan::Plan;
use crate::run::{Purpose, Run, State};
use crate::store::{ProposalState, RunFilter, Store};
use crate::tell::{Wanted, run_report};
use crate::worker::Places;
use crate::{report, workspace};

/// So many runs are looked through for the newest of each workspace.
const RUNS_LOOKED_THROUGH: u32 = 2_000;

/// Shows repositories, workspaces, proposals, and what waits.
pub(super) fn status(
    comments: bool,
    format: ListFormat,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (config, declarations) = shown::load(argument)?;
    let store = Store::open_existing(&config.data_dir)?;
    let mut all = Vec::new();
    for declaration in &declarations {
        all.push(repository(&store, declaration, comments)?);
    }
    match format {
        ListFormat::Json => {
            let value = json!({ "schema": "mainstay.status/1", "repositories": all });
            anstream::println!("{}", serde_json::to_string_pretty(&value)?);
        }
        ListFormat::Text => all.iter().for_each(print_repository),
    }
    Ok(Exit::Nothing)
}

fn repository(
    store: &Store,
    declaration: &workspace::Declaration,
    comments: bool,
) -> anyhow::Result<Value> {
    let repo = &declaration.repo;
    let recorded = store.repository(repo)?;
    let filter = RunFilter {
        repo: Some(repo.clone()),
        limit: RUNS_LOOKED_THROUGH,
        ..RunFilter::default()
    };
    let runs = store.runs(&filter)?;
    let mut workspaces = Vec::new();
    for row in store.workspaces(repo)? {
        let of = |purpose: Purpose| {
            runs.iter()
                .find(|r| r.what.workspace == row.name && r.what.purpose == purpose)
        };
        let merge = of(Purpose::Merge);
        let drift = runs.iter().find(|r| {
            r.what.workspace == row.name
                && r.what.purpose == Purpose::Drift
                && r.state == State::Planned
        });
        workspaces.push(json!({
            "name": row.name,
            "applied": row.applied.as_ref().map(|a| &a.commit),
            "applied_at": row.applied.as_ref().map(|a| a.at),
            "settled": row.settled == Settled::Yes,
            "last_merge": merge.map(|r| json!({ "run": r.id, "state": r.state, "commit": r.what.commit })),
            "hold": merge.filter(|r| r.state == State::Held).and_then(|r| r.result.hold.clone()),
            "failure": merge.filter(|r| r.state == State::Failed).and_then(|r| r.result.failure.as_ref()).map(|f| &f.summary),
            "drift_checked_at": row.drift_at,
            "drift": drift.and_then(|r| r.result.plan.as_ref()).map(Plan::has_drift),
        }));
    }
    let mut proposals = Vec::new();
    for row in store.proposals(repo)? {
        let telling = store.telling(repo, &format!("comment {}", row.proposal.key))?;
        if row.state != ProposalState::Open && telling.is_none() {
            continue;
        }
        let body = telling.as_ref().and_then(|t| {
            match serde_json::from_value::<Wanted>(t.wanted.clone()) {
                Ok(Wanted::Comment { body, .. }) => Some(body),
                _ => None,
            }
        });
        let verdict = body.as_deref().and_then(|body| {
            body.lines()
                .find_map(|line| line.strip_prefix("### "))
                .map(str::to_owned)
        });
        proposals.push(json!({
            "proposal": row.proposal.key,
            "title": row.proposal.title,
            "head": row.proposal.head,
            "state": row.state,
            "verdict": verdict,
            "comment": body.filter(|_| comments),
        }));
    }
    let untold: Vec<_> = store
        .tellings(repo)?
        .into_iter()
        .filter_map(|t| {
            t.error
                .map(|error| json!({ "target": t.target, "error": error, "retry_at": t.retry_at }))
        })
        .collect();
    Ok(json!({
        "repository": repo,
        "branch": declaration.branch,
        "base": recorded.as_ref().and_then(|r| r.base.clone()),
        "looked_at": recorded.as_ref().and_then(|r| r.looked_at),
        "error": recorded.as_ref().and_then(|r| r.error.as_ref()).map(|(text, _)| text),
        "workspaces": workspaces,
        "proposals": proposals,
        "untold": untold,
    }))
}

fn print_repository(value: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let time = |value: &Value| {
        serde_json::from_value::<Timestamp>(value.clone()).map_or_else(|_| "never".to_owned(), ago)
    };
    anstream::println!(
        "{}: {} at {}, looked at {}",
        text(&value["repository"]),
        text(&value["branch"]),
        short(&value["base"]),
        time(&value["looked_at"])
    );
    if let Some(error) = value["error"].as_str() {
        anstream::println!("  cannot be looked at: {error}");
    }
    let mut rows = table(&["workspace", "applied", "state", "drift"]);
    for workspace in value["workspaces"].as_array().into_iter().flatten() {
        let state = match (&workspace["hold"], &workspace["failure"]) {
            (Value::String(reason), _) => {
                format!(
                    "held: {reason}; `mainstay apply {}` lets it go",
                    text(&workspace["name"])
                )
            }
            (_, Value::String(summary)) => {
                format!(
                    "failed: {summary}; `mainstay apply {}` tries again",
                    text(&workspace["name"])
                )
            }
            _ => text(&workspace["last_merge"]["state"]),
        };
        let drift = match workspace["drift"].as_bool() {
            Some(true) => format!("drifted, seen {}", time(&workspace["drift_checked_at"])),
            Some(false) => format!("none {}", time(&workspace["drift_checked_at"])),
            None => "-".to_owned(),
        };
        rows.add_row(vec![
            text(&workspace["name"]),
            short(&workspace["applied"]),
            state,
            drift,
        ]);
    }
    if !rows.is_empty() {
        anstream::println!("{rows}");
    }
    let mut rows = table(&["proposal", "head", "state", "verdict"]);
    for proposal in value["proposals"].as_array().into_iter().flatten() {
        let name = format!(
            "{} {}",
            text(&proposal["proposal"]),
            proposal["title"].as_str().unwrap_or_default()
        );
        rows.add_row(vec![
            one_line(&name),
            short(&proposal["head"]),
            text(&proposal["state"]),
            proposal["verdict"]
                .as_str()
                .unwrap_or("nothing to say yet")
                .to_owned(),
        ]);
    }
    if !rows.is_empty() {
        anstream::println!("{rows}");
    }
    for proposal in value["proposals"].as_array().into_iter().flatten() {
        if let Some(comment) = proposal["comment"].as_str() {
            anstream::println!("\n{}:\n{comment}", text(&proposal["proposal"]));
        }
    }
    for untold in value["untold"].as_array().into_iter().flatten() {
        anstream::println!(
            "  not told yet: {}: {}",
            text(&untold["target"]),
            text(&untold["error"])
        );
    }
    anstream::println!();
}

/// Lists runs, newest first.
pub(super) fn runs(
    workspace: Option<WorkspaceName>,
    limit: u32,
    format: ListFormat,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (config, _) = shown::load(argument)?;
    let store = Store::open_existing(&config.data_dir)?;
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
        ListFormat::Text if runs.is_empty() => eprintln!("No runs are recorded yet."),
        ListFormat::Text => {
            let mut rows = table(&[
                "run",
                "when",
                "repository",
                "workspace",
                "purpose",
                "for",
                "state",
                "plan",
            ]);
            for run in &runs {
                rows.add_row(vec![
                    run.id.to_string(),
                    ago(run.created_at),
                    tail_of(&run.what.repo),
                    run.what.workspace.to_string(),
                    run.what.purpose.to_string(),
                    match &run.what.proposal {
                        Some(key) => format!("{key} at {}", run.what.commit.short()),
                        None => run.what.commit.short().to_owned(),
                    },
                    run.state.to_string(),
                    outcome(run),
                ]);
            }
            anstream::println!("{rows}");
        }
    }
    Ok(Exit::Nothing)
}

/// Shows one run.
pub(super) fn run(id: RunId, format: Format, argument: &ConfigArgument) -> anyhow::Result<Exit> {
    let (config, declarations) = shown::load(argument)?;
    let store = Store::open_existing(&config.data_dir)?;
    let run = store.run(id)?;
    let settings = declarations
        .iter()
        .find(|d| d.repo == run.what.repo)
        .and_then(|d| d.settings(&run.what.workspace));
    let branch = declarations
        .iter()
        .find(|d| d.repo == run.what.repo)
        .map(|d| d.branch.clone());
    let report = run_report(&run, settings, branch);
    match format {
        Format::Json => {
            let value = json!({
                "schema": "mainstay.run/1",
                "run": run_json(&run),
                "report": report::json(&report),
                "events": store.events(id)?.into_iter().map(|(at, event)| json!({ "at": at, "event": event })).collect::<Vec<_>>(),
                "steps": steps(&store, id)?,
            });
            anstream::println!("{}", serde_json::to_string_pretty(&value)?);
        }
        Format::Markdown => anstream::println!("{}", report::comment(&report)?),
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

fn steps(store: &Store, id: RunId) -> anyhow::Result<Vec<Value>> {
    Ok(store
        .steps(id)?
        .into_iter()
        .map(|s| json!({ "step": s.step, "started_at": s.started_at, "ended_at": s.ended_at, "outcome": s.outcome }))
        .collect())
}

fn history(config: &Config, store: &Store, run: &Run) -> anyhow::Result<String> {
    let mut text = format!(
        "Run {}: {} of {} in {} at {}, {}\n",
        run.id, run.what.purpose, run.what.workspace, run.what.repo, run.what.commit, run.state
    );
    for (at, event) in store.events(run.id)? {
        let event = serde_json::to_value(&event)?;
        let name = event["event"]
            .as_str()
            .unwrap_or_default()
            .replace('_', " ");
        let more = ["reason", "by", "summary"]
            .iter()
            .find_map(|key| event[*key].as_str());
        let more = more
            .map(|more| format!(": {}", one_line(more)))
            .unwrap_or_default();
        writeln!(
            text,
            "  {}  {name}{more}",
            at.format("%Y-%m-%d %H:%M:%S%.3f")
        )?;
    }
    for step in store.steps(run.id)? {
        let took = step
            .ended_at
            .and_then(|end| (end - step.started_at).to_std().ok())
            .map_or_else(|| "not seen to end".to_owned(), human_duration);
        writeln!(
            text,
            "  step {}: {took}, {}",
            step.step,
            step.outcome.as_deref().unwrap_or("-")
        )?;
    }
    write!(
        text,
        "  logs: {}",
        Places::new(&config.data_dir).run(run.id).display()
    )?;
    Ok(text)
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
        "counts": run.result.plan.as_ref().map(|p| p.counts),
        "hold": run.result.hold,
        "failure": run.result.failure,
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
        (Some(plan), Purpose::Drift) if plan.has_drift() => format!("{} drifted", plan.drift.len()),
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

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(shown::width()).unwrap_or(u16::MAX))
        .set_header(head.to_vec());
    table
}

fn short(commit: &Value) -> String {
    commit
        .as_str()
        .map_or_else(|| "-".to_owned(), |sha| sha.chars().take(7).collect())
}

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(120)
        .collect()
}

/// The end of a repository's name: a URL is long, and its end tells it apart.
fn tail_of(repo: &RepoName) -> String {
    let parts: Vec<&str> = repo.as_str().rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

fn ago(at: Timestamp) -> String {
    let passed = now() - at;
    if passed < TimeDelta::seconds(1) {
        return "just now".to_owned();
    }
    passed.to_std().map_or_else(
        |_| "just now".to_owned(),
        |passed| format!("{} ago", human_duration(passed)),
    )
}
