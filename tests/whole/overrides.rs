//! What policies do to pull requests and merges, and how their owners override them.

use crate::github::git::Method;
use crate::github::world::Role;
use crate::scenario::{Scenario, declaration, one_file, workspace};

/// Denies one content of a file; alice may override it.
const NO_WIDE_NETWORKS: &str = r#"# METADATA
# title: Networks are small
# custom:
#   remedy: Choose a smaller one.
#   owners: [alice]
package main

deny contains finding if {
  some resource in input.resource_changes
  endswith(resource.change.after.content, "/8")
  finding := {"msg": sprintf("%s is wide", [resource.address]), "address": resource.address}
}
"#;

/// Waits for an approval, and for a person.
const ASKS: &str = r#"package main

require contains {"msg": "somebody reads it", "approvals": 1} if input.mainstay.purpose == "merge"

hold contains "somebody watches it" if input.mainstay.environment == "production"
"#;

/// A scenario with `network` at one file, judged by policies; bob may write as well as alice.
async fn policed(policies: &[(&str, &str)]) -> Scenario {
    let mut s = Scenario::new().await;
    s.hub.user("bob", &[(&s.repo, Role::Write)]);
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    s.stop();
    std::fs::create_dir_all(s.folder().join("policies")).unwrap();
    let mut names = Vec::new();
    for (name, text) in policies {
        std::fs::write(s.folder().join(format!("policies/{name}.rego")), text).unwrap();
        names.push(format!("\"{name}\""));
    }
    let more = format!(
        "environment = \"production\"\npolicies = [{}]\n",
        names.join(", ")
    );
    let rest = workspace("network", &more);
    s.declare("acme.toml", &declaration("acme/infra", &rest));
    s.start();
    s
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_denies_is_held_until_its_owner_overrides_it() {
    let mut s = policed(&[("small", NO_WIDE_NETWORKS)]).await;
    // A policy of the pull request's own says nothing to the daemon.
    let lax = NO_WIDE_NETWORKS.replace("/8", "/never");
    let files = [
        ("network/main.tf", one_file("subnet", "10.0.0.0/8")),
        ("policies/small.rego", lax),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (*p, t.as_str())).collect();
    let pull = s.propose("wide", &files);
    s.comment_with(pull, "1 to change").await;
    let head = s.repo.head("wide").unwrap();
    s.status_is(&head, "mainstay/plan", "failure").await;

    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.run_is("merge", "network", "held").await;
    let comment = s.comment_with(pull, "the policy `small` denies it").await;
    assert!(comment.contains("mainstay override small"), "{comment}");
    // Whoever agrees to the plan, the policy still denies it.
    s.says(pull, "bob", "mainstay apply network", &["confused", "eyes"])
        .await;
    s.says(pull, "bob", "mainstay override small hurry", &["confused"])
        .await;
    s.comment_with(pull, "by its owners only: alice").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));

    let reason = "mainstay override small the $(old) one is `full`";
    s.says(pull, "alice", reason, &["eyes", "rocket"]).await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/8"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_on_a_pull_request_is_for_the_plan_that_it_showed() {
    let mut s = policed(&[("small", NO_WIDE_NETWORKS)]).await;
    let pull = s.propose(
        "wide",
        &[("network/main.tf", &one_file("subnet", "10.0.0.0/8"))],
    );
    let head = s.repo.head("wide").unwrap();
    s.status_is(&head, "mainstay/plan", "failure").await;
    s.says(
        pull,
        "alice",
        "mainstay override small it is needed",
        &["eyes", "rocket"],
    )
    .await;
    s.status_is(&head, "mainstay/plan", "success").await;
    // Another plan is judged anew.
    let text = one_file("subnet", "11.0.0.0/8");
    let pushed = s
        .repo
        .commit("wide", &[("network/main.tf", &text)], "another");
    s.status_is(&pushed, "mainstay/plan", "failure").await;
    // The plan of before counts as it did.
    let text = one_file("subnet", "10.0.0.0/8");
    let pushed = s
        .repo
        .commit("wide", &[("network/main.tf", &text)], "back again");
    s.status_is(&pushed, "mainstay/plan", "success").await;
    let commit = s.repo.merge(pull, Method::Squash, "alice").unwrap();
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_waits_for_an_approval_of_the_merged_head_and_for_a_person() {
    let mut s = policed(&[("asks", ASKS)]).await;
    let pull = s.propose(
        "wide",
        &[("network/main.tf", &one_file("subnet", "10.0.0.0/16"))],
    );
    s.comment_with(pull, "1 to change").await;
    s.repo.review(pull, "mallory", "APPROVED", "");
    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    // Who may not write approves nothing.
    s.comment_with(pull, "asks for 1 approval").await;
    s.says(pull, "bob", "mainstay apply network", &["confused", "eyes"])
        .await;
    s.repo.review(pull, "bob", "APPROVED", "");
    s.says(pull, "bob", "mainstay apply network", &["eyes", "rocket"])
        .await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.end().await;
}
