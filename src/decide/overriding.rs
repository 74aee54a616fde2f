//! Going on against a policy: by its owners, with a reason, for one plan.

use super::command::{Asked, Effect, Refusal, Subject, quoted};
use crate::clock::Timestamp;
use crate::id::{ProposalKey, RunId, WorkspaceName};
use crate::policy::{self, Finding, Verdict};
use crate::run::{Purpose, State};

/// The policy that a person goes on against, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overriding {
    /// The policy's name: letters, digits, `-` and `_`.
    pub policy: String,
    /// Why, in the person's own words. It is kept and shown, and never carried out.
    pub reason: String,
}

/// A run whose plan was judged by policies.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The run.
    pub run: RunId,
    /// Its workspace.
    pub workspace: WorkspaceName,
    /// What it is for.
    pub purpose: Purpose,
    /// The proposal that it plans.
    pub proposal: Option<ProposalKey>,
    /// Digest of the files that concern the workspace.
    pub inputs: String,
    /// Where it stands.
    pub state: State,
    /// When its state changed last.
    pub changed_at: Timestamp,
    /// What the policies say.
    pub verdict: Verdict,
}

/// Reads what follows `mainstay override`: `None` where it is just text.
pub(super) fn read(words: &[&str]) -> Option<Result<Overriding, Refusal>> {
    let (policy, reason) = words.split_first()?;
    let is_name = (1..=100).contains(&policy.len())
        && policy
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !is_name {
        return None;
    }
    if reason.is_empty() {
        return Some(Err(Refusal(format!(
            "an override needs a reason: `mainstay override {policy} REASON…`"
        ))));
    }
    Some(Ok(Overriding {
        policy: (*policy).to_owned(),
        reason: reason.join(" "),
    }))
}

/// An override that names no policy.
pub(super) fn unnamed() -> Refusal {
    Refusal("name the policy and say why: `mainstay override POLICY REASON…`".to_owned())
}

/// What an override leads to.
pub(super) fn effects(
    what: &Overriding,
    asked: &Asked<'_>,
    subject: &Subject<'_>,
    judged: &[Judged],
) -> Result<Vec<Effect>, Refusal> {
    if matches!(subject, Subject::Closed) {
        return Err(Refusal("this was closed without being merged".to_owned()));
    }
    let here: Vec<&Judged> = judged.iter().filter(|run| concerns(subject, run)).collect();
    let mut stopping: Vec<&str> = here
        .iter()
        .flat_map(|run| stops(&run.verdict))
        .map(|finding| finding.policy.as_str())
        .collect();
    stopping.sort_unstable();
    stopping.dedup();
    let mut effects = Vec::new();
    let mut done = false;
    for run in here {
        let of_policy = |finding: &&Finding| finding.policy == what.policy;
        done |= run
            .verdict
            .findings
            .iter()
            .filter(of_policy)
            .any(|finding| finding.overridden.is_some());
        let found: Vec<&Finding> = stops(&run.verdict).filter(of_policy).collect();
        if found.is_empty() {
            continue;
        }
        if run.changed_at > asked.at {
            return Err(Refusal(format!(
                "the plan of `{}` is newer than the command: read it, then ask again",
                run.workspace
            )));
        }
        // Who has the daemon's machine has its policies as well.
        if !matches!(subject, Subject::Machine) {
            for finding in &found {
                may_override(finding, asked.by)?;
            }
        }
        effects.push(Effect::Override {
            run: run.run,
            what: what.clone(),
        });
    }
    if effects.is_empty() && !done {
        let names: Vec<String> = stopping.iter().map(|name| format!("`{name}`")).collect();
        return Err(Refusal(match names.len() {
            0 => "no policy stops a plan here".to_owned(),
            1 => format!(
                "no plan here is stopped by {}; {} stops one",
                quoted(&what.policy),
                names[0]
            ),
            _ => format!(
                "no plan here is stopped by {}; these stop one: {}",
                quoted(&what.policy),
                names.join(", ")
            ),
        }));
    }
    Ok(effects)
}

/// The findings that stop a plan, and that nobody overrode.
fn stops(verdict: &Verdict) -> impl Iterator<Item = &Finding> {
    verdict
        .standing()
        .filter(|finding| finding.effect != policy::Effect::Warn)
}

