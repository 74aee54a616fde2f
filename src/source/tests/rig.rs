//! Repositories made by git, and `git http-backend` behind a small server on the loopback.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tempfile::TempDir;

use crate::id::{BranchName, CommitSha};
use crate::source::{Fetched, Heads, Mirror, RemoteAddress, SourceError};

/// Runs git without any settings but its own.
pub(super) fn git(dir: &Path, args: &[&str]) -> String {
    let output = git_output(dir, args);
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

pub(super) fn git_output(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir);
    plain(&mut command).output().unwrap()
}

fn plain(command: &mut Command) -> &mut Command {
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.com")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.com")
        .env("GIT_TERMINAL_PROMPT", "0")
}

/// A repository with a mirror beside it.
pub(super) struct Rig {
    dir: TempDir,
    pub(super) mirror: Mirror,
}

impl Rig {
    /// A repository with one commit on `main`.
    pub(super) fn new() -> Self {
        let rig = Self::empty();
        rig.commit(&[("main.tf", "one\n")], "First");
        rig
    }

    pub(super) fn empty() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("infra")).unwrap();
        git(&dir.path().join("infra"), &["init", "-q", "-b", "main"]);
        let mirror = Mirror::open(&dir.path().join("mirror")).unwrap();
        Self { dir, mirror }
    }

    pub(super) fn top(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn repo(&self) -> PathBuf {
        self.dir.path().join("infra")
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        git(&self.repo(), args)
    }

    /// Writes files and commits them.
    pub(super) fn commit(&self, files: &[(&str, &str)], message: &str) -> CommitSha {
        for (name, content) in files {
            let path = self.repo().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.sha("HEAD")
    }

    pub(super) fn sha(&self, revision: &str) -> CommitSha {
        self.git(&["rev-parse", revision]).parse().unwrap()
    }

    pub(super) fn remote(&self) -> RemoteAddress {
        remote(self.repo().to_str().unwrap())
    }

    /// Fetches `main` and all other branches over the path.
    pub(super) fn fetch(&self) -> Result<Fetched, SourceError> {
        fetch(&self.mirror, &self.remote())
    }
}

pub(super) fn remote(url: &str) -> RemoteAddress {
    RemoteAddress {
        url: url.to_owned(),
        login: None,
    }
}

pub(super) fn main() -> BranchName {
    "main".parse().unwrap()
}

pub(super) fn fetch(mirror: &Mirror, remote: &RemoteAddress) -> Result<Fetched, SourceError> {
    mirror.fetch(remote, &main(), "refs/heads/*", Heads::All)
}

/// Writes a program.
pub(super) fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// An error with its causes, as people and logs see it.
pub(super) fn all_of(error: &SourceError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text += &format!(" {cause} {cause:?}");
        next = cause.source();
    }
    text
}

/// How a [`Server`] behaves, besides serving the repositories below a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Manners {
    /// The `Authorization` header without which it answers 401.
    pub(super) authorization: Option<String>,
    /// Redirects every greeting to this URL of a repository.
    pub(super) redirect: Option<String>,
    /// Ends the connection after so many bytes of a pack's answer.
    pub(super) cut: Option<usize>,
    /// Answers everything with this status and body.
    pub(super) fixed: Option<(&'static str, &'static str)>,
    /// Takes connections, and says nothing.
    pub(super) silent: Silent,
    /// The protocol that is spoken at most.
    pub(super) version: Version,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Silent {
    Yes,
    #[default]
    No,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Version {
    Zero,
    #[default]
    Two,
}

/// A request that a [`Server`] saw.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) target: String,
    pub(super) authorization: Option<String>,
}

/// Serves repositories over http, or over https where it has a certificate.
pub(super) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(root: &Path, manners: Manners) -> Self {
        Self::run(root, manners, None)
    }

    pub(super) fn start_tls(root: &Path, config: Arc<rustls::ServerConfig>) -> Self {
        Self::run(root, Manners::default(), Some(config))
    }

    fn run(root: &Path, manners: Manners, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (root, seen, stop) = (root.to_owned(), Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut held = Vec::new();
                while let Ok((stream, _)) = listener.accept() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    if manners.silent == Silent::Yes {
                        held.push(stream);
                        continue;
                    }
                    let served = match &tls {
                        None => serve(stream, &root, &manners, &seen),
                        Some(config) => {
                            let tls = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                            serve(
                                rustls::StreamOwned::new(tls, stream),
                                &root,
                                &manners,
                                &seen,
                            )
                        }
                    };
                    // A client that hangs up is part of some tests.
                    drop(served);
                }
            })
        };
        Self {
            address,
            scheme,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    pub(super) fn url(&self, repo: &str) -> String {
        format!("{}://{}/{repo}", self.scheme, self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes it, so that it sees the flag.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Answers one request.
fn serve(
    stream: impl Read + Write,
    root: &Path,
    manners: &Manners,
    seen: &Mutex<Vec<Seen>>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        lines.iter().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let mut request = lines[0].split(' ');
    let (method, target) = (request.next().unwrap(), request.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let authorization = header("authorization");
    seen.lock().unwrap().push(Seen {
        target: target.to_owned(),
        authorization: authorization.clone(),
    });
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let out = stream.get_mut();
    if let Some((status, text)) = manners.fixed {
        return write!(
            out,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
    }
    if manners.authorization.is_some() && manners.authorization != authorization {
        return write!(
            out,
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if let Some(to) = &manners.redirect {
        return write!(
            out,
            "HTTP/1.1 301 Moved\r\nLocation: {to}/info/refs?{query}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let mut command = Command::new("git");
    plain(command.arg("http-backend"))
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", length.to_string());
    if let (Some(protocol), Version::Two) = (header("git-protocol"), manners.version) {
        command.env("GIT_PROTOCOL", protocol);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().unwrap().write_all(&body)?;
    let answer = child.wait_with_output()?.stdout;
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK");
    let mut answer = &answer[end + 4..];
    let length = answer.len();
    if let (Some(cut), "POST") = (manners.cut, method) {
        answer = &answer[..cut.min(length)];
    }
    write!(
        out,
        "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    out.write_all(answer)?;
    out.flush()
}
