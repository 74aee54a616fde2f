//! Pull requests.

use serde_json::Value;

use super::{Call, Reply, check};
use crate::github::auth::Need;
use crate::github::reply::Answer;
use crate::github::sync::try_merge;
use crate::github::world::{Issue, Open, Pull, Repo, World};

/// The pull request of a number, or 404.
fn find<'a>(repo: &'a Repo, number: &str) -> Result<(&'a Issue, &'a Pull), Reply> {
    let issue = number
        .parse()
        .ok()
        .and_then(|number: u64| repo.issues.get(&number));
    issue
        .and_then(|issue| issue.pull.as_ref().map(|pull| (issue, pull)))
        .ok_or_else(Reply::not_found)
}

pub(super) fn list(world: &World, call: &Call, key: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadPulls)?;
    let state = call.parameter("state").unwrap_or("open");
    let head = call.parameter("head");
    let base = call.parameter("base");
    let mut found: Vec<(&Issue, &Pull)> = repo
        .issues
        .values()
        .filter_map(|issue| issue.pull.as_ref().map(|pull| (issue, pull)))
        .filter(|(issue, _)| match state {
            "all" => true,
            "closed" => issue.open == Open::No,
            _ => issue.open == Open::Yes,
        })
        .filter(|(_, pull)| base.is_none_or(|base| pull.base_ref == base))
        .filter(|(_, pull)| head.is_none_or(|head| head_is(pull, head)))
        .collect();
    let sort = call.parameter("sort").unwrap_or("created");
    match sort {
        "updated" => found.sort_by_key(|(issue, _)| (issue.updated_at, issue.number)),
        "popularity" => found.sort_by_key(|(issue, _)| (issue.comments.len(), issue.number)),
        _ => found.sort_by_key(|(issue, _)| (issue.created_at, issue.number)),
    }
    // "Default: `desc` when sort is `created` or sort is not specified, otherwise `asc`."
    let default = if sort == "created" { "desc" } else { "asc" };
    if call.parameter("direction").unwrap_or(default) == "desc" {
        found.reverse();
    }
    let view = call.view(world);
    let items: Vec<Value> = found
        .into_iter()
        .map(|(issue, pull)| view.pull_in_list(repo, issue, pull))
        .collect();
    Ok(call.page(repo, "pulls", items))
}

/// Whether a pull request's head is `owner:branch`.
fn head_is(pull: &Pull, wanted: &str) -> bool {
    let owner = pull.head_repo.split('/').next().unwrap_or_default();
    wanted
        .split_once(':')
        .is_some_and(|(user, branch)| user.eq_ignore_ascii_case(owner) && branch == pull.head_ref)
}

pub(super) fn get(world: &World, call: &Call, key: &str, number: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadPulls)?;
    let (issue, pull) = find(repo, number)?;
    Ok(Reply::ok(call.view(world).pull(repo, issue, pull)))
}

/// Tries the merge of a pull request that somebody looked at, once they have
/// their answer: GitHub does it in the background.
pub(crate) fn probe(world: &mut World, call: &Call) {
    let segments: Vec<&str> = call.path.split('/').skip(1).collect();
    if let ("GET", ["repos", owner, name, "pulls", number]) =
        (call.method.as_str(), segments.as_slice())
        && let Some(repo) = world
            .repos
            .get_mut(&format!("{owner}/{name}").to_lowercase())
        && let Ok(number) = number.parse()
    {
        try_merge(repo, number);
    }
}

pub(super) fn reviews(world: &World, call: &Call, key: &str, number: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadPulls)?;
    let (issue, pull) = find(repo, number)?;
    let view = call.view(world);
    let items = pull
        .reviews
        .iter()
        .map(|r| view.review(repo, issue.number, r))
        .collect();
    Ok(call.page(repo, &format!("pulls/{number}/reviews"), items))
}
