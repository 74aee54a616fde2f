//! The supervisor: a small process of our own between the daemon and Terraform.
//!
//! It stands in a session of its own and outlives the daemon, so that after
//! a `kill -9` of the daemon Terraform goes on and its outcome is still
//! learned. It reads its `Order` from standard input, so that no secret
//! touches the disk, and starts nothing until one byte more says that the
//! daemon has recorded the start.
//!
//! Two signals steer it. `SIGUSR1` asks Terraform to stop: it gets one
//! `SIGINT`, and never a second one, since the second makes it drop what it
//! does and has left state files empty. `SIGUSR2` ends everything at once,
//! where the order allows it. `SIGTERM`, `SIGINT` and `SIGHUP` do nothing: a
//! service manager sends them to every process of the service, and Terraform
//! then has its one signal already.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::limits::{self, Bounds, LimitHit, Watch};
use super::outlet;
use super::process::{ProcessMark, boot_id, children, descendants};
use crate::clock::{Timestamp, now};
use crate::network::HostPattern;

/// The command of our own executable that is this supervisor.
pub const COMMAND: &str = "supervise";

/// The file in a step's folder that says which processes run.
const PID_FILE: &str = "pid.json";

/// The file in a step's folder that says how the step ended.
const EXIT_FILE: &str = "exit.json";

/// The file in a step's folder that says which hosts were refused to it.
pub(super) const REFUSED_FILE: &str = "refused";

/// The byte that says that the start is recorded.
pub(super) const GO: u8 = b'!';

/// No order is longer than this many bytes: Linux gives a program at most
/// 2 MiB of arguments and environment, and JSON may double them.
const ORDER_LIMIT: u64 = 8 << 20;

/// How long what an interrupted apply left behind may take to end.
const LEFT_BEHIND: Duration = Duration::from_secs(30);

/// How often processes are looked for that are being waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a supervisor is to do.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    /// The program and its arguments, a sandbox's before it where there is one.
    pub(super) argv: Vec<OsString>,
    /// Whether `argv` begins with another program, which starts the one that counts.
    pub(super) wrapped: Wrapped,
    /// The whole environment; secrets are in it.
    pub(super) env: Vec<(OsString, OsString)>,
    /// The folder to run in.
    pub(super) cwd: PathBuf,
    /// Where standard output goes.
    pub(super) stdout: PathBuf,
    /// Where the errors go.
    pub(super) stderr: PathBuf,
    /// Whether the program may be killed.
    pub(super) mercy: Mercy,
    /// What it may use.
    pub(super) bounds: Bounds,
    /// The hosts that are let through by its one way out; `None` where there is no such way to
    /// serve.
    pub(super) door: Option<Vec<HostPattern>>,
}

/// Whether a program runs behind another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wrapped {
    /// It is started itself.
    No,
    /// The program at this path starts it or becomes it, as a sandbox does.
    Behind(PathBuf),
}

/// Whether a program may be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mercy {
    /// It changes nothing in the world, and may be.
    Expendable,
    /// Killing it would lose what it did: it is asked, and waited for.
    Spared,
}

/// Which processes run for a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    /// The supervisor.
    pub(super) supervisor: ProcessMark,
    /// What it started.
    pub(super) program: ProcessMark,
    /// The kernel's run that the numbers belong to.
    pub(super) boot_id: String,
    /// When the program was started.
    pub(super) at: Timestamp,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How the program ended.
    pub exit: Exit,
    /// Whether it had been asked to stop.
    pub asked: Asked,
    /// The limit that it came to, where that is why it ended.
    #[serde(default)]
    pub limit: Option<LimitHit>,
    /// When it ended.
    pub at: Timestamp,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It could not be started, for this reason.
    NotStarted(String),
}

/// Whether a program had been asked to stop before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// Nobody asked.
    No,
    /// It got the one `SIGINT`.
    Interrupted,
    /// It was killed with everything below it.
    Killed,
}

