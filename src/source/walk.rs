//! A walk over the files of a folder on the disk, as git and Terraform see them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, Index, Oid, Repository};

use super::error::SourceError;
use crate::modules::EntryKind;

/// Folders that are never part of a work tree: git's own, and Terraform's, which are made by `init`.
const SKIPPED: [&str; 2] = [".git", ".terraform"];

/// A file that was met.
pub(super) struct Found {
    /// Its path below the top, written with `/`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) kind: EntryKind,
    /// The commit of a submodule.
    pub(super) submodule: Oid,
}

/// What becomes of submodules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Submodules {
    /// Each is one entry.
    Noted,
    /// Their files are met like all others.
    Entered,
}

/// Which files of a folder are met.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// All that git does not ignore.
    ByGit,
    /// All.
    Everything,
    /// The folder is ignored: variable files, and what git has all the same.
    Ignored,
}

/// A walk over a folder on the disk.
pub(super) struct Walk {
    top: PathBuf,
    /// The repository that the folder is in, its path below the repository's top, and its index.
    git: Option<(Repository, PathBuf, Index)>,
    /// Below these folders nothing is left out.
    pub(super) keep: Vec<String>,
    pub(super) submodules: Submodules,
}

impl Walk {
    pub(super) fn new(top: &Path) -> Result<Self, SourceError> {
        let git = match discover(top) {
            Ok(repo) => {
                let canonical = |path: &Path| {
                    fs::canonicalize(path).map_err(|error| SourceError::io("read", path, error))
                };
                let below = match repo.workdir() {
                    Some(root) => canonical(top)?
                        .strip_prefix(canonical(root)?)
                        .ok()
                        .map(Path::to_owned),
                    None => None,
                };
                let index = repo
                    .index()
                    .map_err(|error| SourceError::git(repo.path(), "read the index", error))?;
                below.map(|below| (repo, below, index))
            }
            Err(SourceError::NotARepository { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            top: top.to_owned(),
            git,
            keep: Vec::new(),
            submodules: Submodules::Noted,
        })
    }

    /// Meets every file, folder by folder.
    pub(super) fn files(
        &self,
        meet: &mut dyn FnMut(Found) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut ahead = vec![(String::new(), self.choice("", Choice::ByGit))];
        while let Some((dir, choice)) = ahead.pop() {
            let folder = self.top.join(&dir);
            let failed = |error| SourceError::io("read", &folder, error);
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let file_name = entry.file_name();
                // A name that is no text cannot be part of a tree.
                let Some(file_name) = file_name.to_str() else {
                    continue;
                };
                if SKIPPED.contains(&file_name) {
                    continue;
                }
                let name = if dir.is_empty() {
                    file_name.to_owned()
                } else {
                    format!("{dir}/{file_name}")
                };
                let metadata = entry.metadata().map_err(failed)?;
                if metadata.is_dir() {
                    match self.submodule(&name) {
                        Some(submodule) if self.submodules == Submodules::Noted => {
                            let (path, kind) = (entry.path(), EntryKind::Submodule);
                            meet(Found {
                                name,
                                path,
                                kind,
                                submodule,
                            })?;
                        }
                        Some(_) => ahead.push((name, Choice::Everything)),
                        None => {
                            let choice = self.choice(&name, choice);
                            ahead.push((name, choice));
                        }
                    }
                } else if let Some(kind) = kind(&metadata)
                    && self.is_met(&name, choice)
                {
                    let (path, submodule) = (entry.path(), Oid::ZERO_SHA1);
                    meet(Found {
                        name,
                        path,
                        kind,
                        submodule,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// The files of Terraform's own folders that git has all the same, by their paths below the
    /// top. A walk does not meet them.
    pub(super) fn committed_caches(&self) -> Vec<String> {
        let Some((_, below, index)) = &self.git else {
            return Vec::new();
        };
        let in_cache = |path: &str| path.split('/').any(|part| part == SKIPPED[1]);
        index
            .iter()
            .filter_map(|entry| {
                let path = PathBuf::from(String::from_utf8(entry.path).ok()?);
                path.strip_prefix(below).ok()?.to_str().map(str::to_owned)
            })
            .filter(|path| in_cache(path))
            .collect()
    }

    /// Which files of a folder are met, given the choice for the folder above it.
    fn choice(&self, dir: &str, above: Choice) -> Choice {
        let kept =
            |keep: &String| keep.is_empty() || dir == keep || dir.starts_with(&format!("{keep}/"));
        if above == Choice::Everything || self.keep.iter().any(kept) {
            Choice::Everything
        } else if above == Choice::Ignored || (!dir.is_empty() && self.is_ignored(dir)) {
            Choice::Ignored
        } else {
            Choice::ByGit
        }
    }

    /// Whether a file is met.
    fn is_met(&self, name: &str, choice: Choice) -> bool {
        let is_variables = name.ends_with(".tfvars") || name.ends_with(".tfvars.json");
        match choice {
            Choice::Everything => true,
            Choice::ByGit => is_variables || !self.is_ignored(name) || self.is_tracked(name),
            Choice::Ignored => is_variables || self.is_tracked(name),
        }
    }

    fn is_ignored(&self, name: &str) -> bool {
        // What git cannot judge is not left out.
        self.git.as_ref().is_some_and(|(repo, below, _)| {
            repo.is_path_ignored(below.join(name)).unwrap_or_default()
        })
    }

    fn is_tracked(&self, name: &str) -> bool {
        self.git
            .as_ref()
            .is_some_and(|(_, below, index)| index.get_path(&below.join(name), 0).is_some())
    }

    /// The commit of a submodule in that folder.
    fn submodule(&self, name: &str) -> Option<Oid> {
        let (_, below, index) = self.git.as_ref()?;
        let entry = index.get_path(&below.join(name), 0)?;
        (entry.mode == 0o160_000).then_some(entry.id)
    }
}

/// What a file is; sockets and the like are none.
fn kind(metadata: &Metadata) -> Option<EntryKind> {
    if metadata.is_symlink() {
        Some(EntryKind::Symlink)
    } else if !metadata.is_file() {
        None
    } else if metadata.permissions().mode() & 0o100 != 0 {
        Some(EntryKind::Executable)
    } else {
        Some(EntryKind::Regular)
    }
}

/// Finds the repository that a folder is in.
pub(super) fn discover(dir: &Path) -> Result<Repository, SourceError> {
    if let Err(error) = fs::metadata(dir)
        && error.kind() == io::ErrorKind::NotFound
    {
        return Err(SourceError::io("open", dir, error));
    }
    Repository::discover(dir).map_err(|error| match error.code() {
        ErrorCode::NotFound => SourceError::NotARepository {
            path: dir.to_owned(),
        },
        _ => SourceError::git(dir, "open it", error),
    })
}
