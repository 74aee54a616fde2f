//! The report on a terminal: the same order as the comment, nothing left out.

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};

use super::blast::{blast, holds_data};
use super::fold::check_text;
use super::outcome::outcome;
use super::policies::{self, FindingView};
use super::since::since;
use super::table::{Columns, Row, note, rows};
use super::verdict::{on_merge, verdict};
use super::view::removed;
use super::words::{Tense, counted, diagnostic_text, place, tail_text};
use super::{CheckOutcome, Progress, ProposalReport, WorkspaceReport, checks, diff};
use crate::plan::text::{cut, legible};
use crate::plan::{Action, Change, Line, Plan, Sign};

/// So many workspaces are named in a sentence.
const NAMES: usize = 8;

/// A terminal narrower than this gets a line for each workspace rather than a table.
const TABLE_WIDTH: usize = 72;

/// A terminal narrower than this is written to as if it had this many columns.
const NARROWEST: usize = 40;

/// A cell of the table is cut after this many characters: it names something.
const CELL_LIMIT: usize = 200;

/// Whether escape codes for colour are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// They are.
    Yes,
    /// They are not.
    No,
}

/// Renders the report for a terminal of `width` columns, 0 meaning that lines are
/// not to be broken. Whether to colour is the caller's to decide.
pub fn terminal(report: &ProposalReport, colour: Colour, width: usize) -> String {
    let width = if width == 0 {
        usize::MAX
    } else {
        width.max(NARROWEST)
    };
    let mut page = Page {
        text: String::new(),
        colour,
        width,
    };
    page.line(Style::new().bold(), &plain(&verdict(report)));
    if let Some(files) = &report.conflict {
        page.heading("These files conflict:");
        files.iter().for_each(|file| page.item(Style::new(), file));
    }
    failures(&mut page, report);
    losses(&mut page, report);
    findings(&mut page, policies::grave(report));
    table(&mut page, report);
    reach(&mut page, report);
    outputs(&mut page, report);
    for workspace in &report.workspaces {
        details(&mut page, report, workspace);
    }
    unsound(&mut page, report);
    closing(&mut page, report);
    page.text
}

/// Text in the making.
struct Page {
    text: String,
    colour: Colour,
    width: usize,
}

impl Page {
    /// A line in one style, broken where it is wider than the terminal.
    fn line(&mut self, style: Style, text: &str) {
        let text = legible(text);
        // What goes on is set in, so that it is not taken for a line of its own.
        let indent = text.len() - text.trim_start_matches([' ', '+', '-', '~']).len();
        let indent = (indent + 2).min(self.width / 2);
        for (i, part) in broken(&text, self.width, indent).into_iter().enumerate() {
            let lead = if i == 0 { 0 } else { indent };
            let part = format!("{:lead$}{part}", "");
            match self.colour {
                Colour::Yes if style != Style::new() => {
                    self.text.push_str(&format!("{style}{part}{style:#}\n"));
                }
                _ => {
                    self.text.push_str(part.trim_end());
                    self.text.push('\n');
                }
            }
        }
    }

    fn heading(&mut self, text: &str) {
        self.text.push('\n');
        self.line(Style::new().bold(), text);
    }

    fn item(&mut self, style: Style, text: &str) {
        self.line(style, &format!("  {text}"));
    }

    fn block(&mut self, style: Style, text: &str) {
        for line in text.lines() {
            self.item(style, line);
        }
    }

    fn diff_line(&mut self, line: &Line) {
        let colour = match line.sign {
            Sign::Add => Some(AnsiColor::Green),
            Sign::Remove => Some(AnsiColor::Red),
            Sign::Change => Some(AnsiColor::Yellow),
            Sign::Same => None,
        };
        self.line(
            colour.map_or(Style::new(), AnsiColor::on_default),
            &diff::line(line),
        );
    }
}

/// Breaks a text into parts of `width` columns, the later ones with room for `indent`.
fn broken(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let all: Vec<char> = text.chars().collect();
    let mut rest = all.as_slice();
    let mut room = width;
    while rest.len() > room {
        let space = rest[..room].iter().rposition(|c| *c == ' ');
        let at = space.filter(|at| *at > room / 2).map_or(room, |at| at + 1);
        let (part, later) = rest.split_at(at);
        parts.push(part.iter().collect::<String>().trim_end().to_owned());
        rest = later;
        room = width - indent;
    }
    parts.push(rest.iter().collect());
    parts
}

