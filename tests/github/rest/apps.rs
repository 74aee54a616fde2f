//! `/app` and `/installation`: what an App asks about itself, and its tokens.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Call, Reply};
use crate::github::app::{App, Installation};
use crate::github::auth::Caller;
use crate::github::log::Effect;
use crate::github::render::{node_id, time};
use crate::github::reply::{Answer, page};
use crate::github::world::{Grant, TokenKind, World, now};

/// The App that calls with its own token.
fn caller<'a>(world: &'a World, call: &Call) -> Result<&'a App, Reply> {
    match &call.caller {
        Caller::App(id) => world
            .apps
            .get(id)
            .ok_or_else(|| Reply::error(404, "Integration not found")),
        _ => Err(Reply::error(401, "A JSON web token could not be decoded")),
    }
}

pub(super) fn app(world: &World, call: &Call) -> Answer {
    let app = caller(world, call)?;
    let page = format!("{}/apps/{}", world.origin, app.slug);
    Ok(Reply::ok(json!({
        "id": app.id,
        "slug": app.slug,
        "client_id": format!("Iv1.{:016x}", app.id),
        "node_id": node_id("A", app.id),
        "owner": call.view(world).user(&app.owner),
        "name": app.slug,
        "description": null,
        "external_url": page,
        "html_url": page,
        "created_at": time(app.created_at),
        "updated_at": time(app.created_at),
        "permissions": app.permissions,
        "events": [],
        "installations_count": app.installations.len(),
    })))
}

fn render(world: &World, call: &Call, app: &App, installation: &Installation) -> Value {
    let url = format!("{}/app/installations/{}", call.api, installation.id);
    let account = call.view(world).user(&installation.account);
    json!({
        "id": installation.id,
        "account": account,
        "access_tokens_url": format!("{url}/access_tokens"),
        "repositories_url": format!("{}/installation/repositories", call.api),
        "html_url": format!("{}/settings/installations/{}", world.origin, installation.id),
        "app_id": app.id,
        "app_slug": app.slug,
        "target_id": account["id"],
        "target_type": account["type"],
        "permissions": installation.permissions,
        "events": [],
        "single_file_name": null,
        "repository_selection": "selected",
        "created_at": time(installation.created_at),
        "updated_at": time(installation.created_at),
        "suspended_by": null,
        "suspended_at": null,
    })
}

pub(super) fn installations(world: &World, call: &Call) -> Answer {
    let app = caller(world, call)?;
    let items = app
        .installations
        .iter()
        .map(|i| render(world, call, app, i))
        .collect();
    Ok(page(
        items,
        &call.query,
        &format!("{}/app/installations", call.api),
    ))
}

pub(super) fn installation(world: &World, call: &Call, id: &str) -> Answer {
    let app = caller(world, call)?;
    let found = app
        .installations
        .iter()
        .find(|installation| installation.id.to_string() == id);
    found
        .map(|found| Reply::ok(render(world, call, app, found)))
        .ok_or_else(Reply::not_found)
}

pub(super) fn installation_of_repo(world: &World, call: &Call, key: &str) -> Answer {
    let app = caller(world, call)?;
    let id = world.repo(key).id;
    let found = app
        .installations
        .iter()
        .find(|i| i.repositories.contains(&id));
    found
        .map(|found| Reply::ok(render(world, call, app, found)))
        .ok_or_else(Reply::not_found)
}

