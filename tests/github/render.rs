//! The JSON of GitHub's REST API, with every field that its schemas require.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::git::{self, CommitFacts};
use super::world::{
    Account, AccountKind, CommentRecord, Draft, Issue, Label, Lock, Pull, ReactionRecord, Repo,
    Review, StatusRecord, Switch, TestMerge, Time, World,
};

/// The reactions that GitHub has.
pub(crate) const REACTIONS: [&str; 8] = [
    "+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes",
];

/// What is shown, under which addresses.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) world: &'a World,
    /// `http://127.0.0.1:PORT`, with `/api/v3` where the request came that way.
    pub(crate) api: &'a str,
}

/// A time as GitHub writes it.
pub(crate) fn time(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn maybe_time(at: Option<Time>) -> Value {
    at.map_or(Value::Null, |at| time(at).into())
}

/// An id for GraphQL, opaque to clients.
pub(crate) fn node_id(prefix: &str, id: u64) -> String {
    format!("{prefix}_kwDO{id:x}")
}

impl View<'_> {
    fn web(&self) -> &str {
        &self.world.origin
    }

    /// `{api}/repos/{owner}/{name}`.
    pub(crate) fn repo_url(&self, repo: &Repo) -> String {
        format!("{}/repos/{}", self.api, repo.full_name())
    }

    /// An account by its login; `null` where there is none any more.
    pub(crate) fn user(&self, login: &str) -> Value {
        self.world
            .accounts
            .get(&login.to_lowercase())
            .map_or(Value::Null, |a| self.account(a))
    }

    /// An account, as `simple-user`.
    pub(crate) fn account(&self, account: &Account) -> Value {
        let Account {
            id,
            login,
            kind,
            created_at: _,
        } = account;
        let escaped = login.replace('[', "%5B").replace(']', "%5D");
        let url = format!("{}/users/{escaped}", self.api);
        let page = match kind {
            AccountKind::Bot => format!("apps/{}", login.trim_end_matches("[bot]")),
            AccountKind::User | AccountKind::Organization => login.clone(),
        };
        json!({
            "login": login,
            "id": id,
            "node_id": node_id("U", *id),
            "avatar_url": format!("{}/avatars/u/{id}?v=4", self.web()),
            "gravatar_id": "",
            "url": url,
            "html_url": format!("{}/{page}", self.web()),
            "followers_url": format!("{url}/followers"),
            "following_url": format!("{url}/following{{/other_user}}"),
            "gists_url": format!("{url}/gists{{/gist_id}}"),
            "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
            "subscriptions_url": format!("{url}/subscriptions"),
            "organizations_url": format!("{url}/orgs"),
            "repos_url": format!("{url}/repos"),
            "events_url": format!("{url}/events{{/privacy}}"),
            "received_events_url": format!("{url}/received_events"),
            "type": kind.name(),
            "user_view_type": "public",
            "site_admin": false,
        })
    }

    /// A repository.
    pub(crate) fn repo(&self, repo: &Repo) -> Value {
        let url = self.repo_url(repo);
        let full = repo.full_name();
        let page = format!("{}/{full}", self.web());
        let open = repo
            .issues
            .values()
            .filter(|issue| issue.open.name() == "open")
            .count();
        let mut value = json!({
            "id": repo.id,
            "node_id": node_id("R", repo.id),
            "name": repo.name,
            "full_name": full,
            "private": repo.private == Switch::On,
            "visibility": if repo.private == Switch::On { "private" } else { "public" },
            "owner": self.user(&repo.owner),
            "html_url": page,
            "description": null,
            "fork": repo.fork_of.is_some(),
            "url": url,
            "git_url": format!("git://{}/{full}.git", self.web().trim_start_matches("http://")),
            "ssh_url": format!("git@github.com:{full}.git"),
            "clone_url": format!("{page}.git"),
            "svn_url": page,
            "mirror_url": null,
            "homepage": null,
            "language": null,
            "license": null,
            "topics": [],
            "default_branch": repo.default_branch,
            "open_issues": open, "open_issues_count": open,
            "has_issues": repo.issues_enabled == Switch::On,
            "archived": repo.archived == Switch::On,
            "created_at": time(repo.created_at),
            "updated_at": time(repo.updated_at),
            "pushed_at": time(repo.pushed_at),
        });
        // What the model has no notion of.
        for name in [
            "forks",
            "forks_count",
            "stargazers_count",
            "watchers",
            "watchers_count",
            "size",
        ] {
            value[name] = 0.into();
        }
        for name in ["is_template", "disabled", "web_commit_signoff_required"] {
            value[name] = false.into();
        }
        for name in ["projects", "wiki", "pages", "downloads", "discussions"] {
            value[format!("has_{name}")] = false.into();
        }
        value["allow_forking"] = true.into();
        for (name, rest) in REPO_LINKS {
            value[format!("{name}_url")] = format!("{url}/{rest}").into();
        }
        value
    }

    /// A label.
    pub(crate) fn label(&self, repo: &Repo, label: &Label) -> Value {
        json!({
            "id": label.id,
            "node_id": node_id("LA", label.id),
            "url": format!("{}/labels/{}", self.repo_url(repo), label.name.replace(' ', "%20")),
            "name": label.name,
            "color": label.color,
            "default": false,
            "description": label.description,
        })
    }

    fn labels(&self, repo: &Repo, names: &[String]) -> Value {
        repo.labels
            .iter()
            .filter(|label| names.contains(&label.name))
            .map(|label| self.label(repo, label))
            .collect()
    }

    /// An issue, or a pull request as an issue.
    pub(crate) fn issue(&self, repo: &Repo, issue: &Issue) -> Value {
        let url = format!("{}/issues/{}", self.repo_url(repo), issue.number);
        let kind = if issue.pull.is_some() {
            "pull"
        } else {
            "issues"
        };
        let page = format!(
            "{}/{}/{kind}/{}",
            self.web(),
            repo.full_name(),
            issue.number
        );
        let prefix = if issue.pull.is_some() { "PR" } else { "I" };
        let mut value = json!({
            "id": issue.id,
            "node_id": node_id(prefix, issue.id),
            "url": url,
            "repository_url": self.repo_url(repo),
            "labels_url": format!("{url}/labels{{/name}}"),
            "comments_url": format!("{url}/comments"),
            "events_url": format!("{url}/events"),
            "timeline_url": format!("{url}/timeline"),
            "html_url": page,
            "number": issue.number,
            "state": issue.open.name(),
            "state_reason": issue.state_reason,
            "title": issue.title,
            "body": issue.body,
            "user": self.user(&issue.author),
            "labels": self.labels(repo, &issue.labels),
            "assignee": null,
            "assignees": [],
            "milestone": null,
            "locked": issue.lock == Lock::Yes,
            "active_lock_reason": null,
            "comments": issue.comments.len(),
            "author_association": repo.association(&issue.author),
            "closed_at": maybe_time(issue.closed_at),
            "closed_by": issue.closed_by.as_deref().map_or(Value::Null, |by| self.user(by)),
            "created_at": time(issue.created_at),
            "updated_at": time(issue.updated_at),
            "reactions": rollup(&url, &[]),
            "performed_via_github_app": null,
        });
        if let Some(pull) = &issue.pull {
            value["draft"] = (pull.draft == Draft::Yes).into();
            value["pull_request"] = json!({
                "url": format!("{}/pulls/{}", self.repo_url(repo), issue.number),
                "html_url": page,
                "diff_url": format!("{page}.diff"),
                "patch_url": format!("{page}.patch"),
                "merged_at": maybe_time(pull.merged.as_ref().map(|merged| merged.at)),
            });
        }
        value
    }

    /// A comment.
    pub(crate) fn comment(&self, repo: &Repo, issue: u64, comment: &CommentRecord) -> Value {
        let url = format!("{}/issues/comments/{}", self.repo_url(repo), comment.id);
        let is_pull = repo
            .issues
            .get(&issue)
            .is_some_and(|issue| issue.pull.is_some());
        let kind = if is_pull { "pull" } else { "issues" };
        json!({
            "id": comment.id,
            "node_id": node_id("IC", comment.id),
            "url": url,
            "html_url": format!(
                "{}/{}/{kind}/{issue}#issuecomment-{}", self.web(), repo.full_name(), comment.id
            ),
            "issue_url": format!("{}/issues/{issue}", self.repo_url(repo)),
            "body": comment.body,
            "user": self.user(&comment.author),
            "author_association": repo.association(&comment.author),
            "created_at": time(comment.created_at),
            "updated_at": time(comment.updated_at),
            "reactions": rollup(&url, &comment.reactions),
            "performed_via_github_app": null,
        })
    }

    /// A reaction.
    pub(crate) fn reaction(&self, reaction: &ReactionRecord) -> Value {
        json!({
            "id": reaction.id,
            "node_id": node_id("REA", reaction.id),
            "user": self.user(&reaction.user),
            "content": reaction.content,
            "created_at": time(reaction.created_at),
        })
    }

    /// A pull request in a list, as `pull-request-simple`.
    pub(crate) fn pull_in_list(&self, repo: &Repo, issue: &Issue, pull: &Pull) -> Value {
        let mut value = self.issue(repo, issue);
        let url = format!("{}/pulls/{}", self.repo_url(repo), issue.number);
        let issue_url = format!("{}/issues/{}", self.repo_url(repo), issue.number);
        let statuses = format!("{}/statuses/{}", self.repo_url(repo), pull.head_sha);
        let page = value["html_url"].as_str().unwrap_or_default().to_owned();
        if let Some(fields) = value.as_object_mut() {
            for only_of_issues in [
                "repository_url",
                "labels_url",
                "events_url",
                "timeline_url",
                "state_reason",
                "comments",
                "closed_by",
                "reactions",
                "performed_via_github_app",
                "pull_request",
            ] {
                fields.remove(only_of_issues);
            }
        }
        let merge_commit = match (&pull.merged, &pull.test_merge) {
            (Some(merged), _) => Value::from(merged.sha.clone()),
            (None, TestMerge::Clean(sha)) => sha.clone().into(),
            (None, TestMerge::Unknown | TestMerge::Conflict) => Value::Null,
        };
        // A pull request's own id is not that of its issue; the node id is the same.
        value["id"] = pull.id.into();
        value["url"] = url.clone().into();
        value["diff_url"] = format!("{page}.diff").into();
        value["patch_url"] = format!("{page}.patch").into();
        value["issue_url"] = issue_url.clone().into();
        value["commits_url"] = format!("{url}/commits").into();
        value["review_comments_url"] = format!("{url}/comments").into();
        value["review_comment_url"] =
            format!("{}/pulls/comments{{/number}}", self.repo_url(repo)).into();
        value["statuses_url"] = statuses.clone().into();
        value["merged_at"] = maybe_time(pull.merged.as_ref().map(|merged| merged.at));
        value["merge_commit_sha"] = merge_commit;
        value["requested_reviewers"] = json!([]);
        value["requested_teams"] = json!([]);
        value["auto_merge"] = Value::Null;
        value["draft"] = (pull.draft == Draft::Yes).into();
        value["head"] = self.side(
            self.world.repos.get(&pull.head_repo),
            &pull.head_repo,
            &pull.head_ref,
            &pull.head_sha,
        );
        value["base"] = self.side(
            Some(repo),
            &repo.full_name(),
            &pull.base_ref,
            &pull.base_sha,
        );
        value["_links"] = json!({
            "self": { "href": url },
            "html": { "href": page },
            "issue": { "href": issue_url },
            "comments": { "href": format!("{issue_url}/comments") },
            "review_comments": { "href": format!("{url}/comments") },
            "review_comment": { "href": value["review_comment_url"] },
            "commits": { "href": format!("{url}/commits") },
            "statuses": { "href": statuses },
        });
        value
    }

    /// A pull request by itself.
    pub(crate) fn pull(&self, repo: &Repo, issue: &Issue, pull: &Pull) -> Value {
        let mut value = self.pull_in_list(repo, issue, pull);
        let (mergeable, state) = match (&pull.merged, &pull.test_merge) {
            (Some(_), _) | (None, TestMerge::Unknown) => (Value::Null, "unknown"),
            (None, TestMerge::Clean(_)) => (true.into(), "clean"),
            (None, TestMerge::Conflict) => (false.into(), "dirty"),
        };
        value["merged"] = pull.merged.is_some().into();
        value["mergeable"] = mergeable.clone();
        value["rebaseable"] = mergeable;
        value["mergeable_state"] = state.into();
        value["merged_by"] = pull
            .merged
            .as_ref()
            .map_or(Value::Null, |merged| self.user(&merged.by));
        value["comments"] = issue.comments.len().into();
        value["review_comments"] = 0.into();
        value["maintainer_can_modify"] = false.into();
        let size = git::change_size(&repo.dir, &pull.base_sha, &pull.head_sha).unwrap_or_default();
        value["commits"] = size.commits.into();
        value["additions"] = size.additions.into();
        value["deletions"] = size.deletions.into();
        value["changed_files"] = size.files.into();
        value
    }

    /// The head or the base of a pull request. `repo` is `None` where a fork was deleted.
    fn side(&self, repo: Option<&Repo>, key: &str, branch: &str, sha: &str) -> Value {
        let owner = repo.map_or_else(
            || key.split('/').next().unwrap_or_default().to_owned(),
            |repo| repo.owner.clone(),
        );
        json!({
            "label": format!("{owner}:{branch}"),
            "ref": branch,
            "sha": sha,
            "user": self.user(&owner),
            "repo": repo.map_or(Value::Null, |repo| self.repo(repo)),
        })
    }

    /// A review.
    pub(crate) fn review(&self, repo: &Repo, number: u64, review: &Review) -> Value {
        let page = format!(
            "{}/{}/pull/{number}#pullrequestreview-{}",
            self.web(),
            repo.full_name(),
            review.id
        );
        let pull = format!("{}/pulls/{number}", self.repo_url(repo));
        json!({
            "id": review.id,
            "node_id": node_id("PRR", review.id),
            "user": self.user(&review.author),
            "body": review.body,
            "state": review.state,
            "html_url": page,
            "pull_request_url": pull,
            "author_association": repo.association(&review.author),
            "_links": { "html": { "href": page }, "pull_request": { "href": pull } },
            "submitted_at": time(review.submitted_at),
            "commit_id": review.commit,
        })
    }

    /// A status of a commit.
    pub(crate) fn status(&self, repo: &Repo, status: &StatusRecord) -> Value {
        json!({
            "url": format!("{}/statuses/{}", self.repo_url(repo), status.sha),
            "avatar_url": self.user(&status.creator)["avatar_url"],
            "id": status.id,
            "node_id": node_id("SC", status.id),
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
            "created_at": time(status.created_at),
            "updated_at": time(status.created_at),
            "creator": self.user(&status.creator),
        })
    }

    /// A commit.
    pub(crate) fn commit(&self, repo: &Repo, commit: &CommitFacts) -> Value {
        let base = self.repo_url(repo);
        let page = format!("{}/{}/commit/{}", self.web(), repo.full_name(), commit.sha);
        let date = DateTime::from_timestamp(commit.time, 0).map_or_else(String::new, time);
        let person = |(name, email): &(String, String)| json!({ "name": name, "email": email, "date": date });
        json!({
            "sha": commit.sha,
            "node_id": format!("C_{}", commit.sha),
            "commit": {
                "author": person(&commit.author),
                "committer": person(&commit.committer),
                "message": commit.message,
                "tree": { "sha": commit.tree, "url": format!("{base}/git/trees/{}", commit.tree) },
                "url": format!("{base}/git/commits/{}", commit.sha),
                "comment_count": 0,
                "verification": {
                    "verified": false, "reason": "unsigned", "signature": null, "payload": null,
                    "verified_at": null,
                },
            },
            "url": format!("{base}/commits/{}", commit.sha),
            "html_url": page,
            "comments_url": format!("{base}/commits/{}/comments", commit.sha),
            "author": null,
            "committer": null,
            "parents": commit.parents.iter().map(|parent| json!({
                "sha": parent,
                "url": format!("{base}/commits/{parent}"),
                "html_url": format!("{}/{}/commit/{parent}", self.web(), repo.full_name()),
            })).collect::<Vec<_>>(),
        })
    }
}

