//! Places in the output of any command: `main.tf:12:3: what is wrong`.

use std::path::{Component, Path};

use crate::plan::text::{cut, legible};
use crate::plan::{Diagnostic, Severity};

/// A message is kept up to so many characters.
const MESSAGE_LIMIT: usize = 500;

/// The lines of an output that name a place in a file below `folder`, as compilers and linters
/// write it: the file, the line, perhaps the column, and a message.
pub(super) fn placed(output: &str, folder: &Path) -> Vec<Diagnostic> {
    output
        .lines()
        .filter_map(|line| {
            let (file, line, message) = place(line)?;
            folder.join(file).is_file().then(|| Diagnostic {
                severity: Severity::Error,
                summary: cut(&legible(message), MESSAGE_LIMIT),
                detail: String::new(),
                address: None,
                file: Some(legible(file).into_owned()),
                line: Some(line),
                snippet: None,
            })
        })
        .collect()
}

fn place(text: &str) -> Option<(&str, u32, &str)> {
    let (file, rest) = text.trim_start().split_once(':')?;
    let (line, rest) = rest.split_once(':')?;
    let line: u32 = line.parse().ok().filter(|line| *line > 0)?;
    let message = match rest.split_once(':') {
        Some((column, message)) if column.trim().parse::<u32>().is_ok() => message,
        _ => rest,
    };
    let inside = Path::new(file)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let message = message.trim();
    (inside && !file.is_empty() && !message.is_empty()).then_some((file, line, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_place_in_a_file_that_is_there_is_a_diagnostic() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("main.tf"), "").unwrap();
        let output = "2 issue(s) found:\nmain.tf:3:5: Warning - unused\nmain.tf:9: too long\n\
                      gone.tf:1: x\n../main.tf:1: x\n/etc/passwd:1: x\nmain.tf:0: x\nmain.tf:1:\n12:30:01: late";
        let found: Vec<_> = placed(output, folder.path())
            .into_iter()
            .map(|d| (d.file.unwrap(), d.line.unwrap(), d.summary))
            .collect();
        let at = |line, text: &str| ("main.tf".to_owned(), line, text.to_owned());
        assert_eq!(found, [at(3, "Warning - unused"), at(9, "too long")]);
    }
}
