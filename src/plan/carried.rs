//! What a saved plan carries beside its changes: the configuration that made it, and which
//! state it was made on.
//!
//! The digest of the changes has a blind spot: what a `local-exec` runs is not among
//! them. The plan's file holds the source of every module that made it, those fetched
//! from elsewhere included, and the lock file; their digest closes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zip::ZipArchive;
use zip::result::ZipError;

use super::fingerprint::{Digest, FingerprintKey};

/// Where Terraform keeps the sources of modules in a saved plan.
const SOURCES: &str = "tfconfig/";

/// Which modules there are. It also says in which folder each was, which is left out of
/// the digest: the same code has the same digest wherever it was checked out.
const MANIFEST: &str = "tfconfig/modules.json";

/// The lock file's name in a saved plan.
const LOCK_FILE: &str = ".terraform.lock.hcl";

/// The state that the plan was made on. Beside it stands `tfstate-prev`, the state as it was before
/// the refresh, in which Terraform 1.11 leaves serial and lineage empty.
const STATE: &str = "tfstate";

/// A saved plan with more source than this is no plan that a person could have read.
const SOURCE_LIMIT: u64 = 256 * 1024 * 1024;

/// What a saved plan carries beside its changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The keyed digest of the configuration and the lock file: equal for equal code, wherever
    /// and whenever the plan was made.
    pub configuration: String,
    /// The state that it was made on.
    pub state: StateVersion,
}

/// Which version of which state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateVersion {
    /// Which state: the same for all versions of one; empty where there was none yet.
    pub lineage: String,
    /// Which version: it grows with each that is written.
    pub serial: u64,
}

/// Why a saved plan could not be looked into.
#[derive(Debug, thiserror::Error)]
pub enum CarriedError {
    /// The file cannot be read.
    #[error("the saved plan cannot be read")]
    Read(#[from] io::Error),
    /// The file is no archive, as it is where OpenTofu encrypts its plans.
    #[error("the saved plan is no archive that can be looked into")]
    Archive(#[from] ZipError),
    /// Its list of modules is not understood.
    #[error("the saved plan's list of modules is not understood")]
    Manifest,
    /// Its state is not understood.
    #[error("the state in the saved plan is not understood")]
    State,
    /// It holds too much.
    #[error("the saved plan holds more than {SOURCE_LIMIT} bytes of configuration")]
    TooLarge,
}

/// A module, as the list in a saved plan names it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    key: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    version: String,
}

/// Looks into a saved plan.
///
/// # Errors
///
/// [`CarriedError`] where the file is no saved plan that can be looked into.
pub fn look_into(file: &Path, key: &FingerprintKey) -> Result<Carried, CarriedError> {
    read(BufReader::new(File::open(file)?), key)
}

fn read(file: impl Read + Seek, key: &FingerprintKey) -> Result<Carried, CarriedError> {
    let mut archive = ZipArchive::new(file)?;
    let mut parts: BTreeMap<String, Value> = BTreeMap::new();
    let mut room = SOURCE_LIMIT;
    let mut state = StateVersion::default();
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        if name == STATE {
            state = serde_json::from_reader(BufReader::new(entry.take(SOURCE_LIMIT)))
                .map_err(|_| CarriedError::State)?;
            continue;
        }
        if !name.starts_with(SOURCES) && name != LOCK_FILE {
            continue;
        }
        // One byte more than there is room for, so that too much is seen as too much.
        let mut content = entry.take(room + 1);
        let part = if name == MANIFEST {
            let mut text = Vec::new();
            room = spend(room, io::copy(&mut content, &mut text)?)?;
            modules(&text)?
        } else {
            let mut hash = Sha256::new();
            room = spend(room, io::copy(&mut content, &mut hash)?)?;
            json!(hex::encode(hash.finalize()))
        };
        parts.insert(name, part);
    }
    if !parts.contains_key(MANIFEST) {
        return Err(CarriedError::Manifest);
    }
    let mut digest = Digest::new(key, "configuration");
    for (name, part) in parts {
        digest.add(&json!([name, part]));
    }
    Ok(Carried {
        configuration: digest.finish(),
        state,
    })
}

fn spend(room: u64, used: u64) -> Result<u64, CarriedError> {
    room.checked_sub(used).ok_or(CarriedError::TooLarge)
}

/// The modules with their sources and versions, and without the folders that they were in.
fn modules(text: &[u8]) -> Result<Value, CarriedError> {
    let mut modules: Vec<Module> =
        serde_json::from_slice(text).map_err(|_| CarriedError::Manifest)?;
    modules.sort_by(|a, b| a.key.cmp(&b.key));
    let named = modules
        .into_iter()
        .map(|m| json!([m.key, m.source, m.version]));
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(files: &[(&str, &str)]) -> Cursor<Vec<u8>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            writer
                .start_file(*name, SimpleFileOptions::default())
                .unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn digest(files: &[(&str, &str)]) -> Result<String, CarriedError> {
        let carried = read(archive(files), &FingerprintKey::new([1; 32]))?;
        Ok(carried.configuration)
    }

    const MODULES: &str = r#"[{"Key":"","Dir":"."},{"Key":"a","Source":"./m","Dir":"m"}]"#;

    fn plan(main: &str, lock: &str, modules: &str) -> String {
        digest(&[
            ("tfplan", "whatever"),
            ("tfconfig/m-/main.tf", main),
            (MANIFEST, modules),
            (LOCK_FILE, lock),
        ])
        .unwrap()
    }

    #[test]
    fn other_code_is_another_configuration() {
        let one = plan("command = \"true\"", "", MODULES);
        assert_ne!(one, plan("command = \"false\"", "", MODULES));
        assert_ne!(one, plan("command = \"true\"", "hashes", MODULES));
    }

    #[test]
    fn the_folder_of_a_module_does_not_count_and_its_source_does() {
        let one = plan("x", "", MODULES);
        assert_eq!(
            one,
            plan("x", "", &MODULES.replace("\"m\"", "\"/elsewhere/m\""))
        );
        assert_ne!(
            one,
            plan(
                "x",
                "",
                &MODULES.replace("./m", "git::https://example.com/m")
            )
        );
    }

    #[test]
    fn the_changes_and_the_state_in_a_plan_are_no_configuration() {
        let with = |serial: u64| {
            let state = format!("{{\"serial\":{serial},\"lineage\":\"1f\"}}");
            let files = [
                (STATE, state.as_str()),
                ("tfplan", &state),
                (MANIFEST, MODULES),
            ];
            digest(&files).unwrap()
        };
        assert_eq!(with(1), with(2));
    }

    #[test]
    fn the_version_of_the_state_is_known() {
        let state = r#"{"version":4,"serial":7,"lineage":"1f","outputs":{},"resources":[]}"#;
        let file = archive(&[(STATE, state), (MANIFEST, MODULES)]);
        let carried = read(file, &FingerprintKey::new([1; 32])).unwrap();
        let version = StateVersion {
            lineage: "1f".into(),
            serial: 7,
        };
        assert_eq!(carried.state, version);
    }

    #[test]
    fn what_is_no_saved_plan_has_no_digest() {
        let key = FingerprintKey::new([1; 32]);
        assert!(read(Cursor::new(b"encrypted".to_vec()), &key).is_err());
        assert!(matches!(
            digest(&[("tfplan", "x")]),
            Err(CarriedError::Manifest)
        ));
    }
}