/// A sentence as a terminal shows it: backticks are for Markdown.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

fn red() -> Style {
    AnsiColor::Red.on_default()
}

fn failures(page: &mut Page, report: &ProposalReport) {
    let mut heading = Some("Failed");
    for workspace in &report.workspaces {
        for failure in workspace.failures() {
            heading.take().inspect(|text| page.heading(text));
            let place = failure.diagnostics.first().and_then(place);
            let place = place
                .map(|place| format!(" ({place})"))
                .filter(|place| !failure.summary.contains(place))
                .unwrap_or_default();
            let text = format!(
                "{} · {}: {}{place}",
                workspace.name, failure.step, failure.summary
            );
            page.item(red(), &text);
            if let Some(advice) = &failure.advice {
                page.item(Style::new(), &format!("  {}", plain(advice)));
            }
        }
        if matches!(&workspace.progress, Progress::Planned(plan) if plan.errored) {
            heading.take().inspect(|text| page.heading(text));
            page.item(
                red(),
                &format!("{}: Terraform stopped half way", workspace.name),
            );
        }
    }
}

fn losses(page: &mut Page, report: &ProposalReport) {
    let mut heading = Some("Destroyed or replaced");
    for workspace in &report.workspaces {
        for change in workspace.plan().into_iter().flat_map(Plan::destroys) {
            heading.take().inspect(|text| page.heading(text));
            page.item(red(), &loss(report, workspace, change));
        }
        let left_out = workspace.plan().map_or(0, |plan| plan.left_out.losses());
        if left_out > 0 {
            page.item(red(), &format!("{} · {left_out} more", workspace.name));
        }
    }
}

fn loss(report: &ProposalReport, workspace: &WorkspaceReport, change: &Change) -> String {
    let to_come = if workspace.is_to_come() { "to be " } else { "" };
    let word = if change.action == Action::Replace {
        "replaced"
    } else {
        "destroyed"
    };
    let reason = change
        .reason
        .as_ref()
        .map(|r| format!(": {}", plain(r)))
        .unwrap_or_default();
    let data = if holds_data(&report.data_types, change) {
        " · holds data"
    } else {
        ""
    };
    format!(
        "{} · {} {to_come}{word}{reason}{data}",
        workspace.name, change.address
    )
}

fn findings(page: &mut Page, findings: Vec<FindingView>) {
    if !findings.is_empty() {
        page.heading("Policies");
    }
    for finding in findings {
        let style = if finding.word == "denied" {
            red()
        } else {
            AnsiColor::Yellow.on_default()
        };
        let address = finding.address.map(|a| format!("{a} ")).unwrap_or_default();
        let text = format!(
            "{} · {} by {}, {}: {address}{}",
            finding.workspace,
            finding.word,
            finding.policy,
            plain(&finding.title),
            finding.message
        );
        page.item(style, &text);
        match (finding.by, finding.because, finding.remedy) {
            (Some(by), Some(because), _) => {
                page.item(Style::new(), &format!("  {by} overrode it: {because}"));
            }
            (.., Some(remedy)) => {
                page.item(Style::new(), &format!("  What to do: {}", plain(&remedy)));
            }
            _ => {}
        }
    }
}

/// How far it reaches, and what changed since the last push.
fn reach(page: &mut Page, report: &ProposalReport) {
    if let Some(blast) = blast(report, NAMES) {
        let mut text = format!(
            "Reaches {} of {} resources in the state",
            blast.touched, blast.in_state
        );
        if !blast.environments.is_empty() {
            text.push_str(&format!(", in {}", blast.environments.join(", ")));
        }
        if !blast.data.is_empty() {
            text.push_str(&format!(". Of these hold data: {}", blast.data.join(", ")));
            if blast.data_more > 0 {
                text.push_str(&format!(" and {} more", blast.data_more));
            }
        } else if blast.touched > 0 {
            text.push_str("; none of them is known to hold data");
        }
        page.text.push('\n');
        page.line(Style::new(), &format!("{text}."));
    }
    for one in since(report, usize::MAX) {
        page.heading(&format!("Since {}", one.commit));
        if one.same {
            page.item(Style::new(), "the same plan as before");
        }
        for part in one.parts {
            let name = part
                .workspace
                .map(|n| format!("{n} · "))
                .unwrap_or_default();
            for turn in part.turns {
                page.item(
                    Style::new(),
                    &format!("{name}{} {}", turn.address, turn.words),
                );
            }
        }
    }
}

