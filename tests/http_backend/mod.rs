//! A server for Terraform's `http` backend: one state and one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;

/// The most that a request's body may have.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// What the server holds.
#[derive(Debug, Default)]
struct Held {
    state: Option<Vec<u8>>,
    lock: Option<Value>,
    /// Whether a state that is sent is refused.
    refuses: bool,
}

/// The server; it ends with the runtime of its test.
#[derive(Debug, Clone)]
pub(crate) struct HttpBackend {
    address: String,
    held: Arc<Mutex<Held>>,
}

impl HttpBackend {
    /// Starts one on a port of its own.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port can be bound");
        let address = listener.local_addr().expect("it has an address");
        let held = Arc::new(Mutex::new(Held::default()));
        let service = Router::new().fallback(answer).with_state(Arc::clone(&held));
        tokio::spawn(async move {
            axum::serve(listener, service)
                .await
                .expect("the backend serves until the test ends");
        });
        Self {
            address: format!("http://{address}/state"),
            held,
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `backend` block that names it, to stand in a `terraform` block.
    pub(crate) fn block(&self) -> String {
        let address = &self.address;
        format!(
            "terraform {{\n  backend \"http\" {{\n    address = \"{address}\"\n    lock_address = \"{address}\"\n    \
             unlock_address = \"{address}\"\n    retry_max = 0\n  }}\n}}\n"
        )
    }

    /// The state that it holds.
    pub(crate) fn state(&self) -> Option<Value> {
        let held = self.held();
        let text = held.state.as_deref()?;
        Some(serde_json::from_slice(text).expect("a state is JSON"))
    }

    /// The id of the lock that it holds.
    pub(crate) fn lock_id(&self) -> Option<String> {
        let held = self.held();
        Some(held.lock.as_ref()?["ID"].as_str()?.to_owned())
    }

    /// Somebody else has the lock from now on.
    pub(crate) fn lock_by(&self, id: &str, who: &str) {
        self.held().lock = Some(serde_json::json!({
            "ID": id, "Operation": "OperationTypeApply", "Info": "", "Who": who,
            "Version": "1.11.4", "Created": "2026-11-21T09:00:00Z", "Path": "",
        }));
    }

    /// Frees the lock, whoever has it.
    pub(crate) fn unlock(&self) {
        self.held().lock = None;
    }

    /// Takes no state from now on.
    pub(crate) fn refuse(&self) {
        self.held().refuses = true;
    }

    /// Takes them again.
    pub(crate) fn accept(&self) {
        self.held().refuses = false;
    }
}

async fn answer(State(held): State<Arc<Mutex<Held>>>, request: Request) -> Response {
    let method = request.method().to_string();
    let body = to_bytes(request.into_body(), BODY_LIMIT)
        .await
        .expect("a request can be read");
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, text) = match method.as_str() {
        "GET" => match &held.state {
            Some(state) => (200, state.clone()),
            None => (404, Vec::new()),
        },
        "POST" if held.refuses => (403, Vec::new()),
        "POST" => {
            held.state = Some(body.to_vec());
            (200, Vec::new())
        }
        "LOCK" => match &held.lock {
            Some(lock) => (423, lock.to_string().into_bytes()),
            None => {
                held.lock = Some(serde_json::from_slice(&body).expect("a lock is JSON"));
                (200, Vec::new())
            }
        },
        // `force-unlock` sends no body: then whatever lock there is goes.
        "UNLOCK" => {
            held.lock = None;
            (200, Vec::new())
        }
        _ => (405, Vec::new()),
    };
    Response::builder()
        .status(status)
        .body(Body::from(text))
        .expect("an answer can be made")
}
