//! Secrets that cannot print themselves, and masking by value of text that leaves.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::fmt::Write as _;

use aho_corasick::{AhoCorasick, MatchKind, PatternID};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// A text that must not leave: it prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives the text out, to the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        f.write_str("***")
    }
}

/// What stands where a secret stood.
pub const MASK: &str = "(sensitive)";

/// A value of fewer characters is not masked: texts that short occur everywhere
/// by chance, so that masking them would shred a report and hide nothing that
/// could not be guessed.
const SHORTEST_VALUE: usize = 4;

/// A number of fewer digits is not masked, being a port or a size as a rule.
const SHORTEST_NUMBER: usize = 6;

/// A line of a longer value is masked by itself from this many characters on.
const SHORTEST_LINE: usize = 6;

/// The part of a base64 text that is the same wherever the value stands in what
/// was encoded is looked for from this many characters on.
const SHORTEST_CORE: usize = 6;

/// A value of more bytes is looked for in fewer encodings, to bound memory.
const LONG_VALUE: usize = 1024;

/// With more bytes of patterns than this nothing is let through any more: the
/// matcher would need some hundred megabytes.
const PATTERN_LIMIT: usize = 8 * 1024 * 1024;

/// Masks secrets by value, in whatever text they turn up.
///
/// Terraform's own marks are not enough: computed attributes lose them, and
/// `nonsensitive(base64encode(x))` evades them. So each value is looked for raw,
/// escaped for JSON (also as Go writes it, and twice), for a URL, in hexadecimal,
/// in both base64 alphabets at each alignment, and line by line.
#[derive(Clone, Default)]
pub struct Redactor {
    values: BTreeSet<String>,
    matcher: Matcher,
}

/// How secrets are found.
#[derive(Clone, Default)]
enum Matcher {
    /// There are none.
    #[default]
    Nothing,
    /// One automaton over all their encodings.
    Patterns {
        /// The automaton.
        automaton: AhoCorasick,
        /// Which of its patterns are the inside of a base64 text.
        cores: HashSet<PatternID>,
    },
    /// There are more than can be looked for, and all text is masked.
    Everything,
}

impl Redactor {
    /// Makes one that masks `values`, less those that are too short or too plain to be secrets:
    /// fewer than four characters, `true`, `false`, `null`, and numbers of fewer than six digits.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let values: BTreeSet<String> = values.into_iter().filter(|v| is_worth_masking(v)).collect();
        let matcher = Matcher::new(&values);
        Self { values, matcher }
    }

    /// Makes one that masks `values` besides what this one masks.
    pub fn and(&self, values: impl IntoIterator<Item = String>) -> Self {
        if let Matcher::Everything = self.matcher {
            return self.clone();
        }
        Self::new(self.values.iter().cloned().chain(values))
    }

    /// Makes one that masks the values in lower case, too.
    pub fn folded(&self) -> Self {
        self.and(self.values.iter().map(|value| value.to_lowercase()))
    }

    /// Makes one that masks what either masks.
    pub fn join(&self, other: &Self) -> Self {
        match other.matcher {
            Matcher::Everything => other.clone(),
            Matcher::Nothing | Matcher::Patterns { .. } => self.and(other.values.iter().cloned()),
        }
    }

    /// Makes one that masks all text: where there are more secrets than can be looked for.
    pub fn everything() -> Self {
        Self {
            values: BTreeSet::new(),
            matcher: Matcher::Everything,
        }
    }

    /// The values that it masks, for another process of ours that masks them too.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    /// Masks every secret in `text` with `(sensitive)`.
    ///
    /// Secrets that overlap are masked as one, so that no end of one is left.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let (automaton, cores) = match &self.matcher {
            Matcher::Nothing => return Cow::Borrowed(text),
            Matcher::Everything if text.is_empty() => return Cow::Borrowed(text),
            Matcher::Everything => return Cow::Owned(MASK.to_owned()),
            Matcher::Patterns { automaton, cores } => (automaton, cores),
        };
        let mut spans: Vec<(usize, usize)> = Vec::new();
        // Matches come ordered by their end, so only the last spans can touch a new one.
        for found in automaton.find_overlapping_iter(text) {
            let (mut start, mut end) = (found.start(), found.end());
            if cores.contains(&found.pattern()) {
                // The digits beside it hold the rest of the secret's first and last byte.
                let is_digit = |at: Option<&u8>| at.is_some_and(|b| is_base64(*b));
                start -= usize::from(start > 0 && is_digit(text.as_bytes().get(start - 1)));
                end += usize::from(is_digit(text.as_bytes().get(end)));
            }
            while let Some(&(last_start, last_end)) = spans.last()
                && start <= last_end
            {
                (start, end) = (start.min(last_start), end.max(last_end));
                spans.pop();
            }
            spans.push((start, end));
        }
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len());
        let mut rest = 0;
        for (start, end) in spans {
            masked.push_str(&text[rest..start]);
            masked.push_str(MASK);
            rest = end;
        }
        masked.push_str(&text[rest..]);
        Cow::Owned(masked)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { values, matcher: _ } = self;
        write!(f, "Redactor({} values)", values.len())
    }
}

