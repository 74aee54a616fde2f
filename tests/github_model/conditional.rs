//! Entity tags, pages and budgets.

use std::time::Duration;

use crate::bare::{TOKEN, ask, ask_as, get, house};
use crate::github::GitHub;
use crate::github::limit::Resource;
use crate::github::log::Budget;

fn get_unless(hub: &GitHub, path: &str, tag: &str) -> crate::bare::Answer {
    let url = format!("{}{path}", hub.api_url());
    ask_as(TOKEN, "GET", &url, &[("if-none-match", tag)], None).unwrap()
}

#[tokio::test]
async fn an_unchanged_answer_is_a_304_that_costs_nothing() {
    let (hub, _) = house().await;
    let first = get(&hub, "/repos/acme/infra/pulls?state=open");
    assert_eq!(first.header("x-ratelimit-used"), "1");
    assert_eq!(first.header("x-ratelimit-resource"), "core");
    let tag = first.header("etag");
    assert!(tag.starts_with("W/\""));
    let again = get_unless(&hub, "/repos/acme/infra/pulls?state=open", tag);
    assert_eq!((again.status, again.header("etag")), (304, tag));
    assert_eq!(again.body, "");
    assert_eq!(
        (
            again.header("x-ratelimit-used"),
            again.header("x-ratelimit-remaining")
        ),
        ("1", "4999")
    );
    let budgets: Vec<_> = hub
        .requests()
        .iter()
        .map(|request| request.budget)
        .collect();
    assert_eq!(budgets, [Budget::Core, Budget::Free]);
}

#[tokio::test]
async fn a_comment_changes_the_tags_of_comments_and_pulls() {
    let (hub, repo) = house().await;
    repo.commit("add", &[("a", "1")], "Add");
    let number = repo.open_pull("Add", "add", "main", "alice");
    let pulls = "/repos/acme/infra/pulls?state=open&sort=updated&direction=desc";
    let comments = "/repos/acme/infra/issues/comments?sort=updated";
    let tag_of_pulls = get(&hub, pulls).header("etag").to_owned();
    let tag_of_comments = get(&hub, comments).header("etag").to_owned();
    // Times have whole seconds, here as at GitHub: within one, the list of pull
    // requests looks the same.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    repo.comment(number, "alice", "mainstay plan");
    assert_eq!(get_unless(&hub, pulls, &tag_of_pulls).status, 200);
    assert_eq!(get_unless(&hub, comments, &tag_of_comments).status, 200);
}

#[tokio::test]
async fn a_tag_is_worth_nothing_to_another_caller() {
    let (hub, _) = house().await;
    hub.token("ghp_other", "acme", &["repo"]);
    let tag = get(&hub, "/repos/acme/infra/pulls")
        .header("etag")
        .to_owned();
    let url = format!("{}/repos/acme/infra/pulls", hub.api_url());
    let other = ask_as("ghp_other", "GET", &url, &[("if-none-match", &tag)], None).unwrap();
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn a_used_up_budget_refuses_until_its_reset() {
    let (hub, _) = house().await;
    hub.set_rate_limit(Resource::Core, 2, Duration::from_secs(3));
    hub.allow_on_its_way(Duration::ZERO);
    assert_eq!(get(&hub, "/user").status, 200);
    assert_eq!(get(&hub, "/user").header("x-ratelimit-remaining"), "0");
    let refused = get(&hub, "/user");
    assert_eq!(
        (refused.status, refused.header("x-ratelimit-remaining")),
        (403, "0")
    );
    assert!(
        refused.body["message"]
            .as_str()
            .unwrap()
            .starts_with("API rate limit exceeded for user ID")
    );
    assert!(hub.impatient().is_empty());
    assert_eq!(get(&hub, "/user").status, 403);
    assert_eq!(
        hub.impatient().len(),
        1,
        "who comes before the reset is written down"
    );
    assert_eq!(
        get(&hub, "/rate_limit").status,
        200,
        "asking for the limit is always free"
    );
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert_eq!(get(&hub, "/user").status, 200);
}

#[tokio::test]
async fn pages_have_links_and_a_largest_size() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    for word in 0..105 {
        repo.comment(issue, "alice", &format!("{word}"));
    }
    let path = format!("/repos/acme/infra/issues/{issue}/comments");
    assert_eq!(get(&hub, &path).body.as_array().unwrap().len(), 30);
    let page = get(&hub, &format!("{path}?per_page=500"));
    assert_eq!(page.body.as_array().unwrap().len(), 100);
    let base = format!(
        "{}/repositories/{}/issues/{issue}/comments",
        hub.api_url(),
        repo.id()
    );
    assert_eq!(
        page.header("link"),
        format!(
            "<{base}?per_page=500&page=2>; rel=\"next\", <{base}?per_page=500&page=2>; rel=\"last\""
        )
    );
    let last = get(&hub, &format!("{path}?per_page=100&page=2"));
    assert_eq!(last.body.as_array().unwrap().len(), 5);
    assert!(
        last.header("link").contains("rel=\"prev\"")
            && !last.header("link").contains("rel=\"next\"")
    );
    assert_eq!(
        ask(&hub, "GET", &format!("{path}?page=9"), None)
            .body
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[tokio::test]
async fn the_enterprise_address_is_used_in_what_it_answers() {
    let (hub, _) = house().await;
    let url = format!("{}/repos/acme/infra", hub.enterprise_api_url());
    let answer = ask_as(TOKEN, "GET", &url, &[], None).unwrap();
    assert_eq!(answer.body["url"], url.as_str());
}
