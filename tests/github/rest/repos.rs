//! A repository itself: branches, refs, labels, and who may do what.

use serde_json::{Value, json};

use super::{Call, Reply, check, required_text, text};
use crate::github::auth::Need;
use crate::github::git::read_commit;
use crate::github::log::Effect;
use crate::github::render::node_id;
use crate::github::reply::Answer;
use crate::github::world::{Label, Role, World};

pub(super) fn get(world: &World, call: &Call, key: &str) -> Answer {
    let repo = check(world, call, key, Need::Metadata)?;
    let mut value = call.view(world).repo(repo);
    let network = world
        .repos
        .values()
        .filter(|other| other.fork_of.as_deref() == Some(key))
        .count();
    value["network_count"] = network.into();
    value["subscribers_count"] = 0.into();
    if let Some(login) = call.caller.login() {
        let role = repo.role(&login);
        value["permissions"] = permissions(role);
    }
    if let Some(parent) = repo
        .fork_of
        .as_ref()
        .and_then(|parent| world.repos.get(parent))
    {
        value["parent"] = call.view(world).repo(parent);
        value["source"] = value["parent"].clone();
    }
    Ok(Reply::ok(value))
}

fn permissions(role: Role) -> Value {
    json!({
        "admin": role >= Role::Admin,
        "maintain": role >= Role::Maintain,
        "push": role >= Role::Write,
        "triage": role >= Role::Triage,
        "pull": role >= Role::Read,
    })
}

pub(super) fn branch(world: &World, call: &Call, key: &str, branch: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadContents)?;
    let commit = repo
        .heads
        .get(branch)
        .and_then(|sha| read_commit(&repo.dir, sha));
    let commit = commit.ok_or_else(|| Reply::error(404, "Branch not found"))?;
    let url = format!("{}/branches/{branch}", call.view(world).repo_url(repo));
    Ok(Reply::ok(json!({
        "name": branch,
        "commit": call.view(world).commit(repo, &commit),
        "_links": {
            "self": url,
            "html": format!("{}/{}/tree/{branch}", world.origin, repo.full_name()),
        },
        "protected": false,
        "protection": {
            "enabled": false,
            "required_status_checks": {
                "enforcement_level": "off", "contexts": [], "checks": [],
            },
        },
        "protection_url": format!("{url}/protection"),
    })))
}

pub(super) fn reference(world: &World, call: &Call, key: &str, name: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadContents)?;
    if repo.heads.is_empty() {
        return Err(Reply::error(409, "Git Repository is empty."));
    }
    let sha = match name.split_once('/') {
        Some(("heads", branch)) => repo.heads.get(branch).cloned(),
        _ => read_commit(&repo.dir, &format!("refs/{name}")).map(|commit| commit.sha),
    };
    let sha = sha.ok_or_else(Reply::not_found)?;
    let base = call.view(world).repo_url(repo);
    Ok(Reply::ok(json!({
        "ref": format!("refs/{name}"),
        "node_id": format!("REF_{}_{name}", node_id("R", repo.id)),
        "url": format!("{base}/git/refs/{name}"),
        "object": { "type": "commit", "sha": sha, "url": format!("{base}/git/commits/{sha}") },
    })))
}

/// The references whose names begin so; an empty list where there are none.
pub(super) fn matching(world: &World, call: &Call, key: &str, name: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadContents)?;
    if repo.heads.is_empty() {
        return Err(Reply::error(409, "Git Repository is empty."));
    }
    let base = call.view(world).repo_url(repo);
    let branches = name.strip_prefix("heads/").unwrap_or_default();
    let items = repo
        .heads
        .iter()
        .filter(|(branch, _)| branch.starts_with(branches))
        .map(|(branch, sha)| {
            json!({
                "ref": format!("refs/heads/{branch}"),
                "node_id": format!("REF_{}_{branch}", node_id("R", repo.id)),
                "url": format!("{base}/git/refs/heads/{branch}"),
                "object": { "type": "commit", "sha": sha, "url": format!("{base}/git/commits/{sha}") },
            })
        })
        .collect();
    Ok(call.page(repo, &format!("git/matching-refs/{name}"), items))
}

pub(super) fn permission(world: &World, call: &Call, key: &str, login: &str) -> Answer {
    let repo = check(world, call, key, Need::Metadata)?;
    let pushes = match call.caller.login() {
        Some(caller) if caller.ends_with("[bot]") => true,
        Some(caller) => repo.role(&caller) >= Role::Write,
        None => false,
    };
    if !pushes {
        let message = "Must have push access to view collaborator permission.";
        return Err(Reply::error(403, message));
    }
    let mut user = call.view(world).user(login);
    if user.is_null() {
        return Err(Reply::error(404, &format!("{login} is not a user")));
    }
    let role = repo.role(login);
    user["permissions"] = permissions(role);
    user["role_name"] = role.name().into();
    Ok(Reply::ok(json!({
        "permission": role.legacy_name(),
        "role_name": role.name(),
        "user": user,
    })))
}

pub(super) fn labels(world: &World, call: &Call, key: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadIssues)?;
    let items = repo
        .labels
        .iter()
        .map(|label| call.view(world).label(repo, label))
        .collect();
    Ok(call.page(repo, "labels", items))
}

pub(super) fn label(world: &World, call: &Call, key: &str, name: &str) -> Answer {
    let repo = check(world, call, key, Need::ReadIssues)?;
    let found = repo
        .labels
        .iter()
        .find(|label| label.name.eq_ignore_ascii_case(name));
    let label = found.ok_or_else(Reply::not_found)?;
    Ok(Reply::ok(call.view(world).label(repo, label)))
}

pub(super) fn create_label(world: &mut World, call: &Call, key: &str) -> Answer {
    check(world, call, key, Need::MakeLabel)?;
    let author = call.author()?;
    let body = call.object()?;
    let name = required_text(&body, "name")?;
    let description = text(&body, "description")?;
    let color = text(&body, "color")?.unwrap_or_else(|| "ededed".to_owned());
    if name.trim().is_empty() {
        return Err(Reply::invalid("Label", "name", "missing_field", None));
    }
    if color.len() != 6 || !color.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Reply::invalid("Label", "color", "invalid", None));
    }
    if description
        .as_ref()
        .is_some_and(|text| text.chars().count() > 100)
    {
        let message = "description is too long (maximum is 100 characters)";
        return Err(Reply::invalid(
            "Label",
            "description",
            "custom",
            Some(message),
        ));
    }
    let known = world
        .repo(key)
        .labels
        .iter()
        .any(|l| l.name.eq_ignore_ascii_case(&name));
    if known {
        return Err(Reply::invalid("Label", "name", "already_exists", None));
    }
    let label = Label {
        id: world.next_id(),
        name: name.clone(),
        color,
        description,
    };
    let repo = world.repo_mut(key);
    repo.remember();
    repo.labels.push(label.clone());
    world.note(&author, key, Effect::LabelCreated { name });
    let repo = world.repo(key);
    Ok(Reply::created(call.view(world).label(repo, &label)))
}
