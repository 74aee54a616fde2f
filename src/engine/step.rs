//! One start of the program: its folder, its supervisor, its output.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::Instant;

use super::attend::{Limits, Outcome, attend};
use super::events::Record;
use super::limits::{Bounds, Limit, LimitHit};
use super::lines::{Line, LineReader, More};
use super::process::{ProcessMark, boot_id};
use super::supervise::{COMMAND, Ended, Exit, GO, Order, Wrapped};
use super::{
    CancelToken, Engine, EngineError, Evidence, Job, Observer, Progress, Step, StepEnd, StepStart,
    Stop,
};
use crate::clock::now;

/// How many chunks of 64 KiB are read at one look; more wait for the next, so
/// that a flood of output does not keep the step from being stopped.
const CHUNKS_A_LOOK: usize = 64;

/// The name of the file with the output in a step's folder.
pub(super) const STDOUT: &str = "stdout";

/// The name of the file with the errors in a step's folder.
const STDERR: &str = "stderr";

/// What one start of the program is given.
pub(super) struct Call {
    pub(super) step: Step,
    /// Another program than Terraform, by its path.
    pub(super) program: Option<PathBuf>,
    pub(super) args: Vec<OsString>,
    /// Terraform's workspace, once it is known to exist.
    pub(super) terraform_workspace: Option<String>,
    /// Where the output goes that is a result and not a message.
    pub(super) result: Option<PathBuf>,
    /// When it is asked to stop.
    pub(super) deadline: Instant,
    /// What it may take altogether, for the message.
    pub(super) limit: Duration,
}

/// A step that ended.
pub(super) struct Finished {
    pub(super) step: Step,
    /// `None` where nothing says how.
    pub(super) ended: Option<Ended>,
    pub(super) stop: Option<Stop>,
    pub(super) record: Record,
    pub(super) took: Duration,
}

impl Finished {
    /// The exit code, where the program ended by itself.
    pub(super) fn code(&self) -> Option<i32> {
        match self.ended.as_ref()?.exit {
            Exit::Code(code) => Some(code),
            Exit::Signal(_) | Exit::NotStarted(_) => None,
        }
    }

    /// Whether it was not left to end by itself.
    pub(super) fn was_ended(&self) -> bool {
        self.stop.is_some() || self.hit().is_some()
    }

    fn hit(&self) -> Option<LimitHit> {
        self.ended.as_ref().and_then(|ended| ended.limit)
    }

    /// The limit that it came to.
    pub(super) fn limit(&self, job: &Job) -> Option<LimitHit> {
        // Nobody ends a program that wants one file more; it says so itself.
        let says_so = || {
            let said = &self.record;
            let texts = said
                .diagnostics
                .iter()
                .flat_map(|d| [&d.summary, &d.detail]);
            texts
                .chain([&said.tail.text()])
                .any(|text| text.contains("too many open files"))
        };
        self.hit().or_else(|| {
            says_so().then_some(LimitHit {
                limit: Limit::OpenFiles,
                allowed: job.limits.open_files,
            })
        })
    }

    pub(super) fn evidence(&self, job: &Job) -> Evidence {
        Evidence {
            workspace: job.workspace.clone(),
            step: self.step,
            diagnostics: self.record.diagnostics.clone(),
            tail: self.record.tail.text(),
        }
    }
}

impl Engine {
    /// Runs one step to its end.
    ///
    /// # Errors
    ///
    /// The step was not started, or still runs. How it ended is not an error here.
    pub(super) async fn run(
        &self,
        job: &Job,
        call: Call,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Finished, EngineError> {
        let step = call.step;
        let nothing = || {
            Box::new(Evidence {
                workspace: job.workspace.clone(),
                step,
                diagnostics: Vec::new(),
                tail: String::new(),
            })
        };
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled(nothing()));
        }
        if Instant::now() >= call.deadline {
            return Err(EngineError::TimedOut {
                evidence: nothing(),
                limit: call.limit,
            });
        }
        let dir = make_dir(&job.work_dir, step)
            .map_err(job.failing(|| format!("make a folder in {}", job.work_dir.display())))?;
        let order = self
            .order(job, &call, &dir)
            .map_err(job.failing(|| format!("make ready to run `{step}` in {}", dir.display())))?;
        let not_started = |reason: String| EngineError::NotStarted {
            workspace: job.workspace.clone(),
            step,
            reason,
        };
        let mut line = serde_json::to_vec(&order)
            .map_err(|error| not_started(format!("a path or value is not UTF-8 ({error})")))?;
        line.push(b'\n');

