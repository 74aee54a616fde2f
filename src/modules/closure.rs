//! Everything that concerns one root module.

use std::collections::BTreeSet;

use super::configuration::is_override;
use super::mention::{Anchor, Mention};
use super::path::{FollowError, Followed, ancestors, follow, follow_source, tidy};
use super::reader::Reader;
use super::{Backend, EntryKind, ModuleProblem, Presence, TreeError};
use crate::workspace::Workspace;

/// Everything that concerns one root module.
pub(super) struct Closure {
    /// Paths of the files.
    pub(super) files: BTreeSet<String>,
    /// Folders of the modules, the root's among them.
    pub(super) modules: BTreeSet<String>,
    /// Where it says that its state is.
    pub(super) backend: Backend,
    /// What it demands of Terraform's version.
    pub(super) required_version: Vec<String>,
    /// Whether there is anything to run.
    pub(super) presence: Presence,
    /// What is wrong.
    pub(super) problems: Vec<ModuleProblem>,
}

/// Finds everything that concerns `workspace`; `roots` are the folders of all workspaces.
pub(super) fn of(
    reader: &Reader<'_>,
    workspace: &Workspace,
    roots: &BTreeSet<String>,
) -> Result<Closure, TreeError> {
    let mut walk = Walk {
        reader,
        roots,
        root: tidy(&workspace.path),
        files: BTreeSet::new(),
        folders: BTreeSet::new(),
        modules: BTreeSet::new(),
        ahead: Vec::new(),
        problems: BTreeSet::new(),
    };
    let mut closure = Closure {
        files: BTreeSet::new(),
        modules: BTreeSet::new(),
        backend: Backend::None,
        required_version: Vec::new(),
        presence: Presence::Absent,
        problems: Vec::new(),
    };
    match walk.enter("", &workspace.path)? {
        Ok(root) => walk.root = root,
        Err(reason) => walk.problem(&workspace.path, None, &format!("the folder: {reason}")),
    }
    let root = walk.root.clone();
    walk.use_module(&root);
    while let Some(module) = walk.ahead.pop() {
        walk.module(&module)?;
    }
    for file in &workspace.settings.var_files {
        walk.variables(file)?;
    }
    let configuration = reader.configuration(&root)?;
    if !configuration.is_empty() {
        closure.presence = Presence::Present;
    }
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let (winning, ordinary): (Vec<_>, Vec<_>) = configuration
        .into_iter()
        .partition(|(path, _)| is_override(&name(path)));
    for (_, file) in ordinary.iter().chain(&winning) {
        closure
            .required_version
            .extend(file.required_version.iter().cloned());
        if let Some(backend) = &file.backend {
            closure.backend = backend.clone();
        }
    }
    closure.files = walk.files;
    closure.modules = walk.modules;
    closure.problems = walk.problems.into_iter().collect();
    Ok(closure)
}

/// A walk from a root module to everything that it reaches.
struct Walk<'r, 't> {
    reader: &'r Reader<'t>,
    roots: &'r BTreeSet<String>,
    root: String,
    files: BTreeSet<String>,
    /// Folders of which every file counts, with those that were left out.
    folders: BTreeSet<(String, Nested)>,
    /// Modules that were met.
    modules: BTreeSet<String>,
    /// Modules that were met and not walked yet.
    ahead: Vec<String>,
    problems: BTreeSet<ModuleProblem>,
}

/// Whether the folders of other workspaces below a folder belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nested {
    /// They are workspaces of their own, and concern this one only where it uses them.
    LeftOut,
    /// They do: an expression names the folder as a folder of files.
    Counted,
}

impl Walk<'_, '_> {
    /// Notes a module that is used.
    fn use_module(&mut self, dir: &str) {
        if self.modules.insert(dir.to_owned()) {
            self.ahead.push(dir.to_owned());
        }
    }

    /// Walks one module.
    fn module(&mut self, dir: &str) -> Result<(), TreeError> {
        self.folder(dir, Nested::LeftOut)?;
        for (path, configuration) in self.reader.configuration(dir)? {
            if let Some(fault) = &configuration.fault {
                self.problem(path, fault.line, &fault.message);
            }
            for module in &configuration.modules {
                let reached = follow_source(self.reader.tree, dir, &module.source);
                let reached = self.entered(reached)?;
                match reached.and_then(|to| self.check_module(&to).map(|()| to)) {
                    Ok(to) => self.use_module(&to),
                    Err(reason) => {
                        let message = format!("the module `{}`: {reason}", module.source);
                        self.problem(path, module.line, &message);
                    }
                }
            }
            for mention in &configuration.mentions {
                self.mention(dir, mention)?;
            }
        }
        Ok(())
    }

