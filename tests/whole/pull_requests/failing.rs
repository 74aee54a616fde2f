//! Pull requests that cannot be planned: the comment says where, and never a count.

use super::stage::{NETWORK, resource, subnet};
use crate::scenario::{Scenario, root};

impl Scenario {
    /// Waits until the plan of a head is said to have failed, with no count anywhere.
    async fn plan_fails(&mut self, pull: u64, head: &str) -> String {
        let said = self.status_is(head, "mainstay/plan", "failure").await;
        let comment = self
            .comment_with(pull, "### Plan failed in `network`")
            .await;
        for text in [&said, &comment] {
            for count in ["to create", "to change", "to destroy", "No changes"] {
                assert!(!text.contains(count), "`{count}` in {text}");
            }
        }
        comment
    }
}

/// Opens a pull request with broken files, and gives what the comment says before and after the fix.
async fn broken_and_fixed(files: &[(&str, &str)]) -> String {
    let mut s = Scenario::with_network().await;
    let (pull, head) = s.opens("wider", files);
    let failed = s.plan_fails(pull, &head).await;
    let id = s.comment_id(pull);
    let head = s
        .repo
        .commit("wider", &[(NETWORK, &subnet("10.0.0.0/16"))], "Mend it");
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("1 to change"), "{comment}");
    assert!(!comment.contains("**Failed**"), "{comment}");
    assert_eq!(s.comment_id(pull), id);
    assert_eq!(s.states_of("propose", "network"), ["failed", "planned"]);
    s.end().await;
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_that_does_not_parse_is_said_with_its_line_and_the_fix_is_planned() {
    let comment = broken_and_fixed(&[(NETWORK, "locals {\n  a = 1\n}\n\nresource {{{\n")]).await;
    assert!(comment.contains("main.tf:5"), "{comment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_refused_is_said_with_its_line_and_the_fix_is_planned() {
    let checked = "variable \"size\" {\n  default = 40\n  validation {\n    condition     = var.size <= 32\n    error_message = \"No such size.\"\n  }\n}\n";
    let file = resource("subnet", "\"10.0.0.0/${var.size}\"", "");
    let comment = broken_and_fixed(&[(NETWORK, &root(&[checked, &file]))]).await;
    assert!(comment.contains("main.tf:7"), "{comment}");
    assert!(comment.contains("No such size."), "{comment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_its_provider_fails_is_said_with_its_line_and_the_fix_is_planned() {
    let failing = resource("subnet", "\"10.0.0.0/20\"", "fail = \"plan\"");
    let other = resource("other", "\"other\"", "");
    let comment = broken_and_fixed(&[(NETWORK, &root(&[&other, &failing]))]).await;
    assert!(comment.contains("Injected failure"), "{comment}");
    assert!(comment.contains("main.tf:13"), "{comment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_whose_plan_fails_hides_no_other_workspace() {
    use crate::scenario::{declaration, one_file, workspace};
    let mut s = Scenario::new().await;
    let both = workspace("network", "") + &workspace("dns", "");
    s.declare("acme.toml", &declaration("acme/infra", &both));
    s.applied(&[
        (NETWORK, &subnet("10.0.0.0/24")),
        ("dns/main.tf", &one_file("zone", "example")),
    ])
    .await;
    let (pull, head) = s.opens(
        "both",
        &[
            (NETWORK, "resource {{{\n"),
            ("dns/main.tf", &one_file("zone", "example.org")),
        ],
    );
    let comment = s
        .comment_with(pull, "### Plan failed in 1 of 2 workspaces")
        .await;
    assert!(comment.contains("example.org"), "{comment}");
    s.status_is(&head, "mainstay/plan", "failure").await;
    s.end().await;
}
