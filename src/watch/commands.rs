//! Commands: found in comments, checked for permission, carried out on the record.

use chrono::TimeDelta;
use tracing::{info, warn};

use super::{WatchError, history};
use crate::clock::{Timestamp, now};
use crate::decide::{self, Asked, Facts, Judged, MergedFacts, ProposalFacts, Subject, Verb};
use crate::fault::chain;
use crate::fleet::{Fleet, Tracked, proposal_facts};
use crate::forge::{Comment, Fate, ForgeError, Permission};
use crate::id::{IssueNumber, ProposalKey, RepoName, WorkspaceName};
use crate::run::{Purpose, State};
use crate::source::Mirror;
use crate::store::{Command, CommandState, NewCommand, StoreError};

/// Whether a command may be written where a look at the open proposals does not show it: on a
/// merged proposal or on an issue of ours.
pub(super) fn may_come_unseen(fleet: &Fleet, repo: &RepoName) -> Result<bool, StoreError> {
    let waits = fleet.store.deciding_runs(repo)?.iter().any(|run| {
        run.purpose == Purpose::Merge
            && matches!(
                run.state,
                State::Held
                    | State::Failed
                    | State::Cancelled
                    | State::Queued
                    | State::Preparing
                    | State::Planning
                    | State::Applying
            )
    });
    Ok(waits || fleet.store.has_open_issue(repo)?)
}

/// A command that comes before what it may answer is shown for sure waits so long for that.
const SHOWN_WITHIN: TimeDelta = TimeDelta::seconds(30);

/// Records the comments that have the form of a command and stand where one can.
pub(super) async fn record(
    fleet: &Fleet,
    tracked: &Tracked,
    comments: &[Comment],
) -> Result<(), WatchError> {
    let repo = tracked.repo();
    let known = known_names(fleet, repo)?;
    for comment in comments {
        if decide::read(&comment.body, &known).is_none() {
            continue;
        }
        let mut place = place(fleet, repo, comment.issue)?;
        if matches!(place, Place::Elsewhere) {
            place = late(fleet, tracked, comment.issue).await?;
        }
        let head = match &place {
            Place::Proposal(key) => fleet
                .store
                .proposal(repo, key)?
                // Where the head moved since comments were read last, nobody knows which was meant.
                .filter(|row| row.previous.as_ref() == Some(&row.proposal.head))
                .map(|row| row.proposal.head),
            Place::Drift(_) | Place::Hold(_) => None,
            Place::Elsewhere => continue,
        };
        let command = NewCommand {
            repo: repo.clone(),
            comment: Some(comment.id),
            issue: Some(comment.issue),
            author: comment.author.clone(),
            line: comment.body.trim().to_owned(),
            written_at: written_at(comment),
            head,
        };
        if fleet.store.add_command(&command)? {
            info!(repo = %repo, issue = %comment.issue, author = %comment.author, "{} wrote `{}` on #{} of {repo}", comment.author, command.line, comment.issue);
        }
    }
    Ok(())
}

/// Where a comment stands that no look showed: on a pull request that was opened and ended between
/// two looks, perhaps. It is asked for once, with the command, and is on record from then on.
async fn late(fleet: &Fleet, tracked: &Tracked, issue: IssueNumber) -> Result<Place, WatchError> {
    let repo = tracked.repo();
    let Some((proposal, fate)) = tracked.forge.pull(repo, issue).await? else {
        return Ok(Place::Elsewhere);
    };
    if proposal.base_branch != tracked.declaration.branch || fate == Fate::Open {
        // What is open comes with the next look, and one for another branch is none of ours.
        return Ok(Place::Elsewhere);
    }
    let consideration = match &fate {
        Fate::Merged(commit) => {
            let (mirror, declaration) = (tracked.mirror.clone(), tracked.declaration.clone());
            let commit = commit.clone();
            let read = move || history::of_merge(&Mirror::open(&mirror)?, &declaration, &commit);
            Some(tokio::task::spawn_blocking(read).await??)
        }
        Fate::Open | Fate::Closed => None,
    };
    info!(repo = %repo, proposal = %proposal.key, "{} of {repo} was opened and ended between two looks", proposal.key);
    fleet
        .store
        .came_late(repo, &proposal, &fate, consideration.as_ref(), now())?;
    Ok(Place::Proposal(proposal.key))
}

