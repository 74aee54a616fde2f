//! What an auditor asks of each change: who authorised it, how it was tested, whether it was
//! implemented as agreed; and the changes that nobody authorised, found as drift.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Record, What};
use crate::clock::Timestamp;
use crate::id::{CommitSha, ProposalKey, RepoName, RunId, WorkspaceName};
use crate::plan::StateVersion;
use crate::run::{CheckOutcome, Purpose, Reviewed, State, Trigger};

/// On what ground a change was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Basis {
    /// A person agreed to this very plan.
    Approval {
        /// Who.
        by: String,
    },
    /// A person asked for it by a command.
    Command {
        /// Who.
        by: String,
    },
    /// The proposal was merged.
    Merge {
        /// Which proposal.
        proposal: ProposalKey,
    },
    /// A commit came to the base branch without a proposal.
    Push,
    /// The declaration says that drift is brought back by itself.
    Drift {
        /// The run that found the drift.
        run: RunId,
    },
}

/// How what was applied stands to what people saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Implemented {
    /// It is the plan that a person agreed to.
    AsApproved,
    /// Changes, configuration and files are those that the proposal showed.
    AsReviewed,
    /// The changes are those that the proposal showed, by other code.
    SameChanges,
    /// Each change was shown, and no proposal showed them all.
    InParts,
    /// It differs from what was shown, and the rules of the workspace let it through.
    Differs,
    /// No proposal showed it, and the rules of the workspace let it through.
    NotShown,
}

impl fmt::Display for Implemented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsApproved => "as approved",
            Self::AsReviewed => "as reviewed",
            Self::SameChanges => "the same changes by other code",
            Self::InParts => "each change reviewed, not together",
            Self::Differs => "differs from the review",
            Self::NotShown => "not shown before",
        })
    }
}

/// What an auditor reads: a change that was applied, or one that nobody authorised.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "entry")]
#[expect(
    clippy::large_enum_variant,
    reason = "most entries are changes, and they are written out one after the other"
)]
pub enum Entry {
    /// A change that Mainstay applied.
    Change {
        /// When the apply started.
        at: Timestamp,
        /// When it ended; `None` while it is under way.
        ended_at: Option<Timestamp>,
        /// The repository.
        repository: RepoName,
        /// The workspace.
        workspace: WorkspaceName,
        /// The commit that was applied.
        commit: CommitSha,
        /// The proposal that brought it.
        proposal: Option<ProposalKey>,
        /// The run.
        run: RunId,
        /// Who or what authorised it.
        authorised: Basis,
        /// The runs that planned the very same changes before, for the proposal.
        planned_by: Vec<RunId>,
        /// What was checked before the plan, and how it ended.
        checks: Vec<(String, CheckOutcome)>,
        /// The policies that judged the plan; `None` where none was evaluated.
        policies: Option<Vec<String>>,
        /// How it stands to what people saw.
        implemented: Implemented,
        /// Why it counts as an emergency change; empty where it is none.
        emergency: Vec<String>,
        /// What the plan changes: `1 to create`, say.
        plan: String,
        /// How it ended.
        outcome: String,
        /// The state that the plan was made on.
        state_before: Option<StateVersion>,
        /// The state after the apply, where Mainstay keeps it.
        state_after: Option<StateVersion>,
        /// The records that say so, by number.
        records: Vec<u64>,
    },
    /// A change that did not come through Mainstay, found as drift.
    Drift {
        /// When it was found.
        at: Timestamp,
        /// The repository.
        repository: RepoName,
        /// The workspace.
        workspace: WorkspaceName,
        /// The commit that the world was compared with.
        commit: CommitSha,
        /// The run that found it.
        run: RunId,
        /// What differs.
        addresses: Vec<String>,
        /// The records that say so, by number.
        records: Vec<u64>,
    },
}

impl Entry {
    /// When it was.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Change { at, .. } | Self::Drift { at, .. } => *at,
        }
    }

    /// Where it was.
    pub fn place(&self) -> (&RepoName, &WorkspaceName) {
        match self {
            Self::Change {
                repository,
                workspace,
                ..
            }
            | Self::Drift {
                repository,
                workspace,
                ..
            } => (repository, workspace),
        }
    }
}

