//! A remote repository that can be asked for refs and commits.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use git2::{Odb, Oid};
use rustls::pki_types::CertificateDer;

use super::address::{Location, RemoteAddress};
use super::error::SourceError;
use super::http::Http;
use super::local::Local;
use super::protocol::Conversation;
use super::ssh::Ssh;

/// A remote repository, connected.
pub(super) trait Peer {
    /// Its refs whose names begin with one of `prefixes`.
    fn list(&mut self, prefixes: &[String]) -> Result<Vec<(String, Oid)>, SourceError>;

    /// Puts into `odb` whatever `wants` need and `haves` do not have: all of it or nothing, and
    /// nothing where it is more than `most` bytes as it is sent.
    ///
    /// It may be called once, and ends the connection.
    fn pack(
        &mut self,
        wants: &[Oid],
        haves: &[Oid],
        odb: &Odb<'_>,
        most: u64,
    ) -> Result<(), SourceError>;
}

/// How remotes are reached. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Network {
    ssh: PathBuf,
    connect: Duration,
    idle: Duration,
    roots: Option<Vec<CertificateDer<'static>>>,
    agent: Arc<OnceLock<ureq::Agent>>,
}

impl Default for Network {
    fn default() -> Self {
        /// A server that says nothing for so long will not: git's own servers
        /// send a sign of life every five seconds (`uploadpack.keepAlive`).
        const PATIENCE: Duration = Duration::from_secs(30);
        Self {
            ssh: PathBuf::from("ssh"),
            connect: PATIENCE,
            idle: PATIENCE,
            roots: None,
            agent: Arc::default(),
        }
    }
}

impl Network {
    /// Runs `program` in place of `ssh`.
    pub fn with_ssh(mut self, program: impl Into<PathBuf>) -> Self {
        self.ssh = program.into();
        self
    }

    /// Waits at most so long for a connection, and for each sign of life after it; 30 s by default.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        (self.connect, self.idle) = (patience, patience);
        self.agent = Arc::default();
        self
    }

    /// Trusts these certificates in place of the system's.
    pub fn with_roots(mut self, roots: Vec<CertificateDer<'static>>) -> Self {
        self.roots = Some(roots);
        self.agent = Arc::default();
        self
    }

    /// Connects to a remote; the server has answered when this returns.
    pub(super) fn connect(&self, remote: &RemoteAddress) -> Result<Box<dyn Peer>, SourceError> {
        Ok(match remote.location()? {
            Location::Local(path) => Box::new(Local::open(&path, remote.shown())?),
            Location::Http(url) => {
                let agent = self
                    .agent
                    .get_or_init(|| {
                        super::http::agent(self.roots.as_deref(), self.connect, self.idle)
                    })
                    .clone();
                Box::new(Conversation::open(Http::new(agent, url, remote))?)
            }
            Location::Ssh(target) => {
                let ssh = Ssh::start(&self.ssh, &target, remote.shown(), self.connect, self.idle)?;
                Box::new(Conversation::open(ssh)?)
            }
        })
    }
}
