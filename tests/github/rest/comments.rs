//! Comments on issues and pull requests, and the reactions to them.

use serde_json::Value;

use super::issues::{BODY_LIMIT, find, since};
use super::{Call, Reply, check, required_text};
use crate::github::auth::Need;
use crate::github::log::Effect;
use crate::github::render::REACTIONS;
use crate::github::reply::Answer;
use crate::github::world::{
    CommentRecord, Issue, Lock, ReactionRecord, Repo, Switch, World, this_second,
};

/// The comments of every issue; "ordered by ascending ID" unless `sort` is given.
pub(super) fn list_all(world: &World, call: &Call, key: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadIssues)?;
    let since = since(call)?;
    let shown = |issue: &&Issue| issue.pull.is_some() || repo.issues_enabled == Switch::On;
    let mut found: Vec<(u64, &CommentRecord)> = repo
        .issues
        .values()
        .filter(shown)
        .flat_map(|issue| issue.comments.iter().map(|comment| (issue.number, comment)))
        .filter(|(_, comment)| since.is_none_or(|since| comment.updated_at >= since))
        .collect();
    match call.parameter("sort") {
        Some("updated") => found.sort_by_key(|(_, comment)| (comment.updated_at, comment.id)),
        _ => found.sort_by_key(|(_, comment)| comment.id),
    }
    // "Ignored without the sort parameter."
    if call.parameter("sort").is_some() && call.parameter("direction") == Some("desc") {
        found.reverse();
    }
    let view = call.view(world);
    let items = found
        .into_iter()
        .map(|(issue, c)| view.comment(repo, issue, c))
        .collect();
    Ok(call.page(repo, "issues/comments", items))
}

pub(super) fn list(world: &World, call: &Call, key: &str, number: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadIssues)?;
    let since = since(call)?;
    let issue = find(repo, number)?;
    let view = call.view(world);
    let items = issue
        .comments
        .iter()
        .filter(|comment| since.is_none_or(|since| comment.updated_at >= since))
        .map(|comment| view.comment(repo, issue.number, comment))
        .collect();
    Ok(call.page(repo, &format!("issues/{number}/comments"), items))
}

fn checked_body(body: &Value) -> Result<String, Reply> {
    let text = required_text(body, "body")?;
    let refuse = |message| Reply::invalid("IssueComment", "data", "unprocessable", Some(message));
    if text.trim().is_empty() {
        return Err(refuse("Body cannot be blank"));
    }
    if text.chars().count() > BODY_LIMIT {
        return Err(refuse("Body is too long (maximum is 65536 characters)"));
    }
    Ok(text)
}

pub(super) fn create(world: &mut World, call: &Call, key: &str, number: &str) -> Answer {
    let repo = check(world, call, key, Need::Comment)?;
    let author = call.author()?;
    let issue = find(repo, number)?;
    if issue.lock == Lock::Yes && !call.caller.pushes(repo) {
        return Err(Reply::error(
            403,
            "Unable to create comment because issue is locked.",
        ));
    }
    let number = issue.number;
    let body = checked_body(&call.object()?)?;
    let id = add(world, key, number, &author, &body);
    let repo = world.repo(key);
    let (_, comment) = repo.comment(id).ok_or_else(Reply::not_found)?;
    Ok(Reply::created(
        call.view(world).comment(repo, number, comment),
    ))
}

/// Adds a comment, whoever writes it.
pub(crate) fn add(world: &mut World, key: &str, number: u64, author: &str, body: &str) -> u64 {
    let id = world.next_id();
    let now = this_second();
    let comment = CommentRecord {
        id,
        author: author.to_owned(),
        body: body.to_owned(),
        created_at: now,
        updated_at: now,
        reactions: Vec::new(),
    };
    let repo = world.repo_mut(key);
    repo.remember();
    if let Some(issue) = repo.issues.get_mut(&number) {
        issue.comments.push(comment);
        issue.updated_at = now;
    }
    world.note(
        author,
        key,
        Effect::CommentCreated {
            issue: number,
            id,
            body: body.to_owned(),
        },
    );
    id
}

/// Edits a comment, whoever does it. The issue counts as updated too.
pub(crate) fn replace(world: &mut World, key: &str, id: u64, by: &str, body: &str) {
    let now = this_second();
    let repo = world.repo_mut(key);
    repo.remember();
    let Some((issue, comment)) = comment_mut(repo, id) else {
        return;
    };
    body.clone_into(&mut comment.body);
    comment.updated_at = now;
    touch(repo, issue);
    world.note(
        by,
        key,
        Effect::CommentEdited {
            issue,
            id,
            body: body.to_owned(),
        },
    );
}

/// Deletes a comment, whoever does it.
pub(crate) fn remove(world: &mut World, key: &str, id: u64, by: &str) {
    let repo = world.repo_mut(key);
    repo.remember();
    let Some((issue, _)) = comment_mut(repo, id) else {
        return;
    };
    if let Some(issue) = repo.issues.get_mut(&issue) {
        issue.comments.retain(|comment| comment.id != id);
    }
    touch(repo, issue);
    world.note(by, key, Effect::CommentDeleted { issue, id });
}