/// Reads the changes out of the records, which come oldest first; the changes do as well.
pub fn change_log(records: &[Record]) -> Vec<Entry> {
    let mut of_run: BTreeMap<RunId, Vec<&Record>> = BTreeMap::new();
    for record in records {
        if let Some(run) = record.run {
            of_run.entry(run).or_default().push(record);
        }
    }
    let mut entries: Vec<Entry> = of_run
        .values()
        .filter_map(|of_run| change(of_run, records).or_else(|| drift(of_run)))
        .collect();
    entries.sort_by_key(Entry::at);
    entries
}

fn change(of_run: &[&Record], all: &[Record]) -> Option<Entry> {
    let started = of_run.iter().find(|r| r.what == What::ApplyStarted)?;
    let ended = of_run
        .iter()
        .find(|r| r.number > started.number && r.state.is_some_and(State::is_end));
    let last = ended.unwrap_or(started);
    let (repository, workspace) = (started.repository.clone()?, started.workspace.clone()?);
    // What a proposal showed counts where it was shown before the apply.
    let planned_by: Vec<RunId> = all
        .iter()
        .take_while(|r| r.number < started.number)
        .filter(|r| r.what == What::Planned && r.purpose == Some(Purpose::Propose))
        .filter(|r| r.workspace == started.workspace && r.repository == started.repository)
        .filter(|r| r.fingerprint.is_some() && r.fingerprint == started.fingerprint)
        .filter_map(|r| r.run)
        .collect();
    let approval = started
        .approval
        .as_ref()
        .filter(|a| Some(&a.fingerprint) == started.fingerprint.as_ref());
    let authorised = match (approval, &started.trigger, &started.proposal) {
        (Some(approval), _, _) => Basis::Approval {
            by: approval.by.clone(),
        },
        (None, Some(Trigger::Person { name }), _) => Basis::Command { by: name.clone() },
        (None, Some(Trigger::Drift { run }), _) => Basis::Drift { run: *run },
        (None, _, Some(proposal)) => Basis::Merge {
            proposal: proposal.clone(),
        },
        (None, _, None) => Basis::Push,
    };
    let implemented = match (approval, &started.reviewed) {
        (Some(_), _) => Implemented::AsApproved,
        (None, Some(Reviewed::Exactly)) => Implemented::AsReviewed,
        (None, Some(Reviewed::SameChanges)) => Implemented::SameChanges,
        (None, Some(Reviewed::InParts)) => Implemented::InParts,
        (None, Some(Reviewed::Differs { .. })) => Implemented::Differs,
        (None, Some(Reviewed::Nobody) | None) => Implemented::NotShown,
    };
    let mut emergency = Vec::new();
    if authorised == Basis::Push {
        emergency.push("it came to the base branch without a proposal".to_owned());
    }
    let findings = started.verdict.iter().flat_map(|v| &v.findings);
    for finding in findings {
        if let Some(over) = &finding.overridden {
            emergency.push(format!(
                "{} overrode the policy {}: {}",
                over.by, finding.policy, over.reason
            ));
        }
    }
    Some(Entry::Change {
        at: started.at,
        ended_at: ended.map(|r| r.at),
        repository,
        workspace,
        commit: started.commit.clone()?,
        proposal: started.proposal.clone(),
        run: started.run?,
        authorised,
        planned_by,
        checks: started.checks.clone(),
        policies: started.verdict.as_ref().map(|v| v.evaluated.clone()),
        implemented,
        emergency,
        plan: started
            .counts
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        outcome: match (ended, &last.reason) {
            (None, _) => "under way".to_owned(),
            (Some(_), Some(reason)) => format!("{}: {reason}", last.what),
            (Some(_), None) => last.what.to_string(),
        },
        state_before: started.state_before.clone(),
        state_after: last.state_after.clone(),
        records: of_run.iter().map(|r| r.number).collect(),
    })
}

fn drift(of_run: &[&Record]) -> Option<Entry> {
    let found = of_run.iter().find(|r| {
        r.what == What::Planned && r.purpose == Some(Purpose::Drift) && !r.drifted.is_empty()
    })?;
    Some(Entry::Drift {
        at: found.at,
        repository: found.repository.clone()?,
        workspace: found.workspace.clone()?,
        commit: found.commit.clone()?,
        run: found.run?,
        addresses: found.drifted.clone(),
        records: of_run.iter().map(|r| r.number).collect(),
    })
}

