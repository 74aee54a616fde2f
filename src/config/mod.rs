//! The settings: `mainstay.toml` and the declarations of `workspaces/`.
//!
//! Every mistake in every file is found in one pass, with its place and its
//! remedy. What leaves this module is valid.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::workspace::{Declaration, RepoAddress};

mod declaration;
mod github;
mod limits;
mod location;
mod network;
mod problem;
mod reader;
mod repo_path;
mod repository;
mod settings;
mod settings_file;
mod trusted;
mod variable;

use declaration::{Declared, Surroundings};
use settings_file::SettingsFile;

pub use github::{
    CredentialError, CredentialSource, DEFAULT_API_URL, DEFAULT_TOKEN_ENV, GithubCredential,
    GithubSettings,
};
pub use limits::{Limits, Size};
pub use location::{ConfigNotFound, DEFAULT_FILE, FILE_VARIABLE, find};
pub use network::NetworkSettings;
pub use problem::{Problem, Severity};
pub use settings::{
    Config, Engine, KeepSettings, LogFormat, SandboxLevel, SandboxOf, SandboxSettings,
};

/// What [`load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The settings; `None` where `mainstay.toml` itself has an error.
    pub config: Option<Config>,
    /// The declarations that have no error of their own, by the names of their files.
    pub declarations: Vec<Declaration>,
    /// All that is wrong: `mainstay.toml` first, then each declaration, in the
    /// order of the lines.
    pub problems: Vec<Problem>,
}

impl Loaded {
    /// Gives the settings out, if nothing forbids to use them. Warnings do not.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] with every problem, warnings too.
    pub fn into_valid(self) -> Result<(Config, Vec<Declaration>), InvalidConfig> {
        let wrong = self
            .problems
            .iter()
            .any(|problem| problem.severity == Severity::Error);
        match self.config {
            Some(config) if !wrong => Ok((config, self.declarations)),
            _ => Err(InvalidConfig {
                problems: self.problems,
            }),
        }
    }
}

/// The settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConfig {
    /// All that is wrong with them, at least one error among it.
    pub problems: Vec<Problem>,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidConfig {}

/// Reads `mainstay.toml` at `path` and all declarations that it points to.
///
/// It reads the disk and nothing else, and never fails: what is wrong is among the
/// problems. Files are named in them from `path` on, as the caller wrote it.
pub fn load(path: &Path) -> Loaded {
    let main = match fs::read(path) {
        Ok(bytes) => SettingsFile::parse(path, bytes),
        Err(error) => SettingsFile::wrong(path, format!("the file cannot be read: {error}"), None),
    };
    let near = path.parent().unwrap_or(Path::new(""));
    let mut config = settings::read(&main, near);
    let shown = shown_folder(&config, near);
    let known = if main.is_toml() {
        FolderKnown::Surely
    } else {
        FolderKnown::ByGuess
    };
    let mut sources = declaration_files(&config.workspaces, &shown, known);

    // The credential's variable must be known before patterns of variables are judged.
    let on_github = sources.iter().any(|file| {
        file.peek("repo").is_some_and(|repo| {
            matches!(
                repository::parse(repo, &config.workspaces),
                Ok(RepoAddress::GitHub { .. })
            )
        })
    });
    if on_github {
        config.github.get_or_insert_default();
    }
    let defaults = config.workspace_defaults();
    let surroundings = Surroundings {
        folder: &config.workspaces,
        defaults: &defaults,
        credential: config
            .github
            .as_ref()
            .and_then(GithubSettings::token_variable),
    };
    let declared: Vec<Option<Declared>> = sources
        .iter()
        .map(|file| declaration::read(file, surroundings))
        .collect();
    note_conflicts(&sources, &declared);

    let declarations = sources
        .iter()
        .zip(declared)
        .filter(|(file, _)| !file.has_errors())
        .filter_map(|(_, declared)| Some(declared?.declaration))
        .collect();
    let config = (!main.has_errors()).then_some(config);
    sources.insert(0, main);
    Loaded {
        config,
        declarations,
        problems: sources
            .into_iter()
            .flat_map(SettingsFile::into_problems)
            .collect(),
    }
}

/// A declaration that does something, for whoever has none yet.
const EXAMPLE: &str = "repo = \"acme/infra\"\n[discover]\npaths = [\"**\"]";

/// The folder of declarations as the caller would write it.
fn shown_folder(config: &Config, near: &Path) -> PathBuf {
    match config.workspaces.strip_prefix(&config.folder) {
        Ok(inner) => near.join(inner),
        Err(_) => config.workspaces.clone(),
    }
}

/// How the folder of declarations is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FolderKnown {
    /// From the settings.
    Surely,
    /// The settings are no TOML. It is the usual folder, and may rightly be missing.
    ByGuess,
}

/// Reads the files of the folder of declarations, by name.
fn declaration_files(folder: &Path, shown: &Path, known: FolderKnown) -> Vec<SettingsFile> {
    let example = |what: &str| {
        Some(format!(
            "{what}, {} say:\n{EXAMPLE}",
            shown.join("acme.toml").display()
        ))
    };
    let names = fs::read_dir(folder).and_then(|entries| {
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let path = Path::new(&name);
            // What begins with a dot is an editor's, or a mounted secret's.
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if !hidden
                && path
                    .extension()
                    .is_some_and(|extension| extension == "toml")
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    });
    let wrong = |message: String, hint| vec![SettingsFile::wrong(shown, message, hint)];
    match names {
        Ok(names) if names.is_empty() && known == FolderKnown::Surely => wrong(
            "the folder has no declarations, so nothing is watched".to_owned(),
            example("write one file per repository"),
        ),
        Ok(names) => names
            .into_iter()
            .map(|name| {
                let shown = shown.join(&name);
                match fs::read(folder.join(&name)) {
                    Ok(bytes) => SettingsFile::parse(&shown, bytes),
                    Err(error) => SettingsFile::wrong(
                        &shown,
                        format!("the file cannot be read: {error}"),
                        None,
                    ),
                }
            })
            .collect(),
        Err(_) if known == FolderKnown::ByGuess => Vec::new(),
        Err(error) if error.kind() == ErrorKind::NotFound => wrong(
            "there is no such folder, and it should hold the declarations".to_owned(),
            example("make it, with one file per repository"),
        ),
        Err(error) => wrong(
            format!("the folder of declarations cannot be read: {error}"),
            None,
        ),
    }
}

/// Notes what two declarations of one repository both claim.
fn note_conflicts(files: &[SettingsFile], declared: &[Option<Declared>]) {
    let mut seen: Vec<(&SettingsFile, &Declared)> = Vec::new();
    for (file, declared) in files.iter().zip(declared) {
        let Some(declared) = declared else { continue };
        for (other_file, other) in &seen {
            if other.identity != declared.identity {
                continue;
            }
            if other.declaration.branch == declared.declaration.branch {
                file.error(
                    declared.repo_at.clone(),
                    format!(
                        "the branch `{}` of this repository is declared at {} already",
                        declared.declaration.branch,
                        other_file.place(other.repo_at.clone())
                    ),
                    Some("put both lists of workspaces into one file".to_owned()),
                );
                continue;
            }
            for name in &declared.names {
                if let Some(first) = other.names.iter().find(|n| n.value == name.value) {
                    file.error(
                        name.at.clone(),
                        format!(
                            "the name `{}` is taken by the workspace of this repository at {}",
                            name.value,
                            other_file.place(first.at.clone())
                        ),
                        Some("give each workspace of a repository a name of its own".to_owned()),
                    );
                }
            }
        }
        seen.push((file, declared));
    }
}

#[cfg(test)]
mod tests;
