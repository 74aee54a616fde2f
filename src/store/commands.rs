//! Commands of people in the record.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::audit::append;
use super::leases::Held;
use super::overrides::{Overridden, override_policy};
use super::proposals::permit;
use super::runs::{insert, record, stop};
use super::{Store, StoreError, from_json, from_text, opt_text, to_json, to_text};
use crate::audit::{Record, What};
use crate::clock::Timestamp;
use crate::decide::Effect;
use crate::id::{CommentId, CommitSha, IssueNumber, RepoName, RunId};
use crate::policy::Override;
use crate::run::{Approval, Event, NewRun, RunResult, State};

/// A command as it was found.
#[derive(Debug, Clone)]
pub struct NewCommand {
    /// The repository.
    pub repo: RepoName,
    /// The comment that holds it; `None` where it was typed on the daemon's machine.
    pub comment: Option<CommentId>,
    /// The issue or pull request that it stands on.
    pub issue: Option<IssueNumber>,
    /// Who wrote it.
    pub author: String,
    /// The command, as it was written.
    pub line: String,
    /// When it was written.
    pub written_at: Timestamp,
    /// The proposal's head that it counts for.
    pub head: Option<CommitSha>,
}

/// A command as it is recorded.
#[derive(Debug, Clone)]
pub struct Command {
    /// Its number.
    pub id: i64,
    /// What was found.
    pub what: NewCommand,
    /// How it stands.
    pub state: CommandState,
    /// Why it was refused.
    pub reason: Option<String>,
    /// The runs that it asked for.
    pub runs: Vec<RunId>,
}

/// How a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// It was found, and not looked at.
    New,
    /// What it asks for is under way.
    Accepted,
    /// What it asked for is done.
    Done,
    /// It was refused.
    Refused,
}

const COLUMNS: &str =
    "id, repo, comment, issue, author, line, written_at, head, state, reason, runs";

impl Store {
    /// Records a command, once for each comment. Says whether it is new.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn add_command(&self, what: &NewCommand) -> Result<bool, StoreError> {
        self.write(|tx| {
            let added = tx.execute(
                "INSERT OR IGNORE INTO commands (repo, comment, issue, author, line, written_at, head, state) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    what.repo.as_str(),
                    what.comment.map(|c| c.0.cast_signed()),
                    what.issue.map(|i| i.0.cast_signed()),
                    what.author,
                    what.line,
                    what.written_at,
                    what.head.as_ref().map(CommitSha::as_str),
                    to_text(&CommandState::New),
                ],
            )?;
            Ok(added == 1)
        })
    }

    /// Records that a command that was new is refused.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn refuse_command(
        &self,
        command: &Command,
        reason: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            if !is_new(tx, command.id)? {
                return Ok(());
            }
            tx.execute(
                "UPDATE commands SET state = ?2, reason = ?3 WHERE id = ?1",
                params![command.id, to_text(&CommandState::Refused), reason],
            )?;
            let mut record = audited(What::CommandRefused, command, at);
            record.reason = Some(reason.to_owned());
            append(tx, record)
        })
    }

    /// Records that all that a command asked for is done.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn command_is_done(&self, id: i64) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE commands SET state = ?2 WHERE id = ?1",
                params![id, to_text(&CommandState::Done)],
            )?;
            Ok(())
        })
    }

    /// Does on the record what a command that was new asks for, all of it together with the
    /// command's own state: a crash repeats nothing and leaves nothing half done.
    ///
    /// A command that is not new any more has no effect.
    ///
    /// # Errors
    ///
    /// [`StoreError::Illegal`] where a run moved on meanwhile; nothing is recorded then, and the
    /// command is judged anew with the next look.
    pub fn carry_out(
        &self,
        command: &Command,
        effects: &[Effect],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            if !is_new(tx, command.id)? {
                return Ok(());
            }
            // Before what follows from it: so does the log read.
            append(tx, audited(What::CommandTaken, command, at))?;
            let mut runs = Vec::new();
            for effect in effects {
                let run = match effect {
                    Effect::Queue(order) => {
                        Some(self.queue(tx, order, &command.what.author, at)?)
                    }
                    other => take(tx, self.held_of(other), &command.what, other, at)?,
                };
                runs.extend(run);
            }
            let state = if runs.is_empty() {
                CommandState::Done
            } else {
                CommandState::Accepted
            };
            tx.execute(
                "UPDATE commands SET state = ?2, runs = ?3 WHERE id = ?1",
                params![command.id, to_text(&state), to_json(&runs)],
            )?;
            Ok(())
        })
    }

    /// Records a run that a person asked for, and ends those that it takes the place of.
    fn queue(
        &self,
        tx: &Transaction<'_>,
        order: &NewRun,
        by: &str,
        at: Timestamp,
    ) -> Result<RunId, StoreError> {
        let proposal = order.proposal.as_ref().map(ToString::to_string);
        let replaced: Vec<i64> = tx
            .prepare_cached(
                "SELECT id FROM runs WHERE state IN ('queued', 'held', 'preparing', 'planning', 'applying') \
                 AND repo = ?1 AND workspace = ?2 AND purpose = ?3 AND (purpose <> 'propose' OR proposal IS ?4)",
            )?
            .query_map(
                params![
                    order.repo.as_str(),
                    order.workspace.as_str(),
                    to_text(&order.purpose),
                    proposal
                ],
                |row| row.get(0),
            )?
            .collect::<Result<_, _>>()?;
        let event = Event::Superseded {
            by: format!("the command of {by}"),
        };
        for id in replaced.into_iter().map(RunId) {
            stop(tx, self.held(id), id, &event, at)?;
        }
        insert(tx, order, State::Queued, &RunResult::default(), at)
    }

    /// What this process holds of the run that an effect concerns.
    fn held_of(&self, effect: &Effect) -> Held {
        match effect {
            Effect::Release(run)
            | Effect::Cancel(run)
            | Effect::Join(run)
            | Effect::Override { run, .. } => self.held(*run),
            Effect::Help | Effect::Permit(..) | Effect::Queue(_) => Held::default(),
        }
    }

    /// The newest commands of a repository, oldest first.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn commands(&self, repo: &RepoName) -> Result<Vec<Command>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM commands WHERE repo = ?1 AND (state IN ('new', 'accepted') \
             OR id IN (SELECT id FROM commands WHERE repo = ?1 ORDER BY id DESC LIMIT 200)) ORDER BY id"
        ))?;
        let mut rows = statement.query([repo.as_str()])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(command(row)?);
        }
        Ok(all)
    }
}

