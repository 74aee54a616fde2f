//! A small HTTP server on loopback that answers as a test says, cut off and hung up included.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) method: String,
    /// Path and query.
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Value,
}

impl Heard {
    pub(super) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What comes back.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// A whole answer.
    Whole {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// An answer whose body ends before its length.
    CutOff(Box<Reply>),
    /// The connection closed without a byte.
    HangUp,
    /// Nothing, and the connection stays.
    Silence,
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self::text(status, &body.to_string())
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::Whole {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl ToString) -> Self {
        if let Self::Whole { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_string()));
        }
        self
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Whole {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
                if !matches!(status, 204 | 304) {
                    head.push_str(&format!("content-length: {}\r\n", body.len()));
                }
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                Some(format!("{head}\r\n{body}").into_bytes())
            }
            Self::CutOff(whole) => {
                let bytes = whole.bytes()?;
                Some(bytes[..bytes.len() - 5].to_vec())
            }
            Self::HangUp | Self::Silence => None,
        }
    }
}

/// The server: it stops when it is dropped.
pub(super) struct Stand {
    pub(super) url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Stand {
    /// Answers each request as `script` says.
    pub(super) async fn with(script: impl FnMut(&Heard) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let script = Arc::new(Mutex::new(script));
        let log = heard.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (log.clone(), script.clone());
                tokio::spawn(async move {
                    let mut stream = stream;
                    let Some(request) = hear(&mut stream).await else {
                        return;
                    };
                    log.lock().unwrap().push(request.clone());
                    let reply = (script.lock().unwrap())(&request);
                    match (reply.bytes(), reply) {
                        (Some(bytes), _) => {
                            let _ = stream.write_all(&bytes).await;
                            let _ = stream.shutdown().await;
                        }
                        (None, Reply::Silence) => {
                            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
                        }
                        (None, _) => {}
                    }
                });
            }
        });
        Self {
            url,
            heard,
            accepting,
        }
    }

    /// All requests so far.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Method and path of all requests so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.heard()
            .iter()
            .map(|heard| format!("{} {}", heard.method, heard.path))
            .collect()
    }

    /// How many requests of a method there were.
    pub(super) fn count(&self, method: &str) -> usize {
        self.heard()
            .iter()
            .filter(|heard| heard.method == method)
            .count()
    }
}

async fn hear(stream: &mut TcpStream) -> Option<Heard> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&bytes[head_end..]).unwrap_or(Value::Null);
    Some(Heard {
        method,
        path,
        headers,
        body,
    })
}
