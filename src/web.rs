//! The listener: health and metrics, read-only.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::task::JoinHandle;
use tracing::info;

use crate::clock::{human_duration, now};
use crate::engine::CancelToken;
use crate::fault::chain;
use crate::fleet::Fleet;
use crate::run::State as RunState;
use crate::store::{StoreError, Trouble};

/// The scheduler gives a sign of life each second. After so long without one it is taken for dead.
const SILENCE: Duration = Duration::from_secs(60);

/// Why the listener cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: choose another `listen`, or \"off\"")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Serves health and metrics until `end`, where the settings name an address.
///
/// # Errors
///
/// Where the address cannot be had.
pub async fn listen(
    fleet: &Arc<Fleet>,
    end: &CancelToken,
) -> Result<Option<JoinHandle<()>>, ListenError> {
    let Some(address) = fleet.config.listen else {
        return Ok(None);
    };
    let failed = |source| ListenError { address, source };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    info!(%address, "Health and metrics are at http://{address}/health and http://{address}/metrics");
    let routes = router(Arc::clone(fleet));
    let end = end.clone();
    Ok(Some(tokio::spawn(async move {
        let served = axum::serve(listener, routes)
            .with_graceful_shutdown(async move { end.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!("The listener ended: {error}");
        }
    })))
}

fn router(fleet: Arc<Fleet>) -> Router {
    let hosts: Arc<[String]> = fleet.config.listen_hosts.as_slice().into();
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(fleet)
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            guard(Arc::clone(&hosts), request, next)
        }))
}

/// What every answer says to browsers: nothing here is to be run, framed, kept or read by others.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// A page elsewhere must not read this through a name of its own that leads here.
async fn guard(hosts: Arc<[String]>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let mut response = if is_served(host, &hosts) {
        next.run(request).await
    } else {
        (
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not served here: use the address, or add the name to `listen_hosts`\n",
        )
            .into_response()
    };
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether `Host` names this listener. An address cannot be made to lead here by somebody else's
/// name server; a name can, so that only known ones count.
fn is_served(host: &str, known: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<IpAddr>().is_ok() || known.contains(&name)
}

async fn health(State(fleet): State<Arc<Fleet>>) -> Response {
    let readable = fleet.store.repositories().map(|_| ());
    match illness(readable, fleet.store.trouble(), fleet.pulse.age(now())) {
        None => "ok\n".into_response(),
        Some(text) => (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")).into_response(),
    }
}

/// What keeps the daemon from its work, in one line; `None` where nothing does.
fn illness(
    readable: Result<(), StoreError>,
    trouble: Option<Trouble>,
    silent_for: Duration,
) -> Option<String> {
    if let Err(error) = readable {
        return Some(chain(&error));
    }
    if let Some(Trouble { text, since }) = trouble {
        return Some(format!(
            "nothing can be recorded since {}: {text}",
            since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
        ));
    }
    (silent_for > SILENCE).then(|| {
        format!(
            "the scheduler has done nothing for {}: restart the daemon, and look at its log",
            human_duration(silent_for)
        )
    })
}

async fn metrics(State(fleet): State<Arc<Fleet>>) -> Response {
    match figures(&fleet) {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// The figures in the text format of Prometheus.
fn figures(fleet: &Fleet) -> Result<String, StoreError> {
    let open = fleet.store.open_runs()?;
    let mut text = String::from(
        "# HELP mainstay_runs Runs that have not ended, by state.\n# TYPE mainstay_runs gauge\n",
    );
    for state in [
        RunState::Queued,
        RunState::Held,
        RunState::Preparing,
        RunState::Planning,
        RunState::Applying,
    ] {
        let count = open.iter().filter(|run| run.state == state).count();
        let _ = writeln!(text, "mainstay_runs{{state=\"{state}\"}} {count}");
    }
    let repositories = fleet.store.repositories()?;
    let _ = writeln!(
        text,
        "# HELP mainstay_repository_up Whether the last look at the repository succeeded.\n# TYPE mainstay_repository_up gauge"
    );
    for repository in repositories
        .iter()
        .filter(|r| fleet.tracked(&r.repo).is_some())
    {
        let name = repository
            .repo
            .as_str()
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        let up = u8::from(repository.error.is_none() && repository.looked_at.is_some());
        let _ = writeln!(text, "mainstay_repository_up{{repository=\"{name}\"}} {up}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_else_may_have_led_here_is_not_served() {
        let known = ["mainstay.example.com".to_owned()];
        for ours in [
            "localhost",
            "localhost:4180",
            "127.0.0.1:4180",
            "[::1]:4180",
            "10.0.0.7",
            "Mainstay.Example.com:4180",
        ] {
            assert!(is_served(ours, &known), "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:4180",
            "localhost.evil.example",
            "mainstay.example.com.evil.example",
            "evil.example/127.0.0.1",
        ] {
            assert!(!is_served(other, &known), "{other}");
        }
    }

    #[test]
    fn health_is_good_only_where_the_scheduler_lives_and_can_record() {
        let second = Duration::from_secs(1);
        assert_eq!(illness(Ok(()), None, second), None);
        let dead = illness(Ok(()), None, SILENCE + second).unwrap();
        assert!(
            dead.contains("the scheduler has done nothing for"),
            "{dead}"
        );
        let full = Trouble {
            text: "the disk is full".into(),
            since: now(),
        };
        let ill = illness(Ok(()), Some(full), second).unwrap();
        assert!(ill.ends_with(": the disk is full"), "{ill}");
        let missing = StoreError::Missing { file: "x".into() };
        assert!(illness(Err(missing), None, second).is_some());
    }
}