    /// Follows a path; the links on the way concern the workspace. The inner
    /// error says in words why it leads nowhere.
    fn enter(&mut self, dir: &str, relative: &str) -> Result<Result<String, String>, TreeError> {
        let followed = follow(self.reader.tree, dir, relative);
        self.entered(followed)
    }

    /// Counts the links on the way to where a path leads.
    fn entered(
        &mut self,
        followed: Result<Followed, FollowError>,
    ) -> Result<Result<String, String>, TreeError> {
        match followed {
            Ok(followed) => {
                self.files.extend(followed.links);
                Ok(Ok(followed.path))
            }
            Err(FollowError::Tree(error)) => Err(error),
            Err(reason) => Ok(Err(reason.to_string())),
        }
    }

    /// Says in words why there is no module in a folder.
    fn check_module(&self, dir: &str) -> Result<(), String> {
        if self.reader.below(dir).next().is_some() {
            return Ok(());
        }
        let files = self.reader.tree.files();
        let submodule = std::iter::once(dir).chain(ancestors(dir)).find(|path| {
            files
                .get(*path)
                .is_some_and(|entry| entry.kind == EntryKind::Submodule)
        });
        Err(match submodule {
            Some(path) => format!("`{path}` is a git submodule, which is not checked out"),
            None => format!("there is no folder `{dir}`"),
        })
    }

    /// Counts what an expression names, if it is there.
    fn mention(&mut self, dir: &str, mention: &Mention) -> Result<(), TreeError> {
        let dir = match mention.anchor {
            Anchor::Module => dir.to_owned(),
            Anchor::Root => self.root.clone(),
        };
        match self.enter(&dir, &mention.path)? {
            // The module itself is counted already, without what belongs to others.
            Ok(path) if self.modules.contains(&path) => Ok(()),
            Ok(path) => self.reach(&path),
            // What lies outside is no part of the commit, and the sandbox has its own view of it.
            Err(_) => Ok(()),
        }
    }

    /// Counts a variable file of the workspace.
    fn variables(&mut self, file: &str) -> Result<(), TreeError> {
        let root = self.root.clone();
        let missing = match self.enter(&root, file)? {
            Ok(path) if self.reader.is_file(&path) => return self.reach(&path),
            Ok(_) => "it is not there".to_owned(),
            Err(reason) => reason,
        };
        self.problem(
            &root,
            None,
            &format!("the variable file `{file}`: {missing}"),
        );
        Ok(())
    }

    /// Counts a file, or every file of a folder.
    fn reach(&mut self, path: &str) -> Result<(), TreeError> {
        if self.reader.tree.files().contains_key(path) {
            self.files.insert(path.to_owned());
            Ok(())
        } else {
            self.folder(path, Nested::Counted)
        }
    }

    /// Counts every file of a folder, and what links among them lead to.
    fn folder(&mut self, dir: &str, nested: Nested) -> Result<(), TreeError> {
        let mut ahead = vec![(dir.to_owned(), nested)];
        while let Some((dir, nested)) = ahead.pop() {
            if !self.folders.insert((dir.clone(), nested)) {
                continue;
            }
            for path in self.reader.below(&dir) {
                if nested == Nested::LeftOut && self.is_of_another(&dir, path) {
                    continue;
                }
                self.files.insert(path.to_owned());
                let entry = &self.reader.tree.files()[path];
                if entry.kind != EntryKind::Symlink {
                    continue;
                }
                match self.enter("", path)? {
                    Ok(to) if self.reader.tree.files().contains_key(&to) => {
                        self.files.insert(to);
                    }
                    Ok(to) => ahead.push((to, Nested::Counted)),
                    Err(reason) => self.problem(path, None, &format!("the link: {reason}")),
                }
            }
        }
        Ok(())
    }

    /// Whether a file below `dir` belongs to another workspace's folder below `dir`.
    fn is_of_another(&self, dir: &str, path: &str) -> bool {
        ancestors(path)
            .take_while(|above| above.len() > dir.len())
            .any(|above| above != self.root && self.roots.contains(above))
    }

    /// Notes a problem.
    fn problem(&mut self, file: &str, line: Option<usize>, message: &str) {
        let (file, message) = (file.to_owned(), message.to_owned());
        self.problems.insert(ModuleProblem {
            file,
            line,
            message,
        });
    }
}
