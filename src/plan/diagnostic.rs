//! Diagnostics as Terraform streams them with `-json`.

use serde_json::Value;

use super::text::{LINE_LIMIT, cut, legible, legible_lines};
use super::{Diagnostic, Severity};
use crate::redact::Redactor;

impl Diagnostic {
    /// Reads the `diagnostic` object of a line of Terraform's `-json` stream, with its text made
    /// legible. `None` where it is no such object.
    ///
    /// Nothing is masked; where secrets are known, use [`Diagnostic::from_json_masked`].
    pub fn from_json(value: &Value) -> Option<Self> {
        Self::from_json_masked(value, &Redactor::default())
    }

    /// Reads a `diagnostic` object like [`Diagnostic::from_json`], and masks secrets in it before
    /// anything is cut or escaped.
    pub fn from_json_masked(value: &Value, redactor: &Redactor) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let one_line = |text: &str| cut(&legible(&redactor.redact(text)), LINE_LIMIT);
        let severity = match text("severity")? {
            "error" => Severity::Error,
            _ => Severity::Warning,
        };
        let detail = redactor.redact(text("detail").unwrap_or_default());
        let range = value.get("range");
        Some(Self {
            severity,
            summary: one_line(text("summary")?),
            detail: legible_lines(&detail).join("\n"),
            address: text("address").map(one_line),
            file: range
                .and_then(|r| r.get("filename"))
                .and_then(Value::as_str)
                .map(one_line),
            line: range
                .and_then(|r| r.pointer("/start/line"))
                .and_then(Value::as_u64)
                .and_then(|line| u32::try_from(line).ok()),
            snippet: value
                .pointer("/snippet/code")
                .and_then(Value::as_str)
                .map(|code| redactor.redact(code))
                .and_then(|code| {
                    let line = code.lines().find(|line| !line.trim().is_empty())?;
                    Some(cut(&legible(line.trim()), LINE_LIMIT))
                }),
        })
    }

    /// Masks secrets that became known after it was read.
    #[must_use]
    pub fn redacted(&self, redactor: &Redactor) -> Self {
        let mask = |text: &String| redactor.redact(text).into_owned();
        Self {
            severity: self.severity,
            summary: mask(&self.summary),
            detail: mask(&self.detail),
            address: self.address.as_ref().map(mask),
            file: self.file.as_ref().map(mask),
            line: self.line,
            snippet: self.snippet.as_ref().map(mask),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diagnostic_keeps_its_place_and_loses_its_control_characters() {
        let diagnostic = Diagnostic::from_json(&json!({
            "severity": "error",
            "summary": "Unsupported\u{1b}[2J argument",
            "detail": "one\n\u{202e}two\r\nthree",
            "address": "terraform_data.a",
            "range": {"filename": "main.tf", "start": {"line": 12, "column": 3, "byte": 90}},
            "snippet": {"context": "resource", "code": "  nope = 1", "start_line": 12},
        }))
        .unwrap();
        assert_eq!(diagnostic.severity, Severity::Error);
        assert_eq!(diagnostic.summary, "Unsupported\\u001b[2J argument");
        assert_eq!(diagnostic.detail, "one\n\\u202etwo\nthree");
        assert_eq!(diagnostic.file.as_deref(), Some("main.tf"));
        assert_eq!(diagnostic.line, Some(12));
        assert_eq!(diagnostic.snippet.as_deref(), Some("nope = 1"));
    }

    #[test]
    fn what_is_no_diagnostic_is_none() {
        for value in [
            json!(null),
            json!({}),
            json!([1]),
            json!({"severity": 3, "summary": "x"}),
        ] {
            assert_eq!(Diagnostic::from_json(&value), None);
        }
    }

    #[test]
    fn a_redacted_diagnostic_shows_no_secret() {
        let value = json!({
            "severity": "warning", "summary": "hunter22", "detail": "it is hunter22",
            "snippet": {"code": "x = \"hunter22\""},
        });
        let redactor = Redactor::new(["hunter22".to_owned()]);
        let early = Diagnostic::from_json_masked(&value, &redactor).unwrap();
        let late = Diagnostic::from_json(&value).unwrap().redacted(&redactor);
        assert_eq!(early, late);
        assert!(!format!("{early:?}").contains("hunter22"));
    }
}
