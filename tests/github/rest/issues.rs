//! Issues.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Call, Reply, check, text};
use crate::github::auth::Need;
use crate::github::log::Effect;
use crate::github::reply::Answer;
use crate::github::world::{Issue, Label, Lock, Open, Repo, Switch, Time, World, this_second};

/// GitHub refuses bodies of more characters than this.
pub(super) const BODY_LIMIT: usize = 65_536;

/// GitHub refuses titles of more characters than this.
const TITLE_LIMIT: usize = 256;

/// The issue of a number; 404 where it never was, 410 where it was deleted or
/// issues are switched off.
pub(super) fn find<'a>(repo: &'a Repo, number: &str) -> Result<&'a Issue, Reply> {
    let number: u64 = number.parse().map_err(|_| Reply::not_found())?;
    let issue = repo.issues.get(&number).ok_or_else(|| match number {
        1.. if number <= repo.last_number => Reply::error(410, "This issue was deleted"),
        _ => Reply::not_found(),
    })?;
    if issue.pull.is_none() {
        issues_are_on(repo)?;
    }
    Ok(issue)
}

fn issues_are_on(repo: &Repo) -> Result<(), Reply> {
    match repo.issues_enabled {
        Switch::On => Ok(()),
        Switch::Off => Err(Reply::error(
            410,
            "Issues has been disabled in this repository.",
        )),
    }
}

/// The `since` of the query.
pub(super) fn since(call: &Call) -> Result<Option<Time>, Reply> {
    let parse = |text: &str| {
        DateTime::parse_from_rfc3339(text)
            .map(|time| time.with_timezone(&Utc))
            .map_err(|_| {
                Reply::error(
                    422,
                    &format!("Invalid request.\n\n\"{text}\" is not a valid date-time."),
                )
            })
    };
    call.parameter("since").map(parse).transpose()
}

pub(super) fn list(world: &World, call: &Call, key: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadIssues)?;
    let since = since(call)?;
    let state = call.parameter("state").unwrap_or("open");
    let creator = call.parameter("creator");
    let labels: Vec<&str> = call
        .parameter("labels")
        .map(|names| names.split(',').collect())
        .unwrap_or_default();
    let has_label = |issue: &Issue, wanted: &str| {
        issue
            .labels
            .iter()
            .any(|label| label.eq_ignore_ascii_case(wanted.trim()))
    };
    let mut found: Vec<&Issue> = repo
        .issues
        .values()
        .filter(|issue| issue.pull.is_some() || repo.issues_enabled == Switch::On)
        .filter(|issue| state == "all" || issue.open.name() == state)
        .filter(|issue| creator.is_none_or(|c| c.eq_ignore_ascii_case(&issue.author)))
        .filter(|issue| labels.iter().all(|wanted| has_label(issue, wanted)))
        .filter(|issue| since.is_none_or(|since| issue.updated_at >= since))
        .collect();
    match call.parameter("sort") {
        Some("updated") => found.sort_by_key(|issue| (issue.updated_at, issue.number)),
        Some("comments") => found.sort_by_key(|issue| (issue.comments.len(), issue.number)),
        _ => found.sort_by_key(|issue| (issue.created_at, issue.number)),
    }
    if call.parameter("direction").unwrap_or("desc") == "desc" {
        found.reverse();
    }
    let view = call.view(world);
    let items: Vec<Value> = found
        .into_iter()
        .map(|issue| view.issue(repo, issue))
        .collect();
    Ok(call.page(repo, "issues", items))
}

pub(super) fn get(world: &World, call: &Call, key: &str, number: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadIssues)?;
    let issue = find(repo, number)?;
    Ok(Reply::ok(call.view(world).issue(repo, issue)))
}

fn checked_title(title: String) -> Result<String, Reply> {
    if title.trim().is_empty() {
        return Err(Reply::invalid("Issue", "title", "missing_field", None));
    }
    if title.chars().count() > TITLE_LIMIT {
        let message = "title is too long (maximum is 256 characters)";
        return Err(Reply::invalid("Issue", "title", "custom", Some(message)));
    }
    Ok(title)
}

fn checked_body(body: &Value) -> Result<Option<String>, Reply> {
    let text = text(body, "body")?;
    if text
        .as_ref()
        .is_some_and(|text| text.chars().count() > BODY_LIMIT)
    {
        let message = "body is too long (maximum is 65536 characters)";
        return Err(Reply::invalid("Issue", "body", "custom", Some(message)));
    }
    Ok(text)
}

/// Labels by name, or by objects that hold a name.
fn label_names(body: &Value) -> Result<Option<Vec<String>>, Reply> {
    let Some(labels) = body.get("labels").filter(|labels| !labels.is_null()) else {
        return Ok(None);
    };
    let wrong = || Reply::wrong_type("labels", labels, "an array of names");
    let names = labels.as_array().ok_or_else(wrong)?.iter().map(|label| {
        label
            .as_str()
            .or_else(|| label["name"].as_str())
            .map(str::to_owned)
            .ok_or_else(wrong)
    });
    names.collect::<Result<_, _>>().map(Some)
}

