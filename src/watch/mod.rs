//! Looks at the repositories and writes down what is there: heads, proposals, the workspaces
//! they concern, and commands.
//!
//! A look compares the whole of what is with the whole of what is recorded, so nothing is
//! missed by having been away.

mod commands;
mod history;
mod upkeep;

pub use history::touched;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::clock::{Timestamp, now};
use crate::decide::Consideration;
use crate::fault::chain;
use crate::fleet::{Came, Fleet, Tracked};
use crate::forge::{Fate, Forge, ForgeError, Look, Speaks};
use crate::id::{CommitSha, ProposalKey, RepoName};
use crate::source::{Mirror, RemoteAddress, SourceError};
use crate::store::{BaseMove, ProposalRow, ProposalState, StoreError};

/// Why a look at a repository did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The forge did not answer.
    #[error("the forge did not answer")]
    Forge(#[from] ForgeError),
    /// Git did not bring the commits.
    #[error("git did not bring the commits")]
    Source(#[from] SourceError),
    /// The record could not be read or written.
    #[error("the record could not be read or written")]
    Store(#[from] StoreError),
    /// The files of a commit could not be read.
    #[error("the files of the commit could not be read")]
    Tree(#[from] crate::modules::ResolveError),
    /// The base branch is not there.
    #[error(
        "the branch `{branch}` is not in the repository: push it, or name another one by `branch` in its declaration; \
         what was applied stays as it is"
    )]
    NoBranch {
        /// The branch.
        branch: String,
    },
    /// The forge showed a branch as it was before, as a part of it that lags behind may.
    #[error(
        "the forge shows `{branch}` at {shown}, which is not what git has: the answer is out of date, and is asked for again"
    )]
    OutOfDate {
        /// The branch.
        branch: String,
        /// The commit that the forge shows.
        shown: String,
    },
    /// A part of the look ended by a panic.
    #[error("the look was cut short")]
    CutShort(#[from] tokio::task::JoinError),
}

/// A look that finds nothing new is noted this often: an idle daemon need not write at each poll,
/// and `mainstay status` still tells that somebody looks.
const NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// An archived repository is looked at this often: nothing there changes until somebody unarchives it.
const ARCHIVED_EVERY: Duration = Duration::from_secs(600);

/// Repositories that are looked at together, in as few requests as the forge can.
struct Group {
    forge: Arc<dyn Forge>,
    repositories: Vec<Arc<Tracked>>,
}

/// How long after it was first seen a look is sure to show what came later: the forge's times are
/// whole seconds, so that a second comment within one moves nothing.
const SAME_SECOND: Duration = Duration::from_secs(2);

/// Why a look is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is time.
    Clock,
    /// Somebody waits for it.
    Asked,
}

/// What was seen last of a repository.
#[derive(Clone)]
struct Seen {
    look: Arc<Look>,
    /// When it was seen first.
    changed: Instant,
    talk: Talk,
}

/// Whether all comments that a look can stand for were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// There may be more of the same second.
    MayGoOn,
    /// A comment more would make another look.
    Read,
}

/// Watches repositories, and knows what was seen last of each, to spare work when nothing moved.
pub struct Watch {
    fleet: Arc<Fleet>,
    groups: Vec<Group>,
    seen: Mutex<HashMap<RepoName, Seen>>,
    /// When an archived repository was looked at last.
    archived: Mutex<HashMap<RepoName, Instant>>,
}

