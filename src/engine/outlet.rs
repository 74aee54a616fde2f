//! The one way out of a sandbox without a network, as the supervisor serves it.
//!
//! It is the supervisor that does, and not the daemon: an apply that outlives the daemon keeps its
//! way out.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::io::Interest;

use super::supervise::REFUSED_FILE;
use crate::network::HostPattern;
use crate::proxy::{Machine, Proxy, Refusal, Refusals, door, read_refusals};

/// Serves the door that comes over `way`, for as long as the supervisor lives, and notes in the
/// file `refused` what it refused.
///
/// Where it cannot be served the program has no network, and what went wrong stands among the
/// supervisor's errors.
pub(super) async fn serve(way: UnixStream, hosts: Vec<HostPattern>, refused: PathBuf) {
    let serving = async {
        let refusals = Refusals::create(&refused)?;
        let door = receive(way).await?;
        Proxy::new(hosts, refusals, Machine).serve(door).await
    };
    if let Err(error) = serving.await {
        let _ = writeln!(
            io::stderr(),
            "the way out of the sandbox is not served: {error}"
        );
    }
}

/// Waits for the door. What comes after it is not looked at.
async fn receive(way: UnixStream) -> io::Result<std::net::TcpListener> {
    way.set_nonblocking(true)?;
    let way = tokio::net::UnixStream::from_std(way)?;
    way.async_io(Interest::READABLE, || door::receive(&way))
        .await
}

/// What was refused to the steps of a run whose work folder this is, in the order of the steps.
/// What cannot be read is said in the log.
pub fn refused(work_dir: &Path) -> Vec<Refusal> {
    let Ok(entries) = std::fs::read_dir(work_dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path().join(REFUSED_FILE))
        .collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        match read_refusals(&file) {
            Ok(refusals) => all.extend(refusals),
            // What is beside the steps' folders is no folder.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => {
                tracing::warn!(%error, "What was refused to a run cannot be read in {}", file.display());
            }
        }
    }
    all
}
