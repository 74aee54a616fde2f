//! The folder of policies on disk: which files make which policy.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use regorus::Value;
use serde::{Deserialize, Serialize};

use super::PolicyProblem;

/// The folder whose files belong to every policy.
pub(super) const LIBRARY: &str = "lib";

/// A file of more bytes is no policy and no list.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// Folders are not followed deeper than this.
const DEEPEST: usize = 8;

/// A file as it was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RegoFile {
    /// Its path, seen from the folder of policies.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
}

/// A data file as it was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DataFile {
    /// Its path, seen from the folder of policies.
    pub(super) path: String,
    /// What it holds.
    pub(super) value: Value,
}

/// The files of one policy, or of the library.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct PolicyFiles {
    /// The rules.
    pub(super) rules: Vec<RegoFile>,
    /// The tests of the rules.
    pub(super) tests: Vec<RegoFile>,
    /// The data of this policy alone.
    pub(super) data: Vec<DataFile>,
}

/// All that the folder holds.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The policies by name.
    pub(super) policies: BTreeMap<String, PolicyFiles>,
    /// The files that belong to every policy.
    pub(super) library: PolicyFiles,
    /// What is wrong with files.
    pub(super) problems: Vec<PolicyProblem>,
}

/// Reads a folder of policies. One that is not there holds none.
pub(super) fn read(top: &Path) -> Folder {
    let mut folder = Folder::default();
    for (name, path, kind) in entries(top, top, &mut folder.problems) {
        match kind {
            Kind::Folder => {
                let mut files = PolicyFiles::default();
                read_below(top, &path, 1, &mut files, &mut folder.problems);
                if name == LIBRARY {
                    folder.library.rules.append(&mut files.rules);
                    folder.library.tests.append(&mut files.tests);
                    folder.library.data.append(&mut files.data);
                } else if !files.rules.is_empty() {
                    folder.policies.insert(name, files);
                }
            }
            Kind::Rego => {
                let stem = name.trim_end_matches(".rego");
                let (policy, test) = match stem.strip_suffix("_test") {
                    Some(policy) => (policy, true),
                    None => (stem, false),
                };
                let Some(file) = rego(top, &path, &mut folder.problems) else {
                    continue;
                };
                let files = folder.policies.entry(policy.to_owned()).or_default();
                if test {
                    files.tests.push(file);
                } else {
                    files.rules.push(file);
                }
            }
            Kind::Data => folder
                .library
                .data
                .extend(data(top, &path, &mut folder.problems)),
        }
    }
    for (name, files) in &folder.policies {
        if !is_name(name) {
            let file = files.rules.first().or(files.tests.first());
            folder.problems.push(PolicyProblem::in_file(
                file.map_or(name, |f| &f.path),
                None,
                format!(
                    "`{name}` is no name of a policy; one has 1 to 100 letters, digits, `-` and `_`"
                ),
            ));
        } else if files.rules.is_empty() {
            folder.problems.push(PolicyProblem::in_file(
                files.tests.first().map_or(name, |f| &f.path),
                None,
                format!("there are tests and no policy `{name}.rego` beside them"),
            ));
        }
    }
    folder.policies.retain(|_, files| !files.rules.is_empty());
    folder
}

fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn read_below(
    top: &Path,
    folder: &Path,
    depth: usize,
    files: &mut PolicyFiles,
    problems: &mut Vec<PolicyProblem>,
) {
    for (name, path, kind) in entries(top, folder, problems) {
        match kind {
            Kind::Folder if depth < DEEPEST => {
                read_below(top, &path, depth + 1, files, problems);
            }
            Kind::Folder => problems.push(PolicyProblem::in_file(
                &shown(top, &path),
                None,
                format!("folders are read {DEEPEST} deep, and this one is deeper"),
            )),
            Kind::Rego if name.ends_with("_test.rego") => {
                files.tests.extend(rego(top, &path, problems));
            }
            Kind::Rego => files.rules.extend(rego(top, &path, problems)),
            Kind::Data => files.data.extend(data(top, &path, problems)),
        }
    }
}

enum Kind {
    Folder,
    Rego,
    Data,
}

/// What counts of a folder, by name.
fn entries(
    top: &Path,
    folder: &Path,
    problems: &mut Vec<PolicyProblem>,
) -> Vec<(String, PathBuf, Kind)> {
    let listed = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound && top == folder => Vec::new(),
        Err(error) => {
            problems.push(PolicyProblem::in_file(
                &shown(top, folder),
                None,
                format!("the folder cannot be read: {error}"),
            ));
            Vec::new()
        }
    };
    let mut found: Vec<(String, PathBuf, Kind)> = listed
        .into_iter()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            // What begins with a dot is an editor's, or a mounted folder's.
            if name.starts_with('.') {
                return None;
            }
            let path = entry.path();
            let extension = path.extension().and_then(|e| e.to_str());
            let kind = match extension {
                _ if path.is_dir() => Kind::Folder,
                Some("rego") => Kind::Rego,
                Some("json" | "yaml" | "yml") => Kind::Data,
                _ => return None,
            };
            Some((name, path, kind))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn shown(top: &Path, path: &Path) -> String {
    match path.strip_prefix(top) {
        Ok(inner) if !inner.as_os_str().is_empty() => inner.display().to_string(),
        _ => path.display().to_string(),
    }
}

fn text(top: &Path, path: &Path, problems: &mut Vec<PolicyProblem>) -> Option<String> {
    let read = fs::metadata(path).and_then(|about| {
        if about.len() > LARGEST_FILE {
            return Err(std::io::Error::other(format!(
                "it is larger than {LARGEST_FILE} bytes"
            )));
        }
        fs::read_to_string(path)
    });
    match read {
        Ok(text) => Some(text.trim_start_matches('\u{feff}').to_owned()),
        Err(error) => {
            problems.push(PolicyProblem::in_file(
                &shown(top, path),
                None,
                format!("the file cannot be read: {error}"),
            ));
            None
        }
    }
}

fn rego(top: &Path, path: &Path, problems: &mut Vec<PolicyProblem>) -> Option<RegoFile> {
    Some(RegoFile {
        path: shown(top, path),
        text: text(top, path, problems)?,
    })
}

fn data(top: &Path, path: &Path, problems: &mut Vec<PolicyProblem>) -> Option<DataFile> {
    let text = text(top, path, problems)?;
    let json = path.extension().is_some_and(|e| e == "json");
    let parsed = if json {
        Value::from_json_str(&text)
    } else {
        Value::from_yaml_str(&text)
    };
    let wrong = |why: String| PolicyProblem::in_file(&shown(top, path), None, why);
    match parsed {
        Ok(value) if value.as_object().is_ok() => Some(DataFile {
            path: shown(top, path),
            value,
        }),
        Ok(_) => {
            problems.push(wrong(
                "data is a map of names and values, and this is none".to_owned(),
            ));
            None
        }
        Err(error) => {
            let kind = if json { "JSON" } else { "YAML" };
            problems.push(wrong(format!("this is no {kind}: {error}")));
            None
        }
    }
}
