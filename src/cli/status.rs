//! What the daemon knows, from its record: repositories, workspaces, proposals, what waits.

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::table::{Rows, ago, on_a_line, one_line, short};
use super::{ConfigArgument, Exit, ListFormat, shown};
use crate::clock::Timestamp;
use crate::decide::Settled;
use crate::id::ProposalKey;
use crate::plan::Plan;
use crate::run::{Interruption, Purpose, Run, State, Trigger};
use crate::serve::DaemonSeen;
use crate::store::{ProposalState, RunFilter, Store, Writable};
use crate::tell::{self, Wanted};
use crate::workspace::Declaration;

/// So many runs are looked through for the newest of each workspace.
const RUNS_LOOKED_THROUGH: u32 = 2_000;

/// So many proposals that are over are shown to people.
const ENDED_SHOWN: usize = 5;

/// Shows repositories, workspaces, proposals, and what waits.
pub(super) fn status(
    comments: bool,
    format: ListFormat,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (config, declarations) = shown::load(argument)?;
    let (store, writable) = Store::open_to_read(&config.data_dir)?;
    let daemon = DaemonSeen::look(&store)?;
    let mut all = Vec::new();
    for declaration in &declarations {
        all.push(repository(&store, declaration, comments)?);
    }
    match format {
        ListFormat::Json => {
            let (process, silent) = match daemon {
                DaemonSeen::Nowhere => (None, None),
                DaemonSeen::Runs { pid } => (Some(pid), None),
                DaemonSeen::Silent { pid, since } => (Some(pid), Some(since)),
            };
            let value = json!({
                "schema": "mainstay.status/1",
                "daemon": process,
                "daemon_silent_since": silent,
                "record_writable": writable == Writable::Yes,
                "repositories": all,
            });
            anstream::println!("{}", serde_json::to_string_pretty(&value)?);
        }
        ListFormat::Text => {
            if writable == Writable::No {
                anstream::println!(
                    "The record in {} cannot be written: the disk, the folder or the file is read-only for you, or the \
                     disk is full. This is what was recorded last; nothing new is.",
                    config.data_dir.display()
                );
            }
            match daemon {
                DaemonSeen::Runs { pid } => anstream::println!("The daemon runs (process {pid})."),
                DaemonSeen::Silent { pid, since } => anstream::println!(
                    "The daemon (process {pid}) is there and has recorded nothing since {}: it is stopped, or it cannot \
                     write to {}. Its log and /health say more.",
                    ago(since),
                    config.data_dir.display()
                ),
                DaemonSeen::Nowhere => {
                    anstream::println!("The daemon does not run; `mainstay serve` starts it.");
                }
            }
            for value in &all {
                anstream::println!();
                let several = all.len() > 1;
                Page { value, several }.print();
            }
        }
    }
    Ok(Exit::Nothing)
}

