//! A remote repository that can be asked for refs and commits.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use git2::{Odb, Oid};
use rustls::pki_types::CertificateDer;

use super::address::{HttpUrl, Location, RemoteAddress, SshTarget};
use super::error::SourceError;
use super::http::Http;
use super::local::Local;
use super::protocol::Conversation;
use super::push::Pushing;
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

/// A remote repository, connected to change a ref of it.
pub(super) trait Receiver {
    /// What a ref leads to; `None` where there is none of that name.
    fn find(&self, name: &str) -> Result<Option<Oid>, SourceError>;

    /// Makes a ref lead to `new` where it leads to `old` as yet. `pack` holds what the remote needs for it.
    ///
    /// It may be called once, and ends the connection.
    fn update(
        &mut self,
        name: &str,
        old: Option<Oid>,
        new: Oid,
        pack: &[u8],
    ) -> Result<Update, SourceError>;
}

/// What came of changing a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Update {
    /// It leads to the new object.
    Done,
    /// Somebody else changed it in the meantime: this is what the remote says.
    Outrun(String),
}

/// What is wanted of a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// To send commits.
    Send,
    /// To take them.
    Receive,
}

impl Service {
    /// The name of git's program for it.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Send => "git-upload-pack",
            Self::Receive => "git-receive-pack",
        }
    }
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
                let http = self.http(url, remote, Service::Send);
                Box::new(Conversation::open(http)?)
            }
            Location::Ssh(target) => {
                let ssh = self.ssh(&target, remote, Service::Send)?;
                Box::new(Conversation::open(ssh)?)
            }
        })
    }

    /// Connects to a remote that is to be changed; the server has answered when this returns.
    pub(super) fn push(&self, remote: &RemoteAddress) -> Result<Box<dyn Receiver>, SourceError> {
        Ok(match remote.location()? {
            Location::Local(path) => Box::new(Local::open(&path, remote.shown())?),
            Location::Http(url) => {
                let http = self.http(url, remote, Service::Receive);
                Box::new(Pushing::open(http)?)
            }
            Location::Ssh(target) => {
                let ssh = self.ssh(&target, remote, Service::Receive)?;
                Box::new(Pushing::open(ssh)?)
            }
        })
    }

    fn http(&self, url: HttpUrl, remote: &RemoteAddress, service: Service) -> Http {
        let agent = self
            .agent
            .get_or_init(|| super::http::agent(self.roots.as_deref(), self.connect, self.idle))
            .clone();
        Http::new(agent, url, remote, service)
    }

    fn ssh(
        &self,
        target: &SshTarget,
        remote: &RemoteAddress,
        service: Service,
    ) -> Result<Ssh, SourceError> {
        let shown = remote.shown();
        Ssh::start(&self.ssh, target, service, shown, self.connect, self.idle)
    }
}
