//! A bare repository of our own for each remote one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use git2::{ErrorClass, ErrorCode, Oid, Reference, Repository, RepositoryInitOptions};
use git2::{RepositoryOpenFlags, Sort};
use tracing::warn;

use super::address::RemoteAddress;
use super::checkout::{self, Links};
use super::error::SourceError;
use super::git_tree::GitTree;
use super::peer::Network;
use crate::config::Limits;
use crate::id::{BranchName, CommitSha, ObjectId};

/// Where the base branches' heads are kept.
const BASE: &str = "refs/mainstay/base/";

/// Where the proposals' heads are kept.
const PROPOSALS: &str = "refs/mainstay/proposals/";

/// Commits that a server is told of, so that it leaves out what they have.
const HAVES_LIMIT: usize = 512;

/// The file whose lock keeps two fetches of one mirror apart, also of two processes.
const LOCK: &str = "mainstay.lock";

/// How the names of folders begin that a [`Mirror::tidy`] works in.
pub(super) const TIDYING: &str = "tidying-";

/// A bare repository of our own that follows a remote one.
///
/// Clones are the same mirror, and any of them may be used by any thread.
#[derive(Debug, Clone)]
pub struct Mirror {
    path: PathBuf,
    network: Network,
    limits: Limits,
}

/// Which proposals a fetch is to bring.
#[derive(Debug, Clone, Copy)]
pub enum Heads<'h> {
    /// All that there are; on a forge that means every pull request that ever was.
    All,
    /// Those for which one of these stands for the `*`: the numbers of the open
    /// pull requests. What begins with `refs/heads/` is the whole name of a branch. A server
    /// of the newer protocol is asked for no others.
    Only(&'h BTreeSet<String>),
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The base branch's head.
    pub base: CommitSha,
    /// The proposals' heads, by what stands for the `*` in the pattern of their refs.
    pub proposals: BTreeMap<String, CommitSha>,
}