/// A new token: for all that the installation may, or for what the body narrows it to.
pub(super) fn access_token(world: &mut World, call: &Call, id: &str) -> Answer {
    let app = caller(world, call)?;
    let (app_id, lifetime) = (app.id, app.token_lifetime);
    let found = app
        .installations
        .iter()
        .find(|installation| installation.id.to_string() == id);
    let installation = found.ok_or_else(Reply::not_found)?.clone();
    let wanted: Value = match call.body.is_empty() {
        true => json!({}),
        false => call.object()?,
    };
    let repositories = narrowed_repositories(world, &installation, &wanted)?;
    let permissions = narrowed_permissions(&installation, &wanted)?;
    let selection = if repositories.len() == installation.repositories.len() {
        "all"
    } else {
        "selected"
    };
    let narrowed = wanted.get("repositories").is_some() || wanted.get("repository_ids").is_some();
    let shown: Vec<Value> = world
        .repos
        .values()
        .filter(|repo| repositories.contains(&repo.id))
        .map(|repo| call.view(world).repo(repo))
        .collect();
    let expires_at = now() + lifetime;
    let token = format!(
        "ghs_{:036x}",
        u128::from(world.next_id()) << 40 | u128::from(installation.id)
    );
    let grant = Grant {
        repositories,
        permissions: permissions.clone(),
    };
    let kind = TokenKind::Installation {
        app: app_id,
        installation: installation.id,
        grant,
        expires_at,
    };
    world.tokens.insert(token.clone(), kind);
    world.note(
        &format!("app {app_id}"),
        "",
        Effect::TokenIssued { app: app_id },
    );
    let mut body = json!({
        "token": token,
        "expires_at": time(expires_at),
        "permissions": permissions,
        "repository_selection": if narrowed { "selected" } else { selection },
    });
    if narrowed {
        body["repositories"] = shown.into();
    }
    Ok(Reply {
        status: 201,
        ..Reply::ok(body)
    })
}

fn narrowed_repositories(
    world: &World,
    installation: &Installation,
    wanted: &Value,
) -> Result<Vec<u64>, Reply> {
    let missing = || {
        Reply::error(
            422,
            "There is at least one repository that does not exist or is not accessible to the parent installation.",
        )
    };
    let account = installation.account.to_lowercase();
    let ids: Vec<Option<u64>> = match (&wanted["repositories"], &wanted["repository_ids"]) {
        (Value::Array(names), _) => names
            .iter()
            .map(|name| {
                let name = name.as_str().unwrap_or_default().to_lowercase();
                world
                    .repos
                    .get(&format!("{account}/{name}"))
                    .map(|repo| repo.id)
            })
            .collect(),
        (_, Value::Array(ids)) => ids.iter().map(Value::as_u64).collect(),
        _ => installation
            .repositories
            .iter()
            .copied()
            .map(Some)
            .collect(),
    };
    ids.into_iter()
        .map(|id| {
            id.filter(|id| installation.repositories.contains(id))
                .ok_or_else(missing)
        })
        .collect()
}

fn narrowed_permissions(
    installation: &Installation,
    wanted: &Value,
) -> Result<BTreeMap<String, String>, Reply> {
    let Value::Object(wanted) = &wanted["permissions"] else {
        return Ok(installation.permissions.clone());
    };
    let too_much = || {
        Reply::error(
            422,
            "The permissions requested are not granted to this installation.",
        )
    };
    let mut permissions: BTreeMap<String, String> = wanted
        .iter()
        .map(|(name, level)| {
            let level = level.as_str().unwrap_or_default();
            let given = installation.permissions.get(name).map(String::as_str);
            match (given, level) {
                (Some("write"), "read" | "write") | (Some("read"), "read") => {
                    Ok((name.clone(), level.to_owned()))
                }
                _ => Err(too_much()),
            }
        })
        .collect::<Result<_, _>>()?;
    // Metadata comes with every token.
    permissions.insert("metadata".to_owned(), "read".to_owned());
    Ok(permissions)
}

pub(super) fn repositories(world: &World, call: &Call) -> Answer {
    let Caller::Installation { grant, .. } = &call.caller else {
        return Err(Reply::error(
            403,
            "You must authenticate with an installation access token in order to list repositories for an installation.",
        ));
    };
    let repos: Vec<Value> = world
        .repos
        .values()
        .filter(|repo| grant.repositories.contains(&repo.id))
        .map(|repo| call.view(world).repo(repo))
        .collect();
    let total = repos.len();
    let mut reply = page(
        repos,
        &call.query,
        &format!("{}/installation/repositories", call.api),
    );
    reply.body = Some(json!({
        "total_count": total,
        "repository_selection": "selected",
        "repositories": reply.body.take(),
    }));
    Ok(reply)
}
