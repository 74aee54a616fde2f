//! octocrab's typed calls understand every answer.

use octocrab::models::{AuthorAssociation, IssueState, StatusState};
use octocrab::params;
use octocrab::params::repos::Reference;
use octocrab::service::middleware::retry::RetryConfig;
use octocrab::{Octocrab, OctocrabBuilder};

use crate::bare::{TOKEN, house};
use crate::github::git::Method;
use crate::github::world::Role;

pub(crate) fn client(
    api_url: &str,
) -> OctocrabBuilder<
    octocrab::NoSvc,
    octocrab::DefaultOctocrabBuilderConfig,
    octocrab::NoAuth,
    octocrab::NotLayerReady,
> {
    Octocrab::builder()
        .base_uri(api_url)
        .expect("the model's address is one")
        .add_retry_config(RetryConfig::None)
}

fn bot(api_url: &str) -> Octocrab {
    client(api_url)
        .personal_token(TOKEN)
        .build()
        .expect("a client can be made")
}

#[tokio::test]
async fn a_repository_its_branches_and_refs_are_read() {
    let (hub, repo) = house().await;
    let sha = repo.head("main").unwrap();
    let crab = bot(&hub.api_url());
    let found = crab.repos("acme", "infra").get().await.unwrap();
    assert_eq!(found.full_name.as_deref(), Some("acme/infra"));
    assert_eq!(found.default_branch.as_deref(), Some("main"));
    assert_eq!(found.id.into_inner(), repo.id());
    assert_eq!(
        found.clone_url.unwrap().as_str(),
        format!("{}/acme/infra.git", hub.web_url())
    );
    assert_eq!(
        found.permissions.map(|given| (given.push, given.admin)),
        Some((true, false))
    );

    let reference = Reference::Branch("main".to_owned());
    let found = crab
        .repos("acme", "infra")
        .get_ref(&reference)
        .await
        .unwrap();
    assert!(
        matches!(found.object, octocrab::models::repos::Object::Commit { sha: s, .. } if s == sha)
    );

    let url = "/repos/acme/infra/branches/main";
    let branch: octocrab::models::repos::Branch = crab.get(url, None::<&()>).await.unwrap();
    assert_eq!(branch.commit.sha, sha);

    let commit = crab.commits("acme", "infra").get("main").await.unwrap();
    assert_eq!(
        (commit.sha, commit.commit.message),
        (sha, "Begin".to_owned())
    );
}

#[tokio::test]
async fn pull_requests_are_listed_and_read() {
    let (hub, repo) = house().await;
    repo.commit("add", &[("network/main.tf", "# one\n")], "Add one");
    let number = repo.open_pull("Add one", "add", "main", "alice");
    repo.review(number, "bob", "APPROVED", "good");
    let crab = bot(&hub.api_url());
    let pulls = crab.pulls("acme", "infra");
    let page = pulls
        .list()
        .state(params::State::Open)
        .sort(params::pulls::Sort::Updated)
        .direction(params::Direction::Descending)
        .send()
        .await
        .unwrap();
    let [pull] = page.items.as_slice() else {
        panic!("one is open")
    };
    assert_eq!(pull.number, number);
    assert_eq!(pull.head.sha, repo.head("add").unwrap());
    assert_eq!(pull.base.ref_field, "main");
    assert_eq!(pull.user.as_ref().unwrap().login, "alice");
    assert_eq!(
        pull.head.repo.as_ref().unwrap().id,
        pull.base.repo.as_ref().unwrap().id
    );

    let pull = pulls.get(number).await.unwrap();
    assert_eq!(pull.state, Some(IssueState::Open));
    assert_eq!((pull.merged, pull.mergeable), (Some(false), None));
    assert_eq!((pull.commits, pull.changed_files), (Some(1), Some(1)));
    let again = pulls.get(number).await.unwrap();
    assert_eq!(
        again.mergeable,
        Some(true),
        "looking at it makes GitHub try the merge"
    );

    let reviews = pulls.list_reviews(number).send().await.unwrap();
    assert_eq!(reviews.items[0].user.as_ref().unwrap().login, "bob");

    let sha = repo.merge(number, Method::Merge, "alice").unwrap();
    let pull = pulls.get(number).await.unwrap();
    assert_eq!(pull.merged, Some(true));
    assert_eq!(pull.merge_commit_sha, Some(sha));
    assert!(pull.merged_at.is_some() && pull.merged_by.unwrap().login == "alice");
}

