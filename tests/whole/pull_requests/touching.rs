//! Which workspaces a pull request touches, and what is done when the base moves below it.

use super::stage::{NETWORK, resource, short, subnet};
use crate::github::git::Method;
use crate::scenario::{Scenario, declaration, one_file, root, workspace};

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_a_pull_request_adds_is_planned_and_applied_with_its_merge() {
    let mut s = Scenario::new().await;
    let both = workspace("network", "") + &workspace("dns", "");
    s.declare("acme.toml", &declaration("acme/infra", &both));
    s.applied(&[(NETWORK, &subnet("10.0.0.0/24"))]).await;
    assert!(s.runs_for("merge", "dns").is_empty());

    let (pull, head) = s.opens("dns", &[("dns/main.tf", &one_file("zone", "example"))]);
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("### `dns` changes"), "{comment}");
    assert!(comment.contains("1 to create"), "{comment}");
    let merged = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.status_is(&merged, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("zone.txt").as_deref(), Some("example"));
    assert_eq!(s.states_of("merge", "network"), ["applied"]);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_module_that_is_found_is_planned_and_applied_like_a_declared_one() {
    let mut s = Scenario::new().await;
    let found = "[discover]\npaths = [\"stacks/*\"]\nenv = { plan = [\"LOCALFS_*\"], apply = [\"LOCALFS_*\"] }\n";
    s.declare("acme.toml", &declaration("acme/infra", found));
    s.applied(&[("stacks/network/main.tf", &subnet("10.0.0.0/24"))])
        .await;
    let (pull, head) = s.opens(
        "dns",
        &[("stacks/dns/main.tf", &one_file("zone", "example"))],
    );
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("1 to create"), "{comment}");
    let merged = s.repo.merge(pull, Method::Squash, "alice").unwrap();
    let said = s.status_is(&merged, "mainstay/apply", "success").await;
    assert!(said.contains("dns") && !said.contains("network"), "{said}");
    assert_eq!(s.in_world("zone.txt").as_deref(), Some("example"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_workspace_destroys_nothing_and_the_comment_says_so() {
    let mut s = Scenario::new().await;
    let both = workspace("network", "") + &workspace("dns", "");
    s.declare("acme.toml", &declaration("acme/infra", &both));
    s.applied(&[
        (NETWORK, &subnet("10.0.0.0/24")),
        ("dns/main.tf", &one_file("zone", "example")),
    ])
    .await;
    let head = s
        .repo
        .commit_changes("no-dns", &[("dns/main.tf", None)], "Drop dns");
    let pull = s.repo.open_pull("Drop dns", "no-dns", "main", "alice");
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("The folder of `dns` is gone"), "{comment}");
    assert!(comment.contains("Nothing is destroyed"), "{comment}");

    let merged = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.logged(&format!("main of acme/infra moved to {}", short(&merged)))
        .await;
    s.settles().await;
    assert_eq!(s.repo.statuses(&merged), []);
    assert_eq!(s.in_world("zone.txt").as_deref(), Some("example"));
    assert_eq!(s.states_of("merge", "dns"), ["applied"]);
    let status = s.status_of("acme/infra");
    assert!(status["error"].is_null(), "{status}");
    assert_eq!(s.repo.issues(), []);

    // It can come back as it was.
    let files = [("dns/main.tf", &*one_file("zone", "example.org"))];
    let back = s.repo.commit("main", &files, "Keep dns");
    s.status_is(&back, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("zone.txt").as_deref(), Some("example.org"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_workspace_is_touched_a_required_check_is_green_and_nothing_else_is_posted() {
    let mut s = Scenario::with_network().await;
    s.settles().await;
    let written = s.written();
    let (pull, head) = s.opens("docs", &[("README.md", "The network.\n")]);
    let said = s.status_is(&head, "mainstay/plan", "success").await;
    assert_eq!(said, "touches no workspace");
    s.settles().await;
    let merged = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.logged(&format!("main of acme/infra moved to {}", short(&merged)))
        .await;
    s.settles().await;
    assert_eq!(s.comment(pull), None);
    assert_eq!(s.written(), written + 1);
    assert_eq!(s.runs().len(), 1);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_local_module_is_planned_in_every_workspace_that_uses_it() {
    let mut s = Scenario::new().await;
    let all: String = ["network", "dns", "storage"]
        .map(|name| workspace(name, ""))
        .concat();
    s.declare("acme.toml", &declaration("acme/infra", &all));
    let host = |port: &str| {
        let content = format!("\"${{var.name}}:{port}\"");
        let named = "variable \"name\" {\n  type = string\n}\n";
        let file = resource("host", &content, "").replace("\"host.txt\"", "\"${var.name}.txt\"");
        root(&[named, &file])
    };
    let uses = |name: &str| {
        format!("module \"host\" {{\n  source = \"../modules/host\"\n  name = \"{name}\"\n}}\n")
    };
    s.applied(&[
        ("modules/host/main.tf", &host("80")),
        (NETWORK, &uses("gateway")),
        ("dns/main.tf", &uses("resolver")),
        ("storage/main.tf", &one_file("disk", "1 GB")),
    ])
    .await;
    assert_eq!(s.in_world("gateway.txt").as_deref(), Some("gateway:80"));

    let (pull, head) = s.opens("tls", &[("modules/host/main.tf", &host("443"))]);
    let comment = s.planned(pull, &head).await;
    assert!(
        comment.contains("### 2 of 2 workspaces change"),
        "{comment}"
    );
    assert!(comment.contains("gateway:443"), "{comment}");
    assert!(comment.contains("resolver:443"), "{comment}");
    assert!(!comment.contains("storage"), "{comment}");
    let merged = s.repo.merge(pull, Method::Squash, "alice").unwrap();
    s.status_is(&merged, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("gateway.txt").as_deref(), Some("gateway:443"));
    assert_eq!(s.in_world("resolver.txt").as_deref(), Some("resolver:443"));
    assert_eq!(s.states_of("merge", "storage"), ["applied"]);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_outside_of_the_folder_that_the_configuration_names_is_planned_and_checked_out() {
    let mut s = Scenario::new().await;
    let zone = root(&[&resource(
        "zone",
        "file(\"${path.module}/../data/zone.db\")",
        "",
    )]);
    s.applied(&[(NETWORK, &zone), ("data/zone.db", "a 10.0.0.1")])
        .await;
    assert_eq!(s.in_world("zone.txt").as_deref(), Some("a 10.0.0.1"));
    let (pull, head) = s.opens("zone", &[("data/zone.db", "a 10.0.0.2")]);
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("1 to change"), "{comment}");
    assert!(comment.contains("a 10.0.0.2"), "{comment}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_variables_that_a_declaration_names_are_planned_with() {
    let mut s = Scenario::new().await;
    let named = workspace("network", "var_files = [\"../sizes/production.tfvars\"]");
    s.declare("acme.toml", &declaration("acme/infra", &named));
    let sized = root(&[
        "variable \"size\" {\n  type = number\n}\n",
        &resource("subnet", "\"10.0.0.0/${var.size}\"", ""),
    ]);
    s.applied(&[
        (NETWORK, &sized),
        ("sizes/production.tfvars", "size = 24\n"),
        ("sizes/staging.tfvars", "size = 28\n"),
    ])
    .await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    let (pull, head) = s.opens("wider", &[("sizes/production.tfvars", "size = 16\n")]);
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("10.0.0.0/16"), "{comment}");
    let (other, head) = s.opens("staging", &[("sizes/staging.tfvars", "size = 26\n")]);
    s.logged(&format!("at {} touches no workspace", short(&head)))
        .await;
    s.settles().await;
    assert_eq!(s.comment(other), None);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_watched_file_is_planned() {
    let mut s = Scenario::new().await;
    let watching = workspace("network", "watch = [\"shared/**\"]");
    s.declare("acme.toml", &declaration("acme/infra", &watching));
    s.applied(&[(NETWORK, &subnet("10.0.0.0/24"))]).await;
    let (pull, head) = s.opens("shared", &[("shared/deep/rules.json", "{}\n")]);
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("### No changes"), "{comment}");
    assert_eq!(s.states_of("propose", "network"), ["planned"]);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_moves_elsewhere_starts_no_plan_and_one_that_moves_here_does() {
    let mut s = Scenario::new().await;
    let both = workspace("network", "") + &workspace("dns", "");
    s.declare("acme.toml", &declaration("acme/infra", &both));
    s.applied(&[
        (NETWORK, &subnet("10.0.0.0/24")),
        ("dns/main.tf", &one_file("zone", "example")),
    ])
    .await;
    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    s.planned(pull, &head).await;

    let files = [("dns/main.tf", &*one_file("zone", "example.org"))];
    let elsewhere = s.repo.commit("main", &files, "Rename the zone");
    s.status_is(&elsewhere, "mainstay/apply", "success").await;
    s.settles().await;
    assert_eq!(s.states_of("propose", "network"), ["planned"]);

    let files = [("network/b.tf", &*resource("b", "\"b\"", ""))];
    let here = s.repo.commit("main", &files, "Add b");
    s.status_is(&here, "mainstay/apply", "success").await;
    let comment = s
        .comment_with(pull, &format!("on `main` at `{}`", short(&here)))
        .await;
    assert!(comment.contains("`"), "{comment}");
    let comment = s.comment_with(pull, "### `network` changes").await;
    assert!(comment.contains("1 to change"), "{comment}");
    assert!(
        !comment.contains("to create"),
        "b is there already: {comment}"
    );
    s.settles().await;
    assert_eq!(
        s.states_of("propose", "network"),
        ["planned", "planned"],
        "one plan for one move"
    );
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_changes_no_file_has_open_pull_requests_planned_against_the_new_state() {
    let mut s = Scenario::new().await;
    // Held until a person agrees, so that files and state move at different times.
    let held = workspace("network", "apply = \"on-approval\"");
    s.declare("acme.toml", &declaration("acme/infra", &held));
    let main = s
        .repo
        .commit("main", &[(NETWORK, &subnet("10.0.0.0/24"))], "Begin");
    s.start();
    s.status_is(&main, "mainstay/apply", "pending").await;
    s.run_is("merge", "network", "held").await;
    let (pull, head) = s.opens("more", &[("network/b.tf", &resource("b", "\"b\"", ""))]);
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("2 to create"), "{comment}");

    let ran = s.run(&["apply", "network"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    s.status_is(&main, "mainstay/apply", "success").await;
    let comment = s.comment_with(pull, "1 to create").await;
    assert!(comment.contains("### `network` changes"), "{comment}");
    s.settles().await;
    assert_eq!(s.states_of("propose", "network"), ["planned", "planned"]);
    s.end().await;
}
