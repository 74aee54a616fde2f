//! What a test does to one repository, and reads from it, behind the client's back.

pub(crate) mod conversation;

use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};

use super::git::{self, FileChange, GitError, Method};
use super::log::Effect;
use super::new_repository;
use super::server::Shared;
use super::sync::{Snapshot, close, mark_merged, move_head, sync, sync_all};
use super::world::{
    AccountKind, Draft, Issue, Lock, Open, Pull, Repo, Review, Role, Switch, TestMerge, World,
    this_second,
};

/// A repository of the model.
#[derive(Clone)]
pub(crate) struct Repository {
    shared: Arc<Shared>,
    key: String,
}

impl Repository {
    pub(super) fn new(shared: Arc<Shared>, key: String) -> Self {
        Self { shared, key }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// Changes the repository, with the state before kept for stale answers.
    fn change<T>(&self, change: impl FnOnce(&mut World, &str) -> T) -> T {
        let mut world = self.world();
        sync_all(&mut world);
        world.repo_mut(&self.key).remember();
        let result = change(&mut world, &self.key);
        sync(&mut world, &self.key, Snapshot::Taken);
        result
    }

    /// Changes one issue or pull request, and counts it as updated.
    fn change_issue(&self, number: u64, change: impl FnOnce(&mut Issue)) {
        self.change(|world, key| {
            let issue = issue_mut(world.repo_mut(key), number);
            change(issue);
            issue.updated_at = this_second();
        });
    }

    /// `owner/name`.
    pub(crate) fn full_name(&self) -> String {
        self.world().repo(&self.key).full_name()
    }

    /// Its id.
    pub(crate) fn id(&self) -> u64 {
        self.world().repo(&self.key).id
    }

    /// The bare repository on disk. What is pushed there is seen like any push.
    pub(crate) fn dir(&self) -> PathBuf {
        self.world().repo(&self.key).dir.clone()
    }

    /// Gives a person a role, making the account where it is not there.
    pub(crate) fn grant(&self, login: &str, role: Role) {
        let mut world = self.world();
        world.account(login, AccountKind::User);
        world
            .repo_mut(&self.key)
            .collaborators
            .insert(login.to_lowercase(), role);
    }

    /// Shows it to everyone.
    pub(crate) fn publish(&self) {
        self.world().repo_mut(&self.key).private = Switch::Off;
    }

    /// Makes it read-only.
    pub(crate) fn archive(&self) {
        self.world().repo_mut(&self.key).archived = Switch::On;
    }

    /// Makes it writable again.
    pub(crate) fn unarchive(&self) {
        self.world().repo_mut(&self.key).archived = Switch::Off;
    }

    /// Switches its issues off; pull requests stay.
    pub(crate) fn disable_issues(&self) {
        self.world().repo_mut(&self.key).issues_enabled = Switch::Off;
    }

    /// Commits on a branch, which begins at `main` where it is not there, and gives
    /// the commit. A content of `None` deletes the file.
    pub(crate) fn commit(&self, branch: &str, files: &[(&str, &str)], message: &str) -> String {
        let changes: Vec<FileChange<'_>> = files
            .iter()
            .map(|(path, content)| (*path, Some(*content)))
            .collect();
        self.commit_changes(branch, &changes, message)
    }

    /// The same, where files may be deleted: their content is `None`.
    pub(crate) fn commit_changes(
        &self,
        branch: &str,
        files: &[FileChange<'_>],
        message: &str,
    ) -> String {
        self.change(|world, key| {
            let repo = world.repo(key);
            let parent = repo
                .heads
                .get(branch)
                .or_else(|| repo.heads.get(&repo.default_branch));
            git::commit(
                &repo.dir,
                branch,
                parent.map(String::as_str),
                files,
                message,
            )
            .expect("a commit can be made")
        })
    }

    /// Puts a branch at a commit, whatever it was.
    pub(crate) fn branch(&self, branch: &str, sha: &str) {
        self.change(|world, key| {
            git::update_ref(&world.repo(key).dir, &format!("refs/heads/{branch}"), sha)
                .expect("a branch can be set");
        });
    }

    /// Puts a branch at a new commit on top of `onto`, over what it was.
    pub(crate) fn force_push(
        &self,
        branch: &str,
        onto: &str,
        files: &[(&str, &str)],
        message: &str,
    ) -> String {
        let changes: Vec<FileChange<'_>> = files
            .iter()
            .map(|(path, content)| (*path, Some(*content)))
            .collect();
        self.change(|world, key| {
            git::commit(&world.repo(key).dir, branch, Some(onto), &changes, message)
                .expect("a commit can be made")
        })
    }

    /// Deletes a branch; open pull requests from it or for it are closed.
    pub(crate) fn delete_branch(&self, branch: &str) {
        self.change(|world, key| {
            git::delete_branch(&world.repo(key).dir, branch).expect("a branch can be deleted");
        });
    }

    /// The head of a branch.
    pub(crate) fn head(&self, branch: &str) -> Option<String> {
        let mut world = self.world();
        sync_all(&mut world);
        world.repo(&self.key).heads.get(branch).cloned()
    }

    /// The content of a file at a commit or branch.
    pub(crate) fn file(&self, at: &str, path: &str) -> Option<String> {
        git::run(&self.dir(), &["show", &format!("{at}:{path}")]).ok()
    }

    /// Makes a fork of it for `owner`.
    pub(crate) fn fork(&self, owner: &str) -> Repository {
        let mut world = self.world();
        sync_all(&mut world);
        let repo = world.repo(&self.key);
        let (name, dir, heads) = (repo.name.clone(), repo.dir.clone(), repo.heads.clone());
        let visible = repo.private;
        world
            .repo_mut(&self.key)
            .collaborators
            .entry(owner.to_lowercase())
            .or_insert(Role::Read);
        let key = new_repository(
            &mut world,
            &format!("{owner}/{name}"),
            Some(self.key.clone()),
        );
        let fork = world.repo_mut(&key);
        fork.private = visible;
        for (branch, sha) in heads {
            git::fetch(&fork.dir, &dir, &sha).expect("a repository can be copied");
            git::update_ref(&fork.dir, &format!("refs/heads/{branch}"), &sha)
                .expect("a branch can be set");
        }
        sync(&mut world, &key, Snapshot::Take);
        Repository {
            shared: self.shared.clone(),
            key,
        }
    }

    /// Opens a pull request from a branch, and gives its number.
    pub(crate) fn open_pull(&self, title: &str, head: &str, base: &str, author: &str) -> u64 {
        self.open_pull_from(&self.key, title, head, base, author)
    }

    /// Opens a pull request from a branch of a fork, by the fork's owner.
    pub(crate) fn open_fork_pull(
        &self,
        title: &str,
        fork: &Repository,
        head: &str,
        base: &str,
    ) -> u64 {
        let owner = fork.world().repo(&fork.key).owner.clone();
        self.open_pull_from(&fork.key, title, head, base, &owner)
    }

    fn open_pull_from(&self, from: &str, title: &str, head: &str, base: &str, author: &str) -> u64 {
        self.change(|world, key| {
            world.account(author, AccountKind::User);
            let head_sha = world
                .repo(from)
                .heads
                .get(head)
                .expect("the head branch is there")
                .clone();
            let base_sha = world
                .repo(key)
                .heads
                .get(base)
                .expect("the base branch is there")
                .clone();
            let now = this_second();
            let pull = Pull {
                id: world.next_id(),
                base_ref: base.to_owned(),
                base_sha,
                head_repo: from.to_owned(),
                head_ref: head.to_owned(),
                head_sha: head_sha.clone(),
                draft: Draft::No,
                merged: None,
                test_merge: TestMerge::Unknown,
                reviews: Vec::new(),
            };
            let issue = Issue {
                id: world.next_id(),
                number: world.repo_mut(key).next_number(),
                title: title.to_owned(),
                body: None,
                author: author.to_owned(),
                open: Open::Yes,
                state_reason: None,
                lock: Lock::No,
                labels: Vec::new(),
                comments: Vec::new(),
                created_at: now,
                updated_at: now,
                closed_at: None,
                closed_by: None,
                pull: Some(pull),
            };
            let number = issue.number;
            world.repo_mut(key).issues.insert(number, issue);
            move_head(world, key, number, &head_sha);
            world.note(author, key, Effect::PullOpened { number });
            number
        })
    }

    /// Merges a pull request as the button does, and gives the commit of the base
    /// branch that has it.
    ///
    /// # Errors
    ///
    /// Git's words where head and base conflict; then nothing has changed.
    pub(crate) fn merge(&self, number: u64, method: Method, by: &str) -> Result<String, GitError> {
        self.change(|world, key| {
            world.account(by, AccountKind::User);
            let repo = world.repo(key);
            let issue = &repo.issues[&number];
            assert_eq!(issue.open, Open::Yes, "#{number} is closed");
            let pull = issue
                .pull
                .as_ref()
                .expect("the number is of a pull request");
            let owner = pull.head_repo.split('/').next().unwrap_or_default();
            let request = git::MergeRequest {
                base: &repo.heads[&pull.base_ref],
                head: &pull.head_sha,
                title: &issue.title,
                number,
                from: &format!("{owner}/{}", pull.head_ref),
            };
            let sha = git::merge(&repo.dir, &request, method)?;
            git::update_ref(&repo.dir, &format!("refs/heads/{}", pull.base_ref), &sha)?;
            mark_merged(world, key, number, by, &sha);
            Ok(sha)
        })
    }

    /// Closes an issue or a pull request without merging it.
    pub(crate) fn close(&self, number: u64, by: &str) {
        self.change(|world, key| {
            world.account(by, AccountKind::User);
            close(world, key, number, by);
        });
    }

    /// Opens a closed issue or pull request again; its head is that of its branch.
    pub(crate) fn reopen(&self, number: u64, by: &str) {
        self.change(|world, key| {
            let issue = issue_mut(world.repo_mut(key), number);
            issue.open = Open::Yes;
            issue.closed_at = None;
            issue.closed_by = None;
            issue.updated_at = this_second();
            let Some(pull) = issue.pull.clone() else {
                return;
            };
            assert!(pull.merged.is_none(), "#{number} is merged");
            world.note(by, key, Effect::PullReopened { number });
            let head = world
                .repo(&pull.head_repo)
                .heads
                .get(&pull.head_ref)
                .cloned();
            let head = head.expect("a pull request is not reopened without its branch");
            if head != pull.head_sha {
                move_head(world, key, number, &head);
            }
        });
    }

    /// Changes the branch that a pull request is for.
    pub(crate) fn retarget(&self, number: u64, base: &str) {
        self.change(|world, key| {
            let repo = world.repo_mut(key);
            let sha = repo
                .heads
                .get(base)
                .expect("the base branch is there")
                .clone();
            let issue = issue_mut(repo, number);
            issue.updated_at = this_second();
            let pull = issue
                .pull
                .as_mut()
                .expect("the number is of a pull request");
            base.clone_into(&mut pull.base_ref);
            pull.base_sha = sha;
            pull.test_merge = TestMerge::Unknown;
            world.note(
                "somebody",
                key,
                Effect::PullRetargeted {
                    number,
                    base: base.to_owned(),
                },
            );
        });
    }

    /// Edits a title.
    pub(crate) fn edit_title(&self, number: u64, title: &str) {
        self.change_issue(number, |issue| title.clone_into(&mut issue.title));
    }

    /// Makes a pull request a draft.
    pub(crate) fn convert_to_draft(&self, number: u64) {
        self.change_issue(number, |issue| {
            issue
                .pull
                .as_mut()
                .expect("the number is of a pull request")
                .draft = Draft::Yes;
        });
    }

    /// Reviews a pull request at its head: `APPROVED`, `CHANGES_REQUESTED`, `COMMENTED`.
    pub(crate) fn review(&self, number: u64, author: &str, state: &str, body: &str) {
        self.change(|world, key| {
            world.account(author, AccountKind::User);
            let id = world.next_id();
            let issue = issue_mut(world.repo_mut(key), number);
            issue.updated_at = this_second();
            let pull = issue
                .pull
                .as_mut()
                .expect("the number is of a pull request");
            pull.reviews.push(Review {
                id,
                author: author.to_owned(),
                state: state.to_owned(),
                body: body.to_owned(),
                commit: pull.head_sha.clone(),
                submitted_at: this_second(),
            });
            world.note(
                author,
                key,
                Effect::Reviewed {
                    number,
                    state: state.to_owned(),
                },
            );
        });
    }
}

fn issue_mut(repo: &mut Repo, number: u64) -> &mut Issue {
    repo.issues
        .get_mut(&number)
        .unwrap_or_else(|| panic!("there is no issue #{number}"))
}
