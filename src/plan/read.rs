//! Reading what `terraform show -json PLAN` wrote.
//!
//! The file is read as a stream: of prior state, planned values and configuration,
//! which are most of it, only what counts or is secret is kept, and of a resource
//! that changes the text until all secrets are known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Plan;
use super::fingerprint::FingerprintKey;
use super::secrets::Secrets;
use super::state::PriorState;
use super::summary::summarise;
use super::text::{cut, legible};
use crate::redact::Redactor;

/// The major version of the plan format that is understood, per Terraform's
/// "JSON Output Format": within it only things that may be ignored are added.
const FORMAT_MAJOR: &str = "1";

/// Why a plan could not be read. Its text holds nothing of the plan's values.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file is not there or may not be read.
    #[error("the plan's JSON {} cannot be opened", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file could not be read to its end.
    #[error("the plan's JSON cannot be read")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no JSON, is cut off, or has another shape than a plan. The parser's own words
    /// would quote values, which may be secret, and are left out.
    #[error(
        "the plan's JSON is broken or is no plan, at line {line}, column {column}: \
         run `terraform show -json` on the plan file again"
    )]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// It is of a format that is not understood.
    #[error(
        "the plan's JSON has format `{found}`, and only 1.x is understood: \
         this Terraform is too new or too old"
    )]
    Format {
        /// The version it says, or nothing.
        found: String,
    },
    /// A resource or output has actions that are not understood, so the counts would be wrong.
    #[error(
        "the plan does `{actions}` to `{address}`, which is not understood: \
         this Terraform is too new"
    )]
    Actions {
        /// Whose.
        address: String,
        /// Which.
        actions: String,
    },
}

/// Reads a plan's JSON from a file, as [`read_masked`] does.
///
/// # Errors
///
/// [`PlanError::Open`] besides what [`read_masked`] gives.
pub fn read_file(
    path: &Path,
    key: &FingerprintKey,
    known: &Redactor,
) -> Result<(Plan, Redactor), PlanError> {
    let file = File::open(path).map_err(|source| PlanError::Open {
        path: path.to_owned(),
        source,
    })?;
    read_masked(file, key, known)
}

/// Reads a plan's JSON, and masks the secrets that it marks. Where more secrets are
/// known, the environment's say, use [`read_masked`].
///
/// # Errors
///
/// As [`read_masked`].
pub fn read(reader: impl Read, key: &FingerprintKey) -> Result<(Plan, Redactor), PlanError> {
    read_masked(reader, key, &Redactor::default())
}

/// Reads a plan's JSON, and masks the secrets that it marks besides those that `known` masks.
/// The redactor in the answer masks both, for whatever else comes of the same run.
///
/// # Errors
///
/// [`PlanError`] where it cannot be read or is not understood; never a part of a plan.
pub fn read_masked(
    reader: impl Read,
    key: &FingerprintKey,
    known: &Redactor,
) -> Result<(Plan, Redactor), PlanError> {
    let document: Document = serde_json::from_reader(BufReader::new(reader)).map_err(|error| {
        if error.is_io() {
            PlanError::Read {
                source: error.into(),
            }
        } else {
            PlanError::Malformed {
                line: error.line(),
                column: error.column(),
            }
        }
    })?;
    let found = document.format_version.as_deref().unwrap_or("none");
    if found.split('.').next() != Some(FORMAT_MAJOR) {
        return Err(PlanError::Format {
            found: cut(&legible(found), 40),
        });
    }
    summarise(document, key, known)
}

/// What is kept of a plan's JSON.
#[derive(Default)]
pub(super) struct Document {
    format_version: Option<String>,
    pub(super) terraform_version: String,
    pub(super) errored: bool,
    pub(super) complete: bool,
    /// The resources that change, each as its own text.
    pub(super) changes: Vec<Box<RawValue>>,
    /// What differs between the world and the last state, likewise.
    pub(super) drift: Vec<Box<RawValue>>,
    pub(super) outputs: BTreeMap<String, Delta>,
    pub(super) checks: Vec<CheckResult>,
    pub(super) resources_in_state: usize,
    /// What the plan marks as sensitive.
    pub(super) secrets: Secrets,
}

/// A resource of `resource_changes` or `resource_drift`.
#[derive(Deserialize)]
pub(super) struct ResourceChange {
    pub(super) address: String,
    #[serde(default)]
    pub(super) previous_address: Option<String>,
    #[serde(default)]
    pub(super) mode: Option<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) deposed: Option<String>,
    pub(super) change: Delta,
    #[serde(default)]
    pub(super) action_reason: Option<String>,
}

/// A value before and after, with its masks.
#[derive(Deserialize)]
pub(super) struct Delta {
    pub(super) actions: Vec<String>,
    #[serde(default)]
    pub(super) before: Value,
    #[serde(default)]
    pub(super) after: Value,
    #[serde(default)]
    pub(super) after_unknown: Value,
    #[serde(default)]
    pub(super) before_sensitive: Value,
    #[serde(default)]
    pub(super) after_sensitive: Value,
    #[serde(default)]
    pub(super) replace_paths: Option<Vec<Vec<Value>>>,
    #[serde(default)]
    pub(super) importing: Option<Value>,
}

