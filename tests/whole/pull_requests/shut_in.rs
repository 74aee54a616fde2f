//! A pull request's plan finds nothing of the daemon's, in whichever sandbox works here.

use crate::scenario::{Scenario, TOKEN, one_file};

/// What stands in files that are the daemon's.
const LOOT: &str = "hunter2-of-the-daemon";

/// A module whose outputs say which of the attacks found something.
fn attack(s: &Scenario) -> String {
    let read = |name: &str, path: &str| {
        format!(
            "output \"{name}\" {{\n  value = can(filebase64(\"{path}\")) ? \"{name} was read\" : \"{name} is safe\"\n}}\n"
        )
    };
    let at = |path: &str| s.folder().join(path).display().to_string();
    [
        read("record", &at("var/mainstay.db")),
        read("settings", &at("mainstay.toml")),
        read("home", &at("home/key")),
        read("other_state", &at("var/states/other/terraform.tfstate")),
        format!(
            r#"
locals {{
  environments = [for f in fileset("/proc", "*/environ") : try(file("/proc/${{f}}"), "")]
}}
output "token" {{
  value = length([for e in local.environments : e if strcontains(e, "{TOKEN}")]) > 0 ? "token was read" : "token is safe"
}}
"#
        ),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_finds_nothing_of_the_daemons_and_its_comment_names_the_sandbox() {
    let mut s = Scenario::new().await;
    for file in ["home/key", "var/states/other/terraform.tfstate"] {
        let file = s.folder().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, LOOT).unwrap();
    }
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    let module = format!("{}{}", one_file("subnet", "10.0.0.0/24"), attack(&s));
    let pull = s.propose("attack", &[("network/main.tf", &module)]);
    let comment = s.comment_with(pull, "is safe").await;
    assert!(!comment.contains("was read"), "{comment}");
    for what in ["record", "settings", "home", "other_state", "token"] {
        assert!(
            comment.contains(&format!("{what} is safe")),
            "{what}: {comment}"
        );
    }
    let names = ["in bubblewrap", "in landlock"];
    assert!(names.iter().any(|name| comment.contains(name)), "{comment}");

    // Without a sandbox the same module finds all of it: the test above is no accident.
    s.stop();
    let text = std::fs::read_to_string(s.config()).unwrap();
    std::fs::write(s.config(), text.replace("\"auto\"", "\"none\"")).unwrap();
    s.start();
    let pull = s.propose("again", &[("network/main.tf", &format!("{module}\n"))]);
    let comment = s.comment_with(pull, "was read").await;
    assert!(!comment.contains("is safe"), "{comment}");
    assert!(comment.contains("without a sandbox"), "{comment}");
    s.end().await;
}
