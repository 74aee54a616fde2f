//! From what was read of a plan's JSON to a [`Plan`] that may be stored and shown.

use serde_json::{Value, json};

use super::difference::{Compared, output_lines, resource_lines};
use super::fingerprint::{Digest, FingerprintKey};
use super::node::{Node, really_differ};
use super::read::{CheckResult, Delta, Document, PlanError, ResourceChange};
use super::reason;
use super::secrets::Secrets;
use super::text::{LINE_LIMIT, cut, legible, legible_lines};
use super::{Action, Change, Check, Counts, LeftOut, OutputChange, Plan};
use crate::redact::Redactor;

/// Separates the digests of changes from those of plans, and both from other uses of the key.
const CHANGE_DOMAIN: &str = "mainstay change 1";
const PLAN_DOMAIN: &str = "mainstay plan 1";

/// At most this many messages of one check are kept.
const MESSAGES: usize = 20;

/// Makes the plan, and the redactor of its secrets and those of `known`.
pub(super) fn summarise(
    mut document: Document,
    key: &FingerprintKey,
    known: &Redactor,
) -> Result<(Plan, Redactor), PlanError> {
    let secrets: Secrets = std::mem::take(&mut document.secrets);
    let redactor = known.and(secrets.into_values());
    let summary = Summary {
        key,
        redactor: &redactor,
    };
    let plan = summary.plan(document)?;
    Ok((plan, redactor))
}

struct Summary<'a> {
    key: &'a FingerprintKey,
    redactor: &'a Redactor,
}

/// What happens, with what Terraform's single actions do not say.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Effect {
    action: Action,
    /// Whether an object leaves the state without being destroyed.
    forgets: bool,
}

