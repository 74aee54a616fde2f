//! The life of our own program that reads one plan: an order in, an answer out.
//!
//! It reads hostile text, so it is put into a sandbox, and it holds itself to the limits of a run. It
//! ends with who started it: when its input ends, nobody waits for the answer.

use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::{Answer, Order, read};
use crate::fault::chain;

/// The command of our own executable that is this life.
pub const COMMAND: &str = "read-plan";

/// No order is longer than this many bytes: the paths of all files of a repository may be in it.
const ORDER_LIMIT: u64 = 64 << 20;

/// What is sent to a reader.
#[derive(Serialize, Deserialize)]
pub struct Sent<O> {
    /// The version of the program that asks: another one's answer might mean something else.
    pub version: String,
    /// How many bytes of memory it may use.
    pub memory: u64,
    /// What it is to do.
    pub order: O,
}

impl<O> Sent<O> {
    /// What this program sends.
    pub fn new(order: O, memory: u64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            memory,
            order,
        }
    }
}

/// What a reader sends back.
#[derive(Serialize, Deserialize)]
pub enum Reply {
    /// It was read.
    Read(Box<Answer>),
    /// It could not be, for this reason.
    Unreadable(String),
}

/// Runs as the reader: takes one order from standard input and gives the answer to standard output.
pub fn main() -> ExitCode {
    // What a panic says might quote the plan, and its values are secret.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_else(|| "an unknown place".to_owned());
        let _ = writeln!(io::stderr(), "it broke off at {place}");
    }));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let mut input = BufReader::new(io::stdin());
    let mut line = Vec::new();
    (&mut input)
        .take(ORDER_LIMIT)
        .read_until(b'\n', &mut line)?;
    let unreadable = |_| io::Error::other("the order is unreadable");
    let sent: Sent<Order> = serde_json::from_slice(&line).map_err(unreadable)?;
    drop(line);
    if sent.version != env!("CARGO_PKG_VERSION") {
        return Err(io::Error::other(format!(
            "the program was replaced by version {} while the daemon of version {} runs: start the daemon again",
            env!("CARGO_PKG_VERSION"),
            sent.version
        )));
    }
    hold_to(sent.memory)?;
    std::thread::spawn(move || {
        let _ = io::copy(&mut input, &mut io::sink());
        std::process::exit(1);
    });
    let reply = match read(&sent.order) {
        Ok(answer) => Reply::Read(Box::new(answer)),
        Err(error) => Reply::Unreadable(chain(&error)),
    };
    let mut output = BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut output, &reply)?;
    output.flush()
}

/// Sets what the kernel itself holds this process to: its memory, no files, and no core dumps, which
/// would hold secrets.
fn hold_to(memory: u64) -> io::Result<()> {
    for (resource, most) in [
        (Resource::Data, memory),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ] {
        let most = getrlimit(resource)
            .maximum
            .map_or(most, |max| max.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}
