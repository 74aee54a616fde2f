//! Annotations: the YAML in the comments below `# METADATA`, as Open Policy Agent defines them.

use regorus::Value;

/// What annotations say of a package or a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    /// A few words.
    pub(super) title: Option<String>,
    /// A sentence that says why.
    pub(super) description: Option<String>,
    /// How to satisfy it.
    pub(super) remedy: Option<String>,
    /// Who may override it.
    pub(super) owners: Option<Vec<String>>,
    /// What its denials come to.
    pub(super) severity: Option<Severity>,
}

/// What the denials of a policy come to, so that one can be tried before it bites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// They deny.
    Deny,
    /// They hold.
    Hold,
    /// They are told.
    Warn,
}

/// What a block of annotations stands before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// The package.
    Package,
    /// A rule of that name.
    Rule(String),
}

/// A block of annotations.
#[derive(Debug, Clone)]
pub(super) struct Annotation {
    /// What it is about.
    pub(super) subject: Subject,
    /// What it says.
    pub(super) metadata: Metadata,
}

/// A block that cannot be read: the line, from 1, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: usize,
    pub(super) why: String,
}

impl Metadata {
    /// What it says, and for what it leaves open what `other` says.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            title: self.title.or(other.title),
            description: self.description.or(other.description),
            remedy: self.remedy.or(other.remedy),
            owners: self.owners.or(other.owners),
            severity: self.severity.or(other.severity),
        }
    }
}

/// Reads every block of annotations of a file.
pub(super) fn read(text: &str) -> Vec<Result<Annotation, Unreadable>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if comment(lines[at]).map(str::trim) != Some("METADATA") {
            at += 1;
            continue;
        }
        let first = at + 1;
        at = first;
        let mut yaml = String::new();
        while let Some(rest) = lines.get(at).and_then(|line| comment(line)) {
            // One space after the `#` belongs to the comment.
            yaml.push_str(rest.strip_prefix(' ').unwrap_or(rest));
            yaml.push('\n');
            at += 1;
        }
        let subject = lines[at..]
            .iter()
            .map(|line| line.trim())
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .map(subject);
        let unreadable = |why: String| Unreadable { line: first, why };
        found.push(match subject {
            None => Err(unreadable("nothing follows the annotations".to_owned())),
            Some(subject) => parse(&yaml)
                .map(|metadata| Annotation { subject, metadata })
                .map_err(unreadable),
        });
    }
    found
}

fn comment(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix('#')
}

fn subject(line: &str) -> Subject {
    let word = line
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .find(|word| !word.is_empty() && *word != "default")
        .unwrap_or_default();
    if word == "package" {
        Subject::Package
    } else {
        Subject::Rule(word.to_owned())
    }
}

fn parse(yaml: &str) -> Result<Metadata, String> {
    let value = Value::from_yaml_str(yaml)
        .map_err(|error| format!("the annotations are no YAML: {}", first_line(&error)))?;
    let Ok(map) = value.as_object() else {
        return Err("the annotations are no map of keys and values".to_owned());
    };
    let custom = map.get(&Value::from("custom"));
    let custom = match custom {
        None => None,
        Some(custom) => Some(
            custom
                .as_object()
                .map_err(|_| "`custom` is no map of keys and values".to_owned())?,
        ),
    };
    let of_custom = |key: &str| custom.and_then(|map| map.get(&Value::from(key)));
    Ok(Metadata {
        title: text(map.get(&Value::from("title")), "title")?,
        description: text(map.get(&Value::from("description")), "description")?,
        remedy: text(of_custom("remedy"), "custom.remedy")?,
        owners: of_custom("owners").map(owners).transpose()?,
        severity: match text(of_custom("severity"), "custom.severity")?.as_deref() {
            None => None,
            Some("deny") => Some(Severity::Deny),
            Some("hold") => Some(Severity::Hold),
            Some("warn") => Some(Severity::Warn),
            Some(other) => {
                return Err(format!(
                    "`custom.severity` is `{other}`; it may be `deny`, `hold` or `warn`"
                ));
            }
        },
    })
}

fn text(value: Option<&Value>, key: &str) -> Result<Option<String>, String> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            Ok((!text.is_empty()).then_some(text))
        }
        Some(_) => Err(format!("`{key}` is no text")),
    }
}

fn owners(value: &Value) -> Result<Vec<String>, String> {
    let wrong = || {
        "`custom.owners` is no list of user names; write `owners: [alice, bob]`, or `owners: [\"*\"]` for everybody \
         who may write to the repository"
            .to_owned()
    };
    match value {
        Value::String(one) => Ok(vec![one.trim_start_matches('@').to_owned()]),
        Value::Array(list) => list
            .iter()
            .map(|owner| match owner {
                Value::String(name) if !name.trim().is_empty() => {
                    Ok(name.trim().trim_start_matches('@').to_owned())
                }
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}

/// The first line of an error that says something.
fn first_line(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("it cannot be read").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# A word before.

# METADATA
# title: Data is not destroyed
# description: >-
#   A database that is gone
#   is gone.
# custom:
#   remedy: Take it out of the state first.
#   owners: [\"@Ana\", bob]
#   severity: hold
package keep_data

import rego.v1

# METADATA
# title: Another
deny_other contains msg if { msg := \"x\" }
";

    #[test]
    fn annotations_are_read_for_the_package_and_for_rules() {
        let found: Vec<_> = read(FILE).into_iter().map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].subject, Subject::Package);
        let metadata = &found[0].metadata;
        assert_eq!(metadata.title.as_deref(), Some("Data is not destroyed"));
        assert_eq!(
            metadata.description.as_deref(),
            Some("A database that is gone is gone.")
        );
        assert_eq!(
            metadata.owners.as_deref(),
            Some(["Ana".to_owned(), "bob".to_owned()].as_slice())
        );
        assert_eq!(metadata.severity, Some(Severity::Hold));
        assert_eq!(found[1].subject, Subject::Rule("deny_other".to_owned()));
        let rule = found[1].metadata.clone().or(metadata.clone());
        assert_eq!(rule.title.as_deref(), Some("Another"));
        assert_eq!(
            rule.remedy.as_deref(),
            Some("Take it out of the state first.")
        );
    }

    #[test]
    fn annotations_that_cannot_be_read_are_said_with_their_line() {
        for (yaml, says) in [
            ("# title: [", "no YAML"),
            ("# custom:\n#   severity: low", "`deny`, `hold` or `warn`"),
            ("# custom:\n#   owners: 3", "list of user names"),
        ] {
            let found = read(&format!("\n# METADATA\n{yaml}\npackage x\n"));
            let error = found.into_iter().next().unwrap().unwrap_err();
            assert_eq!(error.line, 2, "{yaml}");
            assert!(error.why.contains(says), "{}", error.why);
        }
    }
}
