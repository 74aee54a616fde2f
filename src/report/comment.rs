//! The one comment of a pull request.

use super::fit::{BUDGETS, Budget, Picked, length};
use super::templates::Templates;
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
/// [`ReportError::Template`] where a template is broken.
pub fn comment(report: &ProposalReport) -> Result<String, ReportError> {
    check_marker(&report.marker)?;
    let templates = Templates::new()?;
    let render = |budget: &Budget, picked: &Picked| {
        templates.render("comment", &view(report, budget, picked))
    };
    let mut body = String::new();
    for budget in &BUDGETS {
        body = render(budget, &Picked::default())?;
        if length(&body) <= BODY_LIMIT {
            let room = BODY_LIMIT - length(&body);
            return with_diffs(report, budget, room, &render).map(|full| full.unwrap_or(body));
        }
    }
    Ok(body)
}

/// Fills the room that is left with diffs; `None` where none fits.
fn with_diffs(
    report: &ProposalReport,
    budget: &Budget,
    room: usize,
    render: &dyn Fn(&Budget, &Picked) -> Result<String, ReportError>,
) -> Result<Option<String>, ReportError> {
    let mut room = room.saturating_sub(SLACK);
    for _ in 0..TRIES {
        let body = render(budget, &Picked::within(report, room))?;
        match length(&body).checked_sub(BODY_LIMIT) {
            None | Some(0) => return Ok(Some(body)),
            Some(over) => room = room.saturating_sub(over + SLACK),
        }
    }
    Ok(None)
}

/// A marker is one HTML comment on a line of its own, or nothing.
pub(super) fn check_marker(marker: &str) -> Result<(), ReportError> {
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
