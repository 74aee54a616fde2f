//! Has a plan read in a process of its own: this same program, started again.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::limits::{Limit, LimitHit};
use super::{CancelToken, Engine, Job};
use crate::config::Limits;
use crate::reading::{ANSWER_LIMIT, Answer, COMMAND, Order, Reply, Sent};

/// So much is read of what a reader says of its own end, in bytes.
const LAST_WORDS: u64 = 4 << 10;

/// How the memory of a program of ours says that there is no more of it.
const OUT_OF_MEMORY: &str = "memory allocation of";

/// Why a plan was not read. Only the run that it belongs to fails.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// The process could not be started.
    #[error("the plan could not be read: our own program did not start")]
    NotStarted(#[source] io::Error),
    /// The plan is no plan, or no longer there.
    #[error("{0}")]
    Unreadable(String),
    /// It came to a limit, and was ended.
    #[error("reading the plan {hit}, and was ended", hit = .0)]
    Limit(LimitHit),
    /// It took too long, and was ended.
    #[error("reading the plan took longer than {} s, and was ended", .0.as_secs())]
    TimedOut(Duration),
    /// The process ended without an answer.
    #[error("the plan could not be read: the process that read it {how}{}", said(.words))]
    BrokeOff {
        /// How it ended.
        how: String,
        /// The last that it said; nothing of the plan is in it.
        words: String,
    },
    /// Somebody wished that the work stops.
    #[error("the reading of the plan was cancelled")]
    Cancelled,
}

impl ReadingError {
    /// What to do next.
    pub fn advice(&self) -> String {
        match self {
            Self::Limit(hit) => format!(
                "Nothing was changed. Make the plan smaller, or raise `{}` in `[limits]` of mainstay.toml and plan again.",
                hit.key()
            ),
            Self::TimedOut(_) => {
                "Nothing was changed. Plan again, or raise `plan_timeout` of the workspace."
                    .to_owned()
            }
            Self::Unreadable(_) => {
                "nothing was applied; check that the engine's version is one that Mainstay knows"
                    .to_owned()
            }
            Self::NotStarted(_) | Self::BrokeOff { .. } => {
                "Nothing was changed. Plan again; where it stays so, the daemon's machine needs mending."
                    .to_owned()
            }
            Self::Cancelled => "Nothing was changed. Plan again when it is wanted.".to_owned(),
        }
    }
}

fn said(words: &str) -> String {
    match words {
        "" => String::new(),
        words => format!(": {words}"),
    }
}

impl Engine {
    /// Has a plan read and judged in a process of its own, within the job's limits of memory and
    /// time. `behind` is the sandbox that it is put behind, nothing for none.
    ///
    /// What this process holds of the plan has a bound, whatever the plan's size. Nothing in the
    /// world changes, and repeating it is safe.
    ///
    /// # Errors
    ///
    /// [`ReadingError`] where there is no answer; no process is left then.
    pub async fn read_plan(
        &self,
        job: &Job,
        behind: &[OsString],
        order: &Order,
        cancel: &CancelToken,
    ) -> Result<Answer, ReadingError> {
        let reading = self.attend_reading(&job.limits, behind, order);
        tokio::select! {
            answer = reading => answer,
            () = cancel.cancelled() => Err(ReadingError::Cancelled),
            () = tokio::time::sleep(job.plan_timeout) => Err(ReadingError::TimedOut(job.plan_timeout)),
        }
    }

    async fn attend_reading(
        &self,
        limits: &Limits,
        behind: &[OsString],
        order: &Order,
    ) -> Result<Answer, ReadingError> {
        let mut argv = behind.to_vec();
        argv.extend([self.supervisor.clone().into_os_string(), COMMAND.into()]);
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Where nobody waits any more, its input ends too, and it ends itself.
            .kill_on_drop(true)
            .spawn()
            .map_err(ReadingError::NotStarted)?;
        let missing = || ReadingError::NotStarted(io::Error::other("it has no pipes"));
        let mut input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let errors = child.stderr.take().ok_or_else(missing)?;
        let line = written(&Sent::new(order, limits.memory)).map_err(ReadingError::NotStarted)?;
        // One that ended already says so by its end.
        let _ = input.write_all(&line).await;
        drop(line);
        let (answer, words) =
            tokio::join!(held(output, ANSWER_LIMIT + 1), held(errors, LAST_WORDS));
        let status = child.wait().await.map_err(ReadingError::NotStarted)?;
        drop(input);
        let words = String::from_utf8_lossy(&words);
        if !status.success() {
            return Err(broke_off(status, &words, limits));
        }
        match serde_json::from_slice(&answer) {
            Ok(Reply::Read(answer)) => Ok(*answer),
            Ok(Reply::Unreadable(why)) => Err(ReadingError::Unreadable(why)),
            Err(_) => Err(ReadingError::BrokeOff {
                how: "gave an answer that is too long or unreadable".to_owned(),
                words: String::new(),
            }),
        }
    }
}

fn written(sent: &Sent<&Order>) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(sent)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads up to `limit` bytes, and what follows to nowhere.
async fn held(mut from: impl AsyncRead + Unpin, limit: u64) -> Vec<u8> {
    let mut held = Vec::new();
    // What cannot be read was not said; the end of the process says more.
    let _ = (&mut from).take(limit).read_to_end(&mut held).await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    held
}

fn broke_off(status: ExitStatus, words: &str, limits: &Limits) -> ReadingError {
    if words.contains(OUT_OF_MEMORY) {
        return ReadingError::Limit(LimitHit {
            limit: Limit::Memory,
            allowed: limits.memory,
        });
    }
    let killed = Signal::KILL.as_raw();
    // A sandbox gives the signal as a shell does.
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) if signal == killed => {
            "was killed, as it is where the machine has no memory left".to_owned()
        }
        (_, Some(code)) if code == 128 + killed => {
            "was killed, as it is where the machine has no memory left".to_owned()
        }
        _ => format!("ended with {status}"),
    };
    let words = words.lines().rfind(|line| !line.trim().is_empty());
    ReadingError::BrokeOff {
        how,
        words: words.unwrap_or_default().trim().to_owned(),
    }
}
