//! Proposals in the record.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::audit::append;
use super::{Store, StoreError, from_json, from_text, opt_text, to_json, to_text};
use crate::audit::{Record, What};
use crate::clock::Timestamp;
use crate::decide::{Consideration, Touched};
use crate::forge::{Fate, Proposal};
use crate::id::{CommitSha, ProposalKey, RepoName};

/// How a proposal is recorded to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProposalState {
    /// It is open.
    Open,
    /// It was closed without being merged.
    Closed,
    /// It was merged.
    Merged,
}

/// A proposal as it is recorded.
#[derive(Debug, Clone)]
pub struct ProposalRow {
    /// As the forge showed it last.
    pub proposal: Proposal,
    /// How it stands.
    pub state: ProposalState,
    /// The commit of the base branch that has it.
    pub merged_as: Option<CommitSha>,
    /// The head of a fork that a person asked to plan.
    pub permitted: Option<CommitSha>,
    /// The head that it had when comments were last read; `None` before that. A command that is
    /// read while the head is another one may have been meant for either.
    pub previous: Option<CommitSha>,
    /// What `consideration` was made from.
    pub considered: Option<String>,
    /// What came of merging it with the base.
    pub consideration: Option<Consideration>,
    /// When it changed last.
    pub changed_at: Timestamp,
}

impl ProposalRow {
    /// The workspaces that it touches, as far as it was looked at.
    pub fn touched(&self) -> &[Touched] {
        match &self.consideration {
            Some(Consideration::Merges { touched, .. }) => touched,
            _ => &[],
        }
    }
}

impl Store {
    /// Records what came of merging a proposal with the base.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn set_consideration(
        &self,
        repo: &RepoName,
        key: &ProposalKey,
        considered: &str,
        consideration: &Consideration,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE proposals SET considered = ?3, consideration = ?4 WHERE repo = ?1 AND key = ?2",
                params![repo.as_str(), key.to_string(), considered, to_json(consideration)],
            )?;
            Ok(())
        })
    }

    /// Records a proposal that ended before a look showed it, with what it brought where it was
    /// merged.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn came_late(
        &self,
        repo: &RepoName,
        proposal: &Proposal,
        fate: &Fate,
        consideration: Option<&Consideration>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            record_open(tx, repo, proposal, at)?;
            record_fate(tx, repo, &proposal.key, fate, at)?;
            tx.execute(
                "UPDATE proposals SET consideration = ?3, previous = json_extract(proposal, '$.head') \
                 WHERE repo = ?1 AND key = ?2",
                params![
                    repo.as_str(),
                    proposal.key.to_string(),
                    consideration.map(to_json)
                ],
            )?;
            Ok(())
        })
    }

    /// The proposals that are recorded, those that are open first, newest change first.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn proposals(&self, repo: &RepoName) -> Result<Vec<ProposalRow>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT proposal, state, merged_as, permitted, previous, considered, consideration, changed_at \
             FROM proposals WHERE repo = ?1 ORDER BY state = 'open' DESC, changed_at DESC, key LIMIT 500",
        )?;
        let mut rows = statement.query([repo.as_str()])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(proposal_row(row)?);
        }
        Ok(all)
    }

    /// One proposal.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn proposal(
        &self,
        repo: &RepoName,
        key: &ProposalKey,
    ) -> Result<Option<ProposalRow>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT proposal, state, merged_as, permitted, previous, considered, consideration, changed_at \
             FROM proposals WHERE repo = ?1 AND key = ?2",
        )?;
        let mut rows = statement.query(params![repo.as_str(), key.to_string()])?;
        rows.next()?.map(proposal_row).transpose()
    }
}

/// Records that a person asked for a fork's plan, at that head and no other.
pub(super) fn permit(
    tx: &Transaction<'_>,
    repo: &RepoName,
    key: &ProposalKey,
    head: &CommitSha,
    by: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE proposals SET permitted = ?3 WHERE repo = ?1 AND key = ?2",
        params![repo.as_str(), key.to_string(), head.as_str()],
    )?;
    let mut record = Record::new(What::ForkPermitted, at);
    record.who = Some(by.to_owned());
    record.repository = Some(repo.clone());
    record.proposal = Some(key.clone());
    record.commit = Some(head.clone());
    append(tx, record)
}