fn touch(repo: &mut Repo, issue: u64) {
    if let Some(issue) = repo.issues.get_mut(&issue) {
        issue.updated_at = this_second();
    }
}

fn comment_mut(repo: &mut Repo, id: u64) -> Option<(u64, &mut CommentRecord)> {
    repo.issues.values_mut().find_map(|issue| {
        let number = issue.number;
        let comment = issue.comments.iter_mut().find(|comment| comment.id == id)?;
        Some((number, comment))
    })
}

/// `/issues/comments/{id}` and what is below it.
pub(super) fn one(
    world: &mut World,
    call: &Call,
    key: &str,
    method: &str,
    id: &str,
    rest: &[&str],
) -> Answer {
    let need = if method == "GET" {
        Need::ReadIssues
    } else {
        Need::Comment
    };
    let repo = check(world, call, key, need)?;
    let found = id.parse().ok().and_then(|id: u64| repo.comment(id));
    let (issue, comment) = found.ok_or_else(Reply::not_found)?;
    let id = comment.id;
    let by_others = call
        .caller
        .login()
        .is_none_or(|me| !me.eq_ignore_ascii_case(&comment.author));
    let edits = matches!((method, rest), ("PATCH" | "DELETE", []));
    if edits && by_others && !call.caller.pushes(repo) {
        return Err(Reply::error(403, "Must have admin rights to Repository."));
    }
    match (method, rest) {
        ("GET", []) => Ok(Reply::ok(call.view(world).comment(repo, issue, comment))),
        ("PATCH", []) => {
            let body = checked_body(&call.object()?)?;
            replace(world, key, id, &call.author()?, &body);
            let repo = world.repo(key);
            let (issue, comment) = repo.comment(id).ok_or_else(Reply::not_found)?;
            Ok(Reply::ok(call.view(world).comment(repo, issue, comment)))
        }
        ("DELETE", []) => {
            remove(world, key, id, &call.author()?);
            Ok(Reply::no_content())
        }
        ("GET", ["reactions"]) => {
            let wanted = call.parameter("content");
            let view = call.view(world);
            let items = comment
                .reactions
                .iter()
                .filter(|reaction| wanted.is_none_or(|wanted| reaction.content == wanted))
                .map(|reaction| view.reaction(reaction))
                .collect();
            Ok(call.page(repo, &format!("issues/comments/{id}/reactions"), items))
        }
        ("POST", ["reactions"]) => react(world, call, key, id),
        ("DELETE", ["reactions", reaction]) => unreact(world, call, key, id, reaction),
        _ => Err(Reply::not_modelled()),
    }
}

/// 201 for a new reaction, 200 where the same one by the same account is there.
fn react(world: &mut World, call: &Call, key: &str, id: u64) -> Answer {
    let user = call.author()?;
    let content = required_text(&call.object()?, "content")?;
    if !REACTIONS.contains(&content.as_str()) {
        return Err(Reply::invalid("Reaction", "content", "invalid", None));
    }
    let (_, comment) = world.repo(key).comment(id).ok_or_else(Reply::not_found)?;
    let same = |reaction: &&ReactionRecord| {
        reaction.content == content && reaction.user.eq_ignore_ascii_case(&user)
    };
    if let Some(known) = comment.reactions.iter().find(same) {
        return Ok(Reply::ok(call.view(world).reaction(known)));
    }
    let reaction = ReactionRecord {
        id: world.next_id(),
        user: user.clone(),
        content: content.clone(),
        created_at: this_second(),
    };
    let repo = world.repo_mut(key);
    repo.remember();
    if let Some((_, comment)) = comment_mut(repo, id) {
        comment.reactions.push(reaction.clone());
    }
    world.note(
        &user,
        key,
        Effect::ReactionAdded {
            comment: id,
            content,
        },
    );
    Ok(Reply {
        status: 201,
        ..Reply::ok(call.view(world).reaction(&reaction))
    })
}

fn unreact(world: &mut World, call: &Call, key: &str, id: u64, reaction: &str) -> Answer {
    let user = call.author()?;
    let pushes = call.caller.pushes(world.repo(key));
    let (_, comment) = world.repo(key).comment(id).ok_or_else(Reply::not_found)?;
    let found = comment
        .reactions
        .iter()
        .find(|known| known.id.to_string() == reaction);
    let found = found.ok_or_else(Reply::not_found)?.clone();
    if !pushes && !found.user.eq_ignore_ascii_case(&user) {
        return Err(Reply::error(403, "Must have admin rights to Repository."));
    }
    let repo = world.repo_mut(key);
    repo.remember();
    if let Some((_, comment)) = comment_mut(repo, id) {
        comment.reactions.retain(|known| known.id != found.id);
    }
    world.note(
        &user,
        key,
        Effect::ReactionRemoved {
            comment: id,
            content: found.content,
        },
    );
    Ok(Reply::no_content())
}
