//! What a dry run is of: the checkout, its declaration, the base, the workspaces to plan.

use super::{DryRunError, Request};
use crate::decide::ModuleChange;
use crate::id::{BranchName, CommitSha, WorkspaceName};
use crate::modules::{self, Presence, Resolved};
use crate::source::{Base, WorkTree};
use crate::watch::touched;
use crate::workspace::{Declaration, Discover, RepoAddress};

/// What a dry run is of.
pub(super) struct Subject {
    pub(super) tree: WorkTree,
    pub(super) declaration: Declaration,
    pub(super) head: CommitSha,
    pub(super) base: CommitSha,
    pub(super) chosen: Vec<Resolved>,
    pub(super) removed: Vec<WorkspaceName>,
    pub(super) notes: Vec<String>,
}

/// Finds out what the dry run is of. Blocks.
pub(super) fn find_subject(request: &Request) -> Result<Subject, DryRunError> {
    let top = WorkTree::repo_root(&request.dir)?;
    let tree = WorkTree::open(&top)?;
    let Base {
        tree: base_tree,
        commit: base,
        revision,
        head,
        remotes,
    } = WorkTree::base_tree(&top, request.base.as_deref())?;
    let mut notes = Vec::new();
    let branch = revision
        .rsplit('/')
        .next()
        .and_then(|name| name.parse::<BranchName>().ok());
    let declaration = match declared(request, &remotes, &top) {
        Some(declaration) => declaration,
        None => discovered(request, &tree, &remotes, &top, branch)?,
    };
    let now = modules::resolve(&tree, &declaration)?;
    let before = modules::resolve(&base_tree, &declaration)?;
    if now
        .iter()
        .chain(&before)
        .all(|r| r.presence == Presence::Absent)
    {
        return Err(DryRunError::NoModules { folder: top });
    }
    let differs = touched(&before, &now);
    let mut removed = Vec::new();
    let chosen = if request.workspaces.is_empty() {
        removed.extend(
            differs
                .iter()
                .filter(|t| t.change == ModuleChange::Removed)
                .map(|t| t.name.clone()),
        );
        let names: Vec<_> = differs
            .iter()
            .filter(|t| t.change != ModuleChange::Removed)
            .map(|t| &t.name)
            .collect();
        now.iter()
            .filter(|r| names.contains(&&r.workspace.name))
            .cloned()
            .collect()
    } else {
        named(&request.workspaces, &now)?
    };
    if chosen.is_empty() && removed.is_empty() {
        let all: Vec<_> = now
            .iter()
            .map(|r| format!("`{}`", r.workspace.name))
            .collect();
        notes.push(format!(
            "no workspace differs from `{revision}` at `{}`; `--workspace` plans one all the same ({})",
            base.short(),
            all.join(", ")
        ));
    }
    Ok(Subject {
        tree,
        declaration,
        head,
        base,
        chosen,
        removed,
        notes,
    })
}

fn named(wanted: &[WorkspaceName], all: &[Resolved]) -> Result<Vec<Resolved>, DryRunError> {
    wanted
        .iter()
        .map(|name| {
            all.iter()
                .find(|r| &r.workspace.name == name && r.presence == Presence::Present)
                .cloned()
                .ok_or_else(|| DryRunError::NoWorkspace {
                    wanted: name.clone(),
                    known: all.iter().map(|r| r.workspace.name.clone()).collect(),
                })
        })
        .collect()
}

/// The declaration of this checkout's repository: the one that one of its remotes leads to.
fn declared(request: &Request, remotes: &[String], top: &std::path::Path) -> Option<Declaration> {
    request
        .declarations
        .iter()
        .find(|declaration| match &declaration.address {
            RepoAddress::GitHub { owner, name } => remotes
                .iter()
                .any(|url| path_of(url).eq_ignore_ascii_case(&format!("{owner}/{name}"))),
            RepoAddress::Git(url) => {
                let same = |a: &str| {
                    a.trim_end_matches('/').trim_end_matches(".git")
                        == url.trim_end_matches('/').trim_end_matches(".git")
                };
                remotes.iter().any(|remote| same(remote)) || same(&top.to_string_lossy())
            }
        })
        .cloned()
}

/// The last two parts of a remote's path, `owner/name`.
fn path_of(url: &str) -> String {
    let url = url.trim_end_matches('/').trim_end_matches(".git");
    let mut parts: Vec<&str> = url.rsplit(['/', ':']).take(2).collect();
    parts.reverse();
    parts.join("/")
}

/// A declaration of what is there, for a repository that has none.
fn discovered(
    request: &Request,
    tree: &WorkTree,
    remotes: &[String],
    top: &std::path::Path,
    branch: Option<BranchName>,
) -> Result<Declaration, DryRunError> {
    let folder = || DryRunError::NoModules {
        folder: top.to_owned(),
    };
    if modules::discover_roots(tree)?.is_empty()
        && request.workspaces.is_empty()
        && remotes.is_empty()
    {
        return Err(folder());
    }
    let name = remotes
        .first()
        .map_or_else(|| top.to_string_lossy().into_owned(), |url| path_of(url));
    Ok(Declaration {
        file: top.join("(discovered)"),
        repo: name.parse().map_err(|_| folder())?,
        address: RepoAddress::Git(top.to_string_lossy().into_owned()),
        branch: branch.unwrap_or_else(|| "main".parse().expect("a valid branch name")),
        proposals: Vec::new(),
        workspaces: Vec::new(),
        discover: Some(Discover {
            paths: vec!["**".to_owned()],
            exclude: Vec::new(),
            settings: request.config.workspace_defaults(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_of_every_form_lead_to_the_same_repository() {
        for url in [
            "https://github.com/acme/infra.git",
            "git@github.com:acme/infra.git",
            "ssh://git@github.com/acme/infra/",
        ] {
            assert_eq!(path_of(url), "acme/infra", "{url}");
        }
    }
}
