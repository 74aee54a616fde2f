//! The REST endpoints.

mod apps;
mod checks;
mod comments;
mod commits;
mod issues;
mod pulls;
mod repos;

use bytes::Bytes;
use serde_json::{Value, json};

use super::auth::{Access, Caller, Need};
use super::limit::Resource;
use super::log::Route;
use super::render::View;
use super::reply::{Answer, Reply, page};
use super::world::{Repo, Switch, World};

pub(crate) use comments::{
    add as add_comment, remove as remove_comment, replace as replace_comment,
};
pub(crate) use pulls::probe as probe_merge;

/// A request, as the endpoints see it.
pub(crate) struct Call {
    pub(crate) method: String,
    /// Without `/api/v3`.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) caller: Caller,
    /// What the addresses in answers begin with.
    pub(crate) api: String,
}

impl Call {
    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as a JSON object.
    fn object(&self) -> Result<Value, Reply> {
        match serde_json::from_slice(&self.body) {
            Ok(value @ Value::Object(_)) => Ok(value),
            Ok(_) => Err(Reply::error(400, "Body should be a JSON object")),
            Err(_) => Err(Reply::error(400, "Problems parsing JSON")),
        }
    }

    /// Who writes.
    fn author(&self) -> Result<String, Reply> {
        self.caller
            .login()
            .ok_or_else(|| Reply::error(401, "Requires authentication"))
    }

    /// How the answer is rendered.
    fn view<'a>(&'a self, world: &'a World) -> View<'a> {
        View {
            world,
            api: &self.api,
        }
    }

    /// A page of a list below a repository.
    fn page(&self, repo: &Repo, rest: &str, items: Vec<Value>) -> Reply {
        let url = format!("{}/repositories/{}/{rest}", self.api, repo.id);
        page(items, &self.query, &url)
    }
}

/// A field that must be a string, where it is given.
fn text(body: &Value, field: &str) -> Result<Option<String>, Reply> {
    match &body[field] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(Reply::wrong_type(field, other, "a string")),
    }
}

/// A field that must be a string, and there.
fn required_text(body: &Value, field: &str) -> Result<String, Reply> {
    text(body, field)?.ok_or_else(|| Reply::not_supplied(field))
}

/// Answers a request to the REST API.
pub(crate) fn answer(world: &mut World, call: &Call) -> Answer {
    let segments: Vec<String> = call.path.split('/').skip(1).map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["user"]) => user(world, call),
        ("GET", ["users", login]) => {
            let user = call.view(world).user(login);
            if user.is_null() {
                Err(Reply::not_found())
            } else {
                Ok(Reply::ok(user))
            }
        }
        ("GET", ["rate_limit"]) => Ok(rate_limit(world, call)),
        ("GET", ["app"]) => apps::app(world, call),
        ("GET", ["app", "installations"]) => apps::installations(world, call),
        ("GET", ["app", "installations", id]) => apps::installation(world, call, id),
        ("POST", ["app", "installations", id, "access_tokens"]) => {
            apps::access_token(world, call, id)
        }
        ("GET", ["installation", "repositories"]) => apps::repositories(world, call),
        (_, ["repos", owner, name, rest @ ..]) => {
            let key = format!("{owner}/{name}").to_lowercase();
            if let Some(id) = world.renamed.get(&key) {
                return moved(call, *id, rest);
            }
            below_repo(world, call, &key, rest)
        }
        (_, ["repositories", id, rest @ ..]) => {
            let found = world
                .repos
                .iter()
                .find(|(_, repo)| repo.id.to_string() == **id);
            let key = found
                .map(|(key, _)| key.clone())
                .ok_or_else(Reply::not_found)?;
            below_repo(world, call, &key, rest)
        }
        _ => Err(Reply::not_modelled()),
    }
}

/// 301, or 307 for what must not become a `GET`.
fn moved(call: &Call, id: u64, rest: &[&str]) -> Answer {
    let mut url = format!("{}/repositories/{id}", call.api);
    for segment in rest {
        url.push('/');
        url.push_str(segment);
    }
    let (status, message) = match call.method.as_str() {
        "GET" | "HEAD" => (301, "Moved Permanently"),
        _ => (307, "Temporary Redirect"),
    };
    let mut reply = Reply::error(status, message).with("location", url.clone());
    if let Some(body) = &mut reply.body {
        body["url"] = url.into();
    }
    Err(reply)
}

