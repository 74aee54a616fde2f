//! Which files of a repository concern a workspace, and where its root modules are.
//!
//! Nothing here touches a disk: a [`Tree`] is the files of one commit, of a
//! merge that was never committed, or of a folder, and [`resolve`] is a pure
//! function of it. The content of the tree is whatever a stranger proposed, so
//! that nothing in it can make this module panic, recurse without end or look
//! outside the tree.

mod closure;
mod configuration;
mod demand;
mod discover;
mod heredoc;
mod mention;
mod path;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sha2::{Digest, Sha256};

use crate::id::ObjectId;
use crate::workspace::{Declaration, Settings, Workspace};

pub use configuration::{BackendSettings, is_configuration};
pub use demand::{Asked, Demand, Source, Values};
pub use path::{FollowError, Followed, cleaned, follow, follow_source};

use configuration::{Configuration, LOCK_FILE};
use reader::Reader;

/// What the content of a lock file asks for.
///
/// # Errors
///
/// Where the machine has no thread to parse it on.
pub fn locked(content: Vec<u8>) -> io::Result<Vec<Asked>> {
    let read = Configuration::parse_all(&[(LOCK_FILE, content)])?;
    let found = read.into_iter().flat_map(|file| file.demands);
    Ok(found.map(|(_, asked)| asked).collect())
}

/// What each `backend` or `cloud` block sets in files of one folder, given by name and content;
/// files that are no configuration say nothing.
///
/// # Errors
///
/// Where the machine has no thread to parse them on.
pub fn backend_settings(files: &[(String, Vec<u8>)]) -> io::Result<Vec<BackendSettings>> {
    let files: Vec<(&str, Vec<u8>)> = files
        .iter()
        .filter(|(name, _)| is_configuration(name))
        .map(|(name, content)| (name.as_str(), content.clone()))
        .collect();
    let read = Configuration::parse_all(&files)?;
    Ok(read
        .into_iter()
        .flat_map(|file| file.backend_settings)
        .collect())
}

/// Files by path (relative to the top, written with `/`), and a way to read them.
pub trait Tree {
    /// Every file of the tree; folders are only their files.
    fn files(&self) -> &BTreeMap<String, Entry>;

    /// The content of a file; of a symbolic link, the path that it holds.
    ///
    /// # Errors
    ///
    /// [`TreeError::Missing`] where `path` is none of [`Tree::files`], else
    /// [`TreeError::Unreadable`].
    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError>;
}

/// A file of a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The id that git gives its content.
    pub id: ObjectId,
    /// What it is.
    pub kind: EntryKind,
}

/// What a file of a [`Tree`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An ordinary file.
    Regular,
    /// A file that may be run.
    Executable,
    /// A symbolic link.
    Symlink,
    /// A commit of another repository; its files are not part of the tree.
    Submodule,
}

impl EntryKind {
    /// The mode that git's trees write for it, in octal.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Regular => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Submodule => "160000",
        }
    }
}

/// A file of a [`Tree`] could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// There is no such file.
    #[error("`{path}` is not in the tree")]
    Missing {
        /// The path that was asked for.
        path: String,
    },
    /// It is there and cannot be read.
    #[error("cannot read `{path}` of the tree")]
    Unreadable {
        /// The path that was asked for.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A workspace and everything in a tree that concerns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The workspace.
    pub workspace: Workspace,
    /// Hexadecimal SHA-256 over path, mode and id of each of `files`, the variable
    /// files' order and Terraform's workspace: equal where nothing that concerns the
    /// workspace differs.
    pub inputs: String,
    /// Paths of the files that concern it: those that a run needs, and those
    /// that are only watched.
    pub files: BTreeSet<String>,
    /// The folders of the local modules that it is made of, its own among them.
    pub modules: BTreeSet<String>,
    /// Where it says that its state is.
    pub backend: Backend,
    /// What it demands of Terraform's version, as written; its modules' demands are not among them.
    pub required_version: Vec<String>,
    /// How it was found.
    pub origin: Origin,
    /// Whether there is anything to run.
    pub presence: Presence,
    /// What is wrong with its files, as far as it can be seen without running anything.
    pub problems: Vec<ModuleProblem>,
}

/// Where a root module says that its state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// It does not say.
    None,
    /// A `backend` block: the name, `s3` say.
    Named(String),
    /// A `cloud` block.
    Cloud,
}

/// How a workspace was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The declaration names it.
    Declared,
    /// The declaration's `[discover]` found it.
    Discovered,
}

/// Whether a workspace's folder holds configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It does.
    Present,
    /// The folder has no configuration files, or is not there.
    Absent,
}

/// Something wrong with a file, which is no reason not to go on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleProblem {
    /// The file, or the folder where no single file is at fault.
    pub file: String,
    /// The line in it, counted from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// A declaration could not be held against a tree.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A glob pattern cannot be understood.
    #[error("{}: `{pattern}` is no pattern for paths", file.display())]
    Pattern {
        /// The declaration.
        file: PathBuf,
        /// The pattern.
        pattern: String,
        /// Why.
        #[source]
        source: globset::Error,
    },
    /// A file of the tree cannot be read, so that what it names is unknown.
    #[error("cannot tell which files concern the workspaces")]
    Tree(#[from] TreeError),
}

