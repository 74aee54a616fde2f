//! The files of a tree in git.

use std::collections::{BTreeMap, BTreeSet};

use git2::{Oid, Repository};

use super::error::SourceError;
use super::mirror::{object_id, oid};
use crate::id::ObjectId;
use crate::modules::{Entry, EntryKind, Tree, TreeError};

/// Files and folders that a tree may have. A few small objects can spell out billions.
const ENTRIES_LIMIT: usize = 500_000;

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
}

impl std::fmt::Debug for GitTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            files,
            illegible: _,
            id,
            repo: _,
        } = self;
        f.debug_struct("GitTree")
            .field("id", id)
            .field("files", &files.len())
            .finish()
    }
}

impl GitTree {
    /// Lists a tree of `repo`.
    pub(super) fn read(repo: Repository, tree: &ObjectId) -> Result<Self, SourceError> {
        let mut files = BTreeMap::new();
        let mut illegible = BTreeSet::new();
        let failed = |error| SourceError::git(repo.path(), format!("read tree {tree}"), error);
        let too_large = |limit| SourceError::TooLarge {
            tree: tree.to_string(),
            limit,
        };
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
                if entries > ENTRIES_LIMIT || bytes_of_paths > PATHS_LIMIT {
                    return Err(too_large("500,000 files and folders, or 128 MiB of paths"));
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

    /// The content of a file.
    pub(super) fn content(&self, entry: &Entry) -> Result<Vec<u8>, SourceError> {
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
        self.content(entry).map_err(|error| TreeError::Unreadable {
            path: path.to_owned(),
            source: error.into(),
        })
    }
}

/// Says why no honest tree has an entry of that name. git refuses such names
/// when it makes a tree; a server that does not check passes them on.
fn danger(name: &[u8]) -> Option<&'static str> {
    let folded = name.to_ascii_lowercase();
    let trimmed = folded.trim_ascii_end();
    let trimmed = trimmed.strip_suffix(b".").unwrap_or(trimmed);
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
