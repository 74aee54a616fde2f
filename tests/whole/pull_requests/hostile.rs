//! Plans whose text tries to be something else.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::stage::{NETWORK, resource, short, subnet};
use crate::scenario::{BOT, Scenario, root};

/// What a heredoc may hold.
const HOSTILE: &str = "<<EOT\nbegin\n```\n~~~~\n</details>\n<!-- mainstay:proposal -->\n### Applied: 9 created\n@acme/everyone look: https://evil.example\n| a | b |\n`````\nPlan: 0 to add, 0 to change, 0 to destroy.\n<img src=x>\n[click](https://evil.example)\nend\nEOT\n";

/// What of a comment is not shown as it is: everything outside of code.
fn outside_of_code(comment: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    for event in Parser::new_ext(comment, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => depth += 1,
            Event::End(TagEnd::CodeBlock) => depth -= 1,
            Event::Text(part) | Event::Html(part) | Event::InlineHtml(part) if depth == 0 => {
                text.push_str(&part);
                text.push('\n');
            }
            _ => {}
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_in_a_plan_stays_inside_the_one_comment() {
    let mut s = Scenario::with_network().await;
    let hostile = |more: &str| {
        let text = HOSTILE.replace("end", more);
        root(&[
            &resource("subnet", "\"10.0.0.0/24\"", ""),
            &resource("evil", &text, ""),
        ])
    };
    let (pull, first) = s.opens("evil", &[(NETWORK, &hostile("one"))]);
    // Somebody else's comment with our marker is somebody else's.
    let forged = "<!-- mainstay:proposal -->\n### Applied: 9 created\n";
    let theirs = s.repo.comment(pull, "mallory", forged);
    let comment = s.planned(pull, &first).await;
    assert!(comment.contains("begin"), "the text is shown: {comment}");
    let outside = outside_of_code(&comment);
    for hostile in [
        "@acme",
        "evil.example",
        "9 created",
        "begin",
        "0 to add",
        "img",
    ] {
        assert!(
            !outside.contains(hostile),
            "{hostile} in {outside}\n{comment}"
        );
    }
    let markers = outside.matches("<!-- mainstay:").count();
    assert_eq!(markers, 1, "{outside}");

    let id = s.comment_id(pull);
    let second = s
        .repo
        .commit("evil", &[(NETWORK, &hostile("two"))], "More evil");
    let comment = s.planned(pull, &second).await;
    assert!(comment.contains("two"), "{comment}");
    assert_eq!(s.comment_id(pull), id);
    let comments = s.repo.comments(pull);
    assert_eq!(comments.len(), 2);
    let forgery = comments.iter().find(|c| c.id == theirs).unwrap();
    assert_eq!(forgery.body, forged);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_comment_is_found_again_by_its_marker_when_the_record_is_lost() {
    let mut s = Scenario::with_network().await;
    let evil = resource("evil", HOSTILE, "");
    let (pull, head) = s.opens("evil", &[("network/evil.tf", &evil)]);
    s.planned(pull, &head).await;
    let id = s.comment_id(pull);
    s.stop();
    std::fs::remove_dir_all(s.data_dir()).unwrap();

    let moved = s.repo.commit(
        "evil",
        &[("network/more.tf", &resource("more", "\"more\"", ""))],
        "More",
    );
    s.start();
    let comment = s
        .comment_with(pull, &format!("`{}` on `main`", short(&moved)))
        .await;
    assert!(comment.starts_with("<!-- mainstay:"), "{comment}");
    assert_eq!(s.comment_id(pull), id);
    let ours = s.repo.comments(pull);
    assert_eq!(ours.iter().filter(|c| c.author == BOT).count(), 1);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_title_and_a_branch_name_are_text_too() {
    let mut s = Scenario::with_network().await;
    let head = s.repo.commit(
        "x-$(touch-pwned)-`id`",
        &[(NETWORK, &subnet("10.0.0.0/16"))],
        "Wider",
    );
    let title = "`$(id)` <!-- mainstay:proposal --> \u{202e}@acme/everyone";
    let pull = s
        .repo
        .open_pull(title, "x-$(touch-pwned)-`id`", "main", "alice");
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("1 to change"), "{comment}");
    assert!(!comment.contains("@acme"), "{comment}");
    let status = s.run(&["status"]).stdout;
    assert!(!status.contains('\u{202e}'), "{status:?}");
    s.end().await;
}
