//! Notices what others did to our comments: edited ones stand among the comments that are read anyway,
//! deleted ones are asked for where something happened to their pull request.

use tracing::{info, warn};

use super::WatchError;
use crate::clock::{Timestamp, now};
use crate::fault::chain;
use crate::fleet::{Fleet, Tracked};
use crate::forge::{Comment, ForgeError, Look, Speaks};
use crate::id::{CommentId, ProposalKey};
use crate::store::{Meddling, StoreError, Telling, text_digest};

/// Looks closer at those of our comments that came with others' and do not say what they should.
pub(super) async fn read(
    fleet: &Fleet,
    tracked: &Tracked,
    comments: &[Comment],
) -> Result<(), WatchError> {
    for comment in comments {
        let target = format!("comment {}", ProposalKey::Pull(comment.issue));
        let telling = fleet.store.telling(tracked.repo(), &target)?;
        if telling.is_some_and(|t| t.remote_id == Some(comment.id.0) && says_else(&t, comment)) {
            compare(fleet, tracked, &target).await?;
        }
    }
    Ok(())
}

/// Looks whether our comments are still there on the pull requests to which something happened since
/// they were told. Where nothing did, nothing is asked.
pub(super) async fn look(fleet: &Fleet, tracked: &Tracked, look: &Look) -> Result<(), WatchError> {
    if tracked.forge.speaks() == Speaks::No {
        return Ok(());
    }
    for proposal in &look.open {
        let target = format!("comment {}", proposal.key);
        let dated = proposal.updated_at;
        let Some(telling) = fleet.store.telling(tracked.repo(), &target)? else {
            continue;
        };
        let happened = |since: Option<Timestamp>| since.is_none_or(|at| dated > at);
        if telling.shown_at.is_none() || !happened(telling.shown_at.max(telling.compared_at)) {
            continue;
        }
        compare(fleet, tracked, &target).await?;
        fleet.store.compared(tracked.repo(), &target, dated)?;
    }
    Ok(())
}

/// Compares a comment of ours with what stands there, and makes it due where it is another text or
/// gone.
async fn compare(fleet: &Fleet, tracked: &Tracked, target: &str) -> Result<(), WatchError> {
    let before = fleet.store.telling(tracked.repo(), target)?;
    let Some(telling) = before.filter(stands) else {
        return Ok(());
    };
    let Some(id) = telling.remote_id else {
        return Ok(());
    };
    let how = match tracked.forge.comment(tracked.repo(), CommentId(id)).await {
        Ok(comment) if says_else(&telling, &comment) => Meddling::Edited,
        Ok(_) => return Ok(()),
        Err(ForgeError::NotFound { .. }) => Meddling::Deleted,
        Err(error @ (ForgeError::Transient { .. } | ForgeError::RateLimited { .. })) => {
            return Err(error.into());
        }
        Err(error) => {
            // It keeps nothing else from being looked at.
            warn!(repo = %tracked.repo(), target, "Our {target} could not be compared with what stands there: {}", chain(&error));
            return Ok(());
        }
    };
    // What was told meanwhile stands there, and is no work of others.
    if fleet.store.telling(tracked.repo(), target)?.as_ref() != Some(&telling) {
        return Ok(());
    }
    meddled(fleet, &telling, how)?;
    Ok(())
}

/// Whether what was told last is what should stand there, and the forge said how it keeps it.
fn stands(telling: &Telling) -> bool {
    telling.told.as_ref() == Some(&telling.digest) && telling.shown.is_some()
}

/// Whether a comment is another text than the forge answered when it was told.
fn says_else(telling: &Telling, comment: &Comment) -> bool {
    stands(telling) && telling.shown != Some(text_digest(&comment.body))
}

fn meddled(fleet: &Fleet, telling: &Telling, how: Meddling) -> Result<(), StoreError> {
    let known = telling.meddled.as_ref();
    if known.is_some_and(|m| m.left && m.how == how) {
        return Ok(());
    }
    let meddled = fleet.store.meddled(telling, how, now())?;
    info!(repo = %telling.repo, target = %telling.target, left = meddled.left, "Somebody changed our {} of {}", telling.target, telling.repo);
    Ok(())
}
