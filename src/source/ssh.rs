//! Git over the `ssh` program, whose own settings apply: keys, hosts, jumps.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::address::SshTarget;
use super::error::{Login, SourceError, one_line};
use super::peer::Service;
use super::protocol::Channel;

/// Bytes of what `ssh` complains about that are kept: the end of it.
const COMPLAINT_LIMIT: usize = 4096;

/// How long `ssh` may take to end once it has closed its output.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running `ssh`. It is killed when this is dropped.
pub(super) struct Ssh {
    child: Arc<Mutex<Child>>,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    complaint: Arc<Mutex<Vec<u8>>>,
    listener: JoinHandle<()>,
    waiting: Arc<Mutex<Waiting>>,
    /// Ends the watch when it is dropped.
    _watch: mpsc::Sender<()>,
    shown: String,
}

/// What the watch over a connection sees.
#[derive(Debug, Default)]
struct Waiting {
    /// Since when something is waited for.
    since: Option<Instant>,
    outcome: Outcome,
}

/// Whether the watch had to end the connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    #[default]
    Patient,
    GaveUp,
}

impl Ssh {
    /// Starts `program` with git's program for `service` as the command.
    pub(super) fn start(
        program: &Path,
        target: &SshTarget,
        service: Service,
        shown: String,
        connect: Duration,
        idle: Duration,
    ) -> Result<Self, SourceError> {
        let mut command = Command::new(program);
        command.args(["-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL"]);
        command
            .arg("-o")
            .arg(format!("ConnectTimeout={}", connect.as_secs().max(1)));
        if let Some(port) = target.port {
            command.arg("-p").arg(port.to_string());
        }
        let mut child = command
            .arg("--")
            .arg(&target.destination)
            .arg(format!("{} {}", service.program(), quoted(&target.path)))
            .env("GIT_PROTOCOL", "version=2")
            // Its complaints are told apart by their English words.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| SourceError::Unreachable {
                url: shown.clone(),
                tried: format!("run `{}`", program.display()),
                source: source.into(),
            })?;
        let missing = || SourceError::Unreachable {
            url: shown.clone(),
            tried: "talk to `ssh`".to_owned(),
            source: "it has no input or output".into(),
        };
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let child = Arc::new(Mutex::new(child));
        let waiting = Arc::default();
        let watch = watch(Arc::clone(&child), Arc::clone(&waiting), idle);
        let complaint = Arc::default();
        let listener = {
            let complaint = Arc::clone(&complaint);
            std::thread::spawn(move || tail(stderr, &complaint))
        };
        Ok(Self {
            child,
            stdin: Some(stdin),
            stdout,
            complaint,
            listener,
            waiting,
            _watch: watch,
            shown,
        })
    }

    /// Waits for the end, and gives what `ssh` said about it.
    fn complaint(&mut self) -> String {
        self.stdin = None;
        let deadline = Instant::now() + FAREWELL;
        let ended = || !matches!(lock(&self.child).try_wait(), Ok(None));
        // The listener may outlive `ssh`: a shared connection that goes on in the
        // background keeps the output for errors open. So nobody waits for it for long.
        while !(ended() && self.listener.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        end(&self.child);
        one_line(&String::from_utf8_lossy(&lock(&self.complaint)))
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        end(&self.child);
    }
}

/// Kills the process, if it still runs, and takes its exit.
fn end(child: &Mutex<Child>) {
    let mut child = lock(child);
    // It fails only where there is nothing left to kill.
    if child.kill().is_ok() {
        child.wait().ok();
    }
}

/// Kills the process where it is waited for too long. Ends when the sender is dropped.
fn watch(
    child: Arc<Mutex<Child>>,
    waiting: Arc<Mutex<Waiting>>,
    idle: Duration,
) -> mpsc::Sender<()> {
    let (stop, stopped) = mpsc::channel();
    let beat = (idle / 10).clamp(Duration::from_millis(10), Duration::from_secs(1));
    std::thread::spawn(move || {
        while stopped.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
            let mut waiting = lock(&waiting);
            if waiting.since.is_some_and(|since| since.elapsed() > idle) {
                waiting.outcome = Outcome::GaveUp;
                drop(waiting);
                end(&child);
                return;
            }
        }
    });
    stop
}

/// Reads to the end, and keeps the end.
fn tail(mut from: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let mut kept = lock(kept);
        kept.extend(&piece[..count]);
        let surplus = kept.len().saturating_sub(COMPLAINT_LIMIT);
        kept.drain(..surplus);
    }
}

/// Quotes a path for the shell at the other end.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// Nothing under these locks can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads under the eyes of the watch.
struct Watched<'s> {
    from: &'s mut BufReader<ChildStdout>,
    waiting: &'s Mutex<Waiting>,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        lock(self.waiting).since = Some(Instant::now());
        let read = self.from.read(into);
        lock(self.waiting).since = None;
        read
    }
}

impl Channel for Ssh {
    fn greeting(&mut self) -> Result<Box<dyn Read + '_>, SourceError> {
        Ok(Box::new(Watched {
            from: &mut self.stdout,
            waiting: &self.waiting,
        }))
    }

    fn ask(&mut self, request: &[u8]) -> Result<Box<dyn Read + '_>, SourceError> {
        lock(&self.waiting).since = Some(Instant::now());
        let sent = match &mut self.stdin {
            Some(stdin) => stdin.write_all(request).and_then(|()| stdin.flush()),
            None => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        };
        lock(&self.waiting).since = None;
        match sent {
            Ok(()) => Ok(Box::new(Watched {
                from: &mut self.stdout,
                waiting: &self.waiting,
            })),
            Err(error) => Err(self.broke_off("send commits", error)),
        }
    }

    fn broke_off(&mut self, tried: &str, cause: io::Error) -> SourceError {
        let complaint = self.complaint();
        let (url, tried) = (self.shown.clone(), tried.to_owned());
        let says = |words: &[&str]| {
            let complaint = complaint.to_lowercase();
            words.iter().any(|word| complaint.contains(word))
        };
        if lock(&self.waiting).outcome == Outcome::GaveUp {
            let source = "it gave no sign of life for too long".into();
            return SourceError::Interrupted { url, tried, source };
        }
        // The words are those of OpenSSH, of git, and of the large forges.
        if says(&[
            "permission denied",
            "host key verification failed",
            "too many authentication",
        ]) {
            SourceError::AuthRefused {
                url,
                login: Login::Ssh,
            }
        } else if says(&[
            "not found",
            "does not appear to be a git repository",
            "does not exist",
        ]) && !says(&["command not found"])
        {
            SourceError::NoSuchRepository {
                url,
                login: Login::Ssh,
            }
        } else if complaint.is_empty() {
            SourceError::Interrupted {
                url,
                tried,
                source: cause.into(),
            }
        } else {
            SourceError::Unreachable {
                url,
                tried,
                source: complaint.into(),
            }
        }
    }

    fn url(&self) -> &str {
        &self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_for_the_shell() {
        assert_eq!(quoted("/srv/it's; rm -rf x"), r"'/srv/it'\''s; rm -rf x'");
    }
}
