//! A life of our own program: it confines itself, and then becomes the program that it was given.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::landlock::{self, Abi};
use super::{Confinement, seccomp};

/// The command of our own executable that is this life.
pub const COMMAND: &str = "confine";

/// The command of our own executable that tries from inside whether a sandbox holds.
pub(super) const TRY: &str = "confine-try";

/// What the trial prints where the sandbox holds, before the version of Landlock.
const HOLDS: &str = "holds";

/// Our own program as it confines itself; `program` and its arguments follow.
pub(super) fn command(helper: &Path, program: &Path, confinement: &Confinement) -> Vec<OsString> {
    let order = (program, confinement);
    // Paths that are no text are refused where a run's folders are made ready.
    let order = serde_json::to_string(&order).unwrap_or_default();
    vec![helper.into(), COMMAND.into(), order.into()]
}

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
enum ConfineError {
    #[error("the order is unreadable")]
    Order(#[source] serde_json::Error),
    #[error("the order names no program")]
    NoProgram,
    #[error("Landlock does not hold")]
    Landlock(#[from] landlock::LandlockError),
    #[error("system calls are not filtered")]
    Filter(#[from] seccomp::FilterError),
    #[error("{0} could not be run")]
    Program(String, #[source] io::Error),
}

/// Confines this process as the first of `arguments` says, and becomes the program that follows.
///
/// It returns only where that failed; then nothing was started.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Err(error) = become_confined(arguments);
    let text = crate::fault::chain(&error);
    let _ = writeln!(io::stderr(), "mainstay {COMMAND}: {text}");
    ExitCode::FAILURE
}

fn become_confined(
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<std::convert::Infallible, ConfineError> {
    let order = arguments.next().unwrap_or_default();
    let (allowed, confinement): (std::path::PathBuf, Confinement) =
        serde_json::from_slice(order.as_encoded_bytes()).map_err(ConfineError::Order)?;
    let program = arguments.next().ok_or(ConfineError::NoProgram)?;
    // This process has one thread yet: what holds for it holds for all that follows.
    landlock::apply(&allowed, &confinement)?;
    seccomp::apply()?;
    let error = Command::new(&program).args(arguments).exec();
    Err(ConfineError::Program(
        Path::new(&program).display().to_string(),
        error,
    ))
}

/// Tries from inside whether a sandbox holds: the first of `arguments` is a file that must not be
/// readable, the second a folder that must be writable.
pub fn main_try(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(secret), Some(folder)) = (arguments.next(), arguments.next()) else {
        return ExitCode::FAILURE;
    };
    if fs::read(&secret).is_ok() {
        let _ = writeln!(io::stderr(), "a file outside of it can be read");
        return ExitCode::FAILURE;
    }
    if let Err(error) = fs::write(Path::new(&folder).join("written"), "") {
        let _ = writeln!(io::stderr(), "its own folder cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    let Abi(version) = landlock::version();
    let _ = writeln!(io::stdout(), "{HOLDS} {version}");
    ExitCode::SUCCESS
}

/// What the trial's output says: the version of Landlock, 0 for none, where the sandbox holds.
pub(super) fn held(output: &str) -> Option<Abi> {
    let version = output.lines().find_map(|line| line.strip_prefix(HOLDS))?;
    version.trim().parse().ok().map(Abi)
}
