//! The picture of the terminal form that the README shows: drawn from the rendering itself.

use std::fmt::Write as _;

use super::*;

/// The picture, as it is in the repository.
const PICTURE: &str = include_str!("../../../examples/pictures/dry-run.svg");

/// The columns of the terminal in the picture.
const WIDTH: usize = 110;

/// What the terminal shows of the sample report.
fn shown() -> String {
    let mut report = sample();
    report.proposal = None;
    terminal(&report, Colour::Yes, WIDTH)
}

/// The colour of an escape code, on a dark ground.
fn colour(code: &str) -> &'static str {
    match code {
        "31" => "#ff7b72",
        "32" => "#7ee787",
        "33" => "#e3b341",
        "2" => "#8b949e",
        _ => "#e6edf3",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Draws a terminal's text: each line is in one style.
fn drawn(text: &str) -> String {
    let (line_height, char_width) = (18, 9);
    let lines = text.lines().count();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#0d1117\"/>\n",
        WIDTH * char_width + 24,
        lines * line_height + 24
    );
    for (index, line) in text.lines().enumerate() {
        let (code, plain) = match line.strip_prefix("\u{1b}[") {
            Some(rest) => rest.split_once('m').unwrap(),
            None => ("", line),
        };
        let plain = plain.strip_suffix("\u{1b}[0m").unwrap_or(plain);
        assert!(!plain.contains('\u{1b}'), "one style in a line: {line:?}");
        let weight = if code == "1" {
            " font-weight=\"bold\""
        } else {
            ""
        };
        writeln!(
            svg,
            "<text x=\"12\" y=\"{}\" xml:space=\"preserve\" fill=\"{}\"{weight}>{}</text>",
            (index + 1) * line_height + 8,
            colour(code),
            escaped(plain)
        )
        .unwrap();
    }
    svg.push_str("</svg>\n");
    svg
}

#[test]
fn the_picture_of_the_readme_is_what_the_terminal_shows() {
    assert!(
        PICTURE == drawn(&shown()),
        "the picture is old: draw it anew with `cargo test --lib -- --ignored the_picture_is_drawn`"
    );
}

#[test]
#[ignore = "it writes the picture into the repository"]
fn the_picture_is_drawn() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pictures/dry-run.svg");
    std::fs::write(file, drawn(&shown())).unwrap();
}
