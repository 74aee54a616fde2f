//! Check runs: only an App may make them, and only its own may it change.

use serde_json::{Value, json};

use super::{Call, Reply, check, required_text, text};
use crate::github::auth::{Caller, Need};
use crate::github::git::read_commit;
use crate::github::log::Effect;
use crate::github::render::{node_id, time};
use crate::github::reply::{Answer, page};
use crate::github::world::{CheckRunRecord, Repo, World, this_second};

/// A title, a summary and a text may have so many characters each.
const TEXT_LIMIT: usize = 65_535;

/// So many annotations may come with one request.
const ANNOTATION_LIMIT: usize = 50;

const STATUSES: [&str; 3] = ["queued", "in_progress", "completed"];

const CONCLUSIONS: [&str; 7] = [
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "timed_out",
];

/// The App whose installation calls.
fn app(world: &World, call: &Call) -> Result<u64, Reply> {
    let Caller::Installation { installation, .. } = &call.caller else {
        return Err(Reply::error(403, "You must authenticate via a GitHub App."));
    };
    let app = world.apps.values().find(|app| {
        app.installations
            .iter()
            .any(|known| known.id == *installation)
    });
    app.map(|app| app.id).ok_or_else(Reply::bad_credentials)
}

fn render(world: &World, call: &Call, repo: &Repo, run: &CheckRunRecord) -> Value {
    let base = call.view(world).repo_url(repo);
    let url = format!("{base}/check-runs/{}", run.id);
    let slug = world.apps.get(&run.app).map(|app| app.slug.clone());
    json!({
        "id": run.id,
        "node_id": node_id("CR", run.id),
        "head_sha": run.sha,
        "external_id": run.external_id.clone().unwrap_or_default(),
        "url": url,
        "html_url": format!("{}/{}/runs/{}", world.origin, repo.full_name(), run.id),
        "details_url": Value::Null,
        "status": run.status,
        "conclusion": run.conclusion,
        "started_at": time(run.started_at),
        "completed_at": run.completed_at.map(time),
        "output": {
            "title": run.title,
            "summary": run.summary,
            "text": run.text,
            "annotations_count": run.annotations.len(),
            "annotations_url": format!("{url}/annotations"),
        },
        "name": run.name,
        "check_suite": { "id": run.app },
        "app": { "id": run.app, "slug": slug },
        "pull_requests": [],
    })
}

/// The check runs of a commit, newest first.
pub(super) fn list(world: &World, call: &Call, key: &str, name: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadChecks)?;
    let commit = read_commit(&repo.dir, name);
    let no_commit = || Reply::error(422, &format!("No commit found for SHA: {name}"));
    let sha = commit.ok_or_else(no_commit)?.sha;
    let of_app = call.parameter("app_id");
    let mut found: Vec<&CheckRunRecord> = Vec::new();
    for run in repo.check_runs.iter().rev().filter(|run| run.sha == sha) {
        let named = call.parameter("check_name").is_none_or(|n| n == run.name);
        let by = of_app.is_none_or(|app| app == run.app.to_string());
        let all = call.parameter("filter") == Some("all");
        let newest = !found
            .iter()
            .any(|known| (known.app, &known.name) == (run.app, &run.name));
        if named && by && (all || newest) {
            found.push(run);
        }
    }
    let total = found.len();
    let items = found
        .into_iter()
        .map(|run| render(world, call, repo, run))
        .collect();
    let url = format!(
        "{}/repositories/{}/commits/{name}/check-runs",
        call.api, repo.id
    );
    let mut reply = page(items, &call.query, &url);
    reply.body = Some(json!({ "total_count": total, "check_runs": reply.body.take() }));
    Ok(reply)
}

fn invalid(field: &str, message: &str) -> Reply {
    Reply::invalid("CheckRun", field, "custom", Some(message))
}

