//! A folder as it lies on the disk, uncommitted edits too.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use git2::{BranchType, Commit, ErrorCode, ObjectType, Oid, Repository};

use super::error::SourceError;
use super::git_tree::GitTree;
use super::mirror::{commit_sha, object_id};
use super::walk::{Submodules, Walk, discover};
use crate::config::Limits;
use crate::id::CommitSha;
use crate::modules::{Entry, EntryKind, Tree, TreeError};

/// Branches that are taken for the default one where no remote says which it is.
const DEFAULT_BRANCHES: [&str; 4] = ["origin/main", "main", "origin/master", "master"];

/// How many similar names are shown for a revision that is not there.
const NEAR_LIMIT: usize = 3;

/// A folder as it lies on the disk.
///
/// Left out are `.git`, `.terraform` (but what of it is committed is listed), and what git ignores, though variable
/// files (`*.tfvars`) are kept: they are ignored more often than not, and
/// Terraform reads them all the same.
#[derive(Debug)]
pub struct WorkTree {
    top: PathBuf,
    files: BTreeMap<String, Entry>,
}

/// The tree that a work tree is compared with.
#[derive(Debug)]
pub struct Base {
    /// Its files.
    pub tree: GitTree,
    /// The commit: where the work tree's branch left `revision`.
    pub commit: CommitSha,
    /// What was compared with, as git names it.
    pub revision: String,
    /// The commit that is checked out.
    pub head: CommitSha,
    /// The addresses of the repository's remotes, `origin` first.
    pub remotes: Vec<String>,
}

impl WorkTree {
    /// Lists the files of the folder `top`, each with the id that git would give it.
    ///
    /// # Errors
    ///
    /// [`SourceError::Io`] where a file cannot be read, [`SourceError::NotOurs`]
    /// where it is a repository of somebody else.
    pub fn open(top: &Path) -> Result<Self, SourceError> {
        let mut files = BTreeMap::new();
        let walk = Walk::new(top)?;
        walk.files(&mut |file| {
            let id = match file.kind {
                EntryKind::Submodule => file.submodule,
                EntryKind::Symlink => hash(top, &link_text(&file.path)?)?,
                EntryKind::Regular | EntryKind::Executable => {
                    let content = fs::read(&file.path)
                        .map_err(|error| SourceError::io("read", &file.path, error))?;
                    hash(top, &content)?
                }
            };
            files.insert(
                file.name,
                Entry {
                    id: object_id(id),
                    kind: file.kind,
                },
            );
            Ok(())
        })?;
        for path in walk.committed_caches() {
            // They are listed for those who would not have them there; what they hold is nobody's.
            if top.join(&path).is_file() {
                let id = object_id(hash(top, path.as_bytes())?);
                let kind = EntryKind::Regular;
                files.insert(path, Entry { id, kind });
            }
        }
        Ok(Self {
            top: top.to_owned(),
            files,
        })
    }

    /// The folder.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// The top of the git repository that has `dir` in its work tree.
    ///
    /// # Errors
    ///
    /// [`SourceError::NotARepository`] where there is none.
    pub fn repo_root(dir: &Path) -> Result<PathBuf, SourceError> {
        let repo = discover(dir)?;
        let root = repo.workdir().ok_or_else(|| SourceError::NotARepository {
            path: dir.to_owned(),
        })?;
        // git2 ends it with a slash.
        Ok(root.components().collect())
    }

