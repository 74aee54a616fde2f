//! What Terraform says would change: plan JSON read into changes, counts and a fingerprint.

mod carried;
mod data_types;
mod diagnostic;
mod difference;
mod fingerprint;
mod lines;
mod node;
mod pairs;
mod read;
mod reason;
mod room;
mod secrets;
mod sequence;
mod state;
mod summary;
pub mod text;
mod wording;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use carried::{Carried, CarriedError, StateVersion, look_into};
pub use data_types::{DataTypes, InvalidDataType};
pub use fingerprint::FingerprintKey;
pub use read::{PlanError, read, read_file, read_masked};
pub use room::{LeftOut, Room};

/// What a plan would do, with nothing secret in it: it may be stored and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of Terraform that made it.
    pub terraform_version: String,
    /// How many resources change, by kind; from the plan's JSON alone.
    pub counts: Counts,
    /// Every resource that changes, by address.
    pub changes: Vec<Change>,
    /// Outputs that change, by name.
    pub outputs: Vec<OutputChange>,
    /// What differs between the world and the last state, by address.
    pub drift: Vec<Change>,
    /// Checks of the configuration that failed or could not be known.
    pub checks: Vec<Check>,
    /// Whether the plan failed half way. Such a plan is never shown as `0 to change`.
    pub errored: bool,
    /// Whether the plan covers the whole configuration (false with `-target`).
    pub complete: bool,
    /// How many resources the state holds.
    pub resources_in_state: usize,
    /// Keyed digest of the changes: equal for equal changes, across reruns and folders.
    pub fingerprint: String,
    /// What is not listed here, since the plan is too large to be kept as a whole.
    #[serde(default, skip_serializing_if = "LeftOut::is_nothing")]
    pub left_out: LeftOut,
}

impl Plan {
    /// Whether applying it would do anything: to a resource, to the state, or to an output.
    ///
    /// Data sources that are read while applying change nothing.
    pub fn has_changes(&self) -> bool {
        self.counts != Counts::default() || self.changed_outputs() > 0
    }

    /// Whether the world differs from the state, or outputs would change: for a refresh-only plan
    /// at the applied commit, this is drift.
    ///
    /// An empty list where there was null is no difference, and the exit status of such a plan is
    /// not asked: Terraform 1.11 answers 2 right after a clean apply.
    pub fn has_drift(&self) -> bool {
        self.drifted() > 0 || self.changed_outputs() > 0
    }

    /// How many outputs change.
    pub fn changed_outputs(&self) -> usize {
        self.outputs.len() + self.left_out.outputs
    }

    /// How many resources differ between the world and the last state.
    pub fn drifted(&self) -> usize {
        self.drift.len() + self.left_out.drift
    }

    /// The changes that lose something that exists: destroyed and replaced resources, by address.
    pub fn destroys(&self) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(|change| change.action.destroys())
    }
}

/// How many resources change, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// To create.
    pub create: usize,
    /// To change in place.
    pub update: usize,
    /// To destroy and create again.
    pub replace: usize,
    /// To destroy.
    pub destroy: usize,
    /// To import (counted besides what else happens to the resource).
    pub import: usize,
    /// To move to another address (counted besides what else happens to the resource).
    pub moved: usize,
    /// To forget: out of the state, left in the world.
    pub forget: usize,
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The resource's address.
    pub address: String,
    /// Its address before, where it moves.
    pub previous_address: Option<String>,
    /// Its type, `aws_instance` say.
    pub kind: String,
    /// What happens.
    pub action: Action,
    /// Why, in a few words for people, from Terraform's `action_reason` and `replace_paths`.
    pub reason: Option<String>,
    /// The id that it is imported by.
    pub import_id: Option<String>,
    /// The attributes that change, as readable lines with secrets masked.
    pub lines: Vec<Line>,
    /// Keyed digest of address, action and values (unknown ones masked).
    pub digest: String,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is created.
    Create,
    /// It is read (a data source that could not be read while planning).
    Read,
    /// It is changed in place.
    Update,
    /// It is destroyed and created again, in whichever order.
    Replace,
    /// It is destroyed.
    Destroy,
    /// It leaves the state and stays in the world.
    Forget,
    /// It only moves or is only imported.
    NoOp,
}

impl Action {
    /// Whether something that exists is lost.
    pub fn destroys(self) -> bool {
        matches!(self, Self::Replace | Self::Destroy)
    }

    /// Whether what is changed exists before.
    pub fn touches_what_exists(self) -> bool {
        match self {
            Self::Update | Self::Replace | Self::Destroy | Self::Forget => true,
            Self::Create | Self::Read | Self::NoOp => false,
        }
    }
}

impl Action {
    /// The sign of the action, as Terraform writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Read => "<=",
            Self::Update => "~",
            Self::Replace => "-/+",
            Self::Destroy => "-",
            Self::Forget => ".",
            Self::NoOp => " ",
        }
    }
}

impl std::fmt::Display for Counts {
    /// `2 to create, 1 to destroy`, or `no changes`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            create,
            update,
            replace,
            destroy,
            import,
            moved,
            forget,
        } = *self;
        let counted: Vec<String> = [
            (create, "create"),
            (update, "change"),
            (replace, "replace"),
            (destroy, "destroy"),
            (import, "import"),
            (moved, "move"),
            (forget, "forget"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} to {word}"))
        .collect();
        if counted.is_empty() {
            f.write_str("no changes")
        } else {
            f.write_str(&counted.join(", "))
        }
    }
}

impl Sign {
    /// The sign as Terraform writes it; a space for what stays.
    pub fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Remove => '-',
            Self::Change => '~',
            Self::Same => ' ',
        }
    }
}

/// One line of a readable difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What happens to what the line shows.
    pub sign: Sign,
    /// How deep it is nested, from 0.
    pub depth: u8,
    /// The text, on one line, without control characters.
    pub text: String,
}

/// What happens to what a line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// It is added: `+`.
    Add,
    /// It goes: `-`.
    Remove,
    /// It changes: `~`.
    Change,
    /// It stays, shown for context.
    Same,
}

/// A change of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputChange {
    /// Its name.
    pub name: String,
    /// What happens to it: created, updated or destroyed.
    pub action: Action,
    /// Readable lines, secrets masked.
    pub lines: Vec<Line>,
}

/// A check, precondition or postcondition that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What it is attached to.
    pub address: String,
    /// `fail`, `error` or `unknown`.
    pub status: String,
    /// What it said.
    pub messages: Vec<String>,
}

/// A message of Terraform with the place that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The message in a line.
    pub summary: String,
    /// More of it.
    pub detail: String,
    /// The resource it is about.
    pub address: Option<String>,
    /// The file, relative to the folder that Terraform ran in.
    pub file: Option<String>,
    /// The line in the file, from 1.
    pub line: Option<u32>,
    /// The line's text.
    pub snippet: Option<String>,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something failed.
    Error,
    /// Something is odd.
    Warning,
}