impl Delta {
    /// Whether nothing happens.
    pub(super) fn is_no_op(&self) -> bool {
        self.actions.is_empty() || self.actions.iter().all(|action| action == "no-op")
    }

    fn collect_secrets(&self, secrets: &mut Secrets) {
        secrets.collect(&self.before, &self.before_sensitive);
        secrets.collect(&self.after, &self.after_sensitive);
    }
}

/// A check with its instances.
#[derive(Deserialize)]
pub(super) struct CheckResult {
    #[serde(default)]
    pub(super) address: CheckAddress,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) instances: Option<Vec<CheckResult>>,
    #[serde(default)]
    pub(super) problems: Option<Vec<Problem>>,
}

#[derive(Deserialize, Default)]
pub(super) struct CheckAddress {
    #[serde(default)]
    pub(super) to_display: String,
}

#[derive(Deserialize)]
pub(super) struct Problem {
    #[serde(default)]
    pub(super) message: String,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plan")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        // Terraform before 1.8 says nothing of `complete`, and knew no deferred parts.
        let mut document = Document {
            complete: true,
            ..Document::default()
        };
        let mut variables = BTreeMap::new();
        let mut sensitive_variables = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "format_version" => {
                    let version: String = map.next_value()?;
                    let known = version.split('.').next() == Some(FORMAT_MAJOR);
                    document.format_version = Some(version);
                    if !known {
                        // The rest may have any shape: it is passed over, and refused after.
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        return Ok(document);
                    }
                }
                "terraform_version" => document.terraform_version = map.next_value()?,
                "errored" => document.errored = map.next_value()?,
                "complete" => document.complete = map.next_value()?,
                "resource_changes" => {
                    let list = map.next_value::<Option<ChangeList>>()?.unwrap_or_default();
                    document.changes.extend(list.kept);
                    document.secrets.extend(list.secrets);
                }
                "resource_drift" => {
                    let list = map.next_value::<Option<ChangeList>>()?.unwrap_or_default();
                    document.drift.extend(list.kept);
                    document.secrets.extend(list.secrets);
                }
                "output_changes" => {
                    document.outputs = map.next_value::<Option<_>>()?.unwrap_or_default();
                    for delta in document.outputs.values() {
                        delta.collect_secrets(&mut document.secrets);
                    }
                }
                "checks" => document.checks = map.next_value::<Option<_>>()?.unwrap_or_default(),
                "prior_state" => {
                    let state = map.next_value::<Option<PriorState>>()?.unwrap_or_default();
                    document.resources_in_state = state.resources;
                    document.secrets.extend(state.secrets);
                }
                "variables" => {
                    variables = map
                        .next_value::<Option<BTreeMap<String, VariableValue>>>()?
                        .unwrap_or_default();
                }
                "configuration" => {
                    let configuration = map
                        .next_value::<Option<Configuration>>()?
                        .unwrap_or_default();
                    sensitive_variables = configuration.sensitive_variables();
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        for (name, variable) in variables {
            if sensitive_variables.contains(&name) {
                document.secrets.collect_all(&variable.value);
            }
        }
        Ok(document)
    }
}

/// The resources of a list that change, and the secrets of all of them.
#[derive(Default)]
struct ChangeList {
    kept: Vec<Box<RawValue>>,
    secrets: Secrets,
}

impl<'de> Deserialize<'de> for ChangeList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = ChangeList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of resource changes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ChangeList, A::Error> {
                let mut list = ChangeList::default();
                while let Some(raw) = seq.next_element::<Box<RawValue>>()? {
                    let resource: ResourceChange = serde_json::from_str(raw.get())
                        .map_err(|_| de::Error::custom("no resource change"))?;
                    resource.change.collect_secrets(&mut list.secrets);
                    let changes = !resource.change.is_no_op()
                        || resource.previous_address.is_some()
                        || resource.change.importing.is_some();
                    if changes {
                        list.kept.push(raw);
                    }
                }
                Ok(list)
            }
        }

        deserializer.deserialize_seq(ListVisitor)
    }
}

#[derive(Deserialize)]
struct VariableValue {
    #[serde(default)]
    value: Value,
}

/// Of the configuration only which of the root module's variables are sensitive.
#[derive(Deserialize, Default)]
struct Configuration {
    #[serde(default)]
    root_module: Option<ModuleConfiguration>,
}

#[derive(Deserialize, Default)]
struct ModuleConfiguration {
    #[serde(default)]
    variables: Option<BTreeMap<String, VariableConfiguration>>,
}

#[derive(Deserialize)]
struct VariableConfiguration {
    #[serde(default)]
    sensitive: Option<bool>,
}

impl Configuration {
    fn sensitive_variables(self) -> BTreeSet<String> {
        self.root_module
            .and_then(|module| module.variables)
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, variable)| variable.sensitive == Some(true))
            .map(|(name, _)| name)
            .collect()
    }
}
