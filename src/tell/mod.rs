//! Brings the outside in line with the record: comments, statuses, issues, reactions.
//!
//! What shall be shown follows from the record alone and is written down before it is
//! shown. Failing to show it loses nothing: it is tried again until it holds.

mod checks;
mod notes;
mod proposal;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

pub use proposal::{proposal_report, run_report};
pub use wanted::drift_report;

use crate::clock::{Timestamp, now};
use crate::fleet::{Fleet, Tracked};
use crate::forge::{CheckRun, CheckState, ForgeError, Issue, Reaction, Speaks, Status};
use crate::id::{CommentId, CommitSha, IssueNumber};
use crate::report::ReportError;
use crate::store::{StoreError, Telling};

/// The first wait after a failure that may pass; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(2);

/// The time between two texts about something that is still under way. Each costs one of the 80
/// requests that GitHub lets create content in a minute, and the one that matters is the last.
const CALM: TimeDelta = TimeDelta::seconds(10);

/// The longest wait between two tries.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(5);

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
}

/// Computes what shall be shown of a repository and shows what is not shown yet.
/// Says when the next try is due, where something is left to do.
///
/// # Errors
///
/// Where the record cannot be read or written; a forge that fails is no error here.
pub async fn tell(
    fleet: &Arc<Fleet>,
    tracked: &Arc<Tracked>,
) -> Result<Option<Timestamp>, TellError> {
    let (wishing, of) = (Arc::clone(fleet), Arc::clone(tracked));
    // Rendering a large plan takes a while, and the record is written: not on an async thread.
    let wanted = tokio::task::spawn_blocking(move || want(&wishing, &of)).await??;
    let mut next: Option<Timestamp> = None;
    for telling in fleet.store.untold(tracked.repo())? {
        // What no longer concerns anybody (the status of a head that was replaced) is let be.
        if !wanted.contains(&telling.target) {
            continue;
        }
        let due = telling.retry_at.is_none_or(|at| at <= now());
        let again = if due {
            show(fleet, tracked, &telling).await?
        } else {
            telling.retry_at
        };
        next = match (next, again) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    Ok(next)
}

/// Records what shall be shown; gives the targets.
fn want(fleet: &Fleet, tracked: &Tracked) -> Result<BTreeSet<String>, TellError> {
    let at = now();
    let mut targets = BTreeSet::new();
    for (target, wanted) in wanted::of(fleet, tracked)? {
        let value = serde_json::to_value(&wanted).expect("our own types have string keys");
        fleet.store.want(tracked.repo(), &target, &value, at)?;
        targets.insert(target);
    }
    let age = TimeDelta::from_std(fleet.config.keep.runs).unwrap_or(TimeDelta::MAX);
    if let Some(before) = at.checked_sub_signed(age) {
        fleet
            .store
            .forget_tellings(tracked.repo(), &targets, before)?;
    }
    Ok(targets)
}

/// Shows one thing. Gives the time of the next try where it failed.
async fn show(
    fleet: &Fleet,
    tracked: &Tracked,
    telling: &Telling,
) -> Result<Option<Timestamp>, TellError> {
    let repo = tracked.repo();
    let Ok(wanted) = serde_json::from_value::<Wanted>(telling.wanted.clone()) else {
        // Written by another version: the next look writes it anew where it still holds.
        return Ok(None);
    };
    let stage = wanted.stage();
    if let (Stage::UnderWay, Some(calm)) = (stage, telling.calm_until.filter(|at| *at > now())) {
        return Ok(Some(calm));
    }
    let outcome = match (tracked.forge.speaks(), &wanted) {
        // Every remote takes notes, one without a forge too.
        (Speaks::Yes, _) | (Speaks::No, Wanted::Notes { .. }) => {
            send(fleet, tracked, telling, wanted).await
        }
        (Speaks::No, _) => Ok(None),
    };
    match outcome {
        Ok(remote_id) => {
            info!(repo = %repo, target = %telling.target, "Told {repo}: {}", telling.target);
            let calm = (stage == Stage::UnderWay).then(|| now() + CALM);
            fleet
                .store
                .told(repo, &telling.target, &telling.digest, remote_id, calm)?;
            Ok(None)
        }
        Err(error) => {
            let retry_at = now() + wait_after(&error, telling.attempts);
            let text = crate::fault::chain(&error);
            if telling.error.as_deref() != Some(&text) {
                warn!(repo = %repo, target = %telling.target, "Telling {repo} ({}) failed and is tried again: {text}", telling.target);
            }
            fleet
                .store
                .telling_failed(repo, &telling.target, &text, retry_at)?;
            Ok(Some(retry_at))
        }
    }
}

fn wait_after(error: &ForgeError, attempts: u32) -> TimeDelta {
    match error {
        ForgeError::RateLimited { until, .. } => (*until - now()).max(TimeDelta::zero()),
        // What is new may not be known everywhere at the forge yet.
        ForgeError::Transient { .. } | ForgeError::NotFound { .. } => {
            LONGEST_WAIT.min(FIRST_WAIT * 2_i32.saturating_pow(attempts.min(16)))
        }
        // It would fail again at once: a person has to do something first.
        ForgeError::Denied { .. } | ForgeError::Refused { .. } => LONGEST_WAIT,
    }
}

async fn send(
    fleet: &Fleet,
    tracked: &Tracked,
    telling: &Telling,
    wanted: Wanted,
) -> Result<Option<u64>, ForgeError> {
    let (repo, forge) = (tracked.repo(), tracked.forge.as_ref());
    match wanted {
        Wanted::Comment { issue: None, .. } => Ok(None),
        Wanted::Comment {
            issue: Some(issue),
            marker,
            body,
            ..
        } => {
            let known = telling.remote_id.map(CommentId);
            forge
                .upsert_comment(repo, issue, &marker, &body, known)
                .await
                .map(|id| Some(id.0))
        }
        Wanted::Status { commit, status, .. } => forge
            .set_status(repo, &commit, &status)
            .await
            .map(|()| None),
        Wanted::Check { commit, check } => {
            forge.upsert_check(repo, &commit, &check).await.map(Some)
        }
        Wanted::Notes { notes } => notes::write(tracked, fleet.config.limits, notes)
            .await
            .map(|()| None),
        Wanted::Reactions { comment, reactions } => {
            match forge.react(repo, comment, &reactions).await {
                // The comment was deleted: nobody waits for an answer.
                Err(ForgeError::NotFound { .. }) => Ok(None),
                other => other.map(|()| None),
            }
        }
        Wanted::Issue { open: true, issue } => {
            let known = telling.remote_id.map(IssueNumber);
            forge
                .upsert_issue(repo, &issue, known)
                .await
                .map(|number| Some(number.0))
        }
        Wanted::Issue { open: false, issue } => match telling.remote_id {
            Some(number) => forge
                .close_issue(repo, IssueNumber(number), &issue.body)
                .await
                .map(|()| Some(number)),
            None => Ok(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_is_waited_for_and_not_guessed() {
        let until = now() + TimeDelta::minutes(40);
        let error = ForgeError::RateLimited {
            service: "GitHub".into(),
            until,
        };
        assert!(wait_after(&error, 0) > TimeDelta::minutes(39));
    }

    #[test]
    fn waits_grow_to_a_bound() {
        let error = || ForgeError::Transient {
            service: "GitHub".into(),
            action: "comment".into(),
            source: "cut off".into(),
        };
        assert_eq!(wait_after(&error(), 0), FIRST_WAIT);
        assert_eq!(wait_after(&error(), 3), FIRST_WAIT * 8);
        assert_eq!(wait_after(&error(), 4_000_000_000), LONGEST_WAIT);
    }
}
