//! What became of each commit of the base branch, written as git notes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Wanted;
use super::commits::{Outcome, is_before, outcome};
use crate::clock::now;
use crate::config::Limits;
use crate::decide::RunFacts;
use crate::fleet::{Fleet, Tracked};
use crate::forge::ForgeError;
use crate::id::{CommitSha, WorkspaceName};
use crate::run::{Purpose, State};
use crate::source::{Mirror, Remedy, RemoteAddress, SourceError};
use crate::store::{RunFilter, StoreError};
use crate::workspace::Recorded;

/// Where the notes are: `git log --show-notes=mainstay` shows them.
pub(crate) const NOTES: &str = "refs/notes/mainstay";

/// So many runs are looked at for them.
const RUNS_NOTED: u32 = 2_000;

/// So many commits of the base branch keep their note in line.
const COMMITS_NOTED: usize = 100;

/// The notes of the commits of which the outcome is known, where they are to be written. A commit
/// that was force-pushed away keeps the note that it has.
pub(super) fn of(
    fleet: &Fleet,
    tracked: &Tracked,
    all: &mut Vec<(String, Wanted)>,
) -> Result<(), StoreError> {
    if tracked.declaration.recorded == Recorded::Here {
        return Ok(());
    }
    let repo = tracked.repo();
    let filter = RunFilter {
        repo: Some(repo.clone()),
        purpose: Some(Purpose::Merge),
        limit: RUNS_NOTED,
        ..RunFilter::default()
    };
    let runs = fleet.store.run_facts(&filter)?;
    let rewound = fleet.store.rewound_at(repo)?;
    let mut newest = BTreeSet::new();
    let mut notes = BTreeMap::new();
    for run in runs.iter().rev() {
        if !newest.insert(&run.commit) {
            continue;
        }
        if newest.len() > COMMITS_NOTED {
            break;
        }
        let replaced = match rewound {
            Some(at) => is_before(fleet, tracked, &run.commit, at)?,
            None => false,
        };
        if !replaced && let Some(text) = note(&runs, &run.commit) {
            notes.insert(run.commit.clone(), text);
        }
    }
    if !notes.is_empty() {
        all.push((format!("notes {NOTES}"), Wanted::Notes { notes }));
    }
    Ok(())
}

/// What became of a commit, a line for each workspace; `None` while it is open.
fn note(runs: &[RunFacts], commit: &CommitSha) -> Option<String> {
    let names: BTreeSet<&WorkspaceName> = runs
        .iter()
        .filter(|run| &run.commit == commit)
        .map(|run| &run.workspace)
        .collect();
    let mut text = String::new();
    for name in names {
        let line = match outcome(runs, commit, name) {
            Outcome::UnderWay | Outcome::Held => return None,
            Outcome::Applied(run) => ended("applied", commit, run),
            Outcome::PassedOver => "superseded before it was applied".to_owned(),
            Outcome::Bad(run) if run.state == State::Cancelled => ended("cancelled", commit, run),
            Outcome::Bad(run) => ended("failed", commit, run),
        };
        writeln!(text, "{name}: {line}").expect("a string takes whatever is written");
    }
    Some(text).filter(|text| !text.is_empty())
}

fn ended(how: &str, commit: &CommitSha, run: &RunFacts) -> String {
    let with = if &run.commit == commit {
        String::new()
    } else {
        format!(" with {}", run.commit)
    };
    let at = run.changed_at.format("%Y-%m-%dT%H:%M:%SZ");
    format!("{how}{with}, run {}, {at}", run.id)
}

/// Writes notes to the repository's remote.
pub(super) async fn write(
    tracked: &Tracked,
    limits: Limits,
    notes: BTreeMap<CommitSha, String>,
) -> Result<(), ForgeError> {
    let remote = tracked.forge.remote(tracked.repo()).await?;
    let address = RemoteAddress {
        url: remote.url,
        login: remote.login,
    };
    let path = tracked.mirror.clone();
    let written = tokio::task::spawn_blocking(move || {
        let mirror = Mirror::open(&path)?.with_limits(limits);
        mirror.write_notes(&address, NOTES, &notes, now())
    })
    .await;
    let error = match written {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error,
        Err(cut_short) => return Err(transient(cut_short)),
    };
    Err(match (&error, error.remedy()) {
        (SourceError::MayNotPush { .. }, _) | (_, Remedy::AskHuman) => ForgeError::Denied {
            service: "the remote".to_owned(),
            action: format!("write {NOTES}"),
            message: crate::fault::chain(&error),
        },
        _ => transient(error),
    })
}

fn transient(source: impl std::error::Error + Send + Sync + 'static) -> ForgeError {
    ForgeError::Transient {
        service: "the remote".to_owned(),
        action: format!("write {NOTES}"),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Found, Stopping};
    use crate::id::RunId;
    use crate::run::Trigger;

    fn run(id: i64, workspace: &str, commit: char, state: State) -> RunFacts {
        let at = "2026-11-21T10:00:00Z".parse().unwrap();
        RunFacts {
            id: RunId(id),
            workspace: workspace.parse().unwrap(),
            purpose: Purpose::Merge,
            proposal: None,
            commit: sha(commit),
            inputs: String::new(),
            trigger: Trigger::Commit,
            state,
            created_at: at,
            changed_at: at,
            stopping: Stopping::No,
            drift: Found::No,
        }
    }

    fn sha(of: char) -> CommitSha {
        of.to_string().repeat(40).parse().unwrap()
    }

    #[test]
    fn a_commit_gets_a_line_for_each_workspace_when_all_of_them_have_ended() {
        let mut runs = vec![
            run(1, "app", 'a', State::Applied),
            run(2, "network", 'a', State::Applying),
        ];
        assert_eq!(note(&runs, &sha('a')), None, "one is under way");
        runs[1].state = State::Held;
        assert_eq!(note(&runs, &sha('a')), None, "one waits for a person");
        runs[1].state = State::Failed;
        assert_eq!(
            note(&runs, &sha('a')).unwrap(),
            "app: applied, run 1, 2026-11-21T10:00:00Z\nnetwork: failed, run 2, 2026-11-21T10:00:00Z\n"
        );
    }

    #[test]
    fn a_commit_that_was_passed_over_names_the_one_it_was_applied_with() {
        let runs = [
            run(1, "app", 'a', State::Superseded),
            run(2, "app", 'b', State::Applied),
        ];
        let with = format!(
            "app: applied with {}, run 2, 2026-11-21T10:00:00Z\n",
            sha('b')
        );
        assert_eq!(note(&runs, &sha('a')).unwrap(), with);
    }

    #[test]
    fn a_commit_that_touched_no_workspace_gets_no_note() {
        assert_eq!(note(&[], &sha('a')), None);
    }
}
