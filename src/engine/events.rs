//! The events that `plan -json`, `apply -json` and `init -json` stream, one a line.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lines::{Line, Tail};
use super::{Progress, Step};
use crate::plan::{Diagnostic, Severity};

/// How many diagnostics are kept of one step. A configuration can make a
/// million of them; nobody reads more than this.
const DIAGNOSTICS: usize = 200;

/// How many bytes are kept of one diagnostic's detail: a failed provisioner
/// puts its whole output there.
const DETAIL: usize = 16 * 1024;

/// How many bytes are kept of all diagnostics of one step together.
const ALL_DIAGNOSTICS: usize = 256 * 1024;

/// How many bytes are kept of a diagnostic's summary.
const SUMMARY: usize = 2 * 1024;

/// How many bytes are kept of addresses of resources whose fate is followed: those of some 20,000.
const FATES: usize = 2 * 1024 * 1024;

/// About what a resource's fate takes besides its address, in bytes.
const FATE_FRAME: usize = 64;

/// The warning about a flag of ours. It is the only way to keep a state outside
/// of the checkout without writing into the configuration.
const OWN_FLAG: &str = "Deprecated flag: -state";

/// A warning of `init` about lock files for other machines than this one: a matter of the
/// repository's, the same in every run, and nothing that a reviewer of a change can act on.
const LOCK_FILE_OF_OTHERS: &str = "Incomplete lock file information for providers";

/// What became of a resource in an apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// It was changed as planned.
    Done,
    /// Terraform reported that its change failed. What it did until then may be half a change.
    Failed,
    /// Its change began and nothing says how it ended.
    Unknown,
    /// Its change did not begin.
    NotReached,
}

/// A planned change on its way.
#[derive(Debug, Default)]
struct Fate {
    /// How many operations it takes: a replacement deletes and creates.
    operations: u8,
    begun: u8,
    done: u8,
    failed: u8,
}

/// What was read of a step's output.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) diagnostics: Vec<Diagnostic>,
    left_out: usize,
    skipped: usize,
    /// What is kept of diagnostics, in bytes.
    diagnostics_size: usize,
    /// What becomes of each resource, where that is followed: of an apply alone.
    fates: Option<BTreeMap<String, Fate>>,
    /// What is kept of addresses, in bytes.
    fates_size: usize,
    /// How many resources are not followed one by one.
    unfollowed: usize,
    refreshed: usize,
    planned: usize,
    pub(super) tail: Tail,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "@message", default)]
    message: String,
    #[serde(rename = "type", default)]
    kind: String,
    diagnostic: Option<RawDiagnostic>,
    change: Option<RawChange>,
    hook: Option<RawChange>,
}

#[derive(Deserialize)]
struct RawChange {
    resource: Option<RawResource>,
    #[serde(default)]
    action: String,
}

#[derive(Deserialize)]
struct RawResource {
    #[serde(default)]
    addr: String,
}

#[derive(Deserialize)]
struct RawDiagnostic {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    detail: String,
    address: Option<String>,
    range: Option<RawRange>,
    snippet: Option<RawSnippet>,
}

#[derive(Deserialize)]
struct RawRange {
    filename: Option<String>,
    start: Option<RawPosition>,
}

#[derive(Deserialize)]
struct RawPosition {
    line: Option<u32>,
}

#[derive(Deserialize)]
struct RawSnippet {
    code: Option<String>,
}

impl Record {
    /// One of the output of a step.
    pub(super) fn of(step: Step) -> Self {
        Self {
            fates: (step == Step::Apply).then(BTreeMap::new),
            ..Self::default()
        }
    }

    /// Takes in one line of standard output, and tells `progress` what moved.
    pub(super) fn output(&mut self, line: &Line<'_>, progress: &mut dyn FnMut(&Progress)) {
        let bytes = match line {
            Line::Whole(bytes) => *bytes,
            Line::TooLong => {
                self.skipped += 1;
                return;
            }
        };
        match serde_json::from_slice::<Event>(bytes) {
            Ok(event) => self.event(event, progress),
            Err(_) => self.tail.push(&String::from_utf8_lossy(bytes)),
        }
    }

    /// Takes in one line of standard error.
    pub(super) fn error(&mut self, line: &Line<'_>) {
        match line {
            Line::Whole(bytes) => self.tail.push(&String::from_utf8_lossy(bytes)),
            Line::TooLong => self.skipped += 1,
        }
    }

