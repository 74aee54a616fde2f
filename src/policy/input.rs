//! What a policy is given: the plan's JSON, and what Mainstay knows beside it.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use regorus::Value;
use serde::{Deserialize, Serialize};

/// A plan whose JSON has more bytes is not judged: it would take several times as much memory.
const LARGEST_PLAN: u64 = 256 * 1024 * 1024;

/// What Mainstay knows of a plan: `input.mainstay`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Context {
    /// The repository.
    pub repository: String,
    /// The workspace.
    pub workspace: String,
    /// The environment that it belongs to.
    pub environment: Option<String>,
    /// What the plan is for: `propose`, `merge`, `drift` or `dry-run`.
    pub purpose: String,
    /// The commit that is planned.
    pub commit: String,
    /// The base branch.
    pub branch: String,
    /// Where its state is; nothing where Mainstay keeps it.
    pub backend: Option<Backend>,
    /// The proposal that it belongs to, where it belongs to one.
    pub pull_request: Option<PullRequest>,
    /// Who opened the proposal.
    pub author: Option<String>,
    /// The labels of the proposal.
    pub labels: Vec<String>,
    /// The paths of the files that the proposal changes.
    pub files: Vec<String>,
}

/// Settings of backends that policies may see: none of them is a credential.
const BACKEND_SETTINGS: [&str; 12] = [
    "bucket",
    "container_name",
    "dynamodb_table",
    "encrypt",
    "key",
    "lock_address",
    "path",
    "prefix",
    "region",
    "use_lockfile",
    "workspace_key_prefix",
    "workspace_dir",
];

/// Where a state is, as policies see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its type: `s3`, say.
    #[serde(rename = "type")]
    pub kind: String,
    /// Those of its settings that hold no credentials.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl Backend {
    /// Reads the record that `terraform init` leaves in its data folder; `None` where it holds none.
    pub fn of_record(record: &serde_json::Value) -> Option<Self> {
        let backend = &record["backend"];
        let kind = backend["type"].as_str()?.to_owned();
        let settings = BACKEND_SETTINGS
            .iter()
            .filter_map(|name| {
                let value = &backend["config"][*name];
                let known = value.is_boolean()
                    || value
                        .as_str()
                        // An address may have a password in it.
                        .is_some_and(|text| !text.contains('@'));
                known.then(|| ((*name).to_owned(), value.clone()))
            })
            .collect();
        Some(Self { kind, settings })
    }
}

/// A proposal, as policies see it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number; nothing where it is a branch of a plain remote.
    pub number: Option<u64>,
    /// Its title.
    pub title: String,
    /// Who opened it.
    pub author: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its head commit.
    pub head: String,
    /// The branch that it is for.
    pub base: String,
    /// Whether its head is in another repository.
    pub fork: bool,
}

/// Why a plan cannot be given to policies.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be read.
    #[error("the plan's JSON cannot be read")]
    Read(#[from] std::io::Error),
    /// The file is too large.
    #[error("the plan's JSON has {bytes} bytes, and policies judge up to {LARGEST_PLAN}")]
    TooLarge {
        /// Its size, in bytes.
        bytes: u64,
    },
    /// The file is no plan. The parser's own words would quote values, which may be secret.
    #[error("the plan's JSON is broken at line {line}, column {column}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
}

/// What policies are given. No `Debug`: it holds the plan's secrets in clear.
#[derive(Clone)]
pub struct Input(pub(super) Value);

impl Input {
    /// Reads what `terraform show -json PLAN` wrote into `file`.
    ///
    /// It is read from disk once, into the one form that policies use.
    ///
    /// # Errors
    ///
    /// [`InputError`] where it cannot be read or is too large.
    pub fn read(file: &Path, context: &Context) -> Result<Self, InputError> {
        let file = File::open(file)?;
        let bytes = file.metadata()?.len();
        if bytes > LARGEST_PLAN {
            return Err(InputError::TooLarge { bytes });
        }
        let plan: Value = serde_json::from_reader(BufReader::new(file)).map_err(malformed)?;
        Ok(Self::of(plan, context))
    }

    /// Takes a plan that is in memory already: of a test, say.
    ///
    /// # Errors
    ///
    /// [`InputError::Malformed`] where it is no JSON.
    pub fn parse(plan: &str, context: &Context) -> Result<Self, InputError> {
        let plan: Value = serde_json::from_str(plan).map_err(malformed)?;
        Ok(Self::of(plan, context))
    }

    fn of(mut plan: Value, context: &Context) -> Self {
        let known = serde_json::to_string(context).expect("a context is texts and lists of texts");
        let known = Value::from_json_str(&known).expect("what was written as JSON is read as JSON");
        if let Ok(map) = plan.as_object_mut() {
            map.insert(Value::from("mainstay"), known);
        }
        Self(plan)
    }
}

fn malformed(error: serde_json::Error) -> InputError {
    InputError::Malformed {
        line: error.line(),
        column: error.column(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn policies_see_no_credentials_of_a_backend() {
        let record = json!({
            "version": 3,
            "backend": {
                "type": "s3",
                "config": {
                    "bucket": "states",
                    "secret_key": "hunter2",
                    "use_lockfile": true,
                    "lock_address": "https://user:hunter2@example.com",
                    "region": null,
                },
            },
        });
        let backend = Backend::of_record(&record).unwrap();
        let shown = serde_json::to_value(&backend).unwrap();
        assert_eq!(
            shown,
            json!({"type": "s3", "settings": {"bucket": "states", "use_lockfile": true}})
        );
        assert_eq!(Backend::of_record(&json!({"version": 3})), None);
    }
}
