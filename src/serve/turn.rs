//! One daemon works with a record at a time. A second one waits for its turn.
//!
//! On one machine the lock of the data folder says at once that a daemon is gone. The lease in the
//! record says it after a while, also of one that is there and does nothing any more. Whoever loses
//! the lease can record nothing more, so that it does no harm should it come back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::StartError;
use super::lock::DataDirLock;
use crate::clock::{Timestamp, now};
use crate::engine::CancelToken;
use crate::fault::chain;
use crate::store::{DaemonLease, LEASE, Renewal, Store, StoreError};
use crate::worker::Owner;

/// How often a daemon that waits asks whether its turn has come.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The turn of this process, for as long as it lives.
pub(super) struct Turn {
    store: Arc<Store>,
    /// Is cancelled when another daemon took over.
    pub(super) lost: CancelToken,
    _lock: Option<DataDirLock>,
    _renewer: Renewer,
}

impl Turn {
    /// Waits until no other daemon works with the record. `None` where `end` came first.
    pub(super) async fn wait(
        store: &Arc<Store>,
        folder: &Path,
        end: &CancelToken,
    ) -> Result<Option<Self>, StartError> {
        let owner = Owner::this_process().to_string();
        let mut lock = None;
        let mut said = false;
        loop {
            if lock.is_none() {
                lock = DataDirLock::take(folder)?;
            }
            // Without the lock a process of another container may only seem to be gone.
            let is_gone =
                |by: &str| lock.is_some() && !Owner::read(by).is_some_and(|owner| owner.is_alive());
            match store.take_daemon_lease(&owner, now(), is_gone)? {
                DaemonLease::Taken => {
                    if said {
                        info!("The other daemon is gone: this one takes over");
                    }
                    let lost = CancelToken::new();
                    return Ok(Some(Self {
                        store: Arc::clone(store),
                        lost: lost.clone(),
                        _lock: lock,
                        _renewer: keep_leases(Arc::clone(store), lost),
                    }));
                }
                DaemonLease::Held { by, .. } if !said => {
                    said = true;
                    let pid = Owner::read(&by).map_or_else(|| by.clone(), |o| o.pid().to_string());
                    warn!(
                        "Another `mainstay serve` (process {pid}) works with {}: this one waits, and takes over when the \
                         other is gone. For a daemon of its own, give it another `data_dir`",
                        folder.display()
                    );
                }
                DaemonLease::Held { .. } => {}
            }
            tokio::select! {
                () = end.cancelled() => return Ok(None),
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }

    /// Gives the turn to whoever waits.
    pub(super) fn release(&self) {
        let owner = Owner::this_process().to_string();
        if let Err(error) = self.store.release_daemon_lease(&owner) {
            warn!(
                "The lease could not be given back and ends by itself: {}",
                chain(&error)
            );
        }
    }
}

/// Renews leases until it is dropped.
pub struct Renewer(JoinHandle<()>);

impl Drop for Renewer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Renews what this process holds, until the result is dropped. Cancels `lost` when another process
/// became the daemon in the place of this one.
pub fn keep_leases(store: Arc<Store>, lost: CancelToken) -> Renewer {
    let pause = (LEASE / 3).to_std().unwrap_or_default();
    Renewer(tokio::spawn(async move {
        let owner = Owner::this_process().to_string();
        loop {
            tokio::time::sleep(pause).await;
            match store.renew_leases(&owner, now()) {
                Ok(Renewal::Renewed) => {}
                Ok(Renewal::Lost) => {
                    error!(
                        "Another `mainstay serve` took over while this one did not renew its lease"
                    );
                    lost.cancel();
                    return;
                }
                Err(error) => {
                    warn!(
                        "The leases could not be renewed, which is tried again: {}",
                        chain(&error)
                    );
                }
            }
        }
    }))
}

/// The daemon of a record, as another process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonSeen {
    /// There is none.
    Nowhere,
    /// It works.
    Runs {
        /// Its process number.
        pid: i32,
    },
    /// It is there, and has not renewed its lease in time: it is stopped, or cannot record anything.
    Silent {
        /// Its process number.
        pid: i32,
        /// When its lease ended.
        since: Timestamp,
    },
}

impl DaemonSeen {
    /// Looks for the daemon that works with the record of a data folder.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn look(store: &Store) -> Result<Self, StoreError> {
        let Some((holder, until)) = store.daemon_lease()? else {
            return Ok(Self::Nowhere);
        };
        let folder = store.file().parent().unwrap_or(Path::new("."));
        let owner = Owner::read(&holder);
        let there = owner.as_ref().is_some_and(Owner::is_alive)
            // It may live where its process number says nothing here.
            || DataDirLock::is_taken(folder);
        let pid = owner.map_or(0, |owner| owner.pid());
        Ok(match (there, until > now()) {
            (false, _) => Self::Nowhere,
            (true, true) => Self::Runs { pid },
            (true, false) => Self::Silent { pid, since: until },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_waits_ends_when_it_is_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        store
            .take_daemon_lease("another", now(), |_| false)
            .unwrap();
        let _lock = DataDirLock::take(folder.path()).unwrap().unwrap();
        let end = CancelToken::new();
        end.cancel();
        let turn = Turn::wait(&store, folder.path(), &end).await.unwrap();
        assert!(turn.is_none());
    }

    #[tokio::test]
    async fn the_turn_of_a_daemon_that_is_gone_comes_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        // No process of this machine, and the folder is free.
        store
            .take_daemon_lease("1 1 another-boot", now(), |_| false)
            .unwrap();
        assert_eq!(DaemonSeen::look(&store).unwrap(), DaemonSeen::Nowhere);
        let turn = Turn::wait(&store, folder.path(), &CancelToken::new()).await;
        let turn = turn.unwrap().unwrap();
        let ours = Owner::this_process().pid();
        assert_eq!(
            DaemonSeen::look(&store).unwrap(),
            DaemonSeen::Runs { pid: ours }
        );
        turn.release();
        assert_eq!(DaemonSeen::look(&store).unwrap(), DaemonSeen::Nowhere);
    }
}
