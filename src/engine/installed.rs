//! What `init` made ready, held against what is allowed.
//!
//! Before Terraform starts the configuration is judged as Mainstay reads it. Terraform has a reader
//! of its own, and modules from elsewhere have modules and providers of theirs: what was really
//! fetched is only known now. Nothing of it has run yet, since `init` runs neither providers nor
//! configuration.

use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::planning::open_own;
use super::{Evidence, Job, Step, data_dir};
use crate::modules::{self, Asked, Backend, BackendSettings};
use crate::plan::{Diagnostic, Severity};
use crate::workspace::{ModuleSource, ProviderAddress, Rule};

/// Where Terraform writes down which modules it fetched, in its data folder.
const MODULES: &str = "modules/modules.json";

/// Where Terraform writes down which providers it chose, in the root module's folder.
const LOCK: &str = ".terraform.lock.hcl";

/// Bytes of either that are read: thousands of modules and providers take less.
const READ_LIMIT: u64 = 16 << 20;

#[derive(Deserialize)]
struct Modules {
    #[serde(rename = "Modules", default)]
    modules: Vec<Module>,
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "Key", default)]
    key: String,
    #[serde(rename = "Source", default)]
    source: String,
}

/// What was made ready and is not allowed; `None` where all is.
pub(super) fn refused(job: &Job) -> io::Result<Option<Evidence>> {
    let mut diagnostics = Vec::new();
    diagnostics.extend(modules(job)?);
    diagnostics.extend(providers(job)?);
    diagnostics.extend(backend(job));
    Ok((!diagnostics.is_empty()).then(|| Evidence {
        workspace: job.workspace.clone(),
        step: Step::Init,
        diagnostics,
        tail: String::new(),
    }))
}

/// Forgets what an earlier `init` made ready where it is not allowed now: Terraform asks for
/// another `init` then, after which it is looked at again.
pub(super) fn forget(job: &Job) -> io::Result<()> {
    // What cannot be read is of no use to Terraform either.
    if !modules(job).is_ok_and(|refused| refused.is_empty()) {
        let file = job.data_dir.join(MODULES);
        match std::fs::symlink_metadata(&file)?.is_dir() {
            true => std::fs::remove_dir_all(&file)?,
            false => std::fs::remove_file(&file)?,
        }
    }
    match backend(job) {
        Some(_) => data_dir::forget_backend(&job.data_dir),
        None => Ok(()),
    }
}

fn diagnostic(rule: Rule, what: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        summary: format!("Refused by the rule `{rule}`"),
        detail: format!(
            "{what}.\nWho runs Mainstay allows it in the workspace's declaration, or loosens the rule with `loosen = [\"{rule}\"]`."
        ),
        address: None,
        file: None,
        line: None,
        snippet: None,
    }
}

fn modules(job: &Job) -> io::Result<Vec<Diagnostic>> {
    if !job.trust.holds(Rule::Modules) {
        return Ok(Vec::new());
    }
    let Some(text) = read(&job.data_dir.join(MODULES))? else {
        return Ok(Vec::new());
    };
    let known: Modules = serde_json::from_str(&text).map_err(io::Error::other)?;
    let is_allowed = |source: &str| match ModuleSource::parse(source) {
        ModuleSource::Local => true,
        parsed => job.trust.modules.iter().any(|p| p.matches(&parsed)),
    };
    let others = known
        .modules
        .iter()
        .filter(|module| !module.key.is_empty() && !is_allowed(&module.source));
    Ok(others
        .map(|Module { key, source }| {
            let what = format!("the module `{key}` came from `{source}`, which is not allowed");
            diagnostic(Rule::Modules, &what)
        })
        .collect())
}

fn providers(job: &Job) -> io::Result<Vec<Diagnostic>> {
    if !job.trust.holds(Rule::Providers) {
        return Ok(Vec::new());
    }
    let text = read(&job.cwd().join(LOCK))?.unwrap_or_default();
    let is_allowed = |address: &str| {
        ProviderAddress::parse(address).is_some_and(|address| {
            address.is_built_in() || job.trust.providers.iter().any(|p| p.matches(&address))
        })
    };
    let what = |asked| match asked {
        Asked::Locked(address) if is_allowed(&address) => None,
        Asked::Locked(address) => Some(format!(
            "the provider `{address}` is needed, by a module most likely, and is not allowed"
        )),
        Asked::Unreadable { message, .. } => Some(format!(
            "the lock file cannot be read ({message}): which providers are needed cannot be judged"
        )),
        _ => None,
    };
    let whats = modules::locked(text.into_bytes())?
        .into_iter()
        .filter_map(what);
    Ok(whats
        .map(|what| diagnostic(Rule::Providers, &what))
        .collect())
}

