//! The HTTP server: reads a request, breaks what is to be broken, answers, writes it down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::response::Response;
use bytes::Bytes;
use chrono::TimeDelta;
use http::{HeaderMap, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::auth::{Caller, identify};
use super::fault::{Fault, FaultKind};
use super::graphql;
use super::limit::{Resource, Standing};
use super::line::{Door, Fate};
use super::log::{AuthKind, Budget, LoggedRequest, Patience, Route};
use super::reply::{Reply, conditional};
use super::rest::{self, Call};
use super::smart_http;
use super::sync::sync_all;
use super::world::{Time, World, go_by, now, this_second};

/// The world, shared by the server and the tests.
pub(crate) struct Shared {
    world: Mutex<World>,
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world: Mutex::new(world),
        }
    }

    /// The world, for as long as the guard lives. A handler that panicked is
    /// a failure of its own; the world behind it is still good to look at.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        go_by(world.ahead);
        world
    }
}

/// The versions of the REST API that a request may name.
const VERSIONS: [&str; 2] = ["2022-11-28", "2026-03-10"];

/// The most that a request's body may have.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// Serves until told to stop.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: oneshot::Receiver<()>) {
    let service = Router::new()
        .fallback(handle)
        .with_state(shared)
        .into_make_service_with_connect_info::<Fate>();
    tokio::select! {
        served = axum::serve(Door(listener), service).into_future() => {
            served.expect("the model's server runs until it is told to stop");
        }
        _ = stop => {}
    }
}

/// A request that has been read.
pub(super) struct Arrival {
    pub(super) at: Time,
    pub(super) method: String,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) fault: Option<FaultKind>,
}

/// What goes out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// An answer with what the log says of it.
pub(super) struct Answered {
    pub(super) outgoing: Outgoing,
    pub(super) auth: AuthKind,
    pub(super) budget: Budget,
    pub(super) patience: Patience,
    pub(super) route: Route,
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(fate): ConnectInfo<Fate>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    let method = parts.method.to_string();
    let path = api_path(parts.uri.path()).to_owned();
    let fault = Fault::take(&mut shared.world().faults, &method, &path, &body);
    let at = now();
    let arrival = Arrival {
        at,
        method,
        uri: parts.uri,
        headers: parts.headers,
        body,
        fault,
    };
    if let Some(FaultKind::Stall(time)) = arrival.fault {
        tokio::time::sleep(time).await;
    }
    let answered = match smart_http::service(&arrival) {
        Some(service) => smart_http::answer(&shared, &arrival, &service).await,
        None => answer(&mut shared.world(), &arrival, &path),
    };
    if let Some(FaultKind::StallAfterEffect(time)) = arrival.fault {
        tokio::time::sleep(time).await;
    }
    let mut outgoing = answered.outgoing;
    let date = arrival.at.format("%a, %d %b %Y %H:%M:%S GMT");
    outgoing.headers.push(("date".to_owned(), date.to_string()));
    let mut status = Some(outgoing.status);
    match &arrival.fault {
        Some(FaultKind::StatusAfterEffect(wanted)) => {
            outgoing = server_error(*wanted, &path);
            status = Some(*wanted);
        }
        Some(FaultKind::ResetBefore | FaultKind::ResetAfterEffect) => {
            fate.reset();
            status = None;
        }
        Some(FaultKind::CutOffBody) => fate.cut_off_after(outgoing.body.len() / 2),
        _ => {}
    }
    shared.world().requests.push(LoggedRequest {
        at: arrival.at,
        method: arrival.method,
        path: arrival.uri.path().to_owned(),
        query: arrival.uri.query().unwrap_or_default().to_owned(),
        auth: answered.auth,
        status,
        budget: answered.budget,
        fault: arrival.fault,
        patience: answered.patience,
        route: answered.route,
    });
    let mut response = Response::builder().status(outgoing.status);
    for (name, value) in outgoing.headers {
        response = response.header(name, value);
    }
    response
        .body(Body::from(outgoing.body))
        .expect("the model's headers are headers")
}

/// The path without what GitHub Enterprise Server puts before it.
fn api_path(path: &str) -> &str {
    match path {
        "/api/graphql" => "/graphql",
        _ => path.strip_prefix("/api/v3").unwrap_or(path),
    }
}