fn repository(store: &Store, declaration: &Declaration, comments: bool) -> anyhow::Result<Value> {
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
        let name = &row.name;
        let of = |purpose: Purpose| {
            runs.iter()
                .filter(move |r| &r.what.workspace == name && r.what.purpose == purpose)
        };
        let merge = of(Purpose::Merge).next();
        // What was found before the last apply says nothing of the world after it.
        let since = row.applied.as_ref().map(|a| a.at);
        let drift = of(Purpose::Drift)
            .find(|r| r.state.is_end())
            .filter(|r| since.is_none_or(|since| r.changed_at >= since));
        workspaces.push(json!({
            "name": row.name,
            "applied": row.applied.as_ref().map(|a| &a.commit),
            "applied_at": since,
            "settled": row.settled == Settled::Yes,
            "last_merge": merge.map(|r| json!({ "run": r.id, "state": r.state, "commit": r.what.commit })),
            "interruption": merge.and_then(|merge| interruption(merge, &runs)),
            "hold": merge.filter(|r| r.state == State::Held).and_then(|r| r.result.hold.clone()),
            "failure": merge.filter(|r| r.state == State::Failed).and_then(|r| r.result.failure.as_ref()).map(|f| &f.summary),
            "drift_checked_at": drift.map(|r| r.changed_at),
            "drift": drift.filter(|r| r.state == State::Planned).and_then(|r| r.result.plan.as_ref()).map(Plan::has_drift),
            "drift_failure": drift.and_then(|r| r.result.failure.as_ref()).map(|f| &f.summary),
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
            "comment": body.filter(|_| comments).map(|body| shown::without_marker(&body).to_owned()),
        }));
    }
    let issues: Vec<_> = store
        .open_issues(repo)?
        .iter()
        // What could not be opened stands among the untold.
        .filter(|t| t.error.is_none() || t.remote_id.is_some())
        .filter_map(|t| match serde_json::from_value(t.wanted.clone()) {
            Ok(Wanted::Issue {
                open: true, issue, ..
            }) => Some(json!({
                "title": issue.title,
                "body": comments.then(|| shown::without_marker(&issue.body).to_owned()),
            })),
            _ => None,
        })
        .collect();
    let not_told = store.untold(repo)?;
    let waiting = not_told.len();
    let untold: Vec<_> = not_told
        .into_iter()
        .filter_map(|t| {
            let error = t.error?;
            Some(json!({
                "target": t.target,
                "error": error,
                "reason": t.ground,
                "since": t.failed_at,
                "retry_at": t.retry_at,
                "what_to_do": t.ground.map(|ground| tell::advice(&t.target, ground)),
            }))
        })
        .collect();
    let meddled: Vec<_> = store
        .meddled_tellings(repo)?
        .into_iter()
        .filter_map(|t| {
            let meddled = t.meddled?;
            Some(json!({
                "target": t.target,
                "how": meddled.how,
                "at": meddled.at,
                "left": meddled.left,
                "what": tell::meddled_text(&meddled),
            }))
        })
        .collect();
    Ok(json!({
        "repository": repo,
        "branch": declaration.branch,
        "base": recorded.as_ref().and_then(|r| r.base.clone()),
        "looked_at": recorded.as_ref().and_then(|r| r.looked_at),
        "error": recorded.as_ref().and_then(|r| r.error.as_ref()).map(|(text, _)| text),
        "error_at": recorded.as_ref().and_then(|r| r.error.as_ref()).map(|(_, at)| at),
        "workspaces": workspaces,
        "proposals": proposals,
        "issues": issues,
        "archived_at": recorded.as_ref().and_then(|r| r.archived_at),
        "waiting_to_be_told": waiting,
        "untold": untold,
        "meddled": meddled,
    }))
}

/// How far the last apply came, where that was interrupted and nothing was applied since.
fn interruption<'r>(merge: &'r Run, runs: &'r [Run]) -> Option<&'r Interruption> {
    if merge.state == State::Applied {
        return None;
    }
    let before = || match merge.what.trigger {
        Trigger::Interrupted { run } => runs.iter().find(|r| r.id == run),
        _ => None,
    };
    let known = merge.result.interruption.as_ref();
    known.or_else(|| before()?.result.interruption.as_ref())
}

/// One repository for people to read.
struct Page<'v> {
    value: &'v Value,
    /// Whether others are shown beside it.
    several: bool,
}

