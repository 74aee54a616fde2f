//! Templates of the operator's own.

use super::*;

fn own(name: &str, text: &str) -> OwnTemplate {
    OwnTemplate {
        name: name.to_owned(),
        file: format!("templates/{name}.tera"),
        text: text.to_owned(),
    }
}

#[test]
fn the_built_in_templates_pass_as_templates_of_ones_own() {
    let sources = [
        include_str!("../templates/comment.tera"),
        include_str!("../templates/changes.tera"),
        include_str!("../templates/drift.tera"),
        include_str!("../templates/hold.tera"),
        include_str!("../templates/plan-status.tera"),
        include_str!("../templates/apply-status.tera"),
    ];
    let all: Vec<_> = TEMPLATES
        .iter()
        .zip(sources)
        .map(|(name, text)| own(name, text))
        .collect();
    let (templates, problems) = Templates::with(&all);
    assert_eq!(problems, []);
    let ours = comment(&mixed(), &templates).unwrap();
    assert_eq!(ours, commented(&mixed()).unwrap());
}

#[test]
fn a_template_of_ones_own_takes_the_place_of_the_built_in_one() {
    let (templates, problems) = Templates::with(&[
        own(
            "comment",
            "## {{ heading }}\n{% for fold in folds %}{% include \"changes\" %}{% endfor %}",
        ),
        own("changes", "{{ fold.left_out }} left out\n"),
        own("plan-status", "{{ workspaces }} touched:\n {{ verdict }}"),
        own("drift", "{{ summary }}"),
        own("hold", "{{ outcome.sentence }}"),
        own("apply-status", "done: {{ applied | join(sep=\" \") }}"),
    ]);
    assert_eq!(problems, []);
    let body = comment(&mixed(), &templates).unwrap();
    assert_eq!(
        body,
        "<!-- mainstay:proposal #7 -->\n## 2 of 3 workspaces change · 1 destroyed · 1 replaced\n0 left out\n0 left out\n"
    );
    let status = plan_status(&mixed(), &templates).unwrap();
    assert!(
        status
            .description
            .starts_with("3 touched: 2 of 3 workspaces")
    );
    let words = ApplyWords {
        light: Light::Good,
        not_applied: Vec::new(),
        applying: Vec::new(),
        held: Vec::new(),
        superseded: Vec::new(),
        applied: vec!["dns".to_owned()],
        with: Vec::new(),
    };
    let status = apply_status(&words, &templates).unwrap();
    assert_eq!(status.description, "done: dns");
}

#[test]
fn a_template_with_a_mistake_is_refused_with_its_line_and_the_reader_is_told() {
    let (templates, problems) = Templates::with(&[own("comment", "fine\n{{ heading\n")]);
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("templates/comment.tera:"), "{said:?}");
    let body = comment(&mixed(), &templates).unwrap();
    assert!(
        body.contains("A template of the operator's own is not used: `templates/comment.tera:"),
        "{body}"
    );
    assert!(
        body.contains("| `network` |"),
        "the built-in one is used: {body}"
    );
}

#[test]
fn a_variable_that_is_not_there_is_found_in_a_branch_that_no_sample_takes() {
    let text = "{{ heading }}\n{% if head == \"never\" %}{{ nobody }}{% endif %}";
    let (_, problems) = Templates::with(&[own("comment", text)]);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].line, Some(2));
    assert!(problems[0].message.contains("`nobody`"));
    let (_, problems) = Templates::with(&[own(
        "hold",
        "{% for loss in losses %}{{ loss.nope }}{% endfor %}",
    )]);
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn a_template_that_fails_later_is_given_up_and_the_reader_is_told() {
    // No sample has this branch, so that the mistake in it shows with a true report only.
    let text = "{{ heading }}{% if base == \"1111111\" %}{{ rows[0].nope }}{% endif %}";
    let (templates, problems) = Templates::with(&[own("comment", text)]);
    assert_eq!(problems, []);
    let mut report = mixed();
    assert!(
        !comment(&report, &templates)
            .unwrap()
            .contains("| `network` |")
    );
    report.base = sha('1');
    let told = comment(&report, &templates).unwrap();
    assert!(
        told.contains("| `network` |") && told.contains("is not used"),
        "{told}"
    );
    report.base = sha('0');
    let later = comment(&report, &templates).unwrap();
    assert!(
        later.contains("| `network` |"),
        "it does not turn to and fro: {later}"
    );
}

#[test]
fn a_template_that_makes_too_much_is_given_up() {
    let text = "{% for row in rows %}{% for fold in folds %}{{ fold.messages }}{% endfor %}{% endfor %}{{ heading }}".to_owned()
        + &"x".repeat(BODY_LIMIT);
    let (templates, _) = Templates::with(&[own("comment", &text)]);
    let body = comment(&mixed(), &templates).unwrap();
    assert!(body.encode_utf16().count() <= BODY_LIMIT);
    assert!(body.contains("too long for a comment"), "{}", &body[..500]);
}

#[test]
fn text_of_a_plan_stays_text_in_a_template_that_asks_for_no_filter() {
    let text = "{% for loss in losses %}{{ loss.address }} {{ loss.reason }}\n\n{% endfor %}{% for note in notes %}{{ note }}{% endfor %}{{ tool }}";
    let (templates, problems) = Templates::with(&[own("comment", text)]);
    assert_eq!(problems, []);
    let body = comment(&hostile(NASTY), &templates).unwrap();
    for event in structure(&body).iter().skip(1) {
        let is_safe = ["Image", "Inline", "Link", "Heading", "@"]
            .iter()
            .all(|s| !event.contains(s));
        assert!(is_safe, "{event} in {body}");
    }
    let markers = body.matches("\n<!--").count();
    assert_eq!(markers, 0, "{body}");
}
