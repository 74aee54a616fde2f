//! What a dry run is of: the checkout, its declaration, the base, the workspaces to plan.

use super::{DryRunError, Request};
use crate::decide::ModuleChange;
use crate::id::{BranchName, CommitSha, WorkspaceName};
use crate::modules::{self, Presence, Resolved};
use crate::source::{Base, WorkTree};
use crate::trust::{self, Refusal};
use crate::watch::touched;
use crate::workspace::{Declaration, Discover, Recorded, RepoAddress, Rule};

/// So many files are named that are not committed.
const FILES_NAMED: usize = 5;

/// Whether a declaration says how the workspaces are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    /// One does.
    Yes,
    /// None does: they were found.
    No,
}

/// What a dry run is of.
pub(super) struct Subject {
    pub(super) tree: WorkTree,
    pub(super) declaration: Declaration,
    pub(super) declared: Declared,
    pub(super) head: CommitSha,
    pub(super) base: CommitSha,
    pub(super) chosen: Vec<Resolved>,
    /// What is refused of those chosen, one by one.
    pub(super) refusals: Vec<Vec<Refusal>>,
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
    let (declaration, declared) = match declared(request, &remotes, &top) {
        Some(declaration) => (declaration, Declared::Yes),
        None => {
            let found = discovered(request, &tree, &remotes, &top, branch)?;
            (found, Declared::No)
        }
    };
    if declared == Declared::No && !request.declarations.is_empty() {
        notes.push(undeclared(&remotes));
    }
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
            "no workspace differs from `{revision}` at `{}`; `--workspace NAME` plans one all the same: {}",
            base.short(),
            all.join(", ")
        ));
    }
    if !chosen.is_empty() {
        notes.extend(uncommitted(&WorkTree::uncommitted(&top)?));
    }
    let refusals = chosen
        .iter()
        .map(|resolved| trust::refusals(&tree, resolved, trust::Base::Tree(&base_tree)))
        .collect::<Result<_, _>>()?;
    Ok(Subject {
        refusals,
        tree,
        declaration,
        declared,
        head,
        base,
        chosen,
        removed,
        notes,
    })
}

/// What to say where declarations are known and none is of this repository.
fn undeclared(remotes: &[String]) -> String {
    let here = match remotes {
        [] => "it has no remote".to_owned(),
        [first, ..] => format!("its remote is `{}`", key_of(first)),
    };
    format!(
        "no declaration is of this repository ({here}), so its root modules were found by looking"
    )
}

/// What to say of files that a reviewer would not see.
fn uncommitted(files: &[String]) -> Option<String> {
    let mut names: Vec<_> = files
        .iter()
        .take(FILES_NAMED)
        .map(|f| format!("`{f}`"))
        .collect();
    if files.len() > FILES_NAMED {
        names.push(format!("{} more", files.len() - FILES_NAMED));
    }
    (!names.is_empty()).then(|| format!("planned with what is not committed: {}", names.join(", ")))
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
                let wanted = key_of(url);
                remotes.iter().any(|remote| key_of(remote) == wanted)
                    || key_of(&top.to_string_lossy()) == wanted
            }
        })
        .cloned()
}

/// What the forms of one address have in common: host and path, without scheme, user and `.git`.
fn key_of(url: &str) -> String {
    let url = url.trim_end_matches('/').trim_end_matches(".git");
    if let Some(path) = url.strip_prefix("file://") {
        return path.to_owned();
    }
    let (rest, form) = match url.split_once("://") {
        Some((_, rest)) => (rest, '/'),
        // `user@host:path`, or a path.
        None => (url, ':'),
    };
    let (host, path) = match rest.split_once(form) {
        Some((host, path)) if !host.contains('/') => (host, path),
        _ => return rest.to_owned(),
    };
    let host = host.rsplit('@').next().unwrap_or(host);
    format!(
        "{}/{}",
        host.to_ascii_lowercase(),
        path.trim_start_matches('/')
    )
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
    let mut settings = request.config.workspace_defaults();
    // Nobody declared which branch is the base, and the disk and the state are the person's own.
    settings.trust.loosened = [Rule::Backend, Rule::Overrides, Rule::Symlinks].into();
    Ok(Declaration {
        file: top.join("(discovered)"),
        repo: name.parse().map_err(|_| folder())?,
        address: RepoAddress::Git(top.to_string_lossy().into_owned()),
        branch: branch.unwrap_or_else(|| "main".parse().expect("a valid branch name")),
        proposals: Vec::new(),
        recorded: Recorded::Here,
        workspaces: Vec::new(),
        discover: Some(Discover {
            paths: vec!["**".to_owned()],
            exclude: Vec::new(),
            settings,
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
    #[test]
    fn an_address_is_known_in_each_of_its_forms_and_without_credentials() {
        for url in [
            "https://Git.example/acme/infra.git",
            "https://user:secret@git.example/acme/infra/",
            "git@git.example:acme/infra.git",
            "ssh://git@git.example/acme/infra",
        ] {
            assert_eq!(key_of(url), "git.example/acme/infra", "{url}");
        }
        for url in [
            "/srv/git/infra.git",
            "file:///srv/git/infra.git/",
            "/srv/git/infra",
        ] {
            assert_eq!(key_of(url), "/srv/git/infra", "{url}");
        }
        assert_ne!(
            key_of("https://a.example/x/y"),
            key_of("https://b.example/x/y")
        );
    }

    #[test]
    fn what_is_not_committed_is_named_up_to_a_bound() {
        let files = |count: usize| (0..count).map(|i| format!("f{i}")).collect::<Vec<_>>();
        assert_eq!(uncommitted(&[]), None);
        let few = uncommitted(&files(2)).unwrap();
        assert_eq!(few, "planned with what is not committed: `f0`, `f1`");
        assert!(uncommitted(&files(9)).unwrap().ends_with("`f4`, 4 more"));
    }
}
