//! Paths in a tree: taken apart, put together, and followed through symbolic links.

use std::collections::VecDeque;

use super::{EntryKind, Tree, TreeError};

/// Linux gives up on a path after this many symbolic links (`path_resolution(7)`).
const LINK_LIMIT: usize = 40;

/// Where a path leads once its symbolic links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The path without links; nothing needs to be there.
    pub path: String,
    /// The links that were followed, in order.
    pub links: Vec<String>,
}

/// Why a path cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It leads out of the tree, or is absolute.
    #[error("the path leads out of the repository")]
    Leaves,
    /// It goes through more links than an operating system would follow; in a circle, most likely.
    #[error("the path goes through more than {LINK_LIMIT} symbolic links")]
    TooManyLinks,
    /// A link cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Follows `relative` from the folder `dir` of `tree` the way an operating system would.
///
/// # Errors
///
/// [`FollowError::Leaves`] as soon as any step leaves the tree, even if a later
/// one came back.
pub fn follow(tree: &dyn Tree, dir: &str, relative: &str) -> Result<Followed, FollowError> {
    if relative.starts_with('/') {
        return Err(FollowError::Leaves);
    }
    let mut done: Vec<String> = parts(dir).map(str::to_owned).collect();
    let mut ahead: VecDeque<String> = parts(relative).map(str::to_owned).collect();
    let mut links = Vec::new();
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            done.pop().ok_or(FollowError::Leaves)?;
            continue;
        }
        done.push(part);
        let path = done.join("/");
        if tree
            .files()
            .get(&path)
            .is_none_or(|entry| entry.kind != EntryKind::Symlink)
        {
            continue;
        }
        if links.len() == LINK_LIMIT {
            return Err(FollowError::TooManyLinks);
        }
        let target = String::from_utf8_lossy(&tree.read(&path)?).into_owned();
        if target.starts_with('/') {
            return Err(FollowError::Leaves);
        }
        done.pop();
        links.push(path);
        for part in parts(&target).rev() {
            ahead.push_front(part.to_owned());
        }
    }
    Ok(Followed {
        path: done.join("/"),
        links,
    })
}

/// Follows the `source` of a module in the folder `dir`. As Terraform does, it takes back what
/// stands before a `..` without a look at the disk: `./link/../x` is `./x` wherever the link leads.
///
/// # Errors
///
/// Those of [`follow`].
pub fn follow_source(tree: &dyn Tree, dir: &str, source: &str) -> Result<Followed, FollowError> {
    if source.starts_with('/') {
        return Err(FollowError::Leaves);
    }
    follow(tree, dir, &cleaned(source))
}

/// A path in which no part but those at its beginning is a `..`, without a look at any link.
pub fn cleaned(path: &str) -> String {
    let mut cleaned: Vec<&str> = Vec::new();
    for part in parts(path) {
        match cleaned.last() {
            Some(last) if part == ".." && *last != ".." => drop(cleaned.pop()),
            _ => cleaned.push(part),
        }
    }
    cleaned.join("/")
}

/// The parts of a path that say something.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

/// A path without `.` and doubled or trailing slashes.
pub(super) fn tidy(path: &str) -> String {
    parts(path).collect::<Vec<_>>().join("/")
}

/// The folder that a path is in.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// The folders above a path, the nearest first and the top last.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors((!path.is_empty()).then(|| parent(path)), |dir| {
        (!dir.is_empty()).then(|| parent(dir))
    })
}

/// Where the paths below a folder begin.
pub(super) fn prefix(dir: &str) -> String {
    if dir.is_empty() {
        String::new()
    } else {
        format!("{dir}/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::MemoryTree;

    #[test]
    fn a_path_is_followed_as_an_operating_system_would() {
        let tree = MemoryTree::new()
            .file("a/b/x.tf", "")
            .link("link", "a/b")
            .link("a/up", "..")
            .link("chain", "./link/../b");
        let path = |dir, relative| follow(&tree, dir, relative).unwrap().path;
        assert_eq!(path("", "link/x.tf"), "a/b/x.tf");
        assert_eq!(path("a", "../link/../z"), "a/z");
        assert_eq!(path("", "chain/x.tf"), "a/b/x.tf");
        assert_eq!(path("", "a/up/a"), "a");
        assert_eq!(follow(&tree, "", "chain").unwrap().links, ["chain", "link"]);
    }

    #[test]
    fn a_path_that_leaves_the_tree_is_refused_even_through_links() {
        let tree = MemoryTree::new()
            .link("d/up", "..")
            .link("sly", "d/up/../outside")
            .link("etc", "/etc")
            .link("loop", "loop");
        for path in ["..", "a/../../b", "/etc", "sly", "etc/passwd", "d/up/.."] {
            let followed = follow(&tree, "", path);
            assert!(
                matches!(followed, Err(FollowError::Leaves)),
                "{path}: {followed:?}"
            );
        }
        assert!(matches!(
            follow(&tree, "", "loop"),
            Err(FollowError::TooManyLinks)
        ));
    }

    #[test]
    fn the_source_of_a_module_is_put_in_order_before_its_links_are_followed() {
        let tree = MemoryTree::new()
            .file("shared/deep/x.tf", "")
            .link("net/link", "../shared/deep");
        let path = |source| follow_source(&tree, "net", source).unwrap().path;
        assert_eq!(path("./link/../mod"), "net/mod");
        assert_eq!(path("./link/x/../../mod"), "net/mod");
        assert_eq!(path("./link"), "shared/deep");
        assert_eq!(path(".././a/../b"), "b");
        for source in ["/etc", "../../x", "./link/../../../x"] {
            let followed = follow_source(&tree, "net", source);
            assert!(matches!(followed, Err(FollowError::Leaves)), "{source}");
        }
    }

    #[test]
    fn ancestors_end_with_the_top() {
        assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["a/b", "a", ""]);
        assert_eq!(ancestors("a").collect::<Vec<_>>(), [""]);
        assert_eq!(ancestors("").count(), 0);
    }
}
