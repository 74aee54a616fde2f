//! The one comment of a pull request.

use super::fit::{BUDGETS, Budget, Picked, length};
use super::templates::{Set, Templates};
use super::view::view;
use super::{BODY_LIMIT, ProposalReport, ReportError};

/// A marker of more characters would not be found again by the forges that cut it.
const MARKER_LIMIT: usize = 300;

/// What is kept free for the words that say how much is left out.
const SLACK: usize = 400;

/// So often the diffs are made smaller before they are left out.
const TRIES: usize = 6;

/// Renders the comment, in Markdown, of at most [`BODY_LIMIT`] characters.
///
/// Where there is more to say, lists end and folds lose whole resources, the least
/// risky first, and the comment says how many are left out and where they are.
///
/// # Errors
///
/// [`ReportError::Marker`] for a marker that would not hide, and
/// [`ReportError::Template`] where a built-in template is broken.
pub fn comment(report: &ProposalReport, templates: &Templates) -> Result<String, ReportError> {
    let limit = room_beside(&report.marker)?;
    let body = templates.render(|set| fitted(report, set, limit))?;
    Ok(marked(&report.marker, &body))
}

/// What a body may hold beside its marker.
pub(super) fn room_beside(marker: &str) -> Result<usize, ReportError> {
    check_marker(marker)?;
    Ok(BODY_LIMIT - length(marker) - 1)
}

/// The marker stands on the first line, whatever a template makes.
pub(super) fn marked(marker: &str, body: &str) -> String {
    if marker.is_empty() {
        return body.to_owned();
    }
    format!("{marker}\n{body}")
}

fn fitted(report: &ProposalReport, set: &Set<'_>, limit: usize) -> Result<String, ReportError> {
    let render = |budget: &Budget, picked: &Picked| {
        set.render("comment", &view(report, budget, picked, &set.notes))
    };
    for budget in &BUDGETS {
        let body = render(budget, &Picked::default())?;
        if let Some(room) = limit.checked_sub(length(&body)) {
            let full = with_diffs(report, budget, room, limit, &render)?;
            return Ok(full.unwrap_or(body));
        }
    }
    Err(ReportError::TooLong {
        template: "comment",
    })
}

/// Fills the room that is left with diffs; `None` where none fits.
fn with_diffs(
    report: &ProposalReport,
    budget: &Budget,
    room: usize,
    limit: usize,
    render: &dyn Fn(&Budget, &Picked) -> Result<String, ReportError>,
) -> Result<Option<String>, ReportError> {
    let mut room = room.saturating_sub(SLACK);
    for _ in 0..TRIES {
        let body = render(budget, &Picked::within(report, room))?;
        match length(&body).checked_sub(limit) {
            None | Some(0) => return Ok(Some(body)),
            Some(over) => room = room.saturating_sub(over + SLACK),
        }
    }
    Ok(None)
}

/// A marker is one HTML comment on a line of its own, or nothing.
fn check_marker(marker: &str) -> Result<(), ReportError> {
    let inside = marker
        .strip_prefix("<!-- mainstay:")
        .and_then(|rest| rest.strip_suffix(" -->"));
    let is_fit = inside.is_some_and(|inside| {
        inside.chars().all(|c| c.is_ascii_graphic() || c == ' ')
            && !inside.contains(['<', '>'])
            && !inside.contains("--")
    });
    if marker.is_empty() || (is_fit && marker.len() <= MARKER_LIMIT) {
        return Ok(());
    }
    Err(ReportError::Marker {
        marker: marker.chars().take(MARKER_LIMIT).collect(),
    })
}
