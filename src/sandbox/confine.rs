//! A life of our own program: it confines itself, and then becomes the program that it was given.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::landlock::{self, Abi};
use super::network::{self, Namespace, Network};
use super::{Confinement, seccomp};

/// The command of our own executable that is this life.
pub const COMMAND: &str = "confine";

/// The command of our own executable that is this life within another sandbox, which holds all but
/// what is of the network.
pub const INNER: &str = "confine-network";

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

/// Our own program as it takes what it becomes from the network; the program and its arguments
/// follow.
pub(super) fn inner_command(helper: &Path, network: Network) -> Vec<OsString> {
    let network = serde_json::to_string(&network).unwrap_or_default();
    vec![helper.into(), INNER.into(), network.into()]
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
    #[error("the network is not held back")]
    Network(#[from] network::NetworkError),
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
    told(COMMAND, &error)
}

/// Takes this process from the network as the first of `arguments` says, and becomes the program
/// that follows.
///
/// It returns only where that failed; then nothing was started.
pub fn main_inner(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Err(error) = become_offline(arguments);
    told(INNER, &error)
}

fn told(command: &str, error: &ConfineError) -> ExitCode {
    let text = crate::fault::chain(error);
    let _ = writeln!(io::stderr(), "mainstay {command}: {text}");
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
    let variables = network::enter(confinement.network, Namespace::Make)?;
    landlock::apply(&allowed, &confinement)?;
    seccomp::apply(confinement.network)?;
    Err(become_program(&program, arguments, variables))
}

fn become_offline(
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<std::convert::Infallible, ConfineError> {
    let network = arguments.next().unwrap_or_default();
    let network =
        serde_json::from_slice(network.as_encoded_bytes()).map_err(ConfineError::Order)?;
    let program = arguments.next().ok_or(ConfineError::NoProgram)?;
    let variables = network::enter(network, Namespace::Made)?;
    seccomp::apply_to_sockets(network)?;
    Err(become_program(&program, arguments, variables))
}

/// Becomes the program, with what is to be changed of the environment. It returns only where that
/// failed.
fn become_program(
    program: &OsString,
    arguments: impl Iterator<Item = OsString>,
    variables: Vec<(&'static str, Option<String>)>,
) -> ConfineError {
    let mut command = Command::new(program);
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let error = command.args(arguments).exec();
    ConfineError::Program(Path::new(program).display().to_string(), error)
}

/// Tries from inside whether a sandbox holds: the first of `arguments` is a file that must not be
/// readable, the second a folder that must be writable, the third, where there is one, an address
/// of the machine's loopback that must not answer.
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
    if let Some(address) = arguments.next()
        && let Err(reason) = try_network(&address.to_string_lossy())
    {
        let _ = writeln!(io::stderr(), "{reason}");
        return ExitCode::FAILURE;
    }
    let Abi(version) = landlock::version();
    let _ = writeln!(io::stdout(), "{HOLDS} {version}");
    ExitCode::SUCCESS
}

/// Tries whether the machine's network is gone, and whether the door is there where one is named.
fn try_network(outside: &str) -> Result<(), String> {
    if TcpStream::connect(outside).is_ok() {
        return Err("the machine's network can be reached".to_owned());
    }
    let Ok(proxy) = std::env::var("HTTPS_PROXY") else {
        return Ok(());
    };
    let address = proxy.trim_start_matches("http://");
    let mut heard = String::new();
    TcpStream::connect(address)
        .and_then(|mut door| door.read_to_string(&mut heard))
        .map_err(|error| format!("the way out cannot be reached: {error}"))?;
    if heard == KNOCK {
        Ok(())
    } else {
        Err("the way out leads elsewhere".to_owned())
    }
}

/// What the trial hears at the door.
pub(super) const KNOCK: &str = "come in";

/// What the trial's output says: the version of Landlock, 0 for none, where the sandbox holds.
pub(super) fn held(output: &str) -> Option<Abi> {
    let version = output.lines().find_map(|line| line.strip_prefix(HOLDS))?;
    version.trim().parse().ok().map(Abi)
}
