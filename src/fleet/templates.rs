//! The operator's own templates, read from their folder.

use std::io::ErrorKind;
use std::path::Path;

use crate::config::Config;
use crate::report::{OwnTemplate, TEMPLATES, TemplateProblem, Templates};

/// The ending of a template's file.
const ENDING: &str = "tera";

/// Reads the templates that the settings name, and says what is wrong with them. One that cannot be
/// used is left out, and the built-in one stands in its place.
pub fn templates(config: &Config) -> (Templates, Vec<TemplateProblem>) {
    let Some(folder) = &config.templates else {
        return (Templates::default(), Vec::new());
    };
    let (own, mut problems) = read(folder);
    let (templates, refused) = Templates::with(&own);
    problems.extend(refused);
    (templates, problems)
}

fn read(folder: &Path) -> (Vec<OwnTemplate>, Vec<TemplateProblem>) {
    let wrong = |path: &Path, message: String| TemplateProblem {
        file: path.display().to_string(),
        line: None,
        message,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = "there is no such folder, and `templates` names it".to_owned();
            return (Vec::new(), vec![wrong(folder, message)]);
        }
        Err(error) => {
            let message = format!("the folder of templates cannot be read: {error}");
            return (Vec::new(), vec![wrong(folder, message)]);
        }
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == ENDING))
        .collect();
    // What includes another must find that one first.
    paths.sort_by_key(|path| (path.file_stem() != Some("changes".as_ref()), path.clone()));
    let (mut own, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !TEMPLATES.contains(&name.as_ref()) {
            let names: Vec<String> = TEMPLATES
                .iter()
                .map(|name| format!("`{name}.{ENDING}`"))
                .collect();
            problems.push(wrong(
                &path,
                format!("there is no such template; there are {}", names.join(", ")),
            ));
            continue;
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => own.push(OwnTemplate {
                name: name.into_owned(),
                file: path.display().to_string(),
                text,
            }),
            Err(error) => problems.push(wrong(&path, format!("it cannot be read: {error}"))),
        }
    }
    (own, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> Config {
        Config {
            templates: Some(folder.to_owned()),
            ..Config::default_in(folder)
        }
    }

    #[test]
    fn what_is_wrong_with_a_template_is_said_with_its_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("comment.tera", "fine\n{{ nope }}\n").unwrap();
        write("hold.tera", "fine\n\n{% if %}\n").unwrap();
        write("plan-status.tera", "{{ verdict }} it is").unwrap();
        write("coment.tera", "").unwrap();
        write("README.md", "not looked at").unwrap();
        let (_, problems) = templates(&config(folder.path()));
        let said: Vec<String> = problems
            .iter()
            .map(|p| {
                p.to_string()
                    .replace(&format!("{}/", folder.path().display()), "")
            })
            .collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("coment.tera: there is no such template"));
        assert!(said[1].starts_with("comment.tera:2: there is no variable `nope`"));
        assert!(said[2].starts_with("hold.tera:3: "), "{said:?}");
    }

    #[test]
    fn a_folder_that_is_missing_is_a_problem_and_the_built_in_templates_are_used() {
        let (_, problems) = templates(&config(Path::new("/nowhere/at/all")));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("there is no such folder"));
    }
}