/// Answers a request to the API.
fn answer(world: &mut World, arrival: &Arrival, path: &str) -> Answered {
    sync_all(world);
    let resource = graphql::resource_of(path);
    if !arrival.headers.contains_key("user-agent") {
        let message = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.";
        return refused(&Reply::error(403, message), AuthKind::Anonymous);
    }
    let header = |name| {
        arrival
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if let Some(version) = header("x-github-api-version").filter(|v| !VERSIONS.contains(v)) {
        let message = format!("Version {version} of the API is not supported.");
        return refused(&Reply::error(400, &message), AuthKind::Anonymous);
    }
    let caller = match identify(world, header("authorization")) {
        Ok(caller) => caller,
        Err(reply) => return refused(&reply, AuthKind::Bad),
    };
    let who = caller.budget_key();
    let patience = match world.limits.comes_too_early(&who, resource, arrival.at) {
        true => Patience::Lost,
        false => Patience::Kept,
    };
    let auth = caller.kind();
    let call = call(world, arrival, path, caller);
    let (reply, budget) = match broken(world, arrival, path, &call) {
        Some(outgoing) => {
            let (budget, route) = (Budget::Free, Route::Known);
            return Answered {
                outgoing,
                auth,
                budget,
                patience,
                route,
            };
        }
        None => charged(world, arrival, path, &call),
    };
    let route = if reply.is_modelled() {
        Route::Known
    } else {
        Route::Unknown
    };
    let mut outgoing = outgoing(reply);
    // The limit's own answer says that nothing remains; all others say what does.
    let standing = world.limits.standing(&who, resource);
    outgoing.headers.extend(owned(standing.headers()));
    rest::probe_merge(world, &call);
    Answered {
        outgoing,
        auth,
        budget,
        patience,
        route,
    }
}

fn call(world: &World, arrival: &Arrival, path: &str, caller: Caller) -> Call {
    let query = Query::<Vec<(String, String)>>::try_from_uri(&arrival.uri);
    let prefix = if arrival.uri.path().starts_with("/api/v3") {
        "/api/v3"
    } else {
        ""
    };
    Call {
        method: arrival.method.clone(),
        path: path.to_owned(),
        query: query.map(|Query(pairs)| pairs).unwrap_or_default(),
        body: arrival.body.clone(),
        caller,
        api: format!("{}{prefix}", world.origin),
    }
}

/// What a fault says instead of an answer, where it comes before any effect.
fn broken(world: &mut World, arrival: &Arrival, path: &str, call: &Call) -> Option<Outgoing> {
    let resource = graphql::resource_of(path);
    let who = call.caller.budget_key();
    match arrival.fault.as_ref()? {
        FaultKind::Status(status) => Some(server_error(*status, path)),
        FaultKind::ResetBefore => Some(server_error(500, path)),
        FaultKind::PrimaryLimit { reset_in } => {
            let limit = world.limits.standing(&who, resource).limit;
            let reset = this_second() + seconds_up(*reset_in);
            let standing = Standing {
                limit,
                used: limit,
                reset,
                resource,
            };
            Some(used_up(world, &call.caller, &standing))
        }
        FaultKind::SecondaryLimit { retry_after } | FaultKind::TooMany { retry_after } => {
            let status = match arrival.fault {
                Some(FaultKind::TooMany { .. }) => 429,
                _ => 403,
            };
            Some(secondary(world, &who, resource, status, *retry_after))
        }
        _ => None,
    }
}

/// The answer to a client that does too much at once; it is written down that it was told.
fn secondary(
    world: &mut World,
    who: &str,
    resource: Resource,
    status: u16,
    retry_after: Option<u64>,
) -> Outgoing {
    world.limits.told_secondary(who, retry_after);
    let message =
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    let mut reply = Reply::error(status, message);
    if let Some(body) = &mut reply.body {
        body["documentation_url"] = "https://docs.github.com/free-pro-team@latest/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits".into();
    }
    if let Some(seconds) = retry_after {
        reply = reply.with("retry-after", seconds.to_string());
    }
    let mut outgoing = outgoing(reply);
    outgoing
        .headers
        .extend(owned(world.limits.standing(who, resource).headers()));
    outgoing
}

/// Whether a request makes or edits something that people see. GitHub says nothing of edits, and the
/// model takes the strict view.
fn creates(arrival: &Arrival, path: &str) -> bool {
    matches!(arrival.method.as_str(), "POST" | "PATCH") && path.starts_with("/repos/")
}

fn seconds_up(time: Duration) -> TimeDelta {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    TimeDelta::seconds(i64::try_from(whole).unwrap_or(i64::MAX))
}

/// The answer of a caller who has nothing left.
fn used_up(world: &mut World, caller: &Caller, standing: &Standing) -> Outgoing {
    world
        .limits
        .told_primary(&caller.budget_key(), standing.resource, standing.reset);
    let whose = match caller {
        Caller::Anonymous => "127.0.0.1".to_owned(),
        Caller::Installation { installation, .. } => format!("installation ID {installation}"),
        Caller::App(id) => format!("app ID {id}"),
        Caller::Person { login, .. } => {
            let id = world
                .accounts
                .get(&login.to_lowercase())
                .map_or(0, |account| account.id);
            format!("user ID {id}")
        }
    };
    let reply = match standing.resource {
        Resource::Graphql => graphql::rate_limited(&whose),
        Resource::Core => Reply::error(403, &format!("API rate limit exceeded for {whose}.")),
    };
    let mut outgoing = outgoing(reply);
    outgoing.headers.extend(owned(standing.headers()));
    outgoing
}

/// Does what is asked, and takes it from the budget.
fn charged(world: &mut World, arrival: &Arrival, path: &str, call: &Call) -> (Reply, Budget) {
    let resource = graphql::resource_of(path);
    let who = call.caller.budget_key();
    let standing = world.limits.standing(&who, resource);
    if standing.remaining() == 0 && path != "/rate_limit" {
        let outgoing = used_up(world, &call.caller, &standing);
        let body = serde_json::from_slice(&outgoing.body).unwrap_or(Value::Null);
        return (
            Reply {
                status: outgoing.status,
                ..Reply::ok(body)
            },
            Budget::Free,
        );
    }
    if creates(arrival, path)
        && let Some(wait) = world.limits.creation(&who)
    {
        let outgoing = secondary(world, &who, resource, 403, Some(wait));
        let body = serde_json::from_slice(&outgoing.body).unwrap_or(Value::Null);
        let reply = Reply {
            status: outgoing.status,
            ..Reply::ok(body)
        };
        return (reply.with("retry-after", wait.to_string()), Budget::Free);
    }
    let reads = arrival.method == "GET" || resource == Resource::Graphql;
    let stale = arrival.fault == Some(FaultKind::Stale) && reads;
    if stale {
        swap_with_before(world);
    }
    let (reply, points) = done(world, call, &standing);
    if stale {
        swap_with_before(world);
    }
    let (reply, points) = match arrival.fault {
        Some(FaultKind::Duplicate) => done(world, call, &standing),
        _ => (reply, points),
    };
    let authorised = !matches!(call.caller, Caller::Anonymous);
    let reply = match arrival.method.as_str() {
        "GET" => conditional(reply, &arrival.headers, &who),
        _ => reply,
    };
    let free = path == "/rate_limit" || (reply.status == 304 && authorised) || points == 0;
    let budget = match (resource, free) {
        (_, true) => Budget::Free,
        (Resource::Core, false) => Budget::Core,
        (Resource::Graphql, false) => Budget::Graphql(points),
    };
    if budget != Budget::Free {
        world.limits.charge(&who, resource, points);
    }
    (reply, budget)
}

/// Does what is asked once; the answer, and what it costs.
fn done(world: &mut World, call: &Call, standing: &Standing) -> (Reply, u64) {
    if (call.method.as_str(), call.path.as_str()) == ("POST", "/graphql") {
        return graphql::answer(world, call, standing);
    }
    let (Ok(reply) | Err(reply)) = rest::answer(world, call);
    (reply, 1)
}

/// Puts every repository back to what it was before its last change; a second
/// time, forward again.
fn swap_with_before(world: &mut World) {
    for repo in world.repos.values_mut() {
        if let Some(before) = repo.before.take() {
            let now = std::mem::replace(repo, *before);
            repo.before = Some(Box::new(now));
        }
    }
}

fn refused(reply: &Reply, auth: AuthKind) -> Answered {
    let body = reply.body.clone().unwrap_or(Value::Null);
    Answered {
        outgoing: outgoing(Reply {
            status: reply.status,
            ..Reply::ok(body)
        }),
        auth,
        budget: Budget::Free,
        patience: Patience::Kept,
        route: Route::Known,
    }
}

fn owned(headers: Vec<(&'static str, String)>) -> Vec<(String, String)> {
    headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn outgoing(reply: Reply) -> Outgoing {
    let mut headers = owned(reply.headers);
    headers.push((
        "x-github-api-version-selected".to_owned(),
        "2022-11-28".to_owned(),
    ));
    headers.push((
        "vary".to_owned(),
        "Accept, Authorization, Cookie, X-GitHub-OTP".to_owned(),
    ));
    let body = match reply.body {
        Some(body) => {
            headers.push((
                "content-type".to_owned(),
                "application/json; charset=utf-8".to_owned(),
            ));
            Bytes::from(body.to_string())
        }
        None => Bytes::new(),
    };
    Outgoing {
        status: reply.status,
        headers,
        body,
    }
}

/// What GitHub's front answers where something behind it is broken: JSON, or a page.
pub(super) fn server_error(status: u16, path: &str) -> Outgoing {
    if status == 503 {
        let page = "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n";
        return Outgoing {
            status,
            headers: vec![("content-type".to_owned(), "text/html".to_owned())],
            body: Bytes::from_static(page.as_bytes()),
        };
    }
    let body = match (path, status) {
        ("/graphql", _) => json!({
            "data": null,
            "errors": [{ "message": "Something went wrong while executing your query. This may be the result of a timeout, or it could be a GitHub bug." }],
        }),
        (_, 500..) => json!({ "message": "Server Error" }),
        _ => return outgoing(Reply::error(status, "This was made to fail.")),
    };
    outgoing(Reply {
        status,
        ..Reply::ok(body)
    })
}
