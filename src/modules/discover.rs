//! Finds root modules and gives them names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use globset::GlobSet;

use super::configuration::Substance;
use super::path::{FollowError, ancestors, follow_source, tidy};
use super::reader::Reader;
use super::{ModuleProblem, Origin, ResolveError, TreeError, globs};
use crate::id::WorkspaceName;
use crate::workspace::{Settings, Workspace};

/// A workspace's name may have this many characters ([`WorkspaceName`]).
const NAME_LIMIT: usize = 100;

/// The folders that patterns of `[discover]` name.
pub(super) struct Folders {
    globs: GlobSet,
    /// Whether a pattern names the top, which has no name that a glob could match.
    top: Top,
}

/// Whether the top folder is among those named.
#[derive(PartialEq, Eq)]
enum Top {
    Named,
    NotNamed,
}

impl Folders {
    /// Reads the patterns of the declaration `file`.
    pub(super) fn new(file: &Path, patterns: &[String]) -> Result<Self, ResolveError> {
        let (top, named): (Vec<String>, Vec<String>) = patterns
            .iter()
            .cloned()
            .partition(|pattern| tidy(pattern).is_empty());
        let everything = named.iter().any(|pattern| pattern == "**");
        Ok(Self {
            globs: globs(file, &named)?,
            top: if top.is_empty() && !everything {
                Top::NotNamed
            } else {
                Top::Named
            },
        })
    }

    /// Whether `dir` is one of the folders or below one.
    pub(super) fn hold(&self, dir: &str) -> bool {
        self.top == Top::Named
            || std::iter::once(dir)
                .chain(ancestors(dir))
                .any(|folder| !folder.is_empty() && self.globs.is_match(folder))
    }
}

/// What is known of a folder with configuration.
struct Folder {
    substance: Substance,
    states: StatesBackend,
}

/// Whether a folder says where its state is, which only a root module does.
#[derive(PartialEq, Eq)]
enum StatesBackend {
    Yes,
    No,
}

/// The folders that are root modules.
pub(super) fn roots(reader: &Reader<'_>) -> Result<BTreeSet<String>, TreeError> {
    let mut folders = BTreeMap::new();
    let mut called = BTreeSet::new();
    for dir in reader.folders() {
        let mut folder = Folder {
            substance: Substance::Little,
            states: StatesBackend::No,
        };
        for (_, file) in reader.configuration(dir)? {
            if file.substance == Substance::Much {
                folder.substance = Substance::Much;
            }
            if file.backend.is_some() {
                folder.states = StatesBackend::Yes;
            }
            for module in &file.modules {
                match follow_source(reader.tree, dir, &module.source) {
                    Ok(followed) if followed.path != dir => {
                        called.insert(followed.path);
                    }
                    Ok(_) | Err(FollowError::Leaves | FollowError::TooManyLinks) => {}
                    Err(FollowError::Tree(error)) => return Err(error),
                }
            }
        }
        folders.insert(dir, folder);
    }
    let is_module = |dir: &str| {
        let own_backend = folders
            .get(dir)
            .is_some_and(|folder| folder.states == StatesBackend::Yes);
        called.contains(dir) && !own_backend || dir.split('/').any(|part| part == "modules")
    };
    // `x/examples/basic` shows how to use the module `x`; it is nobody's infrastructure.
    let shows_a_module = |dir: &str| {
        std::iter::once(dir).chain(ancestors(dir)).any(|folder| {
            let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
            matches!(name, "examples" | "tests") && is_module(above)
        })
    };
    let roots = folders.iter().filter(|(dir, folder)| {
        folder.substance == Substance::Much
            && !dir.split('/').any(|part| part.starts_with('.'))
            && !is_module(dir)
            && !shows_a_module(dir)
    });
    Ok(roots.map(|(dir, _)| (*dir).to_owned()).collect())
}

/// Makes a workspace of each of `roots` that is none yet, and adds it to `found`.
pub(super) fn name_workspaces(
    roots: impl Iterator<Item = String>,
    settings: &Settings,
    found: &mut Vec<(Workspace, Origin, Vec<ModuleProblem>)>,
) {
    let declared: BTreeSet<String> = found
        .iter()
        .map(|(workspace, ..)| tidy(&workspace.path))
        .collect();
    for path in roots.filter(|path| !declared.contains(path)) {
        let name = name(&path);
        match found
            .iter_mut()
            .find(|(workspace, ..)| workspace.name == name)
        {
            Some((taken, _, problems)) => problems.push(ModuleProblem {
                file: path.clone(),
                line: None,
                message: format!(
                    "this root module was discovered, but its name `{name}` is that of `{}`; \
                     declare it as a workspace with a name of its own",
                    taken.path
                ),
            }),
            None => found.push((
                Workspace {
                    name,
                    path,
                    settings: settings.clone(),
                },
                Origin::Discovered,
                Vec::new(),
            )),
        }
    }
}

/// The name of a discovered workspace: its path, with `-` for what a name may not have.
fn name(path: &str) -> WorkspaceName {
    let root = || "root".parse().expect("a plain word is a name");
    if path.is_empty() {
        return root();
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let text: String = path
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .collect();
    // The end of a long path tells more than its beginning.
    let text = &text[text.len().saturating_sub(NAME_LIMIT)..];
    let text = text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    text.parse().unwrap_or_else(|_| root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_any_path() {
        assert_eq!(name("").as_str(), "root");
        assert_eq!(name("stacks/dns").as_str(), "stacks/dns");
        assert_eq!(name("stacks/my zone (é)").as_str(), "stacks/my-zone----");
        assert_eq!(name("_infra/x").as_str(), "infra/x");
        assert_eq!(name("--").as_str(), "root");
        assert_eq!(
            name(&format!("{}/end", "a".repeat(200))).as_str().len(),
            NAME_LIMIT
        );
    }

    #[test]
    fn a_pattern_holds_its_folder_and_all_below() {
        let folders = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            Folders::new(Path::new("x.toml"), &patterns).unwrap()
        };
        let stacks = folders(&["stacks/*"]);
        assert!(stacks.hold("stacks/dns") && stacks.hold("stacks/dns/eu"));
        assert!(!stacks.hold("stacks") && !stacks.hold("other/stacks/dns") && !stacks.hold(""));
        assert!(folders(&["."]).hold("") && folders(&["."]).hold("a/b"));
        assert!(folders(&["**"]).hold(""));
        assert!(!folders(&["*"]).hold("") && folders(&["*"]).hold("a"));
        assert!(!folders(&[]).hold(""));
    }
}