#[tokio::test]
async fn comments_and_reactions_are_written_and_read() {
    let (hub, repo) = house().await;
    repo.commit("add", &[("a", "1")], "Add");
    let number = repo.open_pull("Add", "add", "main", "alice");
    let crab = bot(&hub.api_url());
    let issues = crab.issues("acme", "infra");
    let comment = issues.create_comment(number, "first").await.unwrap();
    assert_eq!(comment.user.login, "mainstay-bot");
    assert_eq!(
        comment.author_association,
        Some(AuthorAssociation::Collaborator)
    );
    assert!(
        comment
            .issue_url
            .unwrap()
            .path()
            .ends_with(&format!("/issues/{number}"))
    );
    assert_eq!(
        issues
            .get_comment(comment.id)
            .await
            .unwrap()
            .body
            .as_deref(),
        Some("first")
    );

    let eyes = octocrab::models::reactions::ReactionContent::Eyes;
    let reaction = issues
        .create_comment_reaction(comment.id, eyes)
        .await
        .unwrap();
    let listed = issues
        .list_comment_reactions(comment.id)
        .send()
        .await
        .unwrap();
    assert_eq!(listed.items[0].user.login, "mainstay-bot");
    let known = &repo.comments(number)[0];
    assert_eq!(
        known.reactions,
        [("mainstay-bot".to_owned(), "eyes".to_owned())]
    );
    issues
        .delete_comment_reaction(comment.id, reaction.id)
        .await
        .unwrap();
    assert!(repo.comments(number)[0].reactions.is_empty());

    let since = chrono::Utc::now() - chrono::TimeDelta::minutes(1);
    let all = issues
        .list_issue_comments()
        .sort(params::issues::Sort::Updated)
        .direction(params::Direction::Ascending)
        .since(since)
        .send()
        .await
        .unwrap();
    assert_eq!(all.items[0].id, comment.id);
    let of_one = issues.list_comments(number).send().await.unwrap();
    assert_eq!(of_one.items.len(), 1);
    issues.delete_comment(comment.id).await.unwrap();
    assert!(repo.comments(number).is_empty());
}

#[tokio::test]
async fn issues_and_labels_are_written_and_read() {
    let (hub, repo) = house().await;
    let crab = bot(&hub.api_url());
    let issues = crab.issues("acme", "infra");
    let label = issues
        .create_label("drift", "d73a4a", "The world moved")
        .await
        .unwrap();
    assert_eq!(label.color, "d73a4a");
    let labels = issues.list_labels_for_repo().send().await.unwrap();
    assert_eq!(labels.items[0].name, "drift");
    assert_eq!(issues.get_label("drift").await.unwrap().id, label.id);

    let issue = issues
        .create("Drift in network")
        .body("text")
        .labels(vec!["drift".to_owned(), "new".to_owned()])
        .send()
        .await
        .unwrap();
    assert_eq!(issue.labels.len(), 2);
    let found = issues
        .list()
        .creator("mainstay-bot")
        .labels(&["drift".to_owned()])
        .send()
        .await;
    assert_eq!(found.unwrap().items[0].number, issue.number);
    let closed = issues
        .update(issue.number)
        .body("done")
        .state(IssueState::Closed)
        .send()
        .await;
    assert_eq!(closed.unwrap().state, IssueState::Closed);
    assert_eq!(
        issues.get(issue.number).await.unwrap().body.as_deref(),
        Some("done")
    );
    let [known] = repo.issues().try_into().unwrap();
    assert_eq!(
        (known.state.as_str(), known.body.as_str()),
        ("closed", "done")
    );
    assert_eq!(
        (known.author.as_str(), known.title.as_str()),
        ("mainstay-bot", "Drift in network")
    );
    assert_eq!(
        (known.number, known.labels),
        (issue.number, vec!["drift".to_owned(), "new".to_owned()])
    );
}