        let mut supervisor = Command::new(&self.supervisor);
        supervisor
            .arg(COMMAND)
            .arg(&dir)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(
                private(&dir.join("supervisor"))
                    .map_err(job.failing(|| format!("open a file in {}", dir.display())))?,
            )
            .kill_on_drop(false);
        let unstartable = |error: io::Error| {
            not_started(format!(
                "{} could not be run: {error}",
                self.supervisor.display()
            ))
        };
        let mut child = supervisor.spawn().map_err(unstartable)?;
        let mut input = child
            .stdin
            .take()
            .ok_or_else(|| unstartable(io::Error::other("no input")))?;
        let pid = child
            .id()
            .ok_or_else(|| unstartable(io::Error::other("it ended at once")))?;
        let start = StepStart {
            workspace: job.workspace.clone(),
            step,
            dir,
            cwd: Some(job.cwd()),
            supervisor: ProcessMark::of(pid.cast_signed()).map_err(unstartable)?,
            boot_id: boot_id(),
            at: now(),
            limit: Some(call.limit),
        };
        input.write_all(&line).await.map_err(unstartable)?;
        drop((line, order));
        if let Err(source) = watch.before(&start) {
            // Without the byte the supervisor starts nothing.
            drop(input);
            let _ = child.wait().await;
            return Err(EngineError::Refused {
                workspace: job.workspace.clone(),
                step,
                source,
            });
        }
        input.write_all(&[GO]).await.map_err(unstartable)?;
        drop(input);
        watch.progress(&Progress::Started(step));

        let begun = Instant::now();
        let limits = Limits {
            deadline: Some(call.deadline),
            patience: self.patience_for(step),
        };
        let mut record = Record::of(step);
        let mut output = Output::open(&start);
        let attended = attend(&start, Some(child), limits, cancel, &mut || {
            output.read(&mut record, watch);
        })
        .await;
        output.finish(&mut record, watch);

        let took = begun.elapsed();
        let ended = match attended.outcome {
            Outcome::Ended(ended) => Some(ended),
            Outcome::Dead => None,
            Outcome::StillRunning => {
                let evidence = Evidence {
                    diagnostics: record.diagnostics,
                    tail: record.tail.text(),
                    ..*nothing()
                };
                return Err(EngineError::StillRunning {
                    evidence: Box::new(evidence),
                    dir: start.dir,
                    since: start.at,
                });
            }
        };
        watch.after(&StepEnd {
            workspace: start.workspace,
            step,
            dir: start.dir,
            took,
            ended: ended.clone(),
        });
        if let Some(Ended {
            exit: Exit::NotStarted(reason),
            ..
        }) = ended
        {
            return Err(not_started(reason));
        }
        Ok(Finished {
            step,
            ended,
            stop: attended.stop,
            record,
            took,
        })
    }

    fn order(&self, job: &Job, call: &Call, dir: &Path) -> io::Result<Order> {
        let stdout = dir.join(STDOUT);
        let stderr = dir.join(STDERR);
        private(&stdout)?;
        private(&stderr)?;
        let program = call.program.as_ref().unwrap_or(&self.program);
        let mut argv = job.wrapper.clone();
        argv.push(program.clone().into_os_string());
        argv.extend(call.args.iter().cloned());
        let mut files = vec![
            (stdout.clone(), Limit::Output),
            (stderr.clone(), Limit::Output),
        ];
        files.extend(call.result.clone().map(|result| (result, Limit::Plan)));
        Ok(Order {
            argv,
            wrapped: match job.wrapper.first() {
                None => Wrapped::No,
                Some(sandbox) => Wrapped::Behind(sandbox.into()),
            },
            env: job.environment(call.terraform_workspace.as_deref())?,
            cwd: job.cwd(),
            stdout: call.result.clone().unwrap_or(stdout),
            stderr,
            mercy: call.step.mercy(),
            door: job.door.clone(),
            bounds: Bounds::new(&job.limits, job.own_folders(), files),
        })
    }
}

