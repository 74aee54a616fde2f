//! The report on a terminal: the same order as the comment, nothing left out.

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};

use super::fold::check_text;
use super::outcome::outcome;
use super::verdict::{on_merge, verdict};
use super::view::{note, removed};
use super::words::{Tense, counted, diagnostic_text, place, tail_text};
use super::{Progress, ProposalReport, WorkspaceReport, diff};
use crate::plan::text::legible;
use crate::plan::{Action, Change, Line, Plan, Sign};

/// So many workspaces are named in a sentence.
const NAMES: usize = 8;

/// A terminal narrower than this gets a line for each workspace rather than a table.
const TABLE_WIDTH: usize = 72;

/// A terminal narrower than this is written to as if it had this many columns.
const NARROWEST: usize = 40;

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
    table(&mut page, report);
    outputs(&mut page, report);
    for workspace in &report.workspaces {
        details(&mut page, workspace);
    }
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
    let mut rest: Vec<char> = text.chars().collect();
    let mut room = width;
    while rest.len() > room {
        let space = rest[..room].iter().rposition(|c| *c == ' ');
        let at = space.filter(|at| *at > room / 2).map_or(room, |at| at + 1);
        let later = rest.split_off(at);
        parts.push(rest.into_iter().collect::<String>().trim_end().to_owned());
        rest = later;
        room = width - indent;
    }
    parts.push(rest.into_iter().collect());
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
            page.item(red(), &loss(workspace, change));
        }
    }
}

fn loss(workspace: &WorkspaceReport, change: &Change) -> String {
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
    format!(
        "{} · {} {to_come}{word}{reason}",
        workspace.name, change.address
    )
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
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "workspace",
        "environment",
        "create",
        "change",
        "replace",
        "destroy",
        "",
    ]);
    for column in table.column_iter_mut().skip(2).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for workspace in &report.workspaces {
        let counts = workspace.plan().map(|plan| plan.counts).unwrap_or_default();
        let number = |count: usize| {
            if count == 0 {
                String::new()
            } else {
                count.to_string()
            }
        };
        table.add_row([
            workspace.name.to_string(),
            legible(workspace.environment.as_deref().unwrap_or_default()).into_owned(),
            number(counts.create),
            number(counts.update),
            number(counts.replace),
            number(counts.destroy),
            legible(&note(workspace)).into_owned(),
        ]);
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

fn details(page: &mut Page, workspace: &WorkspaceReport) {
    let changes = workspace
        .plan()
        .map(|plan| plan.changes.as_slice())
        .unwrap_or_default();
    let checks = workspace
        .plan()
        .map(|plan| plan.checks.as_slice())
        .unwrap_or_default();
    let failures: Vec<_> = workspace.failures().collect();
    if changes.is_empty()
        && checks.is_empty()
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
