//! Decisions against policies in the record.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::leases::Held;
use super::run_rows::read;
use super::runs::{record, set_result};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::id::{RepoName, RunId, WorkspaceName};
use crate::policy::Override;
use crate::run::{Event, State};

/// What an override did to the run whose plan it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overridden {
    /// It was held, and goes on: it is planned again.
    Released,
    /// It stays where it is: it is only shown, or something else forbids it.
    Noted,
}

/// Records that a person goes on against a policy, for the plan of a run, and lets the run go
/// where it was held and no policy denies it any more.
///
/// Safe to repeat.
///
/// # Errors
///
/// Where the run is not there or has no plan, or the record cannot be written.
pub(super) fn override_policy(
    tx: &Transaction<'_>,
    held: Held,
    id: RunId,
    policy: &str,
    by: &Override,
    at: Timestamp,
) -> Result<Overridden, StoreError> {
    let (run, _) = read(tx, id)?;
    let (Some(plan), Some(mut verdict)) = (&run.result.plan, run.result.verdict.clone()) else {
        return Err(StoreError::NotFound {
            what: "verdict of run",
            key: id.to_string(),
        });
    };
    tx.execute(
        "INSERT OR REPLACE INTO overrides (repo, workspace, policy, fingerprint, author, reason, run, at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            run.what.repo.as_str(),
            run.what.workspace.as_str(),
            policy,
            plan.fingerprint,
            by.by,
            by.reason,
            id.0,
            at
        ],
    )?;
    verdict.override_policy(policy, by);
    let denied = verdict.denials().next().is_some();
    let mut result = run.result;
    result.verdict = Some(verdict);
    set_result(tx, id, &run.what, &result)?;
    if run.state != State::Held || denied {
        return Ok(Overridden::Noted);
    }
    let released = Event::Released { by: by.by.clone() };
    // It is an agreement to go on against the policy, and none to the plan: whatever else
    // would hold the plan holds it again.
    record(tx, held, id, &released, at, |result| result.approval = None)?;
    Ok(Overridden::Released)
}

impl Store {
    /// What was decided against policies for one plan of a workspace, by policy.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn overrides(
        &self,
        repo: &RepoName,
        workspace: &WorkspaceName,
        fingerprint: &str,
    ) -> Result<BTreeMap<String, Override>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT policy, author, reason FROM overrides WHERE repo = ?1 AND workspace = ?2 AND fingerprint = ?3",
        )?;
        let mut rows = statement.query([repo.as_str(), workspace.as_str(), fingerprint])?;
        let mut all = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let by = Override {
                by: row.get(1)?,
                reason: row.get(2)?,
            };
            all.insert(row.get(0)?, by);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::plan::Plan;
    use crate::policy::{Effect, Finding, Verdict};
    use crate::run::{NewRun, Purpose, Trigger};

    fn held(store: &Store, policies: &[&str]) -> RunId {
        let what = NewRun {
            repo: "acme/infra".parse().unwrap(),
            workspace: "network".parse().unwrap(),
            purpose: Purpose::Merge,
            proposal: None,
            commit: "a".repeat(40).parse().unwrap(),
            base: None,
            tree: "b".repeat(40).parse().unwrap(),
            inputs: String::new(),
            trigger: Trigger::Commit,
        };
        let id = store.add_run(&what, now()).unwrap();
        store.claim(id, "me", now()).unwrap();
        store
            .happened(id, &Event::CheckedOut, now(), |_| {})
            .unwrap();
        let finding = |policy: &&str| Finding {
            policy: (*policy).to_owned(),
            title: "t".into(),
            effect: Effect::Deny,
            message: "m".into(),
            address: None,
            remedy: None,
            owners: Vec::new(),
            overridden: None,
        };
        let held = Event::HeldBack { reason: "r".into() };
        store
            .happened(id, &held, now(), |result| {
                result.plan = Some(Plan {
                    fingerprint: "f".into(),
                    ..Plan::default()
                });
                result.verdict = Some(Verdict {
                    evaluated: Vec::new(),
                    findings: policies.iter().map(finding).collect(),
                });
            })
            .unwrap();
        id
    }

    #[test]
    fn an_override_is_of_one_plan_and_lets_it_go_when_nothing_else_denies() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let id = held(&store, &["a", "b"]);
        let by = Override {
            by: "ana".into(),
            reason: "it burns".into(),
        };
        let overridden = |policy| {
            store
                .write(|tx| override_policy(tx, Held::default(), id, policy, &by, now()))
                .unwrap()
        };
        let noted = overridden("a");
        assert_eq!(noted, Overridden::Noted);
        assert_eq!(store.run(id).unwrap().state, State::Held);
        let released = overridden("b");
        assert_eq!(released, Overridden::Released);
        let run = store.run(id).unwrap();
        assert_eq!((run.state, &run.result.approval), (State::Queued, &None));
        let (repo, name) = (&run.what.repo, &run.what.workspace);
        let known = store.overrides(repo, name, "f").unwrap();
        assert_eq!(known.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(known["a"], by);
        assert!(store.overrides(repo, name, "g").unwrap().is_empty());
        // Told twice, it is done once.
        assert_eq!(overridden("b"), Overridden::Noted);
    }
}