/// The names of the columns of [`csv_line`].
pub const CSV_HEAD: &str = "entry,at,ended_at,repository,workspace,commit,proposal,run,authorised,planned_by,checks,\
                            policies,implemented,emergency,plan_or_drift,outcome,state_before,state_after,records";

/// An entry as a line of CSV (RFC 4180), without the end of the line.
pub fn csv_line(entry: &Entry) -> String {
    let list = |items: Vec<String>| items.join("; ");
    let mark = |mark: &Option<StateVersion>| {
        let text = mark
            .as_ref()
            .map(|m| format!("{} of {}", m.serial, m.lineage));
        text.unwrap_or_default()
    };
    let numbers = |numbers: &[u64]| list(numbers.iter().map(ToString::to_string).collect());
    let cells = match entry {
        Entry::Change {
            at,
            ended_at,
            repository,
            workspace,
            commit,
            proposal,
            run,
            authorised,
            planned_by,
            checks,
            policies,
            implemented,
            emergency,
            plan,
            outcome,
            state_before,
            state_after,
            records,
        } => [
            "change".to_owned(),
            at.to_rfc3339(),
            ended_at.map_or_else(String::new, |at| at.to_rfc3339()),
            repository.to_string(),
            workspace.to_string(),
            commit.to_string(),
            proposal
                .as_ref()
                .map_or_else(String::new, |p| p.to_string()),
            run.to_string(),
            match authorised {
                Basis::Approval { by } => format!("approved by {by}"),
                Basis::Command { by } => format!("asked for by {by}"),
                Basis::Merge { proposal } => format!("merge of {proposal}"),
                Basis::Push => "push without a proposal".to_owned(),
                Basis::Drift { run } => format!("drift found by run {run}"),
            },
            list(planned_by.iter().map(ToString::to_string).collect()),
            list(
                checks
                    .iter()
                    .map(|(name, outcome)| {
                        let outcome = match outcome {
                            CheckOutcome::Passed => "passed",
                            CheckOutcome::Failed => "failed",
                            CheckOutcome::Warned => "warned",
                            CheckOutcome::Skipped { .. } => "skipped",
                        };
                        format!("{name} {outcome}")
                    })
                    .collect(),
            ),
            policies.clone().map_or_else(|| "none".to_owned(), list),
            implemented.to_string(),
            list(emergency.clone()),
            plan.clone(),
            outcome.clone(),
            mark(state_before),
            mark(state_after),
            numbers(records),
        ],
        Entry::Drift {
            at,
            repository,
            workspace,
            commit,
            run,
            addresses,
            records,
        } => {
            let mut cells: [String; 19] = Default::default();
            cells[0] = "drift".to_owned();
            cells[1] = at.to_rfc3339();
            cells[3] = repository.to_string();
            cells[4] = workspace.to_string();
            cells[5] = commit.to_string();
            cells[7] = run.to_string();
            cells[8] = "nobody".to_owned();
            cells[14] = list(addresses.clone());
            cells[18] = numbers(records);
            cells
        }
    };
    cells.map(|cell| quoted(&cell)).join(",")
}