fn table(page: &mut Page, report: &ProposalReport) {
    if report.workspaces.is_empty() {
        return;
    }
    if page.width < TABLE_WIDTH {
        page.text.push('\n');
        for workspace in &report.workspaces {
            let mut parts = workspace
                .plan()
                .map(|p| counted(&p.counts, Tense::Future))
                .unwrap_or_default();
            parts.push(note(workspace));
            page.line(
                Style::new(),
                &format!("{}: {}", workspace.name, parts.join(", ")),
            );
        }
        return;
    }
    let (rows, _) = rows(report, usize::MAX);
    let columns = Columns::of(&rows);
    let shown = shown_columns(&columns);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(shown.iter().map(|column| column.name));
    for (column, shown) in table.column_iter_mut().zip(&shown) {
        column.set_cell_alignment(shown.alignment);
    }
    for row in &rows {
        table.add_row(
            shown
                .iter()
                .map(|column| cut(&legible(&plain(&(column.cell)(row))), CELL_LIMIT)),
        );
    }
    if let Ok(width) = u16::try_from(page.width) {
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        table.set_width(width);
    }
    page.text.push('\n');
    for line in table.lines() {
        page.text.push_str(line.trim_end());
        page.text.push('\n');
    }
}

/// A column of the table.
struct Column {
    name: &'static str,
    alignment: CellAlignment,
    cell: fn(&Row) -> String,
}

fn shown_columns(columns: &Columns) -> Vec<Column> {
    fn number(count: usize) -> String {
        if count == 0 {
            String::new()
        } else {
            count.to_string()
        }
    }
    let text = |name, cell| Column {
        name,
        alignment: CellAlignment::Left,
        cell,
    };
    let count = |name, cell| Column {
        name,
        alignment: CellAlignment::Right,
        cell,
    };
    let all: [(bool, Column); 11] = [
        (true, text("workspace", |r| r.workspace.clone())),
        (
            columns.environment,
            text("environment", |r| r.environment.clone().unwrap_or_default()),
        ),
        (true, count("create", |r| number(r.create))),
        (true, count("change", |r| number(r.change))),
        (true, count("replace", |r| number(r.replace))),
        (true, count("destroy", |r| number(r.destroy))),
        (columns.import, count("import", |r| number(r.import))),
        (columns.moved, count("move", |r| number(r.moved))),
        (columns.forget, count("forget", |r| number(r.forget))),
        (
            columns.policies,
            text("policies", |r| r.policies.clone().unwrap_or_default()),
        ),
        (true, text("", |r| r.note.clone())),
    ];
    let shown = all.into_iter().filter(|(shown, _)| *shown);
    shown.map(|(_, column)| column).collect()
}

fn outputs(page: &mut Page, report: &ProposalReport) {
    for workspace in &report.workspaces {
        let Some(plan) = workspace.plan().filter(|plan| !plan.outputs.is_empty()) else {
            continue;
        };
        page.heading(&format!("Outputs of {}", workspace.name));
        plan.outputs
            .iter()
            .flat_map(|output| &output.lines)
            .for_each(|line| page.diff_line(line));
    }
}

