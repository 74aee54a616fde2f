//! Commits: what they are, how they descend from each other, and what merging them gives.

use chrono::DateTime;
use git2::{Commit, ErrorCode, Repository, Sort};

use super::error::SourceError;
use super::mirror::{Mirror, commit_sha, object_id, oid};
use crate::clock::Timestamp;
use crate::id::{CommitSha, ObjectId};

/// Commits that [`Mirror::commits_between`] gives at most: the newest.
const COMMITS_LIMIT: usize = 1_000;

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub sha: CommitSha,
    /// The first line of its message.
    pub subject: String,
    /// The name of its author, as the commit gives it.
    pub author: String,
    /// When it was committed, as the commit gives it.
    pub when: Timestamp,
    /// Its parents; the first is the branch that it was made on.
    pub parents: Vec<CommitSha>,
}

/// How a commit stands to an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ancestry {
    /// They are the same.
    Same,
    /// It descends from it.
    Descends,
    /// It does not: the branch was rewritten, or they stand on different ones.
    Apart,
}

/// What merging two commits gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// A tree, which is in the mirror now.
    Clean(ObjectId),
    /// The paths that both changed in different ways, in order.
    Conflict(Vec<String>),
}

impl Mirror {
    /// Whether the mirror has a commit.
    pub fn has(&self, commit: &CommitSha) -> bool {
        self.repo()
            .is_ok_and(|repo| repo.find_commit(oid(commit.as_str())).is_ok())
    }

    /// What a commit says of itself.
    ///
    /// # Errors
    ///
    /// [`SourceError::NoSuchCommit`], or where the mirror cannot be read.
    pub fn info(&self, commit: &CommitSha) -> Result<CommitInfo, SourceError> {
        let repo = self.repo()?;
        Ok(info(&self.commit(&repo, commit)?))
    }

    /// The tree of a commit.
    ///
    /// # Errors
    ///
    /// [`SourceError::NoSuchCommit`], or where the mirror cannot be read.
    pub fn tree_of(&self, commit: &CommitSha) -> Result<ObjectId, SourceError> {
        let repo = self.repo()?;
        Ok(object_id(self.commit(&repo, commit)?.tree_id()))
    }

    /// How `new` stands to `old`.
    ///
    /// # Errors
    ///
    /// [`SourceError::NoSuchCommit`] where either is not in the mirror, or where it cannot be read.
    pub fn ancestry(&self, old: &CommitSha, new: &CommitSha) -> Result<Ancestry, SourceError> {
        let repo = self.repo()?;
        let (from, to) = (self.commit(&repo, old)?.id(), self.commit(&repo, new)?.id());
        if from == to {
            return Ok(Ancestry::Same);
        }
        match repo.graph_descendant_of(to, from) {
            Ok(true) => Ok(Ancestry::Descends),
            Ok(false) => Ok(Ancestry::Apart),
            Err(error) => Err(self.failed("walk its history", error)),
        }
    }

    /// The commits that the branch gained from `old` to `new`, along first
    /// parents, the newest last; the newest 1,000 where there are more.
    ///
    /// # Errors
    ///
    /// [`SourceError::NoSuchCommit`] where either is not in the mirror, or where it cannot be read.
    pub fn commits_between(
        &self,
        old: &CommitSha,
        new: &CommitSha,
    ) -> Result<Vec<CommitInfo>, SourceError> {
        let repo = self.repo()?;
        let (from, to) = (self.commit(&repo, old)?.id(), self.commit(&repo, new)?.id());
        let walk = || -> Result<Vec<CommitInfo>, git2::Error> {
            let mut walk = repo.revwalk()?;
            walk.set_sorting(Sort::TOPOLOGICAL)?;
            walk.simplify_first_parent()?;
            walk.push(to)?;
            walk.hide(from)?;
            walk.take(COMMITS_LIMIT)
                .map(|id| Ok(info(&repo.find_commit(id?)?)))
                .collect()
        };
        let mut commits = walk().map_err(|error| self.failed("walk its history", error))?;
        commits.reverse();
        Ok(commits)
    }

    /// The newest commit that both have; `None` where their histories have nothing in common.
    ///
    /// # Errors
    ///
    /// [`SourceError::NoSuchCommit`] where either is not in the mirror, or where it cannot be read.
    pub fn merge_base(
        &self,
        one: &CommitSha,
        other: &CommitSha,
    ) -> Result<Option<CommitSha>, SourceError> {
        let repo = self.repo()?;
        let (one, other) = (
            self.commit(&repo, one)?.id(),
            self.commit(&repo, other)?.id(),
        );
        match repo.merge_base(one, other) {
            Ok(common) => Ok(Some(commit_sha(common))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.failed("walk its history", error)),
        }
    }

    /// The tree that merging `head` into `base` gives. No commit is made; the
    /// same two commits always give the same tree.
    ///
    /// # Errors
    ///
    /// [`SourceError::Unrelated`] where they have no ancestor in common,
    /// [`SourceError::Hostile`] and [`SourceError::TooLarge`] where the head has
    /// what no tree should hold, [`SourceError::NoSuchCommit`], or where the
    /// mirror cannot be read.
    pub fn merge(&self, base: &CommitSha, head: &CommitSha) -> Result<Merge, SourceError> {
        let repo = self.repo()?;
        let (ours, theirs) = (self.commit(&repo, base)?, self.commit(&repo, head)?);
        let failed = |error| self.failed(format!("merge {head} into {base}"), error);
        let common = self
            .merge_base(base, head)?
            .ok_or_else(|| SourceError::Unrelated {
                base: base.clone(),
                head: head.clone(),
            })?;
        if common == *head {
            return Ok(Merge::Clean(object_id(ours.tree_id())));
        }
        // libgit2 would walk into anything; and what it makes of a bad name says nothing to anybody.
        self.tree(&object_id(theirs.tree_id()))?;
        if common == *base {
            return Ok(Merge::Clean(object_id(theirs.tree_id())));
        }
        let mut index = repo.merge_commits(&ours, &theirs, None).map_err(failed)?;
        if !index.has_conflicts() {
            return Ok(Merge::Clean(object_id(
                index.write_tree_to(&repo).map_err(failed)?,
            )));
        }
        let mut paths = Vec::new();
        for conflict in index.conflicts().map_err(failed)? {
            let conflict = conflict.map_err(failed)?;
            let sides = [conflict.our, conflict.their, conflict.ancestor];
            let side = sides.into_iter().flatten().next();
            paths.extend(side.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()));
        }
        paths.sort();
        paths.dedup();
        Ok(Merge::Conflict(paths))
    }

    /// Finds a commit.
    fn commit<'r>(
        &self,
        repo: &'r Repository,
        commit: &CommitSha,
    ) -> Result<Commit<'r>, SourceError> {
        repo.find_commit(oid(commit.as_str()))
            .map_err(|error| match error.code() {
                ErrorCode::NotFound => SourceError::NoSuchCommit {
                    path: repo.path().to_owned(),
                    commit: commit.clone(),
                },
                _ => self.failed(format!("read commit {commit}"), error),
            })
    }
}

/// What a commit says of itself, in our own types.
fn info(commit: &Commit<'_>) -> CommitInfo {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    CommitInfo {
        sha: commit_sha(commit.id()),
        subject: commit.summary_bytes().map(text).unwrap_or_default(),
        author: text(commit.author().name_bytes()),
        // A date that no calendar has is as good as none.
        when: DateTime::from_timestamp(commit.time().seconds(), 0).unwrap_or_default(),
        parents: commit.parent_ids().map(commit_sha).collect(),
    }
}