impl Summary<'_> {
    fn plan(&self, mut document: Document) -> Result<Plan, PlanError> {
        let mut digest = Digest::new(self.key, PLAN_DOMAIN);
        digest.add(&json!([
            document.terraform_version,
            document.errored,
            document.complete
        ]));
        let mut counts = Counts::default();
        let mut changes = Vec::new();
        // Each text goes as soon as it is read: a plan is not held twice.
        for raw in std::mem::take(&mut document.changes) {
            let resource = parsed(raw.get())?;
            let effect = self.effect(&resource.address, &resource.change)?;
            count(&mut counts, effect, &resource);
            changes.push(self.change(resource, effect));
        }
        sort(&mut changes);
        digest.add(
            &changes
                .iter()
                .map(|(_, change)| change.digest.as_str())
                .collect(),
        );
        let outputs = self.outputs(&document, &mut digest)?;
        digest.add(&json!(outputs.len()));
        digest.add(&check_statuses(&document.checks));
        let mut drift = Vec::new();
        for raw in std::mem::take(&mut document.drift) {
            let resource = parsed(raw.get())?;
            if really_differ(&resource.change.before, &resource.change.after) {
                let effect = self.effect(&resource.address, &resource.change)?;
                drift.push(self.change(resource, effect));
            }
        }
        sort(&mut drift);
        Ok(Plan {
            terraform_version: self.line(&document.terraform_version),
            counts,
            changes: changes.into_iter().map(|(_, change)| change).collect(),
            outputs,
            drift: drift.into_iter().map(|(_, change)| change).collect(),
            checks: self.checks(&document.checks),
            errored: document.errored,
            complete: document.complete,
            resources_in_state: document.resources_in_state,
            fingerprint: digest.finish(),
            left_out: LeftOut::default(),
        })
    }

    /// One change, with the address that it is sorted by.
    fn change(&self, resource: ResourceChange, effect: Effect) -> (String, Change) {
        let mut digest = Digest::new(self.key, CHANGE_DOMAIN);
        let delta = &resource.change;
        digest.add(&json!([
            resource.address,
            resource.previous_address,
            resource.deposed,
            delta.actions,
        ]));
        for value in [&delta.before, &delta.after, &delta.after_unknown] {
            digest.add(value);
        }
        digest.add(delta.importing.as_ref().unwrap_or(&Value::Null));
        let change = Change {
            address: self.line(&resource.address),
            previous_address: resource.previous_address.as_deref().map(|a| self.line(a)),
            kind: self.line(&resource.kind),
            action: effect.action,
            reason: self.reason(&resource, effect),
            import_id: delta
                .importing
                .as_ref()
                .map(|importing| self.import_id(importing)),
            lines: self.lines(delta, effect),
            digest: digest.finish(),
        };
        (resource.address, change)
    }

    fn lines(&self, delta: &Delta, effect: Effect) -> Vec<super::Line> {
        let nothing = Value::Null;
        let before = || Node::new(&delta.before, &nothing, &delta.before_sensitive);
        let after = || Node::new(&delta.after, &delta.after_unknown, &delta.after_sensitive);
        let compared = match effect.action {
            Action::Create | Action::Read => Compared::Added(after()),
            Action::Destroy => Compared::Removed(before()),
            Action::Forget => Compared::Kept(before()),
            Action::Update | Action::Replace | Action::NoOp => Compared::Changed(before(), after()),
        };
        let forcing = delta.replace_paths.as_deref().unwrap_or_default();
        resource_lines(compared, forcing, self.redactor)
    }

    fn reason(&self, resource: &ResourceChange, effect: Effect) -> Option<String> {
        if resource.deposed.is_some() {
            return Some("a left-over object of an earlier replacement".to_owned());
        }
        let forcing = resource.change.replace_paths.as_deref().unwrap_or_default();
        let words = reason::words(resource.action_reason.as_deref(), forcing, self.redactor);
        match effect {
            Effect {
                action: Action::Forget,
                ..
            } => Some("it stays in the world, and is managed no longer".to_owned()),
            Effect { forgets: true, .. } => Some(format!(
                "{}; the old object stays in the world, and is managed no longer",
                words.unwrap_or_else(|| "a new object takes its place".to_owned())
            )),
            _ => words,
        }
    }

    fn import_id(&self, importing: &Value) -> String {
        match importing.get("id").and_then(Value::as_str) {
            Some(id) => self.line(id),
            None => match importing.get("identity") {
                Some(identity) if !identity.is_null() => self.line(&identity.to_string()),
                _ => super::wording::UNKNOWN.to_owned(),
            },
        }
    }

    fn outputs(
        &self,
        document: &Document,
        digest: &mut Digest,
    ) -> Result<Vec<OutputChange>, PlanError> {
        let mut outputs = Vec::new();
        for (name, delta) in document
            .outputs
            .iter()
            .filter(|(_, delta)| !delta.is_no_op())
        {
            let action = self.effect(name, delta)?.action;
            digest.add(&json!([name, delta.actions]));
            for value in [&delta.before, &delta.after, &delta.after_unknown] {
                digest.add(value);
            }
            let before = Node::new(&delta.before, &Value::Null, &delta.before_sensitive);
            let after = Node::new(&delta.after, &delta.after_unknown, &delta.after_sensitive);
            outputs.push(OutputChange {
                name: self.line(name),
                action,
                lines: output_lines(name, &before, &after, self.redactor),
            });
        }
        Ok(outputs)
    }

    fn checks(&self, results: &[CheckResult]) -> Vec<Check> {
        let mut checks = Vec::new();
        for result in results {
            let instances = result.instances.as_deref().unwrap_or_default();
            let of_itself = std::slice::from_ref(result);
            let parts = if instances.is_empty() {
                of_itself
            } else {
                instances
            };
            for part in parts.iter().filter(|part| part.status != "pass") {
                let address = match part.address.to_display.as_str() {
                    "" => &result.address.to_display,
                    address => address,
                };
                let problems = part.problems.as_deref().unwrap_or_default();
                checks.push(Check {
                    address: self.line(address),
                    status: self.line(&part.status),
                    messages: problems
                        .iter()
                        .take(MESSAGES)
                        .map(|p| self.text(&p.message))
                        .collect(),
                });
            }
        }
        checks.sort_by(|a, b| (&a.address, &a.status).cmp(&(&b.address, &b.status)));
        checks
    }

    /// What Terraform's actions come to.
    fn effect(&self, address: &str, delta: &Delta) -> Result<Effect, PlanError> {
        let actions: Vec<&str> = delta.actions.iter().map(String::as_str).collect();
        let (action, forgets) = match actions.as_slice() {
            [] | ["no-op"] => (Action::NoOp, false),
            ["create"] => (Action::Create, false),
            ["read"] => (Action::Read, false),
            ["update"] => (Action::Update, false),
            ["delete"] => (Action::Destroy, false),
            ["forget"] => (Action::Forget, true),
            ["delete", "create"] | ["create", "delete"] => (Action::Replace, false),
            // The old object is not destroyed, but what stands at the address is lost to
            // whoever uses it, so it is treated as a replacement.
            ["create", "forget"] | ["forget", "create"] => (Action::Replace, true),
            other => {
                return Err(PlanError::Actions {
                    address: self.line(address),
                    actions: self.line(&other.join(", ")),
                });
            }
        };
        Ok(Effect { action, forgets })
    }

    /// A text of the plan on one line, fit to be shown.
    fn line(&self, text: &str) -> String {
        cut(&legible(&self.redactor.redact(text)), LINE_LIMIT)
    }

    /// A text of the plan that may have several lines, fit to be shown.
    fn text(&self, text: &str) -> String {
        cut(
            &legible_lines(&self.redactor.redact(text)).join("\n"),
            LINE_LIMIT,
        )
    }
}

/// A resource's text was parsed once already when it was read.
fn parsed(raw: &str) -> Result<ResourceChange, PlanError> {
    serde_json::from_str(raw).map_err(|error| PlanError::Malformed {
        line: error.line(),
        column: error.column(),
    })
}

/// Sorts by the true address, and objects of one address by their digest.
fn sort(changes: &mut [(String, Change)]) {
    changes.sort_by(|(a, x), (b, y)| (a, &x.digest).cmp(&(b, &y.digest)));
}

fn count(counts: &mut Counts, effect: Effect, resource: &ResourceChange) {
    if resource.mode.as_deref() == Some("data") {
        return;
    }
    match effect.action {
        Action::Create => counts.create += 1,
        Action::Update => counts.update += 1,
        Action::Replace => counts.replace += 1,
        Action::Destroy => counts.destroy += 1,
        Action::Forget | Action::Read | Action::NoOp => {}
    }
    counts.forget += usize::from(effect.forgets);
    counts.import += usize::from(resource.change.importing.is_some());
    counts.moved += usize::from(
        resource
            .previous_address
            .as_ref()
            .is_some_and(|before| *before != resource.address),
    );
}

/// Address and status of every check, sorted: part of a plan's identity.
fn check_statuses(results: &[CheckResult]) -> Value {
    let mut statuses: Vec<(String, String)> = results
        .iter()
        .flat_map(|result| {
            let instances = result.instances.as_deref().unwrap_or_default();
            std::iter::once(result).chain(instances)
        })
        .map(|result| (result.address.to_display.clone(), result.status.clone()))
        .collect();
    statuses.sort();
    json!(statuses)
}