    /// What to compare the checkout in `dir` with: the commit where its `HEAD`
    /// left `revision`, or where that is not given, the default branch.
    ///
    /// The default branch is what `origin` says it is, else `main`, else `master`.
    ///
    /// # Errors
    ///
    /// [`SourceError::NotARepository`], [`SourceError::NoCommits`],
    /// [`SourceError::UnknownRevision`] with similar names, and
    /// [`SourceError::Unrelated`] where `HEAD` and `revision` have no commit in common.
    pub fn base_tree(dir: &Path, revision: Option<&str>) -> Result<Base, SourceError> {
        let repo = discover(dir)?;
        let path = repo.path().to_owned();
        let failed = |error| SourceError::git(&path, "find what to compare with", error);
        let head = match repo.head().and_then(|head| head.peel_to_commit()) {
            Ok(head) => head.id(),
            Err(error) if matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => {
                return Err(SourceError::NoCommits { path });
            }
            Err(error) => return Err(failed(error)),
        };
        let (revision, target) = match revision {
            Some(revision) => match find(&repo, revision) {
                Some(commit) => (revision.to_owned(), commit.id()),
                None => {
                    let near = near(&repo, revision);
                    return Err(SourceError::UnknownRevision {
                        path,
                        revision: revision.to_owned(),
                        near,
                    });
                }
            },
            None => default_branch(&repo).ok_or_else(|| SourceError::UnknownRevision {
                path: path.clone(),
                revision: "main".to_owned(),
                near: near(&repo, "main"),
            })?,
        };
        let base = match repo.merge_base(head, target) {
            Err(error) if error.code() == ErrorCode::NotFound => {
                return Err(SourceError::Unrelated {
                    base: commit_sha(target),
                    head: commit_sha(head),
                });
            }
            base => base.map_err(failed)?,
        };
        let tree = object_id(repo.find_commit(base).map_err(failed)?.tree_id());
        // The repository is the person's own, as large as it is.
        let limits = Limits {
            files: u64::MAX,
            file: u64::MAX,
            ..Limits::default()
        };
        let remotes = remotes(&repo);
        Ok(Base {
            head: commit_sha(head),
            remotes,
            tree: GitTree::read(repo, &tree, limits)?,
            commit: commit_sha(base),
            revision,
        })
    }

    /// The files of the checkout in `dir` that are not as `HEAD` has them, by path, new ones too.
    /// What git ignores does not count.
    ///
    /// # Errors
    ///
    /// [`SourceError::NotARepository`], and [`SourceError::Git`] where git cannot tell.
    pub fn uncommitted(dir: &Path) -> Result<Vec<String>, SourceError> {
        let repo = discover(dir)?;
        let mut options = git2::StatusOptions::new();
        options
            .include_untracked(true)
            .recurse_untracked_dirs(true)
            .include_ignored(false)
            .exclude_submodules(true)
            // The checkout is the person's: not even git's own cache in it is refreshed.
            .update_index(false);
        let failed = |error| SourceError::git(repo.path(), "see what is not committed", error);
        let statuses = repo.statuses(Some(&mut options)).map_err(failed)?;
        Ok(statuses
            .iter()
            .map(|entry| String::from_utf8_lossy(entry.path_bytes()).into_owned())
            .collect())
    }

    /// Copies the folder as it is now into the folder `dest`, which is made:
    /// files with their modes, links as links. Links that lead out of the folder
    /// by a relative path are made absolute, so that they lead to the same file.
    ///
    /// Below the folders `keep` (relative to the top), and in submodules, what
    /// git ignores is copied too; `.git` and `.terraform` never are.
    ///
    /// # Errors
    ///
    /// [`SourceError::Io`]; what was copied until then stays.
    pub fn copy_to(&self, dest: &Path, keep: &[String]) -> Result<(), SourceError> {
        fs::create_dir_all(dest).map_err(|error| SourceError::io("make", dest, error))?;
        let top = fs::canonicalize(&self.top)
            .map_err(|error| SourceError::io("read", &self.top, error))?;
        let mut walk = Walk::new(&self.top)?;
        walk.keep = keep
            .iter()
            .map(|dir| dir.trim_matches('/').to_owned())
            .collect();
        walk.submodules = Submodules::Entered;
        walk.files(&mut |file| {
            let to = dest.join(&file.name);
            let folder = to.parent().unwrap_or(dest);
            fs::create_dir_all(folder).map_err(|error| SourceError::io("make", folder, error))?;
            match file.kind {
                EntryKind::Symlink => {
                    let target = fs::read_link(&file.path)
                        .map_err(|error| SourceError::io("read", &file.path, error))?;
                    let folder = Path::new(&file.name).parent().unwrap_or(Path::new(""));
                    let target = if leaves(folder, &target) {
                        top.join(folder).join(target)
                    } else {
                        target
                    };
                    symlink(target, &to).map_err(|error| SourceError::io("make", &to, error))
                }
                EntryKind::Submodule => {
                    fs::create_dir_all(&to).map_err(|error| SourceError::io("make", &to, error))
                }
                EntryKind::Regular | EntryKind::Executable => fs::copy(&file.path, &to)
                    .map(drop)
                    .map_err(|error| SourceError::io("copy", &file.path, error)),
            }
        })
    }
}