/// Why a supervisor could not do its work.
#[derive(Debug, thiserror::Error)]
enum SuperviseError {
    #[error("could not {what}")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the order on standard input is unreadable")]
    Order(#[source] serde_json::Error),
    #[error("the order names no program")]
    NoProgram,
}

/// Names what was being done when an I/O error came.
fn doing(what: &'static str) -> impl FnOnce(io::Error) -> SuperviseError {
    move |source| SuperviseError::Io { what, source }
}

/// Runs as the supervisor of the step whose folder is `dir`.
///
/// The program is started only when the order has come over standard input and
/// one byte after it; an end of the input before that byte means that the
/// daemon died before it recorded the start, and nothing is started. How the
/// program ended stands in `exit.json` in `dir` before this returns.
pub fn main(dir: &Path) -> ExitCode {
    match run(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            let _ = writeln!(io::stderr(), "mainstay {COMMAND}: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path) -> Result<(), SuperviseError> {
    rustix::process::setsid().map_err(|e| doing("begin a session")(e.into()))?;
    // Whatever a descendant leaves behind becomes our child, so that it can be
    // found even where it began a session of its own.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| doing("adopt what the program leaves behind")(e.into()))?;
    let Some(order) = receive(&mut io::stdin().lock())? else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(doing("start"))?;
    let done = runtime.block_on(supervise(dir, &order));
    // A name that is still being resolved is of no concern to anybody.
    runtime.shutdown_background();
    done
}

/// Reads the order and the byte after it; `None` where the byte does not come.
fn receive(input: &mut impl BufRead) -> Result<Option<Order>, SuperviseError> {
    let mut line = Vec::new();
    let reading = doing("read the order");
    if let Err(error) = input
        .by_ref()
        .take(ORDER_LIMIT)
        .read_until(b'\n', &mut line)
    {
        return Err(reading(error));
    }
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    let order = serde_json::from_slice(&line).map_err(SuperviseError::Order)?;
    let mut go = [0];
    match input.read_exact(&mut go) {
        Ok(()) if go == [GO] => Ok(Some(order)),
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(reading(error)),
    }
}

async fn supervise(dir: &Path, order: &Order) -> Result<(), SuperviseError> {
    let listening = doing("listen for signals");
    let (Ok(mut ask), Ok(mut kill), Ok(_term), Ok(_int), Ok(_hup)) = (
        signal(SignalKind::user_defined1()),
        signal(SignalKind::user_defined2()),
        // These are taken so that they do not end us, and then ignored.
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        return Err(listening(io::Error::last_os_error()));
    };

    let mut child = match start(order) {
        Ok((child, None)) => child,
        Ok((child, Some(way))) => {
            tokio::spawn(outlet::serve(
                way,
                order.door.clone().unwrap_or_default(),
                dir.join(REFUSED_FILE),
            ));
            child
        }
        Err(SuperviseError::Io { what, source }) => {
            let exit = Exit::NotStarted(format!("could not {what}: {source}"));
            return record_end(dir, exit, Asked::No, None);
        }
        Err(other) => return Err(other),
    };
    let program = child
        .id()
        .map(u32::cast_signed)
        .and_then(|pid| ProcessMark::of(pid).ok());
    if let Err(error) = record_start(dir, program) {
        // The program runs already; its end is what matters now.
        let _ = writeln!(io::stderr(), "could not record the start: {error}");
    }

    let mut asked = Asked::No;
    // Whether the one SIGINT is still to be delivered.
    let mut owed = false;
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut limit = None;
    let mut watch = Watch::new(&order.bounds);
    let first = tokio::time::Instant::now() + limits::LOOK_EVERY;
    let mut measure = tokio::time::interval_at(first, limits::LOOK_EVERY);
    measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is waited for where only the sandbox round the program was killed.
    let mut heir = None;
    let exit = loop {
        tokio::select! {
            status = child.wait(), if heir.is_none() => {
                let status = status.map_err(doing("wait for the program"))?;
                heir = heir_of(order, status);
                if heir.is_none() {
                    break exit_of(status, &order.wrapped);
                }
            }
            _ = measure.tick(), if limit.is_none() => {
                limit = watch.look(own_pid());
                match order.mercy {
                    Mercy::Expendable if limit.is_some() => {
                        asked = Asked::Killed;
                        end_all(|_| true).await;
                    }
                    // What it does to the world cannot be undone by killing it.
                    Mercy::Spared if limit.is_some() && asked == Asked::No => {
                        asked = Asked::Interrupted;
                        owed = true;
                    }
                    Mercy::Expendable | Mercy::Spared => {}
                }
            }
            _ = ask.recv() => {
                if asked == Asked::No {
                    asked = Asked::Interrupted;
                    owed = true;
                }
            }
            _ = kill.recv() => {
                if order.mercy == Mercy::Expendable {
                    asked = Asked::Killed;
                    end_all(|_| true).await;
                }
            }
            _ = look.tick(), if owed || heir.is_some() => {
                if let Some(exit) = heir.and_then(ended) {
                    break exit;
                }
                let target = program.and_then(|program| to_ask(&order.wrapped, program));
                if let Some(target) = target.filter(|_| owed) {
                    owed = false;
                    if let Err(error) = target.signal(Signal::INT) {
                        let _ = writeln!(io::stderr(), "could not interrupt {}: {error}", target.pid);
                    }
                }
            }
        }
    };
    if limit.is_none() && order.mercy == Mercy::Expendable {
        // It may have been faster than the looks.
        limit = watch.files();
    }
    settle(order.mercy, &exit, asked).await;
    if limit.is_some()
        && order.mercy == Mercy::Expendable
        && let Err(error) = order.bounds.cut()
    {
        let _ = writeln!(io::stderr(), "could not cut the output: {error}");
    }
    record_end(dir, exit, asked, limit)
}

/// The process to wait for where the sandbox round an apply was killed and the apply lives on: our
/// own child now, it is the program or ends as the program does.
fn heir_of(order: &Order, status: ExitStatus) -> Option<Pid> {
    let Wrapped::Behind(_) = &order.wrapped else {
        return None;
    };
    if order.mercy == Mercy::Expendable || status.signal().is_none() {
        return None;
    }
    let own = ProcessMark::of(own_pid()).ok()?;
    let program = to_ask(&order.wrapped, own)?;
    let heir = children(own_pid()).ok()?.into_iter().find(|child| {
        *child == program
            || descendants(child.pid)
                .is_ok_and(|below| below.iter().any(|seen| seen.mark == program))
    })?;
    Pid::from_raw(heir.pid)
}

/// How a child of ours ended that another process started; `None` while it runs.
fn ended(child: Pid) -> Option<Exit> {
    match waitpid(Some(child), WaitOptions::NOHANG) {
        Ok(None) => None,
        Ok(Some((_, status))) => Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => by_shell(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::NotStarted("it was stopped".to_owned()),
        }),
        Err(error) => Some(Exit::NotStarted(format!("its end was missed: {error}"))),
    }
}

/// Starts the program. Where there is a way out of its sandbox to serve, it comes over the socket.
fn start(order: &Order) -> Result<(Child, Option<UnixStream>), SuperviseError> {
    let (program, args) = order.argv.split_first().ok_or(SuperviseError::NoProgram)?;
    order
        .bounds
        .lay_down()
        .map_err(doing("set the limits of the program"))?;
    let stdout = append_to(&order.stdout).map_err(doing("open the file for the output"))?;
    let stderr = append_to(&order.stderr).map_err(doing("open the file for the errors"))?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(order.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&order.cwd)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    let mut way = None;
    if order.door.is_some() {
        let (ours, theirs) =
            UnixStream::pair().map_err(doing("make the way out of the sandbox"))?;
        command.stdin(OwnedFd::from(theirs));
        way = Some(ours);
    }
    let child = command.spawn().map_err(doing("start the program"))?;
    Ok((child, way))
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Which process the SIGINT goes to: the program itself, not the sandbox
/// round it, which would end at once and take the program with it. `None`
/// while the sandbox has not come to start it.
///
/// It is the nearest process that no longer is the sandbox: what the program
/// itself started is further away or younger. It may be a script or a link
/// that becomes Terraform, so that its own file says nothing.
fn to_ask(wrapped: &Wrapped, child: ProcessMark) -> Option<ProcessMark> {
    let Wrapped::Behind(sandbox) = wrapped else {
        return Some(child);
    };
    let sandbox = std::fs::metadata(sandbox).ok()?;
    // Within some sandboxes our own program takes the program from the network, and becomes it.
    let own = std::fs::metadata("/proc/self/exe").ok()?;
    let sandbox = [sandbox, own].map(|file| (file.dev(), file.ino()));
    let is_another = |pid: i32| {
        std::fs::metadata(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| !sandbox.contains(&(exe.dev(), exe.ino())))
    };
    // The sandbox may have been killed, and what it held is ours then.
    let mut parents = vec![own_pid()];
    while !parents.is_empty() {
        let mut next = Vec::new();
        for parent in parents {
            next.extend(children(parent).ok()?);
        }
        next.sort_by_key(|mark| mark.began);
        if let Some(found) = next.iter().find(|mark| is_another(mark.pid)) {
            return Some(*found);
        }
        parents = next.into_iter().map(|mark| mark.pid).collect();
    }
    None
}

/// Sees to what the program left behind.
///
/// Nothing outlives a step that may be killed. After an apply that ended by
/// itself, what a provisioner put in the background is its author's business;
/// one that was interrupted has killed the shells of its provisioners (tried
/// with 1.11.4) and not what they had started, which gets a while to end.
/// After an apply that was killed (by a lack of memory, say) its providers can
/// report to nobody and are ended, but a provisioner's command still changes
/// the world and is waited for, so that nothing else runs beside it.
async fn settle(mercy: Mercy, exit: &Exit, asked: Asked) {
    match (mercy, exit) {
        (Mercy::Expendable, _) => end_all(|_| true).await,
        (Mercy::Spared, Exit::Code(_)) => {
            if asked != Asked::No {
                // Whether anything is left then is told by nobody.
                let _ = tokio::time::timeout(LEFT_BEHIND, nothing_left()).await;
            }
        }
        (Mercy::Spared, Exit::Signal(_) | Exit::NotStarted(_)) => {
            end_all(is_provider).await;
            nothing_left().await;
        }
    }
}

/// Waits until the last descendant has ended.
async fn nothing_left() {
    while descendants(own_pid()).is_ok_and(|left| !left.is_empty()) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Kills every descendant that `which` picks, until none is left.
async fn end_all(which: fn(i32) -> bool) {
    // What forks faster than this kills it is not ended by trying longer.
    for _ in 0..500 {
        let Ok(left) = descendants(own_pid()) else {
            return;
        };
        let picked: Vec<_> = left
            .into_iter()
            .filter(|seen| which(seen.mark.pid))
            .collect();
        if picked.is_empty() {
            return;
        }
        for seen in picked {
            // It may have ended by itself meanwhile.
            let _ = seen.mark.signal(Signal::KILL);
        }
        tokio::time::sleep(LOOK_EVERY / 4).await;
    }
}

/// Whether a process is a provider: Terraform starts them with this variable,
/// by which they know that they are not run by hand.
fn is_provider(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .any(|entry| entry.starts_with(b"TF_PLUGIN_MAGIC_COOKIE="))
    })
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

fn exit_of(status: ExitStatus, wrapped: &Wrapped) -> Exit {
    match (status.code(), status.signal(), wrapped) {
        (Some(code), _, Wrapped::No) => Exit::Code(code),
        (Some(code), _, Wrapped::Behind(_)) => by_shell(code),
        (None, Some(signal), _) => Exit::Signal(signal),
        (None, None, _) => Exit::NotStarted(format!("it ended with {status}")),
    }
}

/// An exit code of a shell or a sandbox: 128 and a signal's number where the program was killed by
/// it. Terraform's own are below.
fn by_shell(code: i32) -> Exit {
    match code - 128 {
        signal @ 1..=64 => Exit::Signal(signal),
        _ => Exit::Code(code),
    }
}

fn record_start(dir: &Path, program: Option<ProcessMark>) -> io::Result<()> {
    let program = program.ok_or_else(|| io::Error::other("the program ended at once"))?;
    let running = Running {
        supervisor: ProcessMark::of(own_pid())?,
        program,
        boot_id: boot_id(),
        at: now(),
    };
    write_durably(&dir.join(PID_FILE), &running)
}

fn record_end(
    dir: &Path,
    exit: Exit,
    asked: Asked,
    limit: Option<LimitHit>,
) -> Result<(), SuperviseError> {
    write_durably(
        &dir.join(EXIT_FILE),
        &Ended {
            exit,
            asked,
            limit,
            at: now(),
        },
    )
    .map_err(doing("record the end"))
}

/// Writes a record so that it is there whole or not at all, whatever dies.
fn write_durably(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// How the step in `dir` ended; `None` where it did not (yet).
pub(super) fn read_end(dir: &Path) -> io::Result<Option<Ended>> {
    read_record(&dir.join(EXIT_FILE))
}

/// Which processes run for the step in `dir`; `None` where none was started (yet).
pub(super) fn read_running(dir: &Path) -> io::Result<Option<Running>> {
    read_record(&dir.join(PID_FILE))
}

fn read_record<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Vec<u8> {
        let order = Order {
            argv: vec!["true".into()],
            wrapped: Wrapped::No,
            env: vec![("SECRET".into(), "line\nbreak".into())],
            cwd: "/".into(),
            stdout: "out".into(),
            stderr: "err".into(),
            mercy: Mercy::Spared,
            bounds: Bounds::new(&crate::config::Limits::default(), Vec::new(), []),
            door: None,
        };
        let mut line = serde_json::to_vec(&order).unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn an_order_counts_only_with_the_byte_after_it() {
        let mut whole = order();
        assert!(receive(&mut whole.as_slice()).unwrap().is_none());
        whole.push(GO);
        let order = receive(&mut whole.as_slice()).unwrap().unwrap();
        assert_eq!(order.env[0].1, "line\nbreak");
        assert_eq!(order.mercy, Mercy::Spared);
    }

    #[test]
    fn half_an_order_starts_nothing() {
        let whole = order();
        assert!(receive(&mut &whole[..whole.len() / 2]).unwrap().is_none());
        assert!(receive(&mut &b""[..]).unwrap().is_none());
    }

    #[test]
    fn an_order_that_is_no_order_is_an_error() {
        assert!(receive(&mut &b"{}\n!"[..]).is_err());
    }

    #[test]
    fn a_record_reads_back_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_end(dir.path()).unwrap(), None);
        let ended = Ended {
            exit: Exit::Signal(9),
            asked: Asked::Killed,
            limit: None,
            at: now(),
        };
        write_durably(&dir.path().join(EXIT_FILE), &ended).unwrap();
        assert_eq!(read_end(dir.path()).unwrap(), Some(ended));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