fn rollup(url: &str, reactions: &[ReactionRecord]) -> Value {
    let mut value = json!({ "url": format!("{url}/reactions"), "total_count": reactions.len() });
    for content in REACTIONS {
        let count = reactions
            .iter()
            .filter(|reaction| reaction.content == content)
            .count();
        value[content] = count.into();
    }
    value
}

/// `{name}_url` of a repository, and what follows the repository's own address.
const REPO_LINKS: [(&str, &str); 36] = [
    ("archive", "{archive_format}{/ref}"),
    ("assignees", "assignees{/user}"),
    ("blobs", "git/blobs{/sha}"),
    ("branches", "branches{/branch}"),
    ("collaborators", "collaborators{/collaborator}"),
    ("comments", "comments{/number}"),
    ("commits", "commits{/sha}"),
    ("compare", "compare/{base}...{head}"),
    ("contents", "contents/{+path}"),
    ("contributors", "contributors"),
    ("deployments", "deployments"),
    ("downloads", "downloads"),
    ("events", "events"),
    ("forks", "forks"),
    ("git_commits", "git/commits{/sha}"),
    ("git_refs", "git/refs{/sha}"),
    ("git_tags", "git/tags{/sha}"),
    ("hooks", "hooks"),
    ("issue_comment", "issues/comments{/number}"),
    ("issue_events", "issues/events{/number}"),
    ("issues", "issues{/number}"),
    ("keys", "keys{/key_id}"),
    ("labels", "labels{/name}"),
    ("languages", "languages"),
    ("merges", "merges"),
    ("milestones", "milestones{/number}"),
    ("notifications", "notifications{?since,all,participating}"),
    ("pulls", "pulls{/number}"),
    ("releases", "releases{/id}"),
    ("stargazers", "stargazers"),
    ("statuses", "statuses/{sha}"),
    ("subscribers", "subscribers"),
    ("subscription", "subscription"),
    ("tags", "tags"),
    ("teams", "teams"),
    ("trees", "git/trees{/sha}"),
];