pub(super) fn record_open(
    tx: &Transaction<'_>,
    repo: &RepoName,
    proposal: &Proposal,
    at: Timestamp,
) -> Result<(), StoreError> {
    let key = proposal.key.to_string();
    let known: Option<(String, String)> = tx
        .query_row(
            "SELECT proposal, state FROM proposals WHERE repo = ?1 AND key = ?2",
            params![repo.as_str(), key],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let text = to_json(proposal);
    let open = to_text(&ProposalState::Open);
    match known {
        None => {
            tx.execute(
                "INSERT INTO proposals (repo, key, proposal, state, changed_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![repo.as_str(), key, text, open, at],
            )?;
        }
        Some((known, state)) => {
            let changed = known != text || state != open;
            tx.execute(
                "UPDATE proposals SET proposal = ?3, state = ?4, merged_as = NULL, \
                 changed_at = CASE WHEN ?5 THEN ?6 ELSE changed_at END WHERE repo = ?1 AND key = ?2",
                params![repo.as_str(), key, text, open, changed, at],
            )?;
            if changed {
                // Somebody did something there: unlocked it, perhaps.
                tx.execute(
                    "UPDATE tellings SET retry_at = NULL WHERE repo = ?1 AND target = 'comment ' || ?2 AND ground = 'locked'",
                    params![repo.as_str(), key],
                )?;
            }
        }
    }
    Ok(())
}

/// Records what became of a proposal that is not open any more.
pub(super) fn record_fate(
    tx: &Transaction<'_>,
    repo: &RepoName,
    key: &ProposalKey,
    fate: &Fate,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (state, merged_as) = match fate {
        Fate::Open => return Ok(()),
        Fate::Closed => (ProposalState::Closed, None),
        Fate::Merged(commit) => (ProposalState::Merged, Some(commit.as_str())),
    };
    tx.execute(
        "UPDATE proposals SET state = ?3, merged_as = ?4, changed_at = ?5 WHERE repo = ?1 AND key = ?2",
        params![repo.as_str(), key.to_string(), to_text(&state), merged_as, at],
    )?;
    if let Fate::Merged(commit) = fate {
        let mut record = Record::new(What::Merged, at);
        record.repository = Some(repo.clone());
        record.proposal = Some(key.clone());
        record.commit = Some(commit.clone());
        append(tx, record)?;
    }
    Ok(())
}

fn proposal_row(row: &Row<'_>) -> Result<ProposalRow, StoreError> {
    let consideration: Option<String> = row.get(6)?;
    Ok(ProposalRow {
        proposal: from_json("proposal", &row.get::<_, String>(0)?)?,
        state: from_text("proposal state", &row.get::<_, String>(1)?)?,
        merged_as: opt_text("commit id", row.get(2)?)?,
        permitted: opt_text("commit id", row.get(3)?)?,
        previous: opt_text("commit id", row.get(4)?)?,
        considered: row.get(5)?,
        consideration: consideration
            .map(|text| from_json("consideration", &text))
            .transpose()?,
        changed_at: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::forge::{Look, Origin};
    use crate::id::IssueNumber;
    use crate::store::BaseMove;

    fn look(head: char) -> Look {
        let head = head.to_string().repeat(40).parse().unwrap();
        let proposal = Proposal {
            key: ProposalKey::Pull(IssueNumber(1)),
            title: "Widen".into(),
            author: "mallory".into(),
            head,
            base_branch: "main".parse().unwrap(),
            origin: Origin::Fork,
            updated_at: now(),
        };
        Look {
            archived: crate::forge::Archived::No,
            base: Some("0".repeat(40).parse().unwrap()),
            open: vec![proposal],
        }
    }

    #[test]
    fn a_head_is_certain_only_where_comments_were_read_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let repo: RepoName = "acme/infra".parse().unwrap();
        let key = ProposalKey::Pull(IssueNumber(1));
        store
            .ensure_repository(&repo, &"main".parse().unwrap())
            .unwrap();
        let certain = || {
            let row = store.proposal(&repo, &key).unwrap().unwrap();
            row.previous == Some(row.proposal.head)
        };
        let looks = |head: char| {
            store
                .looked(&repo, &look(head), &BaseMove::Same, &[], now())
                .unwrap();
        };
        looks('a');
        assert!(!certain());
        store.comments_read(&repo, now()).unwrap();
        assert!(certain());
        looks('b');
        // The comments could not be read: looking again makes nothing more certain.
        looks('b');
        assert!(!certain());
        store.comments_read(&repo, now()).unwrap();
        assert!(certain());
    }
}
