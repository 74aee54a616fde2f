//! The files of a tree in git.

use std::collections::{BTreeMap, BTreeSet};

use git2::{Oid, Repository};

use super::error::SourceError;
use super::mirror::{object_id, oid};
use super::names;
use crate::config::{Limits, Size};
use crate::id::ObjectId;
use crate::modules::{Entry, EntryKind, Tree, TreeError};

/// How deep folders may be in each other.
const DEPTH_LIMIT: usize = 100;

/// Bytes that a path may have: what Linux takes (`PATH_MAX`).
const PATH_LIMIT: usize = 4_096;

/// Bytes that all paths of a tree may have together.
const PATHS_LIMIT: usize = 128 * 1024 * 1024;

/// The files of a tree in git, as of a commit or of a merge.
///
/// It can be sent to another thread, and reads on while the mirror is fetched.
pub struct GitTree {
    files: BTreeMap<String, Entry>,
    /// Those of `files` (and, with a slash, of their folders) whose real names are no UTF-8 text.
    illegible: BTreeSet<String>,
    id: ObjectId,
    repo: Repository,
    limits: Limits,
}

impl std::fmt::Debug for GitTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            files,
            illegible: _,
            id,
            repo: _,
            limits: _,
        } = self;
        f.debug_struct("GitTree")
            .field("id", id)
            .field("files", &files.len())
            .finish()
    }
}

impl GitTree {
    /// Lists a tree of `repo`. A few small objects can spell out billions of files.
    pub(super) fn read(
        repo: Repository,
        tree: &ObjectId,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let mut files = BTreeMap::new();
        let mut illegible = BTreeSet::new();
        let failed = |error| SourceError::git(repo.path(), format!("read tree {tree}"), error);
        let too_large = |limit, key| SourceError::TooLarge {
            tree: tree.to_string(),
            limit,
            key,
        };
        let most = usize::try_from(limits.files).unwrap_or(usize::MAX);
        let mut ahead: Vec<(String, Oid)> = vec![(String::new(), oid(tree.as_str()))];
        let (mut entries, mut bytes_of_paths) = (0, 0);
        while let Some((prefix, id)) = ahead.pop() {
            let mut names = BTreeSet::new();
            for entry in repo.find_tree(id).map_err(failed)?.iter() {
                let bytes = entry.name_bytes();
                let text = std::str::from_utf8(bytes);
                let name = match text {
                    Ok(name) => name.to_owned(),
                    // Still a name of its own, so that a change of it is seen.
                    Err(_) => format!("{}#{}", String::from_utf8_lossy(bytes), hex::encode(bytes)),
                };
                let path = format!("{prefix}{name}");
                if let Some(reason) = danger(bytes) {
                    return Err(SourceError::Hostile { path, reason });
                }
                if path.len() > PATH_LIMIT {
                    let path = path.chars().take(80).collect::<String>() + "…";
                    let reason = "its path is longer than 4,096 bytes";
                    return Err(SourceError::Hostile { path, reason });
                }
                if !names.insert(name) {
                    let reason = "the tree has two entries of that name";
                    return Err(SourceError::Hostile { path, reason });
                }
                entries += 1;
                bytes_of_paths += path.len();
                if entries > most {
                    let limit = format!("{most} files and folders");
                    return Err(too_large(limit, Some("files")));
                }
                if bytes_of_paths > PATHS_LIMIT {
                    return Err(too_large("128 MiB of paths".to_owned(), None));
                }
                if path.matches('/').count() > DEPTH_LIMIT {
                    return Err(too_large(
                        format!("{DEPTH_LIMIT} folders in each other"),
                        None,
                    ));
                }
                let is_illegible = text.is_err() || illegible.contains(&prefix);
                let kind = match entry.filemode() {
                    0o040_000 => {
                        let prefix = format!("{path}/");
                        if is_illegible {
                            illegible.insert(prefix.clone());
                        }
                        ahead.push((prefix, entry.id()));
                        continue;
                    }
                    0o100_755 => EntryKind::Executable,
                    0o120_000 => EntryKind::Symlink,
                    0o160_000 => EntryKind::Submodule,
                    _ => EntryKind::Regular,
                };
                if is_illegible {
                    illegible.insert(path.clone());
                }
                files.insert(
                    path,
                    Entry {
                        id: object_id(entry.id()),
                        kind,
                    },
                );
            }
        }
        Ok(Self {
            files,
            illegible,
            id: tree.clone(),
            repo,
            limits,
        })
    }

    /// The tree's id.
    pub fn id(&self) -> &ObjectId {
        &self.id
    }

    /// Whether the real name of a file cannot be written as text.
    pub(super) fn is_illegible(&self, path: &str) -> bool {
        self.illegible.contains(path)
    }

    /// How many bytes a file has.
    pub(super) fn size(&self, entry: &Entry) -> Result<u64, SourceError> {
        let header = self
            .repo
            .odb()
            .and_then(|odb| odb.read_header(oid(entry.id.as_str())));
        match header {
            Ok((size, _)) => Ok(size as u64),
            Err(error) => Err(SourceError::git(
                self.repo.path(),
                format!("read blob {}", entry.id),
                error,
            )),
        }
    }

    /// What it was listed within.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The content of a file, which is held in memory as a whole.
    pub(super) fn content(&self, path: &str, entry: &Entry) -> Result<Vec<u8>, SourceError> {
        if self.size(entry)? > self.limits.file {
            return Err(SourceError::FileTooLarge {
                path: path.to_owned(),
                limit: Size(self.limits.file),
            });
        }
        match self.repo.find_blob(oid(entry.id.as_str())) {
            Ok(blob) => Ok(blob.content().to_vec()),
            Err(error) => Err(SourceError::git(
                self.repo.path(),
                format!("read blob {}", entry.id),
                error,
            )),
        }
    }
}

impl Tree for GitTree {
    fn files(&self) -> &BTreeMap<String, Entry> {
        &self.files
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        let entry = self.files.get(path).ok_or_else(|| TreeError::Missing {
            path: path.to_owned(),
        })?;
        self.content(path, entry)
            .map_err(|error| TreeError::Unreadable {
                path: path.to_owned(),
                source: error.into(),
            })
    }
}

/// Says why no honest tree has an entry of that name. git refuses such names
/// when it makes a tree; a server that does not check passes them on.
fn danger(name: &[u8]) -> Option<&'static str> {
    // What some file systems leave out of a name, at its end (and behind a colon) or anywhere.
    let visible: String = String::from_utf8_lossy(name)
        .chars()
        .filter(|c| !names::is_invisible(*c))
        .collect();
    let folded = visible.to_ascii_lowercase();
    let folded = folded.split(':').next().unwrap_or_default();
    let trimmed = folded
        .trim_end_matches([' ', '.', '\t', '\n', '\r'])
        .as_bytes();
    match name {
        b"" | b"." | b".." => Some("its path leaves the folder that it is in"),
        _ if name.contains(&b'/') || name.contains(&0) => Some("its name is no name of a file"),
        // The second is what some file systems call the first.
        _ if trimmed == b".git" || trimmed == b"git~1" => {
            Some("it would be part of git's own files")
        }
        _ => None,
    }
}
