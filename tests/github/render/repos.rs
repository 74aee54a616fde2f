//! Repositories, commits and statuses.

use chrono::DateTime;
use serde_json::{Value, json};

use super::{View, node_id, time};
use crate::github::git::CommitFacts;
use crate::github::world::{Repo, StatusRecord, Switch};

impl View<'_> {
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