    /// Ends the reading: says what was left out.
    pub(super) fn finish(&mut self) {
        if self.left_out > 0 {
            let left_out = std::mem::take(&mut self.left_out);
            self.diagnostics
                .push(remark(format!("{left_out} more messages were left out")));
        }
        if self.unfollowed > 0 {
            let unfollowed = std::mem::take(&mut self.unfollowed);
            self.diagnostics.push(remark(format!(
                "there are so many resources that {unfollowed} of them were not followed one by one"
            )));
        }
        if self.skipped > 0 {
            let skipped = std::mem::take(&mut self.skipped);
            self.diagnostics.push(remark(format!(
                "{skipped} lines of the output were longer than 1 MiB and were not read"
            )));
        }
    }

    /// What became of each resource whose change was planned: created, changed,
    /// replaced, destroyed or read. Moves, imports and removals from the state
    /// send no events of their own and are not here.
    pub(super) fn outcomes(&self) -> Vec<(String, ApplyOutcome)> {
        let outcome = |fate: &Fate| {
            if fate.failed > 0 {
                ApplyOutcome::Failed
            } else if fate.done >= fate.operations {
                ApplyOutcome::Done
            } else if fate.begun > 0 {
                ApplyOutcome::Unknown
            } else {
                ApplyOutcome::NotReached
            }
        };
        let fates = self.fates.iter().flatten();
        fates
            .map(|(address, fate)| (address.clone(), outcome(fate)))
            .collect()
    }

    fn event(&mut self, event: Event, progress: &mut dyn FnMut(&Progress)) {
        if let Some(diagnostic) = event.diagnostic {
            if diagnostic.summary == OWN_FLAG {
                return;
            }
            self.diagnostic(diagnostic);
        }
        if !event.message.is_empty() && event.kind != "version" {
            self.tail.push(&event.message);
        }
        let about = event.change.or(event.hook);
        let action = about.as_ref().map_or("", |about| about.action.as_str());
        let address = about
            .as_ref()
            .and_then(|about| about.resource.as_ref())
            .map(|resource| resource.addr.clone())
            .filter(|address| !address.is_empty());
        let Some(address) = address else { return };
        match event.kind.as_str() {
            "refresh_complete" => {
                self.refreshed += 1;
                progress(&Progress::Refreshed(self.refreshed));
            }
            "planned_change" => {
                self.planned += 1;
                progress(&Progress::Planned(self.planned));
                let operations = match action {
                    "replace" => 2,
                    "create" | "update" | "delete" | "read" => 1,
                    _ => return,
                };
                match self.fate(address) {
                    Some(fate) => fate.operations = operations,
                    None => self.unfollowed += usize::from(self.fates.is_some()),
                }
            }
            "apply_start" => {
                progress(&Progress::Applying(address.clone()));
                self.fate(address).into_iter().for_each(|f| f.begun += 1);
            }
            "apply_complete" => {
                progress(&Progress::Applied(address.clone()));
                self.fate(address).into_iter().for_each(|f| f.done += 1);
            }
            "apply_errored" => {
                progress(&Progress::Failed(address.clone()));
                self.fate(address).into_iter().for_each(|f| f.failed += 1);
            }
            _ => {}
        }
    }

    /// The fate of a resource; one that no plan announced takes one operation. `None` where it is
    /// not followed, or there are too many.
    fn fate(&mut self, address: String) -> Option<&mut Fate> {
        let fates = self.fates.as_mut()?;
        if !fates.contains_key(&address) {
            let size = self.fates_size + address.len() + FATE_FRAME;
            if size > FATES {
                return None;
            }
            self.fates_size = size;
        }
        Some(fates.entry(address).or_insert_with(|| Fate {
            operations: 1,
            ..Fate::default()
        }))
    }

    fn diagnostic(&mut self, raw: RawDiagnostic) {
        let severity = if raw.severity == "warning" {
            Severity::Warning
        } else {
            Severity::Error
        };
        let (file, line) = raw.range.map_or((None, None), |range| {
            (range.filename, range.start.and_then(|start| start.line))
        });
        let diagnostic = Diagnostic {
            severity,
            summary: cut(raw.summary, SUMMARY),
            detail: cut(raw.detail, DETAIL),
            address: raw.address.map(|address| cut(address, SUMMARY)),
            file: file
                .filter(|file| !file.is_empty())
                .map(|file| cut(file, SUMMARY)),
            line,
            snippet: raw
                .snippet
                .and_then(|snippet| snippet.code)
                .map(|code| cut(code, DETAIL)),
        };
        let room = ALL_DIAGNOSTICS.saturating_sub(size(&diagnostic));
        while self.diagnostics.len() >= DIAGNOSTICS || self.diagnostics_size > room {
            // An error is worth more than a warning.
            let warning = self
                .diagnostics
                .iter()
                .rposition(|d| d.severity == Severity::Warning);
            self.left_out += 1;
            match warning {
                Some(place) if severity == Severity::Error => {
                    let warning = self.diagnostics.remove(place);
                    self.diagnostics_size -= size(&warning);
                }
                _ => return,
            }
        }
        self.diagnostics_size += size(&diagnostic);
        self.diagnostics.push(diagnostic);
    }
}

