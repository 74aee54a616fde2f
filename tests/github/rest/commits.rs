//! Commits and their statuses.

use serde_json::{Value, json};

use super::{Call, Reply, check, required_text, text};
use crate::github::auth::Need;
use crate::github::git::read_commit;
use crate::github::log::Effect;
use crate::github::reply::{Answer, page};
use crate::github::world::{Repo, StatusRecord, World, this_second};

/// GitHub keeps this many statuses of one context for one commit.
const STATUS_LIMIT: usize = 1_000;

fn no_commit(name: &str) -> Reply {
    Reply::error(422, &format!("No commit found for SHA: {name}"))
}

pub(super) fn commit(world: &World, call: &Call, key: &str, name: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadContents)?;
    let commit = read_commit(&repo.dir, name).ok_or_else(|| no_commit(name))?;
    Ok(Reply::ok(call.view(world).commit(repo, &commit)))
}

/// Statuses of a commit, newest first.
fn newest_first<'a>(repo: &'a Repo, sha: &str) -> Vec<&'a StatusRecord> {
    repo.statuses
        .iter()
        .rev()
        .filter(|status| status.sha == sha)
        .collect()
}

pub(super) fn statuses(world: &World, call: &Call, key: &str, name: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadStatuses)?;
    let sha = read_commit(&repo.dir, name)
        .ok_or_else(|| no_commit(name))?
        .sha;
    let view = call.view(world);
    let items = newest_first(repo, &sha)
        .into_iter()
        .map(|s| view.status(repo, s))
        .collect();
    Ok(call.page(repo, &format!("commits/{name}/statuses"), items))
}

pub(super) fn combined(world: &World, call: &Call, key: &str, name: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadStatuses)?;
    let sha = read_commit(&repo.dir, name)
        .ok_or_else(|| no_commit(name))?
        .sha;
    let mut latest: Vec<&StatusRecord> = Vec::new();
    for status in newest_first(repo, &sha) {
        if !latest.iter().any(|known| known.context == status.context) {
            latest.push(status);
        }
    }
    let any = |states: &[&str]| latest.iter().any(|s| states.contains(&s.state.as_str()));
    let state = if any(&["failure", "error"]) {
        "failure"
    } else if latest.is_empty() || any(&["pending"]) {
        "pending"
    } else {
        "success"
    };
    let total = latest.len();
    let view = call.view(world);
    let items: Vec<Value> = latest
        .into_iter()
        .map(|status| view.status(repo, status))
        .collect();
    let url = format!(
        "{}/repositories/{}/commits/{name}/status",
        call.api, repo.id
    );
    let mut reply = page(items, &call.query, &url);
    reply.body = Some(json!({
        "state": state,
        "statuses": reply.body.take(),
        "sha": sha,
        "total_count": total,
        "repository": view.repo(repo),
        "commit_url": format!("{}/commits/{sha}", view.repo_url(repo)),
        "url": format!("{}/commits/{sha}/status", view.repo_url(repo)),
    }));
    Ok(reply)
}

pub(super) fn set_status(world: &mut World, call: &Call, key: &str, sha: &str) -> Answer {
    let repo = check(world, call, key, Need::SetStatus)?;
    let creator = call.author()?;
    let body = call.object()?;
    let state = required_text(&body, "state")?;
    if !["error", "failure", "pending", "success"].contains(&state.as_str()) {
        return Err(Reply::invalid("Status", "state", "invalid", None));
    }
    let description = text(&body, "description")?;
    if description
        .as_ref()
        .is_some_and(|text| text.chars().count() > 140)
    {
        let message = "description is too long (maximum is 140 characters)";
        return Err(Reply::invalid(
            "Status",
            "description",
            "custom",
            Some(message),
        ));
    }
    let context = text(&body, "context")?.unwrap_or_else(|| "default".to_owned());
    if context.chars().count() > 255 {
        let message = "context is too long (maximum is 255 characters)";
        return Err(Reply::invalid("Status", "context", "custom", Some(message)));
    }
    let target_url = text(&body, "target_url")?;
    if target_url
        .as_ref()
        .is_some_and(|url| !url.starts_with("http"))
    {
        let message = "target_url must use http(s) scheme";
        return Err(Reply::invalid(
            "Status",
            "target_url",
            "custom",
            Some(message),
        ));
    }
    let full = sha.len() == 40 && read_commit(&repo.dir, sha).is_some();
    if !full {
        return Err(no_commit(sha));
    }
    let same = repo
        .statuses
        .iter()
        .filter(|s| s.sha == sha && s.context == context)
        .count();
    if same >= STATUS_LIMIT {
        let message = "This SHA and context has reached the maximum number of statuses.";
        return Err(Reply::invalid("Status", "sha", "custom", Some(message)));
    }
    let status = StatusRecord {
        id: world.next_id(),
        sha: sha.to_owned(),
        context,
        state,
        description,
        target_url,
        creator: creator.clone(),
        created_at: this_second(),
    };
    let effect = Effect::StatusSet {
        sha: sha.to_owned(),
        context: status.context.clone(),
        state: status.state.clone(),
        description: status.description.clone().unwrap_or_default(),
    };
    let repo = world.repo_mut(key);
    repo.remember();
    repo.statuses.push(status.clone());
    world.note(&creator, key, effect);
    Ok(Reply::created(
        call.view(world).status(world.repo(key), &status),
    ))
}