impl Mirror {
    /// Opens the mirror in the folder `path`, and makes it where it is missing.
    ///
    /// One that is damaged (no repository, refs that lead nowhere) is renamed
    /// to `….broken-N` and made anew: the remote has everything that was in it.
    ///
    /// # Errors
    ///
    /// [`SourceError::Io`] and [`SourceError::NotOurs`] where the folder cannot be used.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let mirror = Self {
            path: path.to_owned(),
            network: Network::default(),
            limits: Limits::default(),
        };
        let found = match mirror.examine() {
            Ok(Condition::Missing) => return mirror.make().map(|()| mirror),
            Err(error) if !is_damage(&error) => return Err(error),
            found => found,
        };
        if found.is_err() {
            // A fetch that changed refs meanwhile looks like damage: once more, when nothing moves.
            // Where not even the lock can be had, nobody else has it.
            let _lock = mirror.lock().ok();
            match mirror.examine() {
                Ok(Condition::Sound) => {}
                Ok(Condition::Missing) => mirror.make()?,
                Err(error) if is_damage(&error) => {
                    let aside = mirror.renew()?;
                    warn!(
                        mirror = %path.display(), aside = %aside.display(),
                        error = &error as &dyn std::error::Error,
                        "The mirror in {} is damaged: put aside, made anew", path.display()
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(mirror)
    }

    /// The same mirror, with another way to reach remotes.
    pub fn with_network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// The same mirror, with other limits of what a fetch brings and a tree has.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Puts the mirror aside and makes an empty one in its place; the next fetch
    /// fills it. Gives the name under which the old one is kept.
    ///
    /// # Errors
    ///
    /// [`SourceError::Io`] and [`SourceError::Git`].
    pub fn renew(&self) -> Result<PathBuf, SourceError> {
        let name = self
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let aside = (1..)
            .map(|n| self.path.with_file_name(format!("{name}.broken-{n}")))
            .find(|aside| aside.symlink_metadata().is_err())
            .expect("numbers do not end");
        fs::rename(&self.path, &aside)
            .map_err(|error| SourceError::io("put aside", &self.path, error))?;
        self.make()?;
        Ok(aside)
    }

    /// The branches of a remote: full ref (`refs/heads/main`) and head, by name.
    ///
    /// Nothing is stored.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub fn heads(&self, remote: &RemoteAddress) -> Result<Vec<(String, CommitSha)>, SourceError> {
        let mut heads: Vec<_> = self
            .network
            .connect(remote)?
            .list(&["refs/heads/".to_owned()])?
            .into_iter()
            .map(|(name, id)| (name, commit_sha(id)))
            .collect();
        heads.sort();
        Ok(heads)
    }

    /// Brings the base branch and the proposals, and forgets proposals that are gone.
    ///
    /// `proposal_refs` is `refs/pull/*/head`, or `refs/heads/*` (the base branch
    /// is none of the proposals). Branches that were force-pushed are followed.
    /// Safe to repeat: either all of it took place, or the refs are as they were.
    /// Two fetches of one mirror wait for each other.
    ///
    /// # Errors
    ///
    /// Those of the connection; [`SourceError::NoSuchBranch`] where there is no
    /// such base branch, in which case nothing is fetched; [`SourceError::PackTooLarge`].
    pub fn fetch(
        &self,
        remote: &RemoteAddress,
        branch: &BranchName,
        proposal_refs: &str,
        heads: Heads<'_>,
    ) -> Result<Fetched, SourceError> {
        let _lock = self.lock()?;
        let (before, after) = proposal_refs.split_once('*').unwrap_or((proposal_refs, ""));
        let base_ref = format!("refs/heads/{branch}");
        let mut peer = self.network.connect(remote)?;
        let mut prefixes = vec![base_ref.clone()];
        match heads {
            Heads::All => prefixes.push(before.to_owned()),
            Heads::Only(stars) => {
                prefixes.extend(
                    stars
                        .iter()
                        .map(|star| match star.starts_with("refs/heads/") {
                            true => star.clone(),
                            false => format!("{before}{star}{after}"),
                        }),
                );
            }
        }
        let listed = peer.list(&prefixes)?;
        let base = listed
            .iter()
            .find(|(name, _)| *name == base_ref)
            .map(|(_, id)| *id)
            .ok_or_else(|| SourceError::NoSuchBranch {
                url: remote.shown(),
                branch: branch.clone(),
            })?;
        let mut proposals: BTreeMap<String, Oid> = listed
            .into_iter()
            .filter(|(name, _)| *name != base_ref)
            .filter_map(|(name, id)| {
                let star = match heads {
                    Heads::Only(stars) if stars.contains(&name) => &name,
                    _ => name.strip_prefix(before)?.strip_suffix(after)?,
                };
                let is_wanted = match heads {
                    Heads::All => true,
                    Heads::Only(stars) => stars.contains(star),
                };
                let is_valid = Reference::is_valid_name(&format!("{PROPOSALS}{star}"));
                (is_wanted && is_valid).then(|| (star.to_owned(), id))
            })
            .collect();

        let repo = self.repo()?;
        let failed = |error| self.failed("store what was fetched", error);
        let odb = repo.odb().map_err(failed)?;
        let wants: BTreeSet<Oid> = std::iter::once(base)
            .chain(proposals.values().copied())
            .filter(|id| !odb.exists(*id))
            .collect();
        if !wants.is_empty() {
            let wants: Vec<Oid> = wants.into_iter().collect();
            let haves = haves(&repo).map_err(failed)?;
            peer.pack(&wants, &haves, &odb, self.limits.pack)
                .map_err(|error| match error {
                    SourceError::PackTooLarge { url, limit, .. } => SourceError::PackTooLarge {
                        url,
                        limit,
                        wanted: match proposals.len() {
                            0 => format!("`{branch}`"),
                            1 => "one proposal".to_owned(),
                            more => format!("`{branch}` and {more} proposals"),
                        },
                    },
                    error => error,
                })?;
            odb.refresh().map_err(failed)?;
        }
        let is_commit = |id: &Oid| repo.find_commit(*id).is_ok();
        if !is_commit(&base) {
            let what = format!("it did not send the head of `{branch}`");
            return Err(SourceError::Protocol {
                url: remote.shown(),
                what,
            });
        }
        // A branch may lead to a tag, or to anything else; that is no proposal.
        proposals.retain(|_, id| is_commit(id));
        self.keep(&repo, branch, base, &proposals)?;
        let proposals = proposals
            .into_iter()
            .map(|(star, id)| (star, commit_sha(id)))
            .collect();
        Ok(Fetched {
            base: commit_sha(base),
            proposals,
        })
    }

    /// The head of a base branch at its last fetch.
    ///
    /// # Errors
    ///
    /// Where the mirror cannot be read.
    pub fn base(&self, branch: &BranchName) -> Result<Option<CommitSha>, SourceError> {
        match self.repo()?.refname_to_id(&format!("{BASE}{branch}")) {
            Ok(id) => Ok(Some(commit_sha(id))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.failed("read a branch", error)),
        }
    }

    /// The heads of the proposals at their last fetch, by what stands for the `*`.
    ///
    /// # Errors
    ///
    /// Where the mirror cannot be read.
    pub fn proposals(&self) -> Result<BTreeMap<String, CommitSha>, SourceError> {
        let repo = self.repo()?;
        let refs = own_refs(&repo).map_err(|error| self.failed("list its refs", error))?;
        Ok(refs
            .into_iter()
            .filter_map(|(name, id)| {
                Some((name.strip_prefix(PROPOSALS)?.to_owned(), commit_sha(id)))
            })
            .collect())
    }

    /// The files of a tree.
    ///
    /// # Errors
    ///
    /// [`SourceError::Hostile`] where a path in it could not be a file of its
    /// own anywhere, [`SourceError::TooLarge`], or where the mirror cannot be read.
    pub fn tree(&self, tree: &ObjectId) -> Result<GitTree, SourceError> {
        GitTree::read(self.repo()?, tree, self.limits)
    }

    /// Writes the files of a tree (those of `paths`, where it is given; what is
    /// not in the tree is passed over) into the folder `into`, which is made, or is empty.
    ///
    /// Nothing is written outside of it, and nothing of the repository's own
    /// settings has any effect: no filter, hook, or line ending. Submodules are skipped.
    ///
    /// # Errors
    ///
    /// [`SourceError::Hostile`], [`SourceError::EscapingLink`] and
    /// [`SourceError::TooLarge`] for what no tree should hold, and
    /// [`SourceError::Io`]; what was written until then stays.
    pub fn checkout(
        &self,
        tree: &ObjectId,
        paths: Option<&BTreeSet<String>>,
        into: &Path,
        links: Links,
    ) -> Result<(), SourceError> {
        checkout::write(&self.tree(tree)?, paths, into, links)
    }

    /// What a fetch may bring and a tree may have.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How remotes are reached.
    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the repository. Each call has its own, since libgit2's are for one thread.
    pub(super) fn repo(&self) -> Result<Repository, SourceError> {
        self.open_repository()
            .map_err(|error| self.failed("open it", error))
    }

    /// Opens the repository in exactly that folder.
    pub(super) fn open_repository(&self) -> Result<Repository, git2::Error> {
        let none: [&str; 0] = [];
        let flags = RepositoryOpenFlags::BARE | RepositoryOpenFlags::NO_SEARCH;
        Repository::open_ext(&self.path, flags, none)
    }

    /// Sorts an error of libgit2 about this mirror.
    pub(super) fn failed(&self, action: impl Into<String>, error: git2::Error) -> SourceError {
        SourceError::git(&self.path, action, error)
    }

    /// Whether the folder holds a repository whose refs lead to commits.
    fn examine(&self) -> Result<Condition, SourceError> {
        match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Condition::Missing),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(SourceError::io("read", &self.path, error));
            }
            _ => {}
        }
        let check = || -> Result<(), git2::Error> {
            let repo = self.open_repository()?;
            match repo.head() {
                Err(error) if error.code() != ErrorCode::UnbornBranch => return Err(error),
                _ => {}
            }
            for (_, id) in own_refs(&repo)? {
                repo.find_commit(id)?.tree()?;
            }
            Ok(())
        };
        check()
            .map(|()| Condition::Sound)
            .map_err(|error| match error.class() {
                ErrorClass::Os => SourceError::Io {
                    action: "read",
                    path: self.path.clone(),
                    source: io::Error::other(error),
                },
                _ => self.failed("examine it", error),
            })
    }

    /// Makes an empty mirror: whole under another name first, so that nobody sees half of it.
    fn make(&self) -> Result<(), SourceError> {
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let failed = |error| SourceError::io("make", &self.path, error);
        fs::create_dir_all(parent).map_err(failed)?;
        let new = tempfile::Builder::new()
            .prefix("new-")
            .tempdir_in(parent)
            .map_err(failed)?;
        let mut options = RepositoryInitOptions::new();
        // A template could bring hooks; the name keeps clear of the user's own default.
        options
            .bare(true)
            .external_template(false)
            .initial_head("main")
            .mkpath(true);
        let made = new.path().join("mirror");
        Repository::init_opts(&made, &options).map_err(|error| self.failed("make it", error))?;
        match fs::rename(&made, &self.path) {
            // Somebody else was quicker, and theirs is as good.
            Err(_) if self.path.join("HEAD").exists() => Ok(()),
            renamed => renamed.map_err(failed),
        }
    }

    /// Takes the lock that keeps fetches apart, and clears up after one that was killed.
    pub(super) fn lock(&self) -> Result<File, SourceError> {
        let path = self.path.join(LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.map_err(|error| SourceError::io("open", &path, error))?;
        file.lock()
            .map_err(|error| SourceError::io("lock", &path, error))?;
        // Nobody else writes refs and packs while we hold the lock, so that these are leftovers.
        let mut leftovers = Vec::new();
        find(
            &self.path.join("refs"),
            &|name| name.ends_with(".lock"),
            &mut leftovers,
        )?;
        find(
            &self.path.join("objects/pack"),
            &|name| name.contains("_git2_"),
            &mut leftovers,
        )?;
        let packed = self.path.join("packed-refs.lock");
        leftovers.extend(packed.exists().then_some(packed));
        for leftover in leftovers {
            fs::remove_file(&leftover)
                .map_err(|error| SourceError::io("remove", &leftover, error))?;
        }
        let failed = |error| SourceError::io("read", &self.path, error);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(TIDYING) {
                fs::remove_dir_all(entry.path())
                    .map_err(|error| SourceError::io("remove", &entry.path(), error))?;
            }
        }
        Ok(file)
    }

    /// Makes the refs what the remote's are.
    fn keep(
        &self,
        repo: &Repository,
        branch: &BranchName,
        base: Oid,
        proposals: &BTreeMap<String, Oid>,
    ) -> Result<(), SourceError> {
        let update = || -> Result<(), git2::Error> {
            let known: BTreeMap<String, Oid> = own_refs(repo)?.into_iter().collect();
            // Gone ones first: `a` must go before there can be an `a/b`.
            for name in known.keys().filter(|name| name.starts_with(PROPOSALS)) {
                if !proposals.contains_key(&name[PROPOSALS.len()..]) {
                    repo.find_reference(name)?.delete()?;
                }
            }
            let wanted = proposals
                .iter()
                .map(|(star, id)| (format!("{PROPOSALS}{star}"), *id))
                .chain([(format!("{BASE}{branch}"), base)]);
            for (name, id) in wanted.filter(|(name, id)| known.get(name) != Some(id)) {
                repo.reference(&name, id, true, "fetched")?;
            }
            Ok(())
        };
        update().map_err(|error| self.failed("update its refs", error))
    }
}