/// A warning of our own among Terraform's.
fn remark(summary: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        summary,
        detail: String::new(),
        address: None,
        file: None,
        line: None,
        snippet: None,
    }
}

/// What is kept of a diagnostic, in bytes.
fn size(diagnostic: &Diagnostic) -> usize {
    let optional = [&diagnostic.address, &diagnostic.file, &diagnostic.snippet];
    let texts = optional
        .into_iter()
        .flatten()
        .chain([&diagnostic.summary, &diagnostic.detail]);
    texts.map(String::len).sum()
}

/// Cuts a text to `limit` bytes and says so.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("\n… (cut)");
    }
    text
}

/// Reads the plain text that older versions' `init` prints: each `Error:` or
/// `Warning:` begins a message, and what follows up to the next is its detail.
pub(super) fn from_text(text: &str) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for line in text.lines() {
        // A frame is drawn round messages where colours are on.
        let line = line.trim_start_matches(['│', '╷', '╵']).trim_end();
        let begins = |word| line.trim_start().strip_prefix(word).map(str::trim);
        let (severity, summary) = match (begins("Error: "), begins("Warning: ")) {
            (Some(summary), _) => (Severity::Error, summary),
            (None, Some(summary)) => (Severity::Warning, summary),
            (None, None) => {
                if let Some(last) = found.last_mut() {
                    last.detail.push_str(line);
                    last.detail.push('\n');
                }
                continue;
            }
        };
        found.push(Diagnostic {
            severity,
            ..remark(summary.to_owned())
        });
    }
    found.retain(|diagnostic| diagnostic.summary != LOCK_FILE_OF_OTHERS);
    for diagnostic in &mut found {
        diagnostic.detail = cut(diagnostic.detail.trim().to_owned(), DETAIL);
    }
    found.truncate(DIAGNOSTICS);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (Record, Vec<Progress>) {
        let mut record = Record::of(Step::Apply);
        let mut seen = Vec::new();
        for line in lines {
            record.output(&Line::Whole(line.as_bytes()), &mut |p| seen.push(p.clone()));
        }
        record.finish();
        (record, seen)
    }

    fn hook(kind: &str, address: &str) -> String {
        format!(
            r#"{{"@message":"m","hook":{{"resource":{{"addr":"{address}"}}}},"type":"{kind}"}}"#
        )
    }

    fn planned(action: &str, address: &str) -> String {
        format!(
            r#"{{"@message":"m","change":{{"resource":{{"addr":"{address}"}},"action":"{action}"}},"type":"planned_change"}}"#
        )
    }

    #[test]
    fn a_diagnostic_keeps_its_place() {
        let (record, _) = read(&[
            r#"{"@level":"error","@message":"Error: Invalid expression","diagnostic":{"severity":"error","summary":"Invalid expression","detail":"Expected more.","address":"a.b","range":{"filename":"main.tf","start":{"line":3,"column":41,"byte":40},"end":{"line":4,"column":1,"byte":41}},"snippet":{"context":"x","code":"input = ","start_line":3}},"type":"diagnostic"}"#,
        ]);
        let [found] = &record.diagnostics[..] else {
            panic!("{:?}", record.diagnostics)
        };
        assert_eq!(found.severity, Severity::Error);
        assert_eq!(
            (found.file.as_deref(), found.line),
            (Some("main.tf"), Some(3))
        );
        assert_eq!(found.snippet.as_deref(), Some("input = "));
        assert_eq!(found.address.as_deref(), Some("a.b"));
        assert_eq!(record.tail.text(), "Error: Invalid expression");
    }

    #[test]
    fn the_warning_about_our_own_flag_is_dropped() {
        let (record, _) = read(&[
            r#"{"@message":"m","diagnostic":{"severity":"warning","summary":"Deprecated flag: -state","detail":"d"},"type":"diagnostic"}"#,
        ]);
        assert!(record.diagnostics.is_empty());
        assert_eq!(record.tail.text(), "");
    }

    #[test]
    fn an_apply_that_stops_half_way_is_told_resource_by_resource() {
        let lines = [
            planned("create", "done"),
            planned("replace", "half_replaced"),
            planned("replace", "replaced"),
            planned("update", "failed"),
            planned("update", "begun"),
            planned("delete", "later"),
            planned("move", "moved"),
            hook("apply_start", "done"),
            hook("apply_complete", "done"),
            hook("apply_start", "half_replaced"),
            hook("apply_complete", "half_replaced"),
            hook("apply_start", "replaced"),
            hook("apply_complete", "replaced"),
            hook("apply_start", "replaced"),
            hook("apply_complete", "replaced"),
            hook("apply_start", "failed"),
            hook("apply_errored", "failed"),
            hook("apply_start", "begun"),
        ];
        let (record, _) = read(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let outcomes: BTreeMap<_, _> = record.outcomes().into_iter().collect();
        assert_eq!(outcomes["done"], ApplyOutcome::Done);
        assert_eq!(outcomes["half_replaced"], ApplyOutcome::Unknown);
        assert_eq!(outcomes["replaced"], ApplyOutcome::Done);
        assert_eq!(outcomes["failed"], ApplyOutcome::Failed);
        assert_eq!(outcomes["begun"], ApplyOutcome::Unknown);
        assert_eq!(outcomes["later"], ApplyOutcome::NotReached);
        assert!(!outcomes.contains_key("moved"));
    }

    #[test]
    fn progress_counts_and_names() {
        let lines = [
            hook("refresh_complete", "a"),
            hook("refresh_complete", "b"),
            planned("create", "c"),
            hook("apply_start", "c"),
        ];
        let (_, seen) = read(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(
            seen,
            [
                Progress::Refreshed(1),
                Progress::Refreshed(2),
                Progress::Planned(1),
                Progress::Applying("c".into())
            ]
        );
    }

    #[test]
    fn what_is_no_event_ends_in_the_tail() {
        let mut record = Record::of(Step::Apply);
        record.output(&Line::Whole(b"panic: \xff"), &mut |_| {});
        record.error(&Line::Whole(b"goroutine 1"));
        assert_eq!(record.tail.text(), "panic: \u{fffd}\ngoroutine 1");
    }

    #[test]
    fn a_line_that_was_too_long_is_said() {
        let mut record = Record::of(Step::Apply);
        record.output(&Line::TooLong, &mut |_| {});
        record.finish();
        assert!(record.diagnostics[0].summary.contains("longer than 1 MiB"));
    }

    #[test]
    fn what_is_kept_of_hostile_messages_and_of_very_many_resources_has_a_bound() {
        let long = "x".repeat(900 << 10);
        let message = format!(
            r#"{{"@message":"m","diagnostic":{{"severity":"error","summary":"{long}","detail":"{long}"}},"type":"diagnostic"}}"#
        );
        let mut lines = vec![message; 30];
        lines.extend((0..60_000).map(|number| planned("create", &format!("a.b[{number}]"))));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (record, _) = read(&lines);
        let kept: usize = record.diagnostics.iter().map(size).sum();
        assert!(kept < ALL_DIAGNOSTICS + 1_000, "{kept}");
        let followed = record.outcomes().len();
        assert!(followed > 10_000 && followed < 60_000, "{followed}");
        let said = format!("{} of them were not followed", 60_000 - followed);
        assert!(record.diagnostics.iter().any(|d| d.summary.contains(&said)));
    }

    #[test]
    fn a_flood_of_warnings_does_not_hide_an_error() {
        let warning = r#"{"@message":"m","diagnostic":{"severity":"warning","summary":"w","detail":"d"},"type":"diagnostic"}"#;
        let error = r#"{"@message":"m","diagnostic":{"severity":"error","summary":"e","detail":"d"},"type":"diagnostic"}"#;
        let mut lines = vec![warning; DIAGNOSTICS + 10];
        lines.push(error);
        let (record, _) = read(&lines);
        assert_eq!(record.diagnostics.len(), DIAGNOSTICS + 1);
        assert!(
            record
                .diagnostics
                .iter()
                .any(|d| d.severity == Severity::Error)
        );
        assert!(
            record
                .diagnostics
                .last()
                .unwrap()
                .summary
                .contains("11 more messages")
        );
    }

    #[test]
    fn the_text_of_an_older_init_is_read_too() {
        let found = from_text(
            "Initializing the backend...\n\nError: Failed to install provider\n\nError while installing x/y v1.0.0: connection refused\n\nWarning: Odd\n\nmore",
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].summary, "Failed to install provider");
        assert_eq!(
            found[0].detail,
            "Error while installing x/y v1.0.0: connection refused"
        );
        assert_eq!(found[1].severity, Severity::Warning);
    }
}