fn concerns(subject: &Subject<'_>, run: &Judged) -> bool {
    let held = run.purpose == Purpose::Merge && run.state == State::Held;
    let shown = run.purpose == Purpose::Propose && run.state == State::Planned;
    match subject {
        Subject::Open(proposal) => {
            let touched = match &proposal.consideration {
                Some(super::Consideration::Merges { touched, .. }) => touched.as_slice(),
                _ => &[],
            };
            shown
                && run.proposal.as_ref() == Some(&proposal.key)
                // A plan of what the proposal was before is nobody's to let through.
                && touched
                    .iter()
                    .any(|t| t.name == run.workspace && t.inputs == run.inputs)
        }
        Subject::Merged { touched, .. } => held && touched.contains(&run.workspace),
        Subject::Drift(name) | Subject::Hold(name) => held && run.workspace == **name,
        Subject::Machine => held || shown,
        Subject::Closed => false,
    }
}

fn may_override(finding: &Finding, by: &str) -> Result<(), Refusal> {
    let owns = |owner: &String| owner == "*" || owner.eq_ignore_ascii_case(by);
    if finding.owners.iter().any(owns) {
        return Ok(());
    }
    Err(Refusal(match finding.owners.as_slice() {
        [] => format!(
            "the policy `{}` names nobody who may override it",
            finding.policy
        ),
        owners => format!(
            "the policy `{}` may be overridden by its owners only: {}",
            finding.policy,
            owners.join(", ")
        ),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    fn judged(owners: &[&str], state: State) -> Judged {
        Judged {
            run: RunId(3),
            workspace: "network".parse().unwrap(),
            purpose: Purpose::Merge,
            proposal: None,
            inputs: "i".into(),
            state,
            changed_at: now(),
            verdict: Verdict {
                evaluated: vec!["keep-data".into()],
                findings: vec![Finding {
                    policy: "keep-data".into(),
                    title: "t".into(),
                    effect: policy::Effect::Deny,
                    message: "m".into(),
                    address: None,
                    remedy: None,
                    owners: owners.iter().map(ToString::to_string).collect(),
                    overridden: None,
                }],
            },
        }
    }

    fn asked(policy: &str, by: &str, run: &Judged) -> Result<Vec<Effect>, Refusal> {
        let name = "network".parse().unwrap();
        let what = Overriding {
            policy: policy.into(),
            reason: "it burns".into(),
        };
        let asked = Asked {
            by,
            at: now(),
            head: None,
        };
        effects(
            &what,
            &asked,
            &Subject::Hold(&name),
            std::slice::from_ref(run),
        )
    }

    #[test]
    fn an_owner_overrides_and_others_are_refused() {
        let run = judged(&["Ana", "bob"], State::Held);
        assert!(asked("keep-data", "ana", &run).is_ok());
        let refusal = asked("keep-data", "mallory", &run).unwrap_err();
        assert!(refusal.0.contains("its owners only: Ana, bob"), "{refusal}");
        assert!(asked("keep-data", "mallory", &judged(&["*"], State::Held)).is_ok());
        let refusal = asked("keep-data", "ana", &judged(&[], State::Held)).unwrap_err();
        assert!(refusal.0.contains("names nobody"), "{refusal}");
    }

    #[test]
    fn only_what_stops_a_plan_is_overridden() {
        let run = judged(&["ana"], State::Held);
        let refusal = asked("keep-date", "ana", &run).unwrap_err();
        assert!(refusal.0.contains("`keep-data` stops one"), "{refusal}");
        let applied = judged(&["ana"], State::Applied);
        assert!(asked("keep-data", "ana", &applied).is_err());
        let mut warned = judged(&["ana"], State::Held);
        warned.verdict.findings[0].effect = policy::Effect::Warn;
        assert!(asked("keep-data", "ana", &warned).is_err());
    }

    #[test]
    fn an_override_counts_for_a_plan_that_was_there_to_be_read() {
        let mut run = judged(&["ana"], State::Held);
        run.changed_at = now() + chrono::TimeDelta::seconds(60);
        let refusal = asked("keep-data", "ana", &run).unwrap_err();
        assert!(refusal.0.contains("newer than the command"), "{refusal}");
    }

    #[test]
    fn the_reason_is_text_and_must_be_there() {
        assert_eq!(
            read(&["keep-data", "$(rm", "-rf)", "`x`"]),
            Some(Ok(Overriding {
                policy: "keep-data".into(),
                reason: "$(rm -rf) `x`".into(),
            }))
        );
        assert!(matches!(read(&["keep-data"]), Some(Err(_))));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["<b>", "x"]), None);
    }
}