impl Watch {
    /// Watches the repositories of `fleet`.
    pub fn new(fleet: Arc<Fleet>) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for tracked in fleet.repositories.values() {
            // One request asks a forge for many; a plain remote is asked by itself, so that one
            // that does not answer holds up no other.
            let together = groups
                .iter_mut()
                .find(|g| g.forge.speaks() == Speaks::Yes && Arc::ptr_eq(&g.forge, &tracked.forge));
            match together {
                Some(group) => group.repositories.push(Arc::clone(tracked)),
                None => groups.push(Group {
                    forge: Arc::clone(&tracked.forge),
                    repositories: vec![Arc::clone(tracked)],
                }),
            }
        }
        Self {
            fleet,
            groups,
            seen: Mutex::default(),
            archived: Mutex::default(),
        }
    }

    /// Looks at every repository each `every`, and calls `wake` after each look. Never returns;
    /// dropping it ends the looking.
    ///
    /// What fails is recorded with the repository and tried again with the next look; it
    /// does not keep the others from being looked at.
    pub async fn run(self: Arc<Self>, every: Duration, wake: Arc<Notify>) {
        let mut loops = JoinSet::new();
        for group in 0..self.groups.len() {
            let (watch, wake) = (Arc::clone(&self), Arc::clone(&wake));
            loops.spawn(async move {
                let mut under_way: BTreeMap<RepoName, JoinHandle<()>> = BTreeMap::new();
                let mut asked = watch.fleet.looks.asked();
                let mut why = Why::Clock;
                loop {
                    watch.look(group, why, &mut under_way, &wake).await;
                    // By the clock, or sooner where somebody waits for a look.
                    why = match tokio::time::timeout(every, asked.changed()).await {
                        Ok(_) => Why::Asked,
                        Err(_) => Why::Clock,
                    };
                }
            });
        }
        while loops.join_next().await.is_some() {}
        // Without a repository there is nothing to look at, and the daemon goes on all the same.
        std::future::pending::<()>().await;
    }

    /// Looks at the repositories of a group once. What the look of one brings is taken in beside
    /// the others; one that is still at it is left alone.
    async fn look(
        self: &Arc<Self>,
        group: usize,
        why: Why,
        under_way: &mut BTreeMap<RepoName, JoinHandle<()>>,
        wake: &Arc<Notify>,
    ) {
        let Group {
            forge,
            repositories,
        } = &self.groups[group];
        let repositories: Vec<_> = repositories
            .iter()
            .filter(|tracked| why == Why::Asked || self.is_due(tracked.repo()))
            .collect();
        if repositories.is_empty() {
            return;
        }
        let requests: Vec<_> = repositories.iter().map(|r| r.request()).collect();
        let began = tokio::time::Instant::now();
        let looks = forge.look(&requests).await;
        for (tracked, look) in repositories.iter().zip(looks) {
            if under_way
                .get(tracked.repo())
                .is_some_and(|task| !task.is_finished())
            {
                continue;
            }
            let (watch, tracked, wake) = (Arc::clone(self), Arc::clone(tracked), Arc::clone(wake));
            let repo = tracked.repo().clone();
            let task = tokio::spawn(async move {
                let outcome = match look {
                    Ok(look) => watch.take_in(&tracked, look).await,
                    Err(error) => Err(error.into()),
                };
                let came = match outcome {
                    Ok(()) => Came::Well,
                    Err(_) => Came::Badly,
                };
                watch.note(&tracked, outcome);
                watch.fleet.looks.ended(tracked.repo(), began, came);
                wake.notify_one();
            });
            under_way.insert(repo, task);
        }
    }

    /// Whether the clock says that a repository is looked at: each time, but for archived ones.
    fn is_due(&self, repo: &RepoName) -> bool {
        let mut archived = self.archived.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be read is looked at.
        let recorded = self.fleet.store.repository(repo).ok().flatten();
        if recorded.is_none_or(|r| r.archived_at.is_none()) {
            archived.remove(repo);
            return true;
        }
        let last = archived.get(repo);
        if last.is_some_and(|at| at.elapsed() < ARCHIVED_EVERY) {
            return false;
        }
        archived.insert(repo.clone(), Instant::now());
        true
    }

    fn note(&self, tracked: &Tracked, outcome: Result<(), WatchError>) {
        let repo = tracked.repo();
        let Err(error) = outcome else { return };
        let text = chain(&error);
        let known = self
            .fleet
            .store
            .repository(repo)
            .ok()
            .flatten()
            .and_then(|r| r.error)
            .map(|(text, _)| text);
        // Said once, and again when it is another error.
        if known.as_deref() != Some(&text) {
            warn!(repo = %repo, error = %text, "Looking at {repo} failed: {text}");
        }
        self.forget(repo);
        if let Err(error) = self.fleet.store.look_failed(repo, &text, now()) {
            warn!(repo = %repo, "Recording that failed too: {}", chain(&error));
        }
    }

    fn forget(&self, repo: &RepoName) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(repo);
    }

    async fn take_in(&self, tracked: &Arc<Tracked>, look: Arc<Look>) -> Result<(), WatchError> {
        let at = now();
        let repo = tracked.repo();
        let store = &self.fleet.store;
        store.ensure_repository(repo, &tracked.declaration.branch)?;
        let before = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(repo)
            .filter(|seen| *seen.look == *look)
            .cloned();
        let changed_now = before.is_none();
        if !changed_now {
            store.looked_again(repo, at, at - NOTED_EVERY)?;
        } else {
            self.bring(tracked, &look, at).await?;
        }
        let changed = before.as_ref().map_or_else(Instant::now, |b| b.changed);
        let second_is_over = changed.elapsed() >= SAME_SECOND;
        let talk = before.map_or(Talk::MayGoOn, |b| b.talk);
        self.read_comments(tracked, talk, at).await?;
        if changed_now {
            upkeep::look(&self.fleet, tracked, &look).await?;
        }
        commands::carry_out(&self.fleet, tracked).await?;
        let seen = Seen {
            look,
            changed,
            talk: if second_is_over {
                Talk::Read
            } else {
                Talk::MayGoOn
            },
        };
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(repo.clone(), seen);
        Ok(())
    }

    /// Brings commits and conclusions in line with a look that showed something new.
    async fn bring(
        &self,
        tracked: &Arc<Tracked>,
        look: &Look,
        at: Timestamp,
    ) -> Result<(), WatchError> {
        let repo = tracked.repo();
        let branch = &tracked.declaration.branch;
        let Some(base) = look.base.clone() else {
            return Err(WatchError::NoBranch {
                branch: branch.to_string(),
            });
        };
        let recorded = self.fleet.store.repository(repo)?;
        let rows = self.fleet.store.proposals(repo)?;
        let remote = tracked.forge.remote(repo).await?;
        let address = RemoteAddress {
            url: remote.url,
            login: remote.login,
        };
        let proposal_refs = remote.proposal_refs;
        let before = recorded.as_ref().and_then(|r| r.base.clone());

        // Commits first: what is recorded below can be read from the mirror.
        let (fetched, wanted) = (Arc::clone(tracked), look.clone());
        // A branch may have been merged and deleted between two looks.
        let recorded_open = rows.iter().filter(|r| r.state == ProposalState::Open);
        let heads: BTreeMap<ProposalKey, CommitSha> = recorded_open
            .map(|r| &r.proposal)
            .chain(&look.open)
            .map(|p| (p.key.clone(), p.head.clone()))
            .collect();
        let head = base.clone();
        let limits = self.fleet.config.limits;
        let (base_move, contained) = tokio::task::spawn_blocking(move || {
            let mirror = Mirror::open(&fetched.mirror)?.with_limits(limits);
            history::fetch_missing(&mirror, &fetched, &address, &proposal_refs, &wanted)?;
            let base_move = history::base_move(&mirror, before.as_ref(), &head)?;
            // Only git itself is believed that a branch was put back: everything after it waits for a person.
            if matches!(base_move, BaseMove::Rewound { .. })
                && !history::is_head(&mirror, &fetched, &address, &head)?
            {
                return Err(WatchError::OutOfDate {
                    branch: fetched.declaration.branch.to_string(),
                    shown: head.short().to_owned(),
                });
            }
            let contained = history::contained(&mirror, &fetched, &heads, &base_move, &head)?;
            Ok((base_move, contained))
        })
        .await??;

        let mut look = look.clone();
        let known: BTreeSet<&ProposalKey> = rows.iter().map(|r| &r.proposal.key).collect();
        // A branch that the base has all of proposes nothing, and one for another base is not ours
        // unless it was before.
        look.open.retain(|p| {
            !contained.contains_key(&p.key) && (&p.base_branch == branch || known.contains(&p.key))
        });
        let fates = self.fates(tracked, &look, &rows, &contained).await?;
        self.fleet
            .store
            .looked(repo, &look, &base_move, &fates, at)?;
        match &base_move {
            BaseMove::First => {
                info!(repo = %repo, commit = %base, "Looked at {repo} for the first time: {branch} is at {}", base.short());
            }
            BaseMove::Forward(commits) => {
                info!(repo = %repo, commit = %base, commits = commits.len(), "{branch} of {repo} moved to {}", base.short());
            }
            BaseMove::Rewound { from } => {
                warn!(repo = %repo, commit = %base, from = %from, "{branch} of {repo} was force-pushed from {} to {}: changes wait for a person", from.short(), base.short());
            }
            BaseMove::Same => {}
        }
        let (fleet, concluded) = (Arc::clone(&self.fleet), Arc::clone(tracked));
        tokio::task::spawn_blocking(move || {
            let mirror = Mirror::open(&concluded.mirror)?.with_limits(limits);
            history::conclude(&fleet, &concluded, &mirror, &base, at)
        })
        .await??;
        Ok(())
    }

    /// What became of the proposals that were open and are not any more.
    async fn fates(
        &self,
        tracked: &Tracked,
        look: &Look,
        rows: &[ProposalRow],
        contained: &BTreeMap<ProposalKey, CommitSha>,
    ) -> Result<Vec<(ProposalKey, Fate)>, WatchError> {
        let mut fates = Vec::new();
        let open: BTreeSet<&ProposalKey> = look.open.iter().map(|p| &p.key).collect();
        for row in rows.iter().filter(|r| r.state == ProposalState::Open) {
            let key = &row.proposal.key;
            if let Some(commit) = contained.get(key) {
                fates.push((key.clone(), Fate::Merged(commit.clone())));
            } else if !open.contains(key) {
                let fate = match tracked.forge.fate(&tracked.request(), key).await {
                    // GitHub hides the pull requests of accounts that it closed.
                    Err(ForgeError::NotFound { .. }) => Fate::Closed,
                    fate => fate?,
                };
                info!(repo = %tracked.repo(), proposal = %key, "{key} of {} is {}", tracked.repo(), match &fate {
                    Fate::Open => "open",
                    Fate::Closed => "closed",
                    Fate::Merged(_) => "merged",
                });
                fates.push((key.clone(), fate));
            }
        }
        Ok(fates)
    }

    /// Reads new comments, where there may be any.
    async fn read_comments(
        &self,
        tracked: &Tracked,
        talk: Talk,
        at: Timestamp,
    ) -> Result<(), WatchError> {
        let repo = tracked.repo();
        if tracked.forge.speaks() == Speaks::No {
            return Ok(());
        }
        let recorded = self.fleet.store.repository(repo)?;
        let Some(since) = recorded.and_then(|r| r.comments_at) else {
            // What was written before the first look was not written to us. The forge's times are
            // whole seconds: what comes in the second of the look seems to come before it.
            let there = at + tracked.forge.clock_ahead();
            self.fleet
                .store
                .comments_read(repo, there - TimeDelta::seconds(1))?;
            return Ok(());
        };
        if talk == Talk::Read && !commands::may_come_unseen(&self.fleet, repo)? {
            return Ok(());
        }
        let comments = tracked.forge.comments(repo, since).await?;
        commands::record(&self.fleet, tracked, &comments).await?;
        upkeep::read(&self.fleet, tracked, &comments).await?;
        let newest = comments.iter().map(|c| c.updated_at).max();
        let until = newest.map_or(since, |newest| newest.max(since));
        self.fleet.store.comments_read(repo, until)?;
        Ok(())
    }
}

/// The digest of what a proposal touches, for a log line.
fn touched_names(consideration: &Consideration) -> String {
    match consideration {
        Consideration::Merges { touched, .. } if touched.is_empty() => "no workspace".to_owned(),
        Consideration::Merges { touched, .. } => touched
            .iter()
            .map(|t| t.name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        Consideration::Conflicts { paths, .. } => {
            format!("nothing yet: it conflicts in {} files", paths.len())
        }
        Consideration::Impossible { reason } => format!("nothing that can be read: {reason}"),
    }
}
