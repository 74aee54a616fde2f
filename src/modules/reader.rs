//! A tree whose configuration is parsed once, however many workspaces use it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::configuration::{Configuration, LOCK_FILE, is_configuration};
use super::path::{FollowError, follow, parent, prefix};
use super::{EntryKind, Tree, TreeError};

/// Reads the configuration of a [`Tree`].
pub(super) struct Reader<'t> {
    /// The tree.
    pub(super) tree: &'t dyn Tree,
    /// The configuration files of each folder that has any.
    folders: BTreeMap<&'t str, Vec<&'t str>>,
    /// What was parsed so far, by path.
    parsed: RefCell<BTreeMap<&'t str, Rc<Configuration>>>,
}

impl<'t> Reader<'t> {
    /// Looks at `tree`; nothing is read yet.
    pub(super) fn new(tree: &'t dyn Tree) -> Self {
        let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (path, entry) in tree.files() {
            let dir = parent(path);
            let name = path.strip_prefix(&prefix(dir)).unwrap_or(path);
            if is_configuration(name) && entry.kind != EntryKind::Submodule {
                folders.entry(dir).or_default().push(path);
            }
        }
        Self {
            tree,
            folders,
            parsed: RefCell::default(),
        }
    }

    /// The folders with configuration, by path.
    pub(super) fn folders(&self) -> impl Iterator<Item = &'t str> {
        self.folders.keys().copied()
    }

    /// The configuration files of a folder, in the order of their names, with what they say.
    pub(super) fn configuration(
        &self,
        dir: &str,
    ) -> Result<Vec<(&'t str, Rc<Configuration>)>, TreeError> {
        let paths = self.folders.get(dir).map(Vec::as_slice).unwrap_or_default();
        let mut parsed = self.parsed.borrow_mut();
        let mut new = Vec::new();
        for path in paths.iter().filter(|path| !parsed.contains_key(*path)) {
            new.push((*path, self.content(path)?));
        }
        if !new.is_empty() {
            // The names are all that the parser goes by, and a path ends like its name.
            let read = Configuration::parse_all(&new).map_err(|source| TreeError::Unreadable {
                path: dir.to_owned(),
                source: source.into(),
            })?;
            let read = read.into_iter().map(Rc::new);
            parsed.extend(new.into_iter().map(|(path, _)| path).zip(read));
        }
        Ok(paths
            .iter()
            .filter_map(|path| Some((*path, Rc::clone(parsed.get(path)?))))
            .collect())
    }

    /// What else of a root module's folder is read: the lock file, and the tests.
    pub(super) fn beside(&self, dir: &str) -> Result<Vec<(&'t str, Configuration)>, TreeError> {
        let is_test = |path: &str| {
            let tests = ["", "tests/"].map(|folder| format!("{}{folder}", prefix(dir)));
            let endings = ["test.hcl", "test.json"];
            let endings = ["tf", "tofu"]
                .into_iter()
                .flat_map(|t| endings.map(|e| format!(".{t}{e}")));
            tests
                .iter()
                .any(|folder| parent(path) == folder.trim_end_matches('/'))
                && endings.into_iter().any(|ending| path.ends_with(&ending))
        };
        let lock = format!("{}{LOCK_FILE}", prefix(dir));
        let paths: Vec<&str> = self
            .below(dir)
            .filter(|path| self.is_file(path) && (*path == lock || is_test(path)))
            .collect();
        let contents: Result<Vec<_>, _> = paths
            .into_iter()
            .map(|path| Ok((path, self.content(path)?)))
            .collect();
        let contents = contents?;
        let read = Configuration::parse_all(&contents).map_err(|source| TreeError::Unreadable {
            path: dir.to_owned(),
            source: source.into(),
        })?;
        Ok(contents
            .into_iter()
            .map(|(path, _)| path)
            .zip(read)
            .collect())
    }

    /// Every file below a folder, at whatever depth.
    pub(super) fn below(&self, dir: &str) -> impl Iterator<Item = &'t str> {
        let prefix = prefix(dir);
        let start = prefix.clone();
        self.tree
            .files()
            .range(start..)
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(&prefix))
    }

    /// The content of a file, or of the file that a link leads to.
    fn content(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        match follow(self.tree, "", path) {
            Ok(followed) if self.is_file(&followed.path) => self.tree.read(&followed.path),
            // A link that leads nowhere is a file that cannot be read; whoever runs Terraform will hear of it.
            Ok(_) | Err(FollowError::Leaves | FollowError::TooManyLinks) => Ok(Vec::new()),
            Err(FollowError::Tree(error)) => Err(error),
        }
    }

    /// Whether a path is a file with content.
    pub(super) fn is_file(&self, path: &str) -> bool {
        self.tree
            .files()
            .get(path)
            .is_some_and(|entry| entry.kind != EntryKind::Submodule)
    }
}
