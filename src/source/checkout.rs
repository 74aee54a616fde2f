//! Writes the files of a tree into a folder, and nowhere else.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::error::SourceError;
use super::git_tree::GitTree;
use super::names;
use crate::config::Size;
use crate::modules::{Entry, EntryKind, FollowError, Tree, TreeError, follow};

/// Which symbolic links a checkout writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Those that stay within the tree; any other is an error.
    Within,
    /// All, wherever they lead.
    Anywhere,
}

/// Writes `paths` of `tree`, or all of it, into the folder `into`.
pub(super) fn write(
    tree: &GitTree,
    paths: Option<&BTreeSet<String>>,
    into: &Path,
    which: Links,
) -> Result<(), SourceError> {
    fs::create_dir_all(into).map_err(|error| SourceError::io("make", into, error))?;
    let mut there = fs::read_dir(into).map_err(|error| SourceError::io("read", into, error))?;
    if there.next().is_some() {
        let error = io::Error::from(io::ErrorKind::DirectoryNotEmpty);
        return Err(SourceError::io("check out into", into, error));
    }
    let chosen: Vec<(&String, &Entry)> = tree
        .files()
        .iter()
        .filter(|(path, _)| paths.is_none_or(|paths| paths.contains(*path)))
        .collect();
    let mut size = 0;
    for (path, entry) in &chosen {
        if tree.is_illegible(path) {
            let reason = "its name is no UTF-8 text; rename it";
            return Err(SourceError::Hostile {
                path: (*path).clone(),
                reason,
            });
        }
        if !matches!(entry.kind, EntryKind::Submodule) {
            size += tree.size(entry)?;
        }
        // A few large blobs under many names could fill any disk.
        let most = tree.limits().tree;
        if size > most {
            return Err(SourceError::TooLarge {
                tree: tree.id().to_string(),
                limit: format!("{} to check out", Size(most)),
                key: Some("tree"),
            });
        }
    }
    names::check(chosen.iter().map(|(path, _)| path.as_str()))?;
    let mut folders = BTreeSet::from([into.to_owned()]);
    // Links come last, so that no file can be written through one.
    let (links, files): (Vec<_>, Vec<_>) = chosen
        .into_iter()
        .partition(|(_, entry)| entry.kind == EntryKind::Symlink);
    for (path, entry) in files {
        let mode = match entry.kind {
            EntryKind::Regular => 0o644,
            EntryKind::Executable => 0o755,
            EntryKind::Symlink | EntryKind::Submodule => continue,
        };
        let content = tree.content(path, entry)?;
        let to = place(into, path, &mut folders)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&to)
            .and_then(|mut file| file.write_all(&content))
            .map_err(|error| SourceError::io("write", &to, error))?;
    }
    for (path, entry) in links {
        let target = link_target(tree, path, entry, which)?;
        let to = place(into, path, &mut folders)?;
        symlink(&target, &to).map_err(|error| SourceError::io("make the link", &to, error))?;
    }
    Ok(())
}

/// Where a file goes; its folder is made.
fn place(into: &Path, path: &str, folders: &mut BTreeSet<PathBuf>) -> Result<PathBuf, SourceError> {
    let to = into.join(path);
    let folder = to.parent().unwrap_or(into).to_owned();
    if !folders.contains(&folder) {
        fs::create_dir_all(&folder).map_err(|error| SourceError::io("make", &folder, error))?;
        folders.insert(folder);
    }
    Ok(to)
}

/// What a link is to hold, if all the way that it leads stays within the tree.
fn link_target(
    tree: &GitTree,
    path: &str,
    entry: &Entry,
    which: Links,
) -> Result<String, SourceError> {
    let target =
        String::from_utf8(tree.content(path, entry)?).map_err(|_| SourceError::Hostile {
            path: path.to_owned(),
            reason: "the target of the link is no UTF-8 text",
        })?;
    match follow(tree, "", path) {
        Ok(_) => Ok(target),
        Err(_) if which == Links::Anywhere => Ok(target),
        Err(FollowError::Leaves) => Err(SourceError::EscapingLink {
            path: path.to_owned(),
            target,
        }),
        Err(FollowError::TooManyLinks) => Err(SourceError::Hostile {
            path: path.to_owned(),
            reason: "the link leads in a circle, or through too many others",
        }),
        Err(FollowError::Tree(
            TreeError::Missing { path } | TreeError::Unreadable { path, .. },
        )) => Err(SourceError::Hostile {
            path,
            reason: "a link on its way cannot be read",
        }),
    }
}
