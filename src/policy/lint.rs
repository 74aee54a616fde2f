//! What would make a policy fail open without a word, found in its text.

use super::PolicyProblem;
use super::code::{Call, Code};
use super::folder::RegoFile;

/// Letters after `%` that give nothing, or end the evaluation.
const MUTE_VERBS: [char; 5] = ['t', 'q', 'p', 'T', '#'];

/// Words that may stand before a parenthesis and are no functions.
const KEYWORDS: [&str; 13] = [
    "not", "in", "if", "some", "every", "as", "with", "else", "default", "import", "package",
    "set", "contains",
];

/// Looks through one file. `declares` says whether a package declares a function, `knows` whether
/// a built-in function of that name exists.
pub(super) fn lint(
    file: &RegoFile,
    package: &[String],
    declares: &dyn Fn(&[String], &str) -> bool,
    knows: &mut dyn FnMut(&str) -> bool,
) -> Vec<PolicyProblem> {
    let code = Code::new(&file.text);
    let imports: Vec<(&str, &str)> = code.imports().collect();
    let problem =
        |line: usize, message: String| PolicyProblem::in_file(&file.path, Some(line), message);
    let mut problems = Vec::new();
    for call in code.calls() {
        if KEYWORDS.contains(&call.name) {
            continue;
        }
        match call.name {
            "http.send" => {
                problems.push(problem(
                    call.line,
                    "`http.send` is not there: policies have no network; put what it would fetch into a data file".to_owned(),
                ));
                continue;
            }
            "walk" if destructures(&code, &call) => problems.push(problem(
                call.line,
                "`[path, value] := walk(x)` gives nothing here, so the rule would never apply; \
                 write `walk(x, [path, value])`"
                    .to_owned(),
            )),
            "sprintf" => {
                if let Some(verb) = code.string_after(call.at).and_then(mute_verb) {
                    problems.push(problem(
                        call.line,
                        format!("`%{verb}` in `sprintf` prints nothing here; write `%v`"),
                    ));
                }
            }
            _ => {}
        }
        if !is_declared(&call, package, &imports, declares) && !knows(call.name) {
            problems.push(problem(
                call.line,
                format!(
                    "there is no function `{}`: a rule that calls it could not be evaluated",
                    call.name
                ),
            ));
        }
    }
    problems
}

/// Whether the function is a rule of this package, or of one that is imported or named in full.
fn is_declared(
    call: &Call<'_>,
    package: &[String],
    imports: &[(&str, &str)],
    declares: &dyn Fn(&[String], &str) -> bool,
) -> bool {
    let Some((path, name)) = call.name.rsplit_once('.') else {
        return declares(package, call.name)
            // `import data.lib.plan.created` names the function itself.
            || imports.iter().any(|(alias, full)| {
                *alias == call.name && full.rsplit_once('.').is_some_and(|(path, name)| declares(&of_data(path), name))
            });
    };
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let full = if first == "data" {
        path.to_owned()
    } else {
        let Some((_, import)) = imports.iter().find(|(alias, _)| *alias == first) else {
            return false;
        };
        if rest.is_empty() {
            (*import).to_owned()
        } else {
            format!("{import}.{rest}")
        }
    };
    declares(&of_data(&full), name)
}

/// `data.lib.plan` as the parts of a package.
fn of_data(path: &str) -> Vec<String> {
    path.split('.').skip(1).map(str::to_owned).collect()
}

/// Whether what the call gives is taken apart by a list on its left.
fn destructures(code: &Code, call: &Call<'_>) -> bool {
    let before = code.blanked()[..call.at - call.name.len()].trim_end();
    before
        .strip_suffix(":=")
        .or_else(|| before.strip_suffix('='))
        .is_some_and(|left| left.trim_end().ends_with(']'))
}

/// The first letter of a format that prints nothing.
fn mute_verb(format: &str) -> Option<char> {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let verb = rest[at + 1..]
            .trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | ' ' | '.'));
        let letter = verb.chars().next()?;
        if MUTE_VERBS.contains(&letter) {
            return Some(letter);
        }
        rest = &verb[letter.len_utf8()..];
    }
    None
}