/// Puts what a request says into a check run.
fn fill(run: &mut CheckRunRecord, body: &Value) -> Result<(), Reply> {
    if let Some(external_id) = text(body, "external_id")? {
        run.external_id = Some(external_id);
    }
    let status = text(body, "status")?;
    let conclusion = text(body, "conclusion")?;
    if let Some(status) = &status {
        if !STATUSES.contains(&status.as_str()) {
            return Err(invalid("status", "is not included in the list"));
        }
        if status == "completed" && conclusion.is_none() {
            return Err(invalid("conclusion", "is required of what is completed"));
        }
        run.status.clone_from(status);
    }
    if let Some(conclusion) = conclusion {
        if !CONCLUSIONS.contains(&conclusion.as_str()) {
            return Err(invalid("conclusion", "is not included in the list"));
        }
        run.conclusion = Some(conclusion);
        run.status = "completed".to_owned();
        run.completed_at = Some(this_second());
    }
    let output = &body["output"];
    if output.is_null() {
        return Ok(());
    }
    let of_output = |field: &str| -> Result<Option<String>, Reply> {
        let given = text(output, field)?;
        let too_long = |text: &String| text.chars().count() > TEXT_LIMIT;
        if given.as_ref().is_some_and(too_long) {
            return Err(invalid(field, "is too long (maximum is 65535 characters)"));
        }
        Ok(given)
    };
    run.title = Some(required_text(output, "title")?);
    run.summary = Some(of_output("summary")?.ok_or_else(|| Reply::not_supplied("summary"))?);
    if let Some(text) = of_output("text")? {
        run.text = Some(text);
    }
    let annotations = output["annotations"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if annotations.len() > ANNOTATION_LIMIT {
        return Err(invalid("annotations", "exceeds a maximum quantity of 50"));
    }
    for annotation in &annotations {
        let path = required_text(annotation, "path")?;
        let level = required_text(annotation, "annotation_level")?;
        let message = required_text(annotation, "message")?;
        let title = text(annotation, "title")?.unwrap_or_default();
        let (start, end) = (&annotation["start_line"], &annotation["end_line"]);
        let lines = start.as_u64().zip(end.as_u64());
        let is_good = lines.is_some_and(|(start, end)| 0 < start && start <= end)
            && ["notice", "warning", "failure"].contains(&level.as_str())
            && !path.starts_with('/')
            && !message.is_empty()
            && message.len() <= 64 << 10
            && title.chars().count() <= 255;
        if !is_good {
            return Err(invalid("annotations", &format!("{annotation} is invalid")));
        }
    }
    run.annotations.extend(annotations);
    Ok(())
}

pub(super) fn create(world: &mut World, call: &Call, key: &str) -> Answer {
    let app = app(world, call)?;
    let repo = check(world, call, key, Need::WriteChecks)?;
    let author = call.author()?;
    let body = call.object()?;
    let name = required_text(&body, "name")?;
    let sha = required_text(&body, "head_sha")?;
    if sha.len() != 40 || read_commit(&repo.dir, &sha).is_none() {
        return Err(Reply::error(
            422,
            &format!("No commit found for SHA: {sha}"),
        ));
    }
    let mut run = CheckRunRecord {
        id: world.next_id(),
        app,
        sha: sha.clone(),
        name: name.clone(),
        external_id: None,
        status: "queued".to_owned(),
        conclusion: None,
        title: None,
        summary: None,
        text: None,
        annotations: Vec::new(),
        started_at: this_second(),
        completed_at: None,
    };
    fill(&mut run, &body)?;
    let id = run.id;
    let repo = world.repo_mut(key);
    repo.remember();
    repo.check_runs.push(run.clone());
    world.note(&author, key, Effect::CheckRunMade { id, sha, name });
    let repo = world.repo(key);
    Ok(Reply::created(render(world, call, repo, &run)))
}

pub(super) fn edit(world: &mut World, call: &Call, key: &str, id: &str) -> Answer {
    let app = app(world, call)?;
    let repo = check(world, call, key, Need::WriteChecks)?;
    let author = call.author()?;
    let body = call.object()?;
    let at = repo
        .check_runs
        .iter()
        .position(|run| run.id.to_string() == id)
        .ok_or_else(Reply::not_found)?;
    let mut run = repo.check_runs[at].clone();
    if run.app != app {
        let message = format!(
            "Invalid app_id `{app}` - check run can only be modified by the GitHub App that created it."
        );
        return Err(Reply::error(403, &message));
    }
    if let Some(name) = text(&body, "name")? {
        run.name = name;
    }
    fill(&mut run, &body)?;
    let effect = Effect::CheckRunChanged {
        id: run.id,
        status: run.status.clone(),
        conclusion: run.conclusion.clone(),
    };
    let repo = world.repo_mut(key);
    repo.remember();
    repo.check_runs[at] = run.clone();
    world.note(&author, key, effect);
    let repo = world.repo(key);
    Ok(Reply::ok(render(world, call, repo, &run)))
}