/// Does one effect that records no new run, and names the run that it concerns.
fn take(
    tx: &Transaction<'_>,
    held: Held,
    what: &NewCommand,
    effect: &Effect,
    at: Timestamp,
) -> Result<Option<RunId>, StoreError> {
    let by = &what.author;
    match effect {
        Effect::Help | Effect::Queue(_) => Ok(None),
        Effect::Permit(key, head) => {
            permit(tx, &what.repo, key, head, by, at)?;
            Ok(None)
        }
        Effect::Join(run) => Ok(Some(*run)),
        Effect::Release(run) => {
            let event = Event::Released { by: by.clone() };
            record(tx, held, *run, &event, at, |result| {
                result.approval = result.plan.as_ref().map(|plan| Approval {
                    fingerprint: plan.fingerprint.clone(),
                    by: by.clone(),
                });
            })?;
            Ok(Some(*run))
        }
        Effect::Override { run, what } => {
            let by = Override {
                by: by.clone(),
                reason: what.reason.clone(),
            };
            Ok(
                match override_policy(tx, held, *run, &what.policy, &by, at)? {
                    Overridden::Released => Some(*run),
                    Overridden::Noted => None,
                },
            )
        }
        Effect::Cancel(run) => {
            stop(tx, held, *run, &Event::Cancelled { by: by.clone() }, at)?;
            Ok(Some(*run))
        }
    }
}