/// Everything in `tree` that concerns each workspace of `declaration`: the
/// declared ones in their order, then the discovered ones by path.
///
/// What concerns a workspace are the files below its folder (not those below
/// the folder of another workspace), the local modules that it uses and theirs,
/// the paths that their expressions spell out, its variable files, what its
/// symbolic links lead to, and what `watch` matches. Configuration that does
/// not parse is a [`ModuleProblem`] and counts all the same.
///
/// # Errors
///
/// [`ResolveError::Pattern`] where a glob pattern of the declaration is none,
/// [`ResolveError::Tree`] where a file cannot be read.
pub fn resolve(tree: &dyn Tree, declaration: &Declaration) -> Result<Vec<Resolved>, ResolveError> {
    let reader = Reader::new(tree);
    let mut found: Vec<(Workspace, Origin, Vec<ModuleProblem>)> = declaration
        .workspaces
        .iter()
        .map(|workspace| (workspace.clone(), Origin::Declared, Vec::new()))
        .collect();
    if let Some(discover) = &declaration.discover {
        let folders = |patterns: &[String]| discover::Folders::new(&declaration.file, patterns);
        let paths = folders(&discover.paths)?;
        let exclude = folders(&discover.exclude)?;
        let roots = discover::roots(&reader)?
            .into_iter()
            .filter(|root| paths.hold(root) && !exclude.hold(root));
        discover::name_workspaces(roots, &discover.settings, &mut found);
    }
    let roots: BTreeSet<String> = found
        .iter()
        .map(|(workspace, ..)| path::tidy(&workspace.path))
        .collect();
    found
        .into_iter()
        .map(|(workspace, origin, problems)| {
            let watch = globs(&declaration.file, &workspace.settings.watch)?;
            let mut closure = closure::of(&reader, &workspace, &roots)?;
            closure.problems.extend(problems);
            closure.problems.sort();
            closure.files.extend(
                tree.files()
                    .keys()
                    .filter(|path| watch.is_match(path))
                    .cloned(),
            );
            Ok(Resolved {
                inputs: digest(tree, &closure.files, &workspace.settings),
                workspace,
                files: closure.files,
                modules: closure.modules,
                backend: closure.backend,
                required_version: closure.required_version,
                origin,
                presence: closure.presence,
                problems: closure.problems,
            })
        })
        .collect()
}

/// Reads what the configuration of a tree asks of the world.
pub struct DemandReader<'t>(Reader<'t>);

impl<'t> DemandReader<'t> {
    /// Looks at `tree`; nothing is read yet.
    pub fn new(tree: &'t dyn Tree) -> Self {
        Self(Reader::new(tree))
    }

    /// What the configuration of a folder asks for, file by file. Of a root module that is with
    /// its lock file and its tests.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read.
    pub fn read(&self, dir: &str, part: Part) -> Result<Vec<Demand>, TreeError> {
        let mut demands = Vec::new();
        let mut add = |file: &str, found: &[demand::Found]| {
            demands.extend(found.iter().map(|(line, asked)| Demand {
                file: file.to_owned(),
                line: *line,
                asked: asked.clone(),
            }));
        };
        for (file, configuration) in self.0.configuration(dir)? {
            add(file, &configuration.demands);
        }
        if part == Part::Root {
            for (file, configuration) in self.0.beside(dir)? {
                add(file, &configuration.demands);
            }
        }
        Ok(demands)
    }
}

/// What a folder of configuration is of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The root module.
    Root,
    /// A module that it uses.
    Module,
}

/// The folders of `tree` that are root modules, by path; the top is the empty path.
///
/// A root module is a folder with configuration that does something, is not
/// used as a module by another one (unless it names a backend of its own), and
/// stands neither below a folder `modules`, nor below a hidden one, nor among
/// the `examples` or `tests` of a module.
///
/// # Errors
///
/// Where a file cannot be read.
pub fn discover_roots(tree: &dyn Tree) -> Result<Vec<String>, TreeError> {
    Ok(discover::roots(&Reader::new(tree))?.into_iter().collect())
}

/// Makes one matcher of `patterns`; what names a folder matches all that is below it.
fn globs(file: &std::path::Path, patterns: &[String]) -> Result<GlobSet, ResolveError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let tidy = pattern
            .strip_prefix("./")
            .unwrap_or(pattern)
            .trim_end_matches('/');
        for glob in [tidy.to_owned(), format!("{tidy}/**")] {
            let glob = GlobBuilder::new(&glob)
                .literal_separator(true)
                .build()
                .map_err(|source| ResolveError::Pattern {
                    file: file.to_owned(),
                    pattern: pattern.clone(),
                    source,
                })?;
            set.add(glob);
        }
    }
    set.build().map_err(|source| ResolveError::Pattern {
        file: file.to_owned(),
        pattern: patterns.join(", "),
        source,
    })
}

/// SHA-256 over path, mode and id of each of `files`, and over the settings that say
/// what Terraform makes of them: which of its workspaces, and which variables win.
fn digest(tree: &dyn Tree, files: &BTreeSet<String>, settings: &Settings) -> String {
    let mut hash = Sha256::new();
    // The length keeps two lists apart that would read alike when strung together.
    let mut add = |kind: u8, text: &str| {
        hash.update([kind]);
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    if let Some(name) = &settings.terraform_workspace {
        add(b'w', name);
    }
    for file in &settings.var_files {
        add(b'v', file);
    }
    for (path, entry) in files
        .iter()
        .filter_map(|path| tree.files().get_key_value(path))
    {
        add(b'f', path);
        add(b'm', entry.kind.mode());
        add(b'i', entry.id.as_str());
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
pub(crate) mod tests;