#[tokio::test]
async fn statuses_are_set_and_combined() {
    let (hub, repo) = house().await;
    let sha = repo.head("main").unwrap();
    let crab = bot(&hub.api_url());
    let repos = crab.repos("acme", "infra");
    for (state, context) in [
        (StatusState::Pending, "mainstay/plan"),
        (StatusState::Success, "mainstay/plan"),
        (StatusState::Success, "mainstay/apply"),
    ] {
        let status = repos
            .create_status(sha.clone(), state)
            .context(context.to_owned())
            .description("Planned".to_owned())
            .send()
            .await
            .unwrap();
        assert_eq!(status.context.as_deref(), Some(context));
    }
    let all = repos.list_statuses(sha.clone()).send().await.unwrap();
    assert_eq!(all.items.len(), 3);
    assert_eq!(
        all.items[0].context.as_deref(),
        Some("mainstay/apply"),
        "newest first"
    );
    let main = Reference::Branch("main".to_owned());
    let combined = repos.combined_status_for_ref(&main).await.unwrap();
    assert_eq!(
        (combined.state, combined.total_count),
        (StatusState::Success, 2)
    );
    assert_eq!(repo.statuses(&sha).len(), 3);
    let latest = repo.status(&sha, "mainstay/plan").unwrap();
    assert_eq!(
        (latest.state.as_str(), latest.description.as_str()),
        ("success", "Planned")
    );
    assert_eq!(latest.context, "mainstay/plan");
}

#[tokio::test]
async fn the_account_its_limits_and_others_roles_are_read() {
    let (hub, repo) = house().await;
    hub.user("mia", &[(&repo, Role::Maintain)]);
    hub.user("tom", &[(&repo, Role::Triage)]);
    hub.user("nora", &[]);
    let crab = bot(&hub.api_url());
    let me = crab.current().user().await.unwrap();
    assert_eq!(me.login, "mainstay-bot");
    let limits = crab.ratelimit().get().await.unwrap();
    assert_eq!((limits.rate.limit, limits.rate.used), (5_000, 1));
    for (login, permission, role) in [
        ("mia", "write", "maintain"),
        ("tom", "read", "triage"),
        ("nora", "none", "none"),
        ("acme", "admin", "admin"),
    ] {
        let path = format!("/repos/acme/infra/collaborators/{login}/permission");
        let found: serde_json::Value = crab.get(path, None::<&()>).await.unwrap();
        assert_eq!(
            (found["permission"].as_str(), found["role_name"].as_str()),
            (Some(permission), Some(role))
        );
    }
}

#[tokio::test]
async fn pages_follow_each_other_by_absolute_links() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    for word in 0..5 {
        repo.comment(issue, "alice", &format!("word {word}"));
    }
    let crab = bot(&hub.api_url());
    let first = crab
        .issues("acme", "infra")
        .list_comments(issue)
        .per_page(2)
        .send()
        .await
        .unwrap();
    let next = first.next.clone().unwrap();
    assert!(next.to_string().starts_with(&format!(
        "{}/repositories/{}/",
        hub.api_url(),
        repo.id()
    )));
    let all = crab.all_pages(first).await.unwrap();
    let words: Vec<_> = all
        .iter()
        .map(|comment| comment.body.clone().unwrap())
        .collect();
    assert_eq!(words, ["word 0", "word 1", "word 2", "word 3", "word 4"]);
}

#[tokio::test]
async fn an_error_has_the_form_that_octocrab_reads() {
    let (hub, _) = house().await;
    let error = bot(&hub.api_url())
        .repos("acme", "nothing")
        .get()
        .await
        .unwrap_err();
    let octocrab::Error::GitHub { source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (source.status_code.as_u16(), source.message.as_str()),
        (404, "Not Found")
    );
}

#[tokio::test]
async fn a_branch_with_a_slash_is_read() {
    let (hub, repo) = house().await;
    let sha = repo.commit("feature/x", &[("a", "1")], "Add");
    let crab = bot(&hub.api_url());
    for path in [
        "/repos/acme/infra/branches/feature/x",
        "/repos/acme/infra/branches/feature%2Fx",
    ] {
        let branch: serde_json::Value = crab.get(path, None::<&()>).await.unwrap();
        assert_eq!(branch["commit"]["sha"], sha.as_str(), "{path}");
    }
}