impl Matcher {
    fn new(values: &BTreeSet<String>) -> Self {
        let mut patterns: BTreeMap<String, Form> = BTreeMap::new();
        let mut bytes = 0;
        for value in values {
            for (pattern, form) in encodings(value) {
                bytes += pattern.len();
                let known = patterns.entry(pattern).or_insert(form);
                *known = (*known).max(form);
            }
            if bytes > PATTERN_LIMIT {
                return Self::Everything;
            }
        }
        if patterns.is_empty() {
            return Self::Nothing;
        }
        let cores = patterns
            .values()
            .enumerate()
            .filter(|(_, form)| **form == Form::Core)
            .filter_map(|(i, _)| PatternID::new(i).ok())
            .collect();
        // An automaton that cannot be built must not let secrets through.
        AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(patterns.keys())
            .map_or(Self::Everything, |automaton| Self::Patterns {
                automaton,
                cores,
            })
    }
}

/// What a pattern is of its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// The secret in some encoding.
    Whole,
    /// Those of its base64 digits that do not depend on what stands beside it.
    Core,
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

fn is_worth_masking(value: &str) -> bool {
    let value = value.trim();
    if value.chars().count() < SHORTEST_VALUE || matches!(value, "true" | "false" | "null") {
        return false;
    }
    let number = value
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    !number || value.bytes().filter(u8::is_ascii_digit).count() >= SHORTEST_NUMBER
}

/// Every form that `value` is looked for in.
fn encodings(value: &str) -> Vec<(String, Form)> {
    // What was read from a file ends in a line break that its users cut off.
    let value = value.trim_end_matches(['\n', '\r']);
    let mut forms = vec![value.to_owned()];
    written_forms(value, &mut forms);
    encoded_forms(value, &mut forms);
    if value.contains('\n') {
        for line in value.lines().map(str::trim) {
            // The armour of a PEM block is no secret, and stands in public texts too.
            if line.chars().count() >= SHORTEST_LINE && !line.starts_with("-----") {
                forms.push(line.to_owned());
                written_forms(line, &mut forms);
            }
        }
    }
    let whole = forms.into_iter().map(|form| (form, Form::Whole));
    let mut all: Vec<_> = whole.chain(base64_cores(value)).collect();
    all.retain(|(form, _)| form.chars().count() >= SHORTEST_VALUE);
    all
}

/// The value as JSON and URLs write it.
fn written_forms(value: &str, forms: &mut Vec<String>) {
    let json = json_escaped(value);
    // Go escapes what could be HTML, and Terraform is written in Go.
    let go = json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    forms.push(json_escaped(&json));
    forms.push(json_escaped(&go));
    forms.push(go);
    forms.push(json);
    let url = url_escaped(value);
    if value.len() <= LONG_VALUE {
        forms.push(lowercase_escapes(&url));
        forms.push(url.replace("%20", "+"));
    }
    forms.push(url);
}

/// The value in hexadecimal and in base64.
fn encoded_forms(value: &str, forms: &mut Vec<String>) {
    forms.push(hex::encode(value));
    forms.push(hex::encode_upper(value));
    forms.push(STANDARD.encode(value));
    forms.push(STANDARD_NO_PAD.encode(value));
    forms.push(URL_SAFE.encode(value));
    forms.push(URL_SAFE_NO_PAD.encode(value));
}

/// The value inside of a longer text (`user:password`) in base64: it may begin at any of three
/// places of a group, where its first and last digits depend on its neighbours.
fn base64_cores(value: &str) -> Vec<(String, Form)> {
    let mut cores = Vec::new();
    if value.len() > LONG_VALUE {
        return cores;
    }
    for shift in 0..3_usize {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(value.as_bytes());
        let head = [0, 2, 3][shift];
        let tail = usize::from(!bytes.len().is_multiple_of(3));
        for text in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            if text.len() >= head + tail + SHORTEST_CORE {
                cores.push((text[head..text.len() - tail].to_owned(), Form::Core));
            }
        }
    }
    cores
}

fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Escapes everything but RFC 3986's unreserved characters.
fn url_escaped(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut url, byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                url.push(char::from(byte));
            } else {
                write!(url, "%{byte:02X}").expect("writing to a string cannot fail");
            }
            url
        })
}