fn backend(job: &Job) -> Option<Diagnostic> {
    if !job.trust.holds(Rule::Backend) {
        return None;
    }
    let declared = match &job.backend {
        Backend::None => None,
        Backend::Named(name) => Some(name.as_str()),
        Backend::Cloud => Some("cloud"),
    };
    let record = data_dir::backend_record(&job.data_dir);
    let made = record
        .as_ref()
        .and_then(|record| record.pointer("/backend/type")?.as_str());
    if made == declared {
        let made = record.as_ref()?.pointer("/backend/config")?.as_object()?;
        let declared = modules::backend_settings(&configuration(&job.cwd())).ok()?;
        let others = declared.iter().map(|block| other_setting(block, made));
        // An override file has a block in the place of another one: one of them is enough.
        let name = others.collect::<Option<Vec<_>>>()?.pop()?;
        let what = format!(
            "the configuration says otherwise where the state is than Terraform made ready: `{name}` of the backend differs"
        );
        return Some(diagnostic(Rule::Backend, &what));
    }
    let say = |backend: Option<&str>| match backend {
        Some(name) => format!("the backend `{name}`"),
        None => "no backend".to_owned(),
    };
    let what = format!(
        "the configuration has {}, and Terraform made ready {}: the state would be somewhere else",
        say(declared),
        say(made)
    );
    Some(diagnostic(Rule::Backend, &what))
}

/// The first setting of a backend that is not what the block says.
fn other_setting<'n>(block: &'n BackendSettings, made: &'n Map<String, Value>) -> Option<&'n str> {
    let said = block
        .iter()
        .find(|(name, said)| match (said, made.get(*name)) {
            (None, _) => false,
            (Some(said), Some(Value::String(made))) => said != made,
            (Some(said), Some(Value::Bool(made))) => {
                // A text that stands for yes or no is taken for it.
                !matches!(
                    (said.as_str(), made),
                    ("true" | "1", true) | ("false" | "0", false)
                )
            }
            (Some(said), Some(Value::Number(made))) => said.parse().ok() != made.as_f64(),
            (Some(_), _) => true,
        });
    let unsaid = || {
        made.iter().find(|(name, made)| {
            let is_set = match made {
                Value::Null => false,
                Value::Array(list) => !list.is_empty(),
                Value::Object(entries) => !entries.is_empty(),
                Value::String(_) | Value::Bool(_) | Value::Number(_) => true,
            };
            is_set && !block.contains_key(*name)
        })
    };
    said.map(|(name, _)| name.as_str())
        .or_else(|| unsaid().map(|(name, _)| name.as_str()))
}

/// The files of a folder by name, with their content. Of what cannot be read Terraform says so.
fn configuration(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let is_file = modules::is_configuration(&name) && entry.path().is_file();
        let file = is_file.then(|| std::fs::File::open(entry.path()).ok())??;
        let mut content = Vec::new();
        file.take(READ_LIMIT).read_to_end(&mut content).ok()?;
        Some((name, content))
    };
    entries.filter_map(read).collect()
}

/// A file's text; `None` where there is none. What ran in the folder before may have left
/// anything in its place.
fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match open_own(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(READ_LIMIT).read_to_string(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The setting that differs, by its name.
    fn other(block: &str, made: &Value) -> Option<String> {
        let text = format!("terraform {{\n  backend \"x\" {{\n{block}\n  }}\n}}\n");
        let blocks = modules::backend_settings(&[("main.tf".to_owned(), text.into())]).unwrap();
        other_setting(&blocks[0], made.as_object().unwrap()).map(str::to_owned)
    }

    #[test]
    fn a_backend_is_as_its_block_says_however_terraform_writes_it_down() {
        let block = "bucket = \"ours\"\nretries = \"3\"\nsize = 5\nencrypt = true\nlock = \"1\"\n\
                     key = \"${var.x}\"\nassume_role {\n  arn = \"x\"\n}";
        let made = json!({
            "bucket": "ours", "retries": 3, "size": "5", "encrypt": true, "lock": true,
            "key": "anything", "assume_role": {"arn": "x"}, "endpoint": null, "tags": [],
        });
        assert_eq!(other(block, &made), None);
    }

    #[test]
    fn a_setting_of_a_backend_that_is_another_or_that_no_block_has_is_found() {
        let block = "bucket = \"ours\"\nretries = 3\nencrypt = true";
        for (name, made) in [
            (
                "bucket",
                json!({"bucket": "mine", "retries": 3, "encrypt": true}),
            ),
            (
                "bucket",
                json!({"bucket": null, "retries": 3, "encrypt": true}),
            ),
            (
                "retries",
                json!({"bucket": "ours", "retries": 4, "encrypt": true}),
            ),
            (
                "encrypt",
                json!({"bucket": "ours", "retries": 3, "encrypt": false}),
            ),
            (
                "endpoint",
                json!({"bucket": "ours", "retries": 3, "encrypt": true, "endpoint": "mine"}),
            ),
        ] {
            assert_eq!(other(block, &made).as_deref(), Some(name), "{made}");
        }
    }
}