/// Makes the labels that are not there: GitHub does so for whoever may push.
fn ensure_labels(world: &mut World, key: &str, names: &[String]) -> Vec<String> {
    names
        .iter()
        .map(|name| {
            let known = world
                .repo(key)
                .labels
                .iter()
                .find(|l| l.name.eq_ignore_ascii_case(name));
            if let Some(label) = known {
                return label.name.clone();
            }
            let id = world.next_id();
            let label = Label {
                id,
                name: name.clone(),
                color: "ededed".to_owned(),
                description: None,
            };
            world.repo_mut(key).labels.push(label);
            name.clone()
        })
        .collect()
}

pub(super) fn create(world: &mut World, call: &Call, key: &str) -> Answer {
    let repo = check(world, call, key, Need::OpenIssue)?;
    issues_are_on(repo)?;
    let author = call.author()?;
    let pushes = call.caller.pushes(repo);
    let body = call.object()?;
    let title = text(&body, "title")?.ok_or_else(|| Reply::not_supplied("title"))?;
    let title = checked_title(title)?;
    let text = checked_body(&body)?;
    // "Only users with push access can set labels. Labels are silently dropped otherwise."
    let labels = label_names(&body)?.filter(|_| pushes).unwrap_or_default();
    world.repo_mut(key).remember();
    let labels = ensure_labels(world, key, &labels);
    let now = this_second();
    let issue = Issue {
        id: world.next_id(),
        number: world.repo_mut(key).next_number(),
        title,
        body: text,
        author: author.clone(),
        open: Open::Yes,
        state_reason: None,
        lock: Lock::No,
        labels,
        comments: Vec::new(),
        created_at: now,
        updated_at: now,
        closed_at: None,
        closed_by: None,
        pull: None,
    };
    let number = issue.number;
    world.repo_mut(key).issues.insert(number, issue);
    world.note(&author, key, Effect::IssueOpened { number });
    let repo = world.repo(key);
    Ok(Reply::created(
        call.view(world).issue(repo, &repo.issues[&number]),
    ))
}

pub(super) fn edit(world: &mut World, call: &Call, key: &str, number: &str) -> Answer {
    let repo = check(world, call, key, Need::Comment)?;
    let author = call.author()?;
    let pushes = call.caller.pushes(repo);
    let issue = find(repo, number)?;
    let number = issue.number;
    if !pushes && !issue.author.eq_ignore_ascii_case(&author) {
        return Err(Reply::error(403, "Must have admin rights to Repository."));
    }
    let body = call.object()?;
    let title = text(&body, "title")?.map(checked_title).transpose()?;
    let new_text = checked_body(&body)?;
    let labels = label_names(&body)?.filter(|_| pushes);
    let state = match text(&body, "state")?.as_deref() {
        None => None,
        Some("open") => Some(Open::Yes),
        Some("closed") => Some(Open::No),
        Some(_) => return Err(Reply::invalid("Issue", "state", "invalid", None)),
    };
    let reason = text(&body, "state_reason")?;
    let reasons = ["completed", "not_planned", "duplicate", "reopened"];
    if reason
        .as_deref()
        .is_some_and(|reason| !reasons.contains(&reason))
    {
        return Err(Reply::invalid("Issue", "state_reason", "invalid", None));
    }
    world.repo_mut(key).remember();
    let labels = labels.map(|names| ensure_labels(world, key, &names));
    let now = this_second();
    let Some(issue) = world.repo_mut(key).issues.get_mut(&number) else {
        return Err(Reply::not_found());
    };
    if let Some(title) = title {
        issue.title = title;
    }
    if new_text.is_some() || body.get("body").is_some_and(Value::is_null) {
        issue.body = new_text;
    }
    if let Some(labels) = labels {
        issue.labels = labels;
    }
    match state {
        Some(Open::No) if issue.open == Open::Yes => {
            issue.open = Open::No;
            issue.closed_at = Some(now);
            issue.closed_by = Some(author.clone());
            issue.state_reason = Some(reason.unwrap_or_else(|| "completed".to_owned()));
        }
        Some(Open::Yes) if issue.open == Open::No => {
            if issue
                .pull
                .as_ref()
                .is_some_and(|pull| pull.merged.is_some())
            {
                let message = "state cannot be changed. The pull request cannot be reopened.";
                return Err(Reply::invalid("Issue", "state", "invalid", Some(message)));
            }
            issue.open = Open::Yes;
            issue.closed_at = None;
            issue.closed_by = None;
            issue.state_reason = Some("reopened".to_owned());
        }
        _ => {}
    }
    issue.updated_at = now;
    let effect = Effect::IssueEdited {
        number,
        title: issue.title.clone(),
        body: issue.body.clone().unwrap_or_default(),
        state: issue.open.name().to_owned(),
    };
    world.note(&author, key, effect);
    let repo = world.repo(key);
    Ok(Reply::ok(
        call.view(world).issue(repo, &repo.issues[&number]),
    ))
}