fn details(page: &mut Page, report: &ProposalReport, workspace: &WorkspaceReport) {
    let changes = workspace
        .plan()
        .map(|plan| plan.changes.as_slice())
        .unwrap_or_default();
    let checks = workspace
        .plan()
        .map(|plan| plan.checks.as_slice())
        .unwrap_or_default();
    let failures: Vec<_> = workspace.failures().collect();
    let told = policies::warnings(report, workspace);
    let checked = workspace
        .checks
        .iter()
        .any(|check| !matches!(check.outcome, CheckOutcome::Passed));
    if changes.is_empty()
        && checks.is_empty()
        && told.is_empty()
        && !checked
        && failures.is_empty()
        && workspace.warnings.is_empty()
    {
        return;
    }
    page.heading(&format!("── {} ──", workspace.name));
    for failure in failures {
        failure
            .diagnostics
            .iter()
            .for_each(|d| page.block(red(), &diagnostic_text(d)));
        if !failure.tail.trim().is_empty() {
            page.block(Style::new(), &tail_text(&failure.tail));
        }
    }
    let yellow = AnsiColor::Yellow.on_default();
    for word in checks::words(workspace) {
        let reason = word.reason.map(|r| format!(": {}", plain(&r)));
        let text = format!("{} {}{}", word.name, word.word, reason.unwrap_or_default());
        page.item(Style::new(), &text);
    }
    for block in workspace.checks.iter().filter_map(checks::block) {
        page.block(yellow, &block);
    }
    for finding in told {
        let text = format!("Policy {}: {}", finding.policy, finding.message);
        page.item(yellow, &text);
    }
    checks
        .iter()
        .for_each(|check| page.block(yellow, &check_text(check)));
    workspace
        .warnings
        .iter()
        .for_each(|d| page.block(yellow, &diagnostic_text(d)));
    for change in changes {
        page.text.push('\n');
        page.line(Style::new().bold(), &diff::header(change));
        change.lines.iter().for_each(|line| page.diff_line(line));
    }
    let left_out = workspace.plan().map_or(0, |plan| plan.left_out.changes);
    if left_out > 0 {
        page.text.push('\n');
        page.line(
            Style::new().bold(),
            &format!("# and {left_out} more, left out since the plan is too large to be kept"),
        );
    }
}

/// What did not pass, in a line each.
fn unsound(page: &mut Page, report: &ProposalReport) {
    let mut heading = Some("Checks that did not pass");
    for check in checks::failed(report) {
        heading.take().inspect(|text| page.heading(text));
        let message = check.message.map(|m| format!(": {m}")).unwrap_or_default();
        let place = check.place.map(|p| format!(" ({})", p.text));
        let text = format!(
            "{} · {} {}{message}{}",
            check.workspace,
            check.name,
            check.word,
            place.unwrap_or_default()
        );
        page.item(red(), &text);
    }
}

fn closing(page: &mut Page, report: &ProposalReport) {
    let outcomes: Vec<_> = report
        .workspaces
        .iter()
        .filter(|w| w.after_merge.is_some())
        .collect();
    if !outcomes.is_empty() {
        page.heading("After the merge");
    }
    for workspace in outcomes {
        let outcome = outcome(workspace, usize::MAX);
        page.item(Style::new(), &plain(&outcome.sentence));
        for list in outcome.lists {
            page.item(
                Style::new(),
                &format!("  {}: {}", list.word, list.names.join(", ")),
            );
        }
    }
    let notes = report.notes.iter().map(|note| plain(note));
    let state_notes = report.workspaces.iter().filter_map(|workspace| {
        workspace
            .state_note
            .as_ref()
            .map(|note| format!("{}: {}", workspace.name, plain(note)))
    });
    let gone = removed(report, NAMES).map(|text| plain(&text));
    let said: Vec<String> = gone.into_iter().chain(notes).chain(state_notes).collect();
    if !said.is_empty() {
        page.text.push('\n');
        said.iter().for_each(|text| page.line(Style::new(), text));
    }
    if !report.refusals.is_empty() {
        page.heading("Refused");
    }
    for refusal in &report.refusals {
        let text = format!(
            "{} by {}: {}",
            refusal.command,
            refusal.by,
            plain(&refusal.reason)
        );
        page.item(Style::new(), &text);
    }
    page.text.push('\n');
    if let Some(text) = on_merge(report, NAMES) {
        page.line(Style::new(), &format!("On merge: {}", plain(&text)));
    }
    let mut footer = format!(
        "{} on {} at {}",
        report.head.short(),
        report.base_branch,
        report.base.short()
    );
    if !report.tool.is_empty() {
        footer.push_str(&format!(" · {}", report.tool));
    }
    page.line(Style::new().dimmed(), &footer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_at_a_space_and_set_in() {
        assert_eq!(broken("one two three", 9, 2), ["one two", "three"]);
        assert_eq!(broken("abcdefghij", 4, 2), ["abcd", "ef", "gh", "ij"]);
        assert_eq!(broken("short", usize::MAX, 2), ["short"]);
    }
}