/// Makes a folder for a step, numbered after those that are there.
fn make_dir(work_dir: &Path, step: Step) -> io::Result<PathBuf> {
    let mut number = fs::read_dir(work_dir)?
        .filter(|e| e.as_ref().is_ok_and(is_step))
        .count()
        + 1;
    loop {
        let dir = work_dir.join(format!("{number}-{}", step.slug()));
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Whether it is the folder of a step, which begins with its number.
fn is_step(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    name.as_encoded_bytes()
        .first()
        .is_some_and(u8::is_ascii_digit)
}

/// The files in which the steps of a job printed something.
pub fn logs(work_dir: &Path) -> Vec<PathBuf> {
    let steps = fs::read_dir(work_dir).into_iter().flatten().flatten();
    let of_step = |dir: PathBuf| [STDOUT, STDERR].map(|name| dir.join(name));
    steps
        .filter(is_step)
        .flat_map(|step| of_step(step.path()))
        .filter(|log| fs::symlink_metadata(log).is_ok_and(|log| log.is_file() && log.len() > 0))
        .collect()
}

/// Makes a file that only its owner reads.
fn private(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// What a step writes, read while it is written.
///
/// The program runs whether or not its output can be read, so that what
/// cannot be read is said in the log and does not end the waiting for it.
pub(super) struct Output {
    stdout: Option<LineReader>,
    stderr: Option<LineReader>,
}

impl Output {
    pub(super) fn open(start: &StepStart) -> Self {
        let open = |name| {
            let path = start.dir.join(name);
            LineReader::open(&path)
                .inspect_err(|error| unread(&path.display().to_string(), error))
                .ok()
        };
        Self {
            stdout: open(STDOUT),
            stderr: open(STDERR),
        }
    }

    /// Reads what is there, up to a bound.
    pub(super) fn read(&mut self, record: &mut Record, watch: &dyn Observer) -> More {
        let mut output = |line: Line<'_>| record.output(&line, &mut |p| watch.progress(p));
        let out = read_some(&mut self.stdout, STDOUT, &mut output);
        let err = read_some(&mut self.stderr, STDERR, &mut |line| record.error(&line));
        if (out, err) == (More::NotNow, More::NotNow) {
            More::NotNow
        } else {
            More::Perhaps
        }
    }

    /// Reads to the end.
    pub(super) fn finish(mut self, record: &mut Record, watch: &dyn Observer) {
        while self.read(record, watch) == More::Perhaps {}
        if let Some(stdout) = self.stdout {
            stdout.close(|line| record.output(&line, &mut |p| watch.progress(p)));
        }
        if let Some(stderr) = self.stderr {
            stderr.close(|line| record.error(&line));
        }
        record.finish();
    }
}

fn read_some(file: &mut Option<LineReader>, name: &str, each: &mut impl FnMut(Line<'_>)) -> More {
    let Some(reader) = file else {
        return More::NotNow;
    };
    for _ in 0..CHUNKS_A_LOOK {
        match reader.read(&mut *each) {
            Ok(More::Perhaps) => {}
            Ok(More::NotNow) => return More::NotNow,
            Err(error) => {
                unread(name, &error);
                *file = None;
                return More::NotNow;
            }
        }
    }
    More::Perhaps
}

fn unread(name: &str, error: &io::Error) {
    tracing::warn!(file = name, %error, "A step's output in {name} cannot be read");
}
