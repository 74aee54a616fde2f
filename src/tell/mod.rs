//! Brings the outside in line with the record: comments, statuses, issues, reactions.
//!
//! What shall be shown follows from the record alone and is written down before it is
//! shown. Failing to show it loses nothing: it is tried again until it holds.

mod advice;
mod checks;
mod commits;
mod notes;
mod proposal;
mod turn;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

pub use advice::{advice, archived_advice, meddled_text};
pub use proposal::{proposal_report, run_report};
pub use wanted::drift_report;

use self::turn::{Archive, Pass, Place};
use crate::clock::{Timestamp, now};
use crate::fleet::{Fleet, Tracked};
use crate::forge::{
    CheckRun, CheckState, ForgeError, Issue, Reaction, Speaks, Status, StatusState, Urgency,
};
use crate::id::{CommentId, CommitSha, IssueNumber, RunId};
use crate::report::ReportError;
use crate::store::{Ground, Shown, StoreError, Telling, text_digest};

/// The time between two texts about something that is still under way. Each costs one of the 80
/// requests that GitHub lets create content in a minute, and the one that matters is the last.
const CALM: TimeDelta = TimeDelta::seconds(10);

/// Why the outside could not be brought in line.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// The record could not be read or written.
    #[error("the record could not be read or written")]
    Store(#[from] StoreError),
    /// A part of it ended by a panic.
    #[error("the telling was cut short")]
    CutShort(#[from] tokio::task::JoinError),
    /// A report could not be rendered.
    #[error("a report could not be rendered")]
    Report(#[from] ReportError),
}

/// One thing that the outside shall show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "show")]
pub enum Wanted {
    /// The one comment on a pull request.
    Comment {
        /// The pull request; `None` on a plain remote, where it is shown by commands only.
        issue: Option<IssueNumber>,
        /// The marker that it is found by.
        marker: String,
        /// All of its text.
        body: String,
        /// Whether what it tells of still goes on.
        stage: Stage,
        /// How urgent it is; no part of what is shown.
        #[serde(skip)]
        urgency: Urgency,
        /// The runs that it shows and that wait for an answer, each with the time when it came to
        /// that; no part of what is shown.
        #[serde(skip)]
        shows: Vec<(RunId, Timestamp)>,
    },
    /// A commit's status.
    Status {
        /// The commit.
        commit: CommitSha,
        /// The status.
        status: Status,
        /// Whether what it tells of still goes on.
        stage: Stage,
    },
    /// A check run on a commit.
    Check {
        /// The commit.
        commit: CommitSha,
        /// The check run.
        check: CheckRun,
    },
    /// An issue.
    Issue {
        /// Whether it shall be open.
        open: bool,
        /// The issue.
        issue: Issue,
        /// The runs that it shows and that wait for an answer, as in a comment.
        #[serde(skip)]
        shows: Vec<(RunId, Timestamp)>,
    },
    /// Git notes in the repository itself.
    Notes {
        /// The text of each commit.
        notes: BTreeMap<CommitSha, String>,
    },
    /// Our reactions to a comment.
    Reactions {
        /// The comment.
        comment: CommentId,
        /// All of ours.
        reactions: Vec<Reaction>,
    },
}

/// Whether what is told of still goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It goes on, and the text changes with each step.
    UnderWay,
    /// It came to an end, or waits for a person.
    Settled,
}

impl Wanted {
    fn stage(&self) -> Stage {
        match self {
            Self::Comment { stage, .. } | Self::Status { stage, .. } => *stage,
            Self::Check { check, .. } if check.state == CheckState::InProgress => Stage::UnderWay,
            Self::Check { .. }
            | Self::Issue { .. }
            | Self::Notes { .. }
            | Self::Reactions { .. } => Stage::Settled,
        }
    }

    fn urgency(&self) -> Urgency {
        match self {
            Self::Comment { urgency, .. } => *urgency,
            Self::Status { status, stage, .. } => {
                match (status.context == commits::APPLY_STATUS, stage, status.state) {
                    // How a commit came out, or that it waits for a person.
                    (true, Stage::Settled, _) => Urgency::Now,
                    (true, Stage::UnderWay, StatusState::Pending) => Urgency::Whenever,
                    // A merge waits for it, and must not pass by an older one that is green.
                    (false, ..) | (true, Stage::UnderWay, _) => Urgency::Soon,
                }
            }
            Self::Check { .. } if self.stage() == Stage::UnderWay => Urgency::Whenever,
            Self::Check { .. } => Urgency::Soon,
            Self::Issue { open: false, .. } | Self::Notes { .. } | Self::Reactions { .. } => {
                Urgency::Whenever
            }
            Self::Issue { issue, .. } if issue.label == wanted::HOLD_LABEL => Urgency::Now,
            Self::Issue { .. } => Urgency::Soon,
        }
    }

    fn place(&self) -> Place {
        Place {
            urgency: self.urgency(),
            stage: self.stage(),
        }
    }

    fn shows(&self) -> &[(RunId, Timestamp)] {
        match self {
            Self::Comment { shows, .. } | Self::Issue { shows, .. } => shows,
            Self::Status { .. }
            | Self::Check { .. }
            | Self::Notes { .. }
            | Self::Reactions { .. } => &[],
        }
    }
}

/// What shall be shown of a repository now.
#[derive(Default)]
struct Wishes {
    places: BTreeMap<String, Place>,
    /// The runs that are shown and wait for an answer.
    shows: BTreeMap<String, Vec<(RunId, Timestamp)>>,
}

/// Computes what shall be shown of a repository and shows what is not shown yet, the most urgent
/// first. What comes up meanwhile takes its place in the row. Says when the next try is due, where
/// something is left to do.
///
/// # Errors
///
/// Where the record cannot be read or written; a forge that fails is no error here.
pub async fn tell(
    fleet: &Arc<Fleet>,
    tracked: &Arc<Tracked>,
) -> Result<Option<Timestamp>, TellError> {
    let repo = tracked.repo();
    let mut pass = Pass::default();
    let mut known = None;
    let mut wishes = Wishes::default();
    loop {
        // Read before: what is recorded meanwhile is seen the next time round.
        let version = fleet.store.version()?;
        if known != Some(version) {
            let (wishing, of) = (Arc::clone(fleet), Arc::clone(tracked));
            // Rendering a large plan takes a while, and the record is written: not on an async thread.
            wishes = tokio::task::spawn_blocking(move || want(&wishing, &of)).await??;
            known = Some(version);
        }
        let untold = fleet.store.untold(repo)?;
        let archived = fleet.store.repository(repo)?.and_then(|r| r.archived_at);
        let archived = archived.map_or(Archive::No, Archive::Since);
        let turn = turn::next(&untold, &wishes.places, &pass, archived, now());
        let Some(telling) = turn.due else {
            return Ok(turn.again);
        };
        pass.tried(telling);
        let place = wishes.places[&telling.target];
        let shows = wishes.shows.get(&telling.target).map_or(&[][..], |s| s);
        if let Err(ForgeError::RateLimited { until, .. }) =
            show(fleet, tracked, telling, place, shows).await?
        {
            pass.no_room(place.urgency, until);
        }
    }
}

/// Records what shall be shown.
fn want(fleet: &Fleet, tracked: &Tracked) -> Result<Wishes, TellError> {
    let at = now();
    let repo = tracked.repo();
    let mut wishes = Wishes::default();
    for (target, wanted) in wanted::of(fleet, tracked)? {
        let value = serde_json::to_value(&wanted).expect("our own types have string keys");
        fleet.store.want(repo, &target, &value, at)?;
        wishes.places.insert(target.clone(), wanted.place());
        if !wanted.shows().is_empty() {
            stands_already(fleet, tracked, &target, wanted.shows(), at)?;
            wishes.shows.insert(target, wanted.shows().to_vec());
        }
    }
    for telling in fleet.store.untold(repo)? {
        // The status of a head that was replaced, say: nobody need see to it any more.
        if telling.error.is_some() && !wishes.places.contains_key(&telling.target) {
            fleet.store.let_be(repo, &telling.target)?;
        }
    }
    let age = TimeDelta::from_std(fleet.config.keep.runs).unwrap_or(TimeDelta::MAX);
    if let Some(before) = at.checked_sub_signed(age) {
        let targets = wishes.places.keys().cloned().collect();
        fleet.store.forget_tellings(repo, &targets, before)?;
    }
    Ok(wishes)
}

/// Where the very text stands there already, nothing is sent that could be dated: from now on it
/// is what people read of these runs.
fn stands_already(
    fleet: &Fleet,
    tracked: &Tracked,
    target: &str,
    shows: &[(RunId, Timestamp)],
    at: Timestamp,
) -> Result<(), StoreError> {
    let telling = fleet.store.telling(tracked.repo(), target)?;
    if telling.is_none_or(|t| t.told.as_ref() != Some(&t.digest)) {
        return Ok(());
    }
    let mut fresh = Vec::new();
    for (run, since) in shows {
        if fleet.store.run_shown_at(*run, *since)?.is_none() {
            fresh.push((*run, *since));
        }
    }
    fleet
        .store
        .shown_runs(&fresh, at + tracked.forge.clock_ahead())
}

/// Shows one thing; the inner error is why the forge did not.
async fn show(
    fleet: &Fleet,
    tracked: &Tracked,
    telling: &Telling,
    place: Place,
    shows: &[(RunId, Timestamp)],
) -> Result<Result<(), ForgeError>, TellError> {
    let repo = tracked.repo();
    let Ok(wanted) = serde_json::from_value::<Wanted>(telling.wanted.clone()) else {
        // Written by another version: the next look writes it anew where it still holds.
        return Ok(Ok(()));
    };
    let outcome = match (tracked.forge.speaks(), &wanted) {
        // Every remote takes notes, one without a forge too.
        (Speaks::Yes, _) | (Speaks::No, Wanted::Notes { .. }) => {
            send(fleet, tracked, telling, wanted, place.urgency).await
        }
        (Speaks::No, _) => Ok(Shown::default()),
    };
    match outcome {
        Ok(shown) => {
            info!(repo = %repo, target = %telling.target, "Told {repo}: {}", telling.target);
            let calm = (place.stage == Stage::UnderWay).then(|| now() + CALM);
            // First: what is told and not dated could be answered too early.
            let at = shown
                .at
                .unwrap_or_else(|| now() + tracked.forge.clock_ahead());
            fleet.store.shown_runs(shows, at)?;
            fleet
                .store
                .told(repo, &telling.target, &telling.digest, &shown, calm)?;
            Ok(Ok(()))
        }
        Err(error) => {
            let at = now();
            let retry_at = at + turn::wait_after(&error, telling.attempts, at);
            let text = crate::fault::chain(&error);
            let ground = turn::ground(&error);
            // Said once: a time to wait until is another one each time.
            if telling.error.as_deref() != Some(&text)
                && !(telling.ground == Some(ground) && ground == Ground::Limited)
            {
                warn!(repo = %repo, target = %telling.target, "Telling {repo} ({}) failed and is tried again: {text}", telling.target);
            }
            fleet
                .store
                .telling_failed(repo, &telling.target, (ground, &text), at, retry_at)?;
            Ok(Err(error))
        }
    }
}

async fn send(
    fleet: &Fleet,
    tracked: &Tracked,
    telling: &Telling,
    wanted: Wanted,
    urgency: Urgency,
) -> Result<Shown, ForgeError> {
    let (repo, forge) = (tracked.repo(), tracked.forge.as_ref());
    let known = |remote_id| Shown {
        remote_id,
        ..Shown::default()
    };
    match wanted {
        Wanted::Comment { issue: None, .. } => Ok(Shown::default()),
        Wanted::Comment {
            issue: Some(issue),
            marker,
            body,
            ..
        } => {
            let id = telling.remote_id.map(CommentId);
            let kept = forge
                .upsert_comment(repo, issue, &marker, &body, id, urgency)
                .await?;
            Ok(Shown {
                remote_id: Some(kept.id.0),
                at: kept.at,
                text: Some(text_digest(&kept.body)),
            })
        }
        Wanted::Status { commit, status, .. } => {
            forge.set_status(repo, &commit, &status, urgency).await?;
            Ok(Shown::default())
        }
        Wanted::Check { commit, check } => {
            let id = forge.upsert_check(repo, &commit, &check, urgency).await?;
            Ok(known(Some(id)))
        }
        Wanted::Notes { notes } => {
            notes::write(tracked, fleet.config.limits, notes).await?;
            Ok(Shown::default())
        }
        Wanted::Reactions { comment, reactions } => {
            match forge.react(repo, comment, &reactions, urgency).await {
                // The comment was deleted: nobody waits for an answer.
                Ok(()) | Err(ForgeError::NotFound { .. }) => Ok(Shown::default()),
                Err(error) => Err(error),
            }
        }
        Wanted::Issue {
            open: true, issue, ..
        } => {
            let number = telling.remote_id.map(IssueNumber);
            let kept = forge.upsert_issue(repo, &issue, number, urgency).await?;
            Ok(Shown {
                remote_id: Some(kept.number.0),
                at: kept.at,
                text: None,
            })
        }
        Wanted::Issue {
            open: false, issue, ..
        } => {
            if let Some(number) = telling.remote_id.map(IssueNumber) {
                forge
                    .close_issue(repo, number, &issue.body, urgency)
                    .await?;
            }
            Ok(Shown::default())
        }
    }
}
