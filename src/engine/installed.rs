//! What `init` made ready, held against what is allowed.
//!
//! Before Terraform starts the configuration is judged as Mainstay reads it. Terraform has a reader
//! of its own, and modules from elsewhere have modules and providers of theirs: what was really
//! fetched is only known now. Nothing of it has run yet, since `init` runs neither providers nor
//! configuration.

use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize;

use super::planning::open_own;
use super::{Evidence, Job, Step, data_dir};
use crate::modules::Backend;
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
    let named = text.lines().filter_map(|line| {
        line.trim_start()
            .strip_prefix("provider \"")?
            .split('"')
            .next()
    });
    let is_allowed = |address: &str| {
        ProviderAddress::parse(address).is_some_and(|address| {
            address.is_built_in() || job.trust.providers.iter().any(|p| p.matches(&address))
        })
    };
    Ok(named
        .filter(|address| !is_allowed(address))
        .map(|address| {
            let what = format!(
                "the provider `{address}` is needed, by a module most likely, and is not allowed"
            );
            diagnostic(Rule::Providers, &what)
        })
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
        return None;
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
