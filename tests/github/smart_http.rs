//! Git over HTTP, by the real `git http-backend`.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use bytes::Bytes;
use tokio::process::Command;

use super::auth::{Caller, Need, identify};
use super::fault::FaultKind;
use super::git;
use super::log::{AuthKind, Budget, Patience, Route};
use super::server::{Answered, Arrival, Outgoing, Shared, server_error};
use super::sync::sync_all;
use super::world::World;

/// What of git is asked for.
pub(super) struct Service {
    /// `owner/name` in lower case.
    key: String,
    /// `info/refs` or `git-upload-pack`.
    action: String,
    writes: bool,
}

/// The service that a request is for, where it is for git.
pub(super) fn service(arrival: &Arrival) -> Option<Service> {
    let segments: Vec<&str> = arrival.uri.path().split('/').skip(1).collect();
    let [owner, name, action @ ..] = segments.as_slice() else {
        return None;
    };
    let action = action.join("/");
    if !["info/refs", "git-upload-pack", "git-receive-pack"].contains(&action.as_str()) {
        return None;
    }
    let name = name.strip_suffix(".git").unwrap_or(name);
    let writes = action == "git-receive-pack"
        || arrival
            .uri
            .query()
            .is_some_and(|query| query.contains("service=git-receive-pack"));
    Some(Service {
        key: format!("{owner}/{name}").to_lowercase(),
        action,
        writes,
    })
}

/// Answers a request of git.
pub(super) async fn answer(shared: &Shared, arrival: &Arrival, service: &Service) -> Answered {
    let (auth, admitted) = admit(&mut shared.world(), arrival, service);
    let outgoing = match (&arrival.fault, admitted) {
        (Some(FaultKind::Status(status)), _) => server_error(*status, "git"),
        (Some(FaultKind::ResetBefore), _) => server_error(500, "git"),
        (_, Err(outgoing)) => outgoing,
        (_, Ok((root, path))) => backend(root, path, arrival).await,
    };
    let (budget, patience, route) = (Budget::Free, Patience::Kept, Route::Known);
    Answered {
        outgoing,
        auth,
        budget,
        patience,
        route,
    }
}

/// The folder and the path in it, where the caller may have them.
fn admit(
    world: &mut World,
    arrival: &Arrival,
    service: &Service,
) -> (AuthKind, Result<(PathBuf, String), Outgoing>) {
    sync_all(world);
    let authorization = arrival
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let caller = match identify(world, authorization) {
        Ok(caller @ (Caller::Anonymous | Caller::Person { .. } | Caller::Installation { .. })) => {
            caller
        }
        Ok(Caller::App(_)) | Err(_) => {
            let text = "Invalid username or token. Password authentication is not supported for Git operations.\n";
            return (AuthKind::Bad, Err(challenge(text)));
        }
    };
    let auth = caller.kind();
    if let Some(id) = world.renamed.get(&service.key) {
        let repo = world.repos.values().find(|repo| repo.id == *id);
        let name = repo.map(|repo| repo.full_name()).unwrap_or_default();
        let query = arrival
            .uri
            .query()
            .map_or_else(String::new, |query| format!("?{query}"));
        let url = format!("{}/{name}.git/{}{query}", world.origin, service.action);
        let mut outgoing = plain(301, "");
        outgoing.headers.push(("location".to_owned(), url));
        return (auth, Err(outgoing));
    }
    let repo = world.repos.get(&service.key);
    let seen = repo.filter(|repo| caller.sees(repo));
    let admitted = match (seen, &caller) {
        // Whether it is there is not said to someone who is not signed in.
        (None, Caller::Anonymous) => Err(challenge("Repository not found.\n")),
        (None, _) => Err(plain(404, "Repository not found.\n")),
        (Some(repo), _) if caller.check(repo, Need::ReadContents).is_err() => {
            Err(plain(403, "The requested URL returned error: 403\n"))
        }
        (Some(repo), _) if service.writes && caller.check(repo, Need::WriteContents).is_err() => {
            Err(plain(403, "Write access to repository not granted.\n"))
        }
        (Some(repo), _) => {
            let relative = repo.dir.strip_prefix(&world.root).unwrap_or(&repo.dir);
            Ok((
                world.root.clone(),
                format!("/{}/{}", relative.display(), service.action),
            ))
        }
    };
    (auth, admitted)
}

fn plain(status: u16, text: &'static str) -> Outgoing {
    Outgoing {
        status,
        headers: vec![(
            "content-type".to_owned(),
            "text/plain; charset=utf-8".to_owned(),
        )],
        body: Bytes::from_static(text.as_bytes()),
    }
}

fn challenge(text: &'static str) -> Outgoing {
    let mut outgoing = plain(401, text);
    outgoing.headers.push((
        "www-authenticate".to_owned(),
        "Basic realm=\"GitHub\"".to_owned(),
    ));
    outgoing
}

/// Runs `git http-backend` on a request. Its input is a file, so that it is never
/// waited for while it waits itself.
async fn backend(root: PathBuf, path: String, arrival: &Arrival) -> Outgoing {
    let header = |name: &str| {
        arrival
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let mut command = Command::new("git");
    git::isolate(|name, value| {
        command.env(name, value);
    });
    command
        // Who may write was asked before.
        .args(["-c", "http.receivepack=true", "http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("REQUEST_METHOD", &arrival.method)
        .env("QUERY_STRING", arrival.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", arrival.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::from(input(&arrival.body)))
        .kill_on_drop(true);
    match command.output().await {
        Ok(output) => cgi_response(&output.stdout),
        Err(_) => server_error(500, "git"),
    }
}

fn input(body: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(body)
        .and_then(|()| file.rewind())
        .expect("a temporary file can be written");
    file
}

/// Headers, an empty line, the body; the status is a header.
fn cgi_response(output: &[u8]) -> Outgoing {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else {
        return server_error(500, "git");
    };
    let mut outgoing = Outgoing {
        status: 200,
        headers: Vec::new(),
        body: Bytes::copy_from_slice(&output[end + 4..]),
    };
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        match line.split_once(':') {
            Some(("Status", value)) => {
                let code = value
                    .split_whitespace()
                    .next()
                    .and_then(|code| code.parse().ok());
                outgoing.status = code.unwrap_or(500);
            }
            Some((name, value)) => {
                outgoing
                    .headers
                    .push((name.to_lowercase(), value.trim().to_owned()));
            }
            None => {}
        }
    }
    outgoing
}