/// A cell that neither ends early nor is taken for a formula by a spreadsheet.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if formula {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::policy::{Effect, Finding, Override, Verdict};
    use crate::run::Approval;

    fn record(number: u64, what: What, run: i64, purpose: Purpose) -> Record {
        Record {
            number,
            run: Some(RunId(run)),
            purpose: Some(purpose),
            repository: Some("acme/infra".parse().unwrap()),
            workspace: Some("network".parse().unwrap()),
            commit: Some("1".repeat(40).parse().unwrap()),
            fingerprint: Some("f".into()),
            trigger: Some(Trigger::Commit),
            state: Some(match what {
                What::Applied => State::Applied,
                What::ApplyStarted => State::Applying,
                _ => State::Planned,
            }),
            ..Record::new(what, now())
        }
    }

    fn only(records: &[Record]) -> (Basis, Implemented, Vec<String>, String) {
        match &change_log(records)[..] {
            [
                Entry::Change {
                    authorised,
                    implemented,
                    emergency,
                    outcome,
                    ..
                },
            ] => (
                authorised.clone(),
                *implemented,
                emergency.clone(),
                outcome.clone(),
            ),
            other => panic!("{other:?}"),
        }
    }

    fn merge() -> [Record; 3] {
        let pull = Some("#12".parse().unwrap());
        let mut records = [
            record(1, What::Planned, 1, Purpose::Propose),
            record(2, What::ApplyStarted, 2, Purpose::Merge),
            record(3, What::Applied, 2, Purpose::Merge),
        ];
        for record in &mut records {
            record.proposal.clone_from(&pull);
        }
        records[1].reviewed = Some(Reviewed::Exactly);
        records
    }

    #[test]
    fn a_merge_of_what_was_shown_is_applied_as_reviewed() {
        let (basis, implemented, emergency, outcome) = only(&merge());
        assert!(matches!(basis, Basis::Merge { .. }));
        assert_eq!(implemented, Implemented::AsReviewed);
        assert!(emergency.is_empty());
        assert_eq!(outcome, "applied");
    }

    #[test]
    fn the_runs_that_planned_it_are_those_before_the_apply() {
        let planned_by = |records: &[Record]| match &change_log(records)[0] {
            Entry::Change { planned_by, .. } => planned_by.clone(),
            Entry::Drift { .. } => panic!("a change"),
        };
        let mut records = merge();
        assert_eq!(planned_by(&records), [RunId(1)]);
        records[0].number = 4;
        records.rotate_left(1);
        assert_eq!(planned_by(&records), []);
    }

    #[test]
    fn a_change_that_nobody_was_shown_is_said_to_be_one() {
        let mut records = merge();
        records[1].reviewed = Some(Reviewed::Nobody);
        assert_eq!(only(&records).1, Implemented::NotShown);
        records[1].reviewed = None;
        assert_eq!(only(&records).1, Implemented::NotShown);
    }

    #[test]
    fn an_agreement_counts_for_its_own_plan_only() {
        let mut records = merge();
        let agreed = |fingerprint: &str| {
            Some(Approval {
                fingerprint: fingerprint.into(),
                by: "alice".into(),
            })
        };
        records[1].approval = agreed("f");
        assert_eq!(only(&records).1, Implemented::AsApproved);
        records[1].approval = agreed("another");
        assert_eq!(only(&records).1, Implemented::AsReviewed);
    }

    #[test]
    fn an_override_and_a_push_are_emergencies() {
        let mut records = merge();
        records[1].proposal = None;
        records[1].verdict = Some(Verdict {
            evaluated: vec!["baseline".into()],
            findings: vec![Finding {
                policy: "baseline".into(),
                title: String::new(),
                effect: Effect::Deny,
                message: String::new(),
                address: None,
                remedy: None,
                owners: Vec::new(),
                overridden: Some(Override {
                    by: "bob".into(),
                    reason: "the site is down".into(),
                }),
            }],
        });
        let (basis, _, emergency, _) = only(&records);
        assert_eq!(basis, Basis::Push);
        assert_eq!(emergency.len(), 2);
        assert!(emergency[1].contains("bob") && emergency[1].contains("the site is down"));
    }

    #[test]
    fn drift_is_a_change_that_nobody_authorised() {
        let mut found = record(1, What::Planned, 1, Purpose::Drift);
        found.drifted = vec!["localfs_file.subnet".into()];
        let entries = change_log(&[found.clone()]);
        assert!(matches!(&entries[..], [Entry::Drift { .. }]));
        assert!(csv_line(&entries[0]).contains("nobody"));
        found.drifted.clear();
        assert!(change_log(&[found]).is_empty());
    }

    #[test]
    fn an_apply_without_an_end_is_under_way() {
        assert_eq!(only(&merge()[..2]).3, "under way");
    }

    #[test]
    fn a_line_of_csv_has_as_many_cells_as_the_head_and_no_formula() {
        let mut records = merge();
        records[2].what = What::Failed;
        records[2].reason = Some("=HYPERLINK(\"x\")".into());
        records[2].state = Some(State::Failed);
        let line = csv_line(&change_log(&records)[0]);
        assert!(line.contains("\"failed: =HYPERLINK(\"\"x\"\")\""), "{line}");
        let plain = csv_line(&change_log(&merge())[0]);
        assert_eq!(plain.split(',').count(), CSV_HEAD.split(',').count());
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(quoted("a\"b,c"), "\"a\"\"b,c\"");
    }
}
