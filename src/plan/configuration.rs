//! The identity of the configuration that a saved plan carries.
//!
//! The digest of the changes has a blind spot: what a `local-exec` runs is not among
//! them. The plan's file holds the source of every module that made it, those fetched
//! from elsewhere included, and the lock file; their digest closes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use serde::Deserialize;
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

/// A saved plan with more source than this is no plan that a person could have read.
const SOURCE_LIMIT: u64 = 256 * 1024 * 1024;

/// Why the configuration in a saved plan could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("the saved plan cannot be read")]
    Read(#[from] io::Error),
    /// The file is no archive, as it is where OpenTofu encrypts its plans.
    #[error("the saved plan is no archive that can be looked into")]
    Archive(#[from] ZipError),
    /// Its list of modules is not understood.
    #[error("the saved plan's list of modules is not understood")]
    Manifest,
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

/// The keyed digest of the configuration and the lock file in a saved plan: equal for equal
/// code, wherever and whenever the plan was made.
///
/// # Errors
///
/// [`ConfigurationError`] where the file is no saved plan that can be looked into.
pub fn configuration_digest(
    file: &Path,
    key: &FingerprintKey,
) -> Result<String, ConfigurationError> {
    digest_of(BufReader::new(File::open(file)?), key)
}

fn digest_of(file: impl Read + Seek, key: &FingerprintKey) -> Result<String, ConfigurationError> {
    let mut archive = ZipArchive::new(file)?;
    let mut parts: BTreeMap<String, Value> = BTreeMap::new();
    let mut room = SOURCE_LIMIT;
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
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
        return Err(ConfigurationError::Manifest);
    }
    let mut digest = Digest::new(key, "configuration");
    for (name, part) in parts {
        digest.add(&json!([name, part]));
    }
    Ok(digest.finish())
}

fn spend(room: u64, used: u64) -> Result<u64, ConfigurationError> {
    room.checked_sub(used).ok_or(ConfigurationError::TooLarge)
}

/// The modules with their sources and versions, and without the folders that they were in.
fn modules(text: &[u8]) -> Result<Value, ConfigurationError> {
    let mut modules: Vec<Module> =
        serde_json::from_slice(text).map_err(|_| ConfigurationError::Manifest)?;
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

    fn digest(files: &[(&str, &str)]) -> Result<String, ConfigurationError> {
        digest_of(archive(files), &FingerprintKey::new([1; 32]))
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
        let with =
            |state| digest(&[("tfstate", state), ("tfplan", state), (MANIFEST, MODULES)]).unwrap();
        assert_eq!(with("one"), with("two"));
    }

    #[test]
    fn what_is_no_saved_plan_has_no_digest() {
        let key = FingerprintKey::new([1; 32]);
        assert!(digest_of(Cursor::new(b"encrypted".to_vec()), &key).is_err());
        assert!(matches!(
            digest(&[("tfplan", "x")]),
            Err(ConfigurationError::Manifest)
        ));
    }
}