/// How a mirror's folder was found.
enum Condition {
    Sound,
    Missing,
}

/// Whether a mirror with that error has to be made anew.
fn is_damage(error: &SourceError) -> bool {
    !matches!(error, SourceError::NotOurs { .. } | SourceError::Io { .. })
}

/// Our own refs with what they lead to.
fn own_refs(repo: &Repository) -> Result<Vec<(String, Oid)>, git2::Error> {
    let mut refs = Vec::new();
    for reference in repo.references_glob("refs/mainstay/*")? {
        let reference = match reference {
            // Forgotten by a fetch since the list was begun.
            Err(error) if error.code() == ErrorCode::NotFound => continue,
            reference => reference?,
        };
        if let (Ok(name), Some(id)) = (reference.name(), reference.target()) {
            refs.push((name.to_owned(), id));
        }
    }
    Ok(refs)
}

/// Commits whose whole history we have: the refs', base branches first, and some of the way back
/// from those, for when the server has forgotten the newest.
fn haves(repo: &Repository) -> Result<Vec<Oid>, git2::Error> {
    /// How far back from each base branch.
    const BACK: usize = 64;
    let mut haves = Vec::new();
    let refs = own_refs(repo)?;
    for (_, id) in refs.iter().filter(|(name, _)| name.starts_with(BASE)) {
        let mut walk = repo.revwalk()?;
        walk.set_sorting(Sort::TIME)?;
        walk.push(*id)?;
        for id in walk.take(BACK) {
            haves.push(id?);
        }
    }
    haves.extend(
        refs.iter()
            .filter(|(name, _)| name.starts_with(PROPOSALS))
            .map(|(_, id)| *id),
    );
    let mut seen = BTreeSet::new();
    haves.retain(|id| seen.insert(*id));
    haves.truncate(HAVES_LIMIT);
    Ok(haves)
}

/// Finds files by name in a folder and those below it.
fn find(
    dir: &Path,
    wanted: &dyn Fn(&str) -> bool,
    found: &mut Vec<PathBuf>,
) -> Result<(), SourceError> {
    let failed = |error| SourceError::io("read", dir, error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            find(&entry.path(), wanted, found)?;
        } else if wanted(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// The id of a commit in our own type.
pub(super) fn commit_sha(id: Oid) -> CommitSha {
    id.to_string()
        .parse()
        .expect("libgit2 writes ids as 40 lowercase digits")
}

/// The id of a tree or blob in our own type.
pub(super) fn object_id(id: Oid) -> ObjectId {
    id.to_string()
        .parse()
        .expect("libgit2 writes ids as 40 lowercase digits")
}

/// The id of an object in libgit2's type.
pub(super) fn oid(id: &str) -> Oid {
    Oid::from_str(id).expect("our ids are 40 lowercase digits")
}