impl Page<'_> {
    fn list(&self, name: &str) -> &[Value] {
        self.value[name].as_array().map_or(&[], Vec::as_slice)
    }

    fn print(&self) {
        let value = self.value;
        let looked = time(&value["looked_at"]).map_or_else(|| "never".to_owned(), ago);
        anstream::println!(
            "{}: {} at {}, looked at {looked}",
            text(&value["repository"]),
            text(&value["branch"]),
            short(value["base"].as_str()),
        );
        if let Some(error) = value["error"].as_str() {
            let since = time(&value["error_at"]).map(ago);
            let since = since.map(|s| format!(" (first {s})")).unwrap_or_default();
            anstream::println!("  cannot be looked at{since}: {error}");
        }
        if let Some(since) = time(&value["archived_at"]) {
            let waiting = match value["waiting_to_be_told"].as_u64() {
                None | Some(0) => String::new(),
                Some(count) => format!("; not told yet: {count}"),
            };
            anstream::println!(
                "  is archived, which was first seen {}: it is read-only, so that nothing is told there, and it is \
                 looked at every ten minutes only{waiting}\n  {}",
                ago(since),
                tell::archived_advice()
            );
        }
        self.workspaces();
        self.proposals();
        self.waiting();
        self.comments();
    }

    fn workspaces(&self) {
        let mut rows = Rows::new(&["workspace", "applied", "state", "drift"]);
        for workspace in self.list("workspaces") {
            let checked = time(&workspace["drift_checked_at"]).map_or_else(String::new, ago);
            let drift = match (workspace["drift"].as_bool(), &workspace["drift_failure"]) {
                (Some(true), _) => format!("drifted, checked {checked}"),
                (Some(false), _) => format!("none, checked {checked}"),
                (None, Value::String(_)) => format!("not known, a check failed {checked}"),
                (None, _) => "-".to_owned(),
            };
            rows.add(vec![
                text(&workspace["name"]),
                short(workspace["applied"].as_str()),
                text(&workspace["last_merge"]["state"]),
                drift,
            ]);
        }
        rows.print();
    }

    fn proposals(&self) {
        let mut rows = Rows::new(&["proposal", "head", "state", "verdict"]);
        let mut ended = 0;
        for proposal in self.list("proposals") {
            if proposal["state"] != "open" {
                ended += 1;
            }
            if ended > ENDED_SHOWN {
                break;
            }
            let title = proposal["title"].as_str().unwrap_or_default();
            rows.add(vec![
                format!("{} {title}", name_of(proposal))
                    .trim_end()
                    .to_owned(),
                short(proposal["head"].as_str()),
                text(&proposal["state"]),
                proposal["verdict"]
                    .as_str()
                    .map_or_else(|| "nothing to say yet".to_owned(), plain),
            ]);
        }
        if !rows.is_empty() {
            anstream::println!();
        }
        rows.print();
    }

    /// What waits for a person, each with the command that lets it go on.
    fn waiting(&self) {
        let mut lines = Vec::new();
        let repo = match self.several {
            true => format!(" --repo {}", text(&self.value["repository"])),
            false => String::new(),
        };
        for workspace in self.list("workspaces") {
            let name = text(&workspace["name"]);
            let before = Interruption::deserialize(&workspace["interruption"]);
            if let Ok(before) = before {
                lines.push(format!(
                    "{name}: the apply of {} was interrupted: {}",
                    before.commit.short(),
                    before.how_far()
                ));
                lines.push(format!("  `mainstay run {}` shows its steps", before.run));
            }
            let merge = &workspace["last_merge"];
            let at = short(merge["commit"].as_str());
            let run = &merge["run"];
            if let Some(reason) = workspace["hold"].as_str() {
                lines.push(format!("{name} is held at {at}: {}", one_line(reason)));
                lines.push(if reason.contains(" deny it: ") || reason.contains(" denies it: ") {
                    format!("  `mainstay run {run}` shows the plan and what the policy says of it")
                } else {
                    format!("  `mainstay apply{repo} {name}` lets it go, `mainstay run {run}` shows the plan")
                });
            }
            if let Some(summary) = workspace["failure"].as_str() {
                lines.push(format!("{name} failed at {at}: {}", one_line(summary)));
                lines.push(format!("  `mainstay apply{repo} {name}` tries again, `mainstay run {run}` shows all of it"));
            }
            if merge["state"] == "interrupted" && workspace["interruption"].is_null() {
                lines.push(format!(
                    "{name} was interrupted at {at}, and how far it came is not known"
                ));
                lines.push(format!("  `mainstay run {run}` shows its steps"));
            }
        }
        for issue in self.list("issues") {
            lines.push(format!("open issue: {}", one_line(&text(&issue["title"]))));
        }
        for untold in self.list("untold") {
            let (target, error) = (text(&untold["target"]), text(&untold["error"]));
            let since = time(&untold["since"]).map(|at| format!(" (since {})", ago(at)));
            lines.push(format!(
                "not told yet: {target}: {}{}",
                on_a_line(&error),
                since.unwrap_or_default()
            ));
            if let Some(advice) = untold["what_to_do"].as_str() {
                lines.push(format!("  {}", advice));
            }
        }
        for meddled in self.list("meddled") {
            let (target, what) = (text(&meddled["target"]), text(&meddled["what"]));
            let when = time(&meddled["at"]).map_or_else(String::new, ago);
            lines.push(format!("{target}: {what} ({when})"));
        }
        if !lines.is_empty() {
            anstream::println!();
        }
        for line in lines {
            anstream::println!(" {line}");
        }
    }

    fn comments(&self) {
        for proposal in self.list("proposals") {
            if let Some(comment) = proposal["comment"].as_str() {
                anstream::println!("\n── {} ──\n{}", name_of(proposal), comment.trim_end());
            }
        }
        for issue in self.list("issues") {
            if let Some(body) = issue["body"].as_str() {
                anstream::println!("\n── {} ──\n{}", text(&issue["title"]), body.trim_end());
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn time(value: &Value) -> Option<Timestamp> {
    serde_json::from_value(value.clone()).ok()
}

/// A sentence as a terminal shows it: backticks are for Markdown.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// A proposal as people write it.
fn name_of(proposal: &Value) -> String {
    match serde_json::from_value::<ProposalKey>(proposal["proposal"].clone()) {
        Ok(key) => super::table::proposal(&key),
        Err(_) => text(&proposal["proposal"]),
    }
}