/// GitHub's times are whole seconds: the comment was written at the end of its second at the latest.
fn written_at(comment: &Comment) -> Timestamp {
    let at = comment.updated_at.max(comment.created_at);
    if at.timestamp_subsec_millis() == 0 {
        at + chrono::TimeDelta::milliseconds(999)
    } else {
        at
    }
}

fn known_names(fleet: &Fleet, repo: &RepoName) -> Result<Vec<WorkspaceName>, StoreError> {
    let mut names: Vec<_> = fleet
        .store
        .workspaces(repo)?
        .into_iter()
        .map(|w| w.name)
        .collect();
    for row in fleet.store.proposals(repo)? {
        names.extend(row.touched().iter().map(|t| t.name.clone()));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Where a comment stands.
enum Place {
    Proposal(ProposalKey),
    Drift(WorkspaceName),
    Hold(WorkspaceName),
    Elsewhere,
}

fn place(fleet: &Fleet, repo: &RepoName, issue: IssueNumber) -> Result<Place, StoreError> {
    let key = ProposalKey::Pull(issue);
    if fleet.store.proposal(repo, &key)?.is_some() {
        return Ok(Place::Proposal(key));
    }
    let Some(target) = fleet.store.issue_target(repo, issue)? else {
        return Ok(Place::Elsewhere);
    };
    let named = |prefix: &str| {
        target
            .strip_prefix(prefix)
            .and_then(|name| name.parse::<WorkspaceName>().ok())
    };
    if let Some(name) = named("issue drift ") {
        return Ok(Place::Drift(name));
    }
    if let Some(name) = named("issue hold ") {
        return Ok(Place::Hold(name));
    }
    Ok(Place::Elsewhere)
}

/// Carries out the commands that are new, and notes those that are done.
pub(super) async fn carry_out(fleet: &Fleet, tracked: &Tracked) -> Result<(), WatchError> {
    let repo = tracked.repo();
    for command in fleet.store.commands(repo)? {
        match command.state {
            CommandState::New => {
                if let Err(error) = answer(fleet, tracked, &command).await {
                    // It stays new, and is tried again with the next look; the others go on.
                    warn!(repo = %repo, command = command.id, "Carrying out `{}` failed and is tried again: {}", command.what.line, chain(&error));
                }
            }
            CommandState::Accepted => {
                let mut done = true;
                for run in &command.runs {
                    let state = fleet.store.run(*run)?.state;
                    done &= state.is_end() || state == State::Held;
                }
                if done {
                    fleet.store.command_is_done(command.id)?;
                }
            }
            CommandState::Done | CommandState::Refused => {}
        }
    }
    Ok(())
}

async fn answer(fleet: &Fleet, tracked: &Tracked, command: &Command) -> Result<(), WatchError> {
    let what = &command.what;
    let refuse = |reason: &str| {
        info!(repo = %what.repo, author = %what.author, "Refused `{}` of {}: {reason}", what.line, what.author);
        fleet.store.refuse_command(command, reason, now())
    };
    if what.comment.is_some() {
        let permission = match tracked.forge.may_write(tracked.repo(), &what.author).await {
            Err(ForgeError::NotFound { .. }) => Permission::Less,
            other => other?,
        };
        if permission == Permission::Less {
            refuse("commands are taken from people who may write to the repository")?;
            return Ok(());
        }
    }
    let known = known_names(fleet, tracked.repo())?;
    let request = match decide::read(&what.line, &known) {
        Some(Ok(request)) => request,
        Some(Err(refusal)) => {
            refuse(&refusal.0)?;
            return Ok(());
        }
        None => {
            refuse("the workspaces that it names are no longer there")?;
            return Ok(());
        }
    };
    let mut facts = fleet.facts(tracked)?;
    let unread = match what.comment {
        Some(_) => date_as_the_forge(fleet, tracked, request.verb, &mut facts)?,
        // Typed on this machine, by this clock.
        None => Vec::new(),
    };
    let asked = Asked {
        by: &what.author,
        at: what.written_at,
        head: what.head.as_ref(),
    };
    let concern = concern(fleet, tracked, what.issue)?;
    let judged = match request.verb {
        Verb::Override => judged(fleet, &facts)?,
        Verb::Plan | Verb::Apply | Verb::Cancel | Verb::Help => Vec::new(),
    };
    match decide::effects(&request, &asked, &concern.subject(), &facts, &judged) {
        // It may answer what is shown in this very moment.
        Err(_) if unread.iter().any(|since| now() - *since < SHOWN_WITHIN) => {}
        Err(refusal) => refuse(&refusal.0)?,
        Ok(effects) => {
            info!(repo = %what.repo, author = %what.author, "Carrying out `{}` of {}", what.line, what.author);
            fleet.store.carry_out(command, &effects, now())?;
        }
    }
    Ok(())
}

/// Dates runs by the forge's clock, as their answers are: our own may go otherwise. What waits for a
/// person is dated by the forge's own time of the text that showed it, and is newer than every
/// answer before it was shown. Gives when that which is not shown yet came about, by our clock.
fn date_as_the_forge(
    fleet: &Fleet,
    tracked: &Tracked,
    verb: Verb,
    facts: &mut Facts,
) -> Result<Vec<Timestamp>, StoreError> {
    let ahead = tracked.forge.clock_ahead();
    let mut unread = Vec::new();
    for run in &mut facts.runs {
        run.created_at += ahead;
        let since = run.changed_at;
        let waits = match (run.purpose, run.state) {
            (Purpose::Merge, State::Held) => true,
            (Purpose::Propose, State::Planned) => verb == Verb::Override,
            _ => false,
        };
        if !waits {
            run.changed_at = since + ahead;
            continue;
        }
        run.changed_at = match fleet.store.run_shown_at(run.id, since)? {
            Some(at) => at,
            None => {
                unread.push(since);
                Timestamp::MAX_UTC
            }
        };
    }
    Ok(unread)
}

/// What a command concerns, owned.
enum Concern {
    Proposal(ProposalFacts, Option<MergedFacts>),
    Drift(WorkspaceName),
    Hold(WorkspaceName),
    Machine,
    Nothing,
}

impl Concern {
    fn subject(&self) -> Subject<'_> {
        match self {
            Self::Proposal(facts, merged) => decide::subject_of(facts, merged.as_ref()),
            Self::Drift(name) => Subject::Drift(name),
            Self::Hold(name) => Subject::Hold(name),
            Self::Machine => Subject::Machine,
            Self::Nothing => Subject::Closed,
        }
    }
}

fn concern(
    fleet: &Fleet,
    tracked: &Tracked,
    issue: Option<IssueNumber>,
) -> Result<Concern, StoreError> {
    let repo = tracked.repo();
    let Some(issue) = issue else {
        return Ok(Concern::Machine);
    };
    Ok(match place(fleet, repo, issue)? {
        Place::Drift(name) => Concern::Drift(name),
        Place::Hold(name) => Concern::Hold(name),
        Place::Elsewhere => Concern::Nothing,
        Place::Proposal(key) => match fleet.store.proposal(repo, &key)? {
            None => Concern::Nothing,
            Some(row) => {
                let merged = fleet.merged(tracked, &row)?;
                let base = fleet.store.repository(repo)?.and_then(|r| r.base);
                let facts = proposal_facts(tracked, base.as_ref().map(|b| b.as_str()), row);
                Concern::Proposal(facts, merged)
            }
        },
    })
}

/// The runs whose plans policies judged, and that wait or are shown.
fn judged(fleet: &Fleet, facts: &Facts) -> Result<Vec<Judged>, StoreError> {
    let open = facts.runs.iter().filter(|run| {
        matches!(
            (run.purpose, run.state),
            (Purpose::Merge, State::Held) | (Purpose::Propose, State::Planned)
        )
    });
    let mut all = Vec::new();
    for facts in open {
        let run = fleet.store.run(facts.id)?;
        if let Some(verdict) = run.result.verdict {
            all.push(Judged {
                run: run.id,
                workspace: run.what.workspace,
                purpose: run.what.purpose,
                proposal: run.what.proposal,
                inputs: run.what.inputs,
                state: run.state,
                changed_at: facts.changed_at,
                verdict,
            });
        }
    }
    Ok(all)
}
