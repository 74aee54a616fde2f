//! Commands of people in the record.

use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, from_json, from_text, opt_text, to_json, to_text};
use crate::clock::Timestamp;
use crate::id::{CommentId, CommitSha, IssueNumber, RepoName, RunId};

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

    /// Records how a command stands now.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn set_command(
        &self,
        id: i64,
        state: CommandState,
        reason: Option<&str>,
        runs: &[RunId],
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE commands SET state = ?2, reason = ?3, runs = ?4 WHERE id = ?1",
                params![id, to_text(&state), reason, to_json(&runs)],
            )?;
            Ok(())
        })
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
}