/// `%2F` becomes `%2f`; both are in use.
fn lowercase_escapes(url: &str) -> String {
    let mut left = 0;
    url.chars()
        .map(|c| {
            if c == '%' {
                left = 2;
                c
            } else if left > 0 {
                left -= 1;
                c.to_ascii_lowercase()
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(values: &[&str]) -> Redactor {
        Redactor::new(values.iter().map(|&v| v.to_owned()))
    }

    #[test]
    fn a_secret_is_masked_in_every_encoding() {
        let secret = "p\"ss<w&rd/ä? é\\x";
        let masks = redactor(&[secret]);
        let json = serde_json::to_string(secret).unwrap();
        let twice = serde_json::to_string(&json).unwrap();
        for text in [
            secret.to_owned(),
            json.clone(),
            twice,
            json.replace('<', "\\u003c").replace('&', "\\u0026"),
            url_escaped(secret),
            lowercase_escapes(&url_escaped(secret)),
            url_escaped(secret).replace("%20", "+"),
            STANDARD.encode(secret),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            hex::encode(secret),
            hex::encode_upper(secret),
        ] {
            let masked = masks.redact(&text).replace(MASK, "");
            assert!(
                masked.trim_matches(['"', '\\']).is_empty(),
                "{text:?} became {masked:?}"
            );
        }
    }

    #[test]
    fn a_secret_inside_a_longer_base64_text_is_masked_with_its_edges() {
        let masks = redactor(&["hunter22-hunter22"]);
        for prefix in ["", "u:", "us:", "use:", "user:"] {
            for suffix in ["", "@", "@h", "@ho"] {
                let text = STANDARD.encode(format!("{prefix}hunter22-hunter22{suffix}"));
                let masked = masks.redact(&text);
                assert!(masked.contains(MASK), "{prefix}{suffix}");
                // What is left is at most what the neighbours alone would give.
                let left = masked.replace(MASK, "").replace('=', "").len();
                let digits = |text: &str| (text.len() * 4).div_ceil(3);
                assert!(
                    left <= digits(prefix) + digits(suffix),
                    "{text} became {masked}"
                );
            }
        }
    }

    #[test]
    fn each_line_of_a_key_is_masked_and_its_armour_is_not() {
        let masks =
            redactor(&["-----BEGIN KEY-----\nMIIBVAIBADAN\nBgkqhkiG9w0B\n-----END KEY-----\n"]);
        assert_eq!(masks.redact("    BgkqhkiG9w0B"), "    (sensitive)");
        assert_eq!(masks.redact("-----BEGIN KEY-----"), "-----BEGIN KEY-----");
    }

    #[test]
    fn what_is_too_plain_for_a_secret_stays() {
        let masks = redactor(&["", "abc", "true", "false", "null", "8080", "-1.50", "    "]);
        assert_eq!(
            masks.redact("abc true false null 8080 -1.50"),
            "abc true false null 8080 -1.50"
        );
        assert_eq!(format!("{masks:?}"), "Redactor(0 values)");
    }

    #[test]
    fn a_long_number_is_masked() {
        assert_eq!(
            redactor(&["493827"]).redact("pin=493827"),
            "pin=(sensitive)"
        );
    }

    #[test]
    fn secrets_that_overlap_leave_no_end_behind() {
        let masks = redactor(&["abcdef", "defghi", "cdef"]);
        assert_eq!(masks.redact("xabcdefghix"), "x(sensitive)x");
    }

    #[test]
    fn more_than_can_be_looked_for_masks_everything() {
        let masks = Redactor::new((0..60_000).map(|n| format!("{n:0>40}")));
        assert_eq!(masks.redact("harmless"), MASK);
    }

    #[test]
    fn neither_secrets_nor_their_redactor_print_them() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
        assert_eq!(
            format!("{:?}", redactor(&["hunter2"])),
            "Redactor(1 values)"
        );
    }

    #[test]
    fn two_redactors_joined_mask_what_either_masks() {
        let masks = redactor(&["hunter2"]).join(&redactor(&["swordfish"]));
        assert_eq!(masks.redact("hunter2 swordfish"), "(sensitive) (sensitive)");
    }

    proptest! {
        #[test]
        fn no_secret_survives_wherever_it_stands(
            before in ".{0,12}", secret in "[a-zA-Z!-/]{6,20}", after in ".{0,12}",
        ) {
            let masked = redactor(&[&secret]).redact(&format!("{before}{secret}{after}")).into_owned();
            prop_assert!(!masked.contains(&secret));
        }
    }
}