/// Whether nobody has answered a command yet.
fn is_new(tx: &Transaction<'_>, id: i64) -> Result<bool, StoreError> {
    let state: Option<String> = tx
        .query_row("SELECT state FROM commands WHERE id = ?1", [id], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(state == Some(to_text(&CommandState::New)))
}

/// A record of what became of a command.
fn audited(what: What, command: &Command, at: Timestamp) -> Record {
    let mut record = Record::new(what, at);
    record.who = Some(command.what.author.clone());
    record.repository = Some(command.what.repo.clone());
    record.proposal = command.what.issue.map(crate::id::ProposalKey::Pull);
    record.commit.clone_from(&command.what.head);
    record.command = Some(command.what.line.clone());
    record
}

fn command(row: &Row<'_>) -> Result<Command, StoreError> {
    Ok(Command {
        id: row.get(0)?,
        what: NewCommand {
            repo: from_text("repository", &row.get::<_, String>(1)?)?,
            comment: row
                .get::<_, Option<i64>>(2)?
                .map(|n| CommentId(n.cast_unsigned())),
            issue: row
                .get::<_, Option<i64>>(3)?
                .map(|n| IssueNumber(n.cast_unsigned())),
            author: row.get(4)?,
            line: row.get(5)?,
            written_at: row.get(6)?,
            head: opt_text("commit id", row.get(7)?)?,
        },
        state: from_text("command state", &row.get::<_, String>(8)?)?,
        reason: row.get(9)?,
        runs: from_json("list of runs", &row.get::<_, String>(10)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Purpose, Trigger};

    #[test]
    fn a_comment_is_one_command_however_often_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let what = NewCommand {
            repo: "acme/infra".parse().unwrap(),
            comment: Some(CommentId(7)),
            issue: Some(IssueNumber(1)),
            author: "alice".into(),
            line: "mainstay plan".into(),
            written_at: crate::clock::now(),
            head: None,
        };
        assert!(store.add_command(&what).unwrap());
        assert!(!store.add_command(&what).unwrap());
        let typed = NewCommand {
            comment: None,
            ..what.clone()
        };
        assert!(store.add_command(&typed).unwrap());
        assert!(store.add_command(&typed).unwrap());
        assert_eq!(store.commands(&what.repo).unwrap().len(), 3);
    }

    fn order(workspace: &str) -> NewRun {
        NewRun {
            repo: "acme/infra".parse().unwrap(),
            workspace: workspace.parse().unwrap(),
            purpose: Purpose::Merge,
            proposal: None,
            commit: "1".repeat(40).parse().unwrap(),
            base: None,
            tree: "2".repeat(40).parse().unwrap(),
            inputs: "in".into(),
            trigger: Trigger::Commit,
        }
    }

    /// A record with a command of alice's that is new.
    fn asked() -> (tempfile::TempDir, Store, Command) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let what = NewCommand {
            repo: "acme/infra".parse().unwrap(),
            comment: None,
            issue: None,
            author: "alice".into(),
            line: "mainstay apply".into(),
            written_at: crate::clock::now(),
            head: None,
        };
        store.add_command(&what).unwrap();
        let command = store.commands(&what.repo).unwrap().remove(0);
        (folder, store, command)
    }

    #[test]
    fn a_command_that_was_carried_out_has_no_second_effect() {
        let (_folder, store, command) = asked();
        let effects = [Effect::Queue(Box::new(order("network")))];
        let at = crate::clock::now();
        store.carry_out(&command, &effects, at).unwrap();
        // As after a crash, or by another daemon that saw it as new, too.
        store.carry_out(&command, &effects, at).unwrap();
        assert_eq!(store.open_runs().unwrap().len(), 1);
        let after = store.commands(&command.what.repo).unwrap().remove(0);
        assert_eq!(after.state, CommandState::Accepted);
        assert_eq!(after.runs.len(), 1);
    }

    #[test]
    fn a_command_of_which_one_effect_fails_has_none() {
        let (_folder, store, command) = asked();
        let at = crate::clock::now();
        let queued = store.add_run(&order("dns"), at).unwrap();
        // It is not held any more, so that it cannot be let go.
        let effects = [
            Effect::Queue(Box::new(order("network"))),
            Effect::Release(queued),
        ];
        let error = store.carry_out(&command, &effects, at).unwrap_err();
        assert!(matches!(error, StoreError::Illegal { .. }), "{error}");
        assert_eq!(store.open_runs().unwrap().len(), 1);
        let after = store.commands(&command.what.repo).unwrap().remove(0);
        assert_eq!(after.state, CommandState::New);
    }

    #[test]
    fn a_run_that_a_person_asked_for_takes_the_place_of_its_like() {
        let (_folder, store, command) = asked();
        let at = crate::clock::now();
        let old = store.add_run(&order("network"), at).unwrap();
        let other = store.add_run(&order("dns"), at).unwrap();
        let effects = [Effect::Queue(Box::new(order("network")))];
        store.carry_out(&command, &effects, at).unwrap();
        assert_eq!(store.run(old).unwrap().state, State::Superseded);
        assert_eq!(store.run(other).unwrap().state, State::Queued);
    }

    #[test]
    fn who_gave_a_command_and_what_became_of_it_is_in_the_audit_log() {
        let (_folder, store, command) = asked();
        let at = crate::clock::now();
        store.refuse_command(&command, "nothing waits", at).unwrap();
        store.carry_out(&command, &[Effect::Help], at).unwrap();
        let log = store.audit_records().unwrap();
        assert_eq!(log.len(), 1, "{log:?}");
        assert_eq!(log[0].what, What::CommandRefused);
        assert_eq!(log[0].who.as_deref(), Some("alice"));
        assert_eq!(log[0].reason.as_deref(), Some("nothing waits"));
    }
}
