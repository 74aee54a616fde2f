//! GitHub's merge queue: branches of its own, whose required checks let it go on.

use super::stage::{NETWORK, subnet};
use crate::scenario::Scenario;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_merge_queue_would_make_of_main_gets_its_status_and_is_applied_when_it_is_main() {
    let mut s = Scenario::with_network().await;
    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    s.planned(pull, &head).await;

    // The queue merges onto main, and a second entry onto the first one.
    let first = format!("gh-readonly-queue/main/pr-{pull}-{head}");
    let queued = s
        .repo
        .commit(&first, &[(NETWORK, &subnet("10.0.0.0/16"))], "Merge");
    let second = format!("gh-readonly-queue/main/pr-9-{queued}");
    s.repo.branch(&second, &queued);
    let behind = s
        .repo
        .commit(&second, &[("docs/README.md", "The network.\n")], "Merge");
    let said = s.status_is(&queued, "mainstay/plan", "success").await;
    assert_eq!(said, "network changes");
    s.status_is(&behind, "mainstay/plan", "success").await;
    let comments = s.repo.comments(pull).len();

    // Both checks are green: the queue moves main there, and its branches go.
    s.repo.branch("main", &behind);
    s.repo.delete_branch(&first);
    s.repo.delete_branch(&second);
    s.repo.close(pull, "alice");
    s.status_is(&behind, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/16"));
    assert_eq!(s.repo.comments(pull).len(), comments);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_graphql_is_refused_the_queue_is_seen_by_rest() {
    let mut s = Scenario::new().await;
    s.hub.refuse_graphql(Some(403));
    s.applied(&[(NETWORK, &subnet("10.0.0.0/24"))]).await;
    let docs = [("docs/README.md", "The network.\n")];
    let queued = s
        .repo
        .commit("gh-readonly-queue/main/pr-1-a", &docs, "Merge");
    let said = s.status_is(&queued, "mainstay/plan", "success").await;
    assert_eq!(said, "touches no workspace");
    s.end().await;
}