impl Tree for WorkTree {
    fn files(&self) -> &BTreeMap<String, Entry> {
        &self.files
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        let entry = self.files.get(path).ok_or_else(|| TreeError::Missing {
            path: path.to_owned(),
        })?;
        let file = self.top.join(path);
        let content = match entry.kind {
            EntryKind::Symlink => link_text(&file),
            _ => fs::read(&file).map_err(|error| SourceError::io("read", &file, error)),
        };
        content.map_err(|error| TreeError::Unreadable {
            path: path.to_owned(),
            source: error.into(),
        })
    }
}

/// What a link holds.
fn link_text(path: &Path) -> Result<Vec<u8>, SourceError> {
    let target = fs::read_link(path).map_err(|error| SourceError::io("read", path, error))?;
    Ok(target.as_os_str().as_bytes().to_vec())
}

/// The id that git gives a content.
fn hash(top: &Path, content: &[u8]) -> Result<Oid, SourceError> {
    Oid::hash_object(ObjectType::Blob, content)
        .map_err(|error| SourceError::git(top, "compute the id of a file", error))
}

/// Whether a relative target leads out of the tree that has the link in `folder`.
fn leaves(folder: &Path, target: &Path) -> bool {
    if target.is_absolute() {
        return false;
    }
    let mut depth = folder.components().count();
    target.components().any(|component| {
        match component {
            Component::ParentDir => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            Component::Normal(_) => depth += 1,
            _ => {}
        }
        false
    })
}

/// The commit that a revision names.
fn find<'r>(repo: &'r Repository, revision: &str) -> Option<Commit<'r>> {
    repo.revparse_single(revision).ok()?.peel_to_commit().ok()
}

/// The default branch, with its head.
fn default_branch(repo: &Repository) -> Option<(String, Oid)> {
    let said = repo
        .find_reference("refs/remotes/origin/HEAD")
        .ok()
        .and_then(|head| head.symbolic_target().ok().flatten().map(str::to_owned))
        .and_then(|target| target.strip_prefix("refs/remotes/").map(str::to_owned));
    said.into_iter()
        .chain(DEFAULT_BRANCHES.map(str::to_owned))
        .find_map(|name| find(repo, &name).map(|commit| (name, commit.id())))
}

/// Branches with a name like that, the nearest first.
fn near(repo: &Repository, revision: &str) -> Vec<String> {
    let Ok(branches) = repo.branches(None::<BranchType>) else {
        return Vec::new();
    };
    let mut near: Vec<(f64, String)> = branches
        .filter_map(|branch| {
            let name = branch.ok()?.0.name().ok().flatten()?.to_owned();
            Some((strsim::jaro_winkler(&name, revision), name))
        })
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    near.into_iter()
        .take(NEAR_LIMIT)
        .map(|(_, name)| name)
        .collect()
}

/// The addresses of the remotes, `origin` first.
fn remotes(repo: &Repository) -> Vec<String> {
    let names = repo.remotes();
    let mut names: Vec<&str> = names
        .iter()
        .flat_map(|names| names.iter())
        .flatten()
        .flatten()
        .collect();
    names.sort_by_key(|name| *name != "origin");
    names
        .into_iter()
        .filter_map(|name| repo.find_remote(name).ok()?.url().ok().map(str::to_owned))
        .collect()
}