fn below_repo(world: &mut World, call: &Call, key: &str, rest: &[&str]) -> Answer {
    let repo = world.repos.get(key).ok_or_else(Reply::not_found)?;
    let installation_of_app =
        matches!(call.caller, Caller::App(_)) && matches!(rest, ["installation"]);
    if installation_of_app {
        return apps::installation_of_repo(world, call, key);
    }
    if let Caller::App(_) = call.caller {
        return Err(Reply::bad_credentials());
    }
    if !call.caller.sees(repo) {
        return Err(Reply::not_found());
    }
    let writes = call.method != "GET";
    if writes && repo.archived == Switch::On {
        return Err(Reply::error(
            403,
            "Repository was archived so is read-only.",
        ));
    }
    match (call.method.as_str(), rest) {
        ("GET", []) => repos::get(world, call, key),
        ("GET", ["installation"]) => {
            Err(Reply::error(401, "A JSON web token could not be decoded"))
        }
        ("GET", ["branches", branch @ ..]) if !branch.is_empty() => {
            repos::branch(world, call, key, &branch.join("/"))
        }
        ("GET", ["git", "matching-refs", name @ ..]) if !name.is_empty() => {
            repos::matching(world, call, key, &name.join("/"))
        }
        ("GET", ["git", "ref", name @ ..]) if !name.is_empty() => {
            repos::reference(world, call, key, &name.join("/"))
        }
        ("GET", ["collaborators", login, "permission"]) => {
            repos::permission(world, call, key, login)
        }
        ("GET", ["labels"]) => repos::labels(world, call, key),
        ("GET", ["labels", name]) => repos::label(world, call, key, name),
        ("POST", ["labels"]) => repos::create_label(world, call, key),
        // A branch may have slashes in its name, and `heads/` before it.
        ("GET", ["commits", name @ .., "status"]) if !name.is_empty() => {
            commits::combined(world, call, key, &name.join("/"))
        }
        ("GET", ["commits", name @ .., "statuses"]) if !name.is_empty() => {
            commits::statuses(world, call, key, &name.join("/"))
        }
        ("GET", ["commits", name @ .., "check-runs"]) if !name.is_empty() => {
            checks::list(world, call, key, &name.join("/"))
        }
        ("GET", ["commits", name @ ..]) if !name.is_empty() => {
            commits::commit(world, call, key, &name.join("/"))
        }
        ("POST", ["check-runs"]) => checks::create(world, call, key),
        ("PATCH", ["check-runs", id]) => checks::edit(world, call, key, id),
        ("POST", ["statuses", sha]) => commits::set_status(world, call, key, sha),
        ("GET", ["pulls"]) => pulls::list(world, call, key),
        ("GET", ["pulls", number]) => pulls::get(world, call, key, number),
        ("GET", ["pulls", number, "reviews"]) => pulls::reviews(world, call, key, number),
        ("GET", ["issues"]) => issues::list(world, call, key),
        ("POST", ["issues"]) => issues::create(world, call, key),
        ("GET", ["issues", "comments"]) => comments::list_all(world, call, key),
        (method, ["issues", "comments", id, rest @ ..]) => {
            comments::one(world, call, key, method, id, rest)
        }
        ("GET", ["issues", number]) => issues::get(world, call, key, number),
        ("PATCH", ["issues", number]) => issues::edit(world, call, key, number),
        ("GET", ["issues", number, "comments"]) => comments::list(world, call, key, number),
        ("POST", ["issues", number, "comments"]) => comments::create(world, call, key, number),
        _ => Err(Reply::not_modelled()),
    }
}

/// Checks a need in the repository at `key`.
fn check<'a>(world: &'a World, call: &Call, key: &str, need: Need) -> Result<&'a Repo, Reply> {
    let repo = world.repo(key);
    call.caller.check(repo, need)?;
    Ok(repo)
}

fn user(world: &World, call: &Call) -> Answer {
    match &call.caller {
        Caller::Anonymous => Err(Reply::error(401, "Requires authentication")),
        Caller::App(_) => Err(Reply::bad_credentials()),
        Caller::Installation { .. } => {
            Err(Reply::error(403, "Resource not accessible by integration"))
        }
        Caller::Person { login, access } => {
            let account = &world.accounts[&login.to_lowercase()];
            let mut value = call.view(world).account(account);
            let at = super::render::time(account.created_at);
            for name in [
                "name",
                "company",
                "location",
                "email",
                "hireable",
                "bio",
                "twitter_username",
            ] {
                value[name] = Value::Null;
            }
            value["blog"] = "".into();
            for name in ["public_repos", "public_gists", "followers", "following"] {
                value[name] = 0.into();
            }
            value["created_at"] = at.clone().into();
            value["updated_at"] = at.into();
            let reply = Reply::ok(value);
            Ok(match access {
                Access::Scopes(scopes) => reply.with("x-oauth-scopes", scopes.join(", ")),
                Access::Grant(_) => reply,
            })
        }
    }
}

fn rate_limit(world: &mut World, call: &Call) -> Reply {
    let who = call.caller.budget_key();
    let mut show = |resource| {
        let standing = world.limits.standing(&who, resource);
        json!({
            "limit": standing.limit, "used": standing.used,
            "remaining": standing.remaining(), "reset": standing.reset.timestamp(),
        })
    };
    let (core, graphql) = (show(Resource::Core), show(Resource::Graphql));
    // Searches are not modelled: nothing of theirs is ever used.
    let search = json!({ "limit": 30, "used": 0, "remaining": 30, "reset": core["reset"] });
    Reply::ok(json!({
        "resources": { "core": core, "search": search, "graphql": graphql },
        "rate": core,
    }))
}

/// Decodes `%2F` and the like.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

impl Reply {
    /// Whether the model has the endpoint.
    pub(crate) fn is_modelled(&self) -> bool {
        self.route == Route::Known
    }
}
