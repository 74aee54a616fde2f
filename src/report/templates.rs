//! The templates, and the only ways for text to get into them.
//!
//! What a template prints of its variables passes `prose` by itself, or one of the filters
//! `code`, `cell`, `cell_prose`, `html`, `link` and `fence`: hostile text stays text in a
//! template of the operator's own too. Statuses are plain text.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use serde::Serialize;
use tera::{Context, ErrorKind, Kwargs, State, Tera, TeraResult, Value};
use tracing::warn;

use super::markdown::{cell, cell_prose, code, fence, html, link, prose};
use super::{ReportError, sample};

/// The names of the templates: a file `NAME.tera` of the operator's own takes the place of one.
pub const TEMPLATES: [&str; 6] = [
    "comment",
    "changes",
    "drift",
    "hold",
    "plan-status",
    "apply-status",
];

/// The built-in templates, by name.
const SOURCES: [(&str, &str); 6] = [
    ("comment", include_str!("templates/comment.tera")),
    ("changes", include_str!("templates/changes.tera")),
    ("drift", include_str!("templates/drift.tera")),
    ("hold", include_str!("templates/hold.tera")),
    ("plan-status", include_str!("templates/plan-status.tera")),
    ("apply-status", include_str!("templates/apply-status.tera")),
];

/// Those that make Markdown; a status is plain text.
const MARKDOWN: [&str; 4] = ["comment", "changes", "drift", "hold"];

/// The built-in templates, ready to render. A test holds that they can be read.
static BUILT_IN: LazyLock<Tera> = LazyLock::new(|| {
    let mut tera = Tera::default();
    tera.autoescape_on(MARKDOWN.to_vec());
    tera.set_escape_fn(|text, out| out.write_all(prose(text).as_bytes()));
    let markdown = |render: fn(&str) -> String| {
        move |text: &str, _: Kwargs, _: &State| Value::safe_string(&render(text))
    };
    tera.register_filter("code", markdown(code));
    tera.register_filter("cell", markdown(cell));
    tera.register_filter("prose", markdown(prose));
    tera.register_filter("cell_prose", markdown(cell_prose));
    tera.register_filter("html", markdown(html));
    tera.register_filter("link", markdown(link));
    tera.register_filter(
        "fence",
        |text: &str, options: Kwargs, _: &State| -> TeraResult<Value> {
            let language = options.must_get::<&str>("language")?;
            Ok(Value::safe_string(&fence(text, language)))
        },
    );
    tera.add_raw_templates(SOURCES)
        .expect("the built-in templates can be read");
    tera
});

/// A template of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTemplate {
    /// Which one it takes the place of: one of [`TEMPLATES`].
    pub name: String,
    /// Its file, as the operator knows it.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// What is wrong with a template of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// Its file, as the operator knows it.
    pub file: String,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for TemplateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            message,
        } = self;
        match line {
            Some(line) => write!(f, "{file}:{line}: {message}"),
            None => write!(f, "{file}: {message}"),
        }
    }
}

/// The templates, those of the operator's own in the place of the built-in ones.
#[derive(Clone, Default)]
pub struct Templates(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// All of them, where the operator has some.
    own: Option<Tera>,
    files: Vec<(String, String)>,
    /// What was found wrong when they were read.
    refused: Vec<TemplateProblem>,
    /// What went wrong with them later. They are not used any more after that, so that what is
    /// told does not turn to and fro.
    broken: OnceLock<TemplateProblem>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates")
            .field("own", &self.0.files)
            .field("refused", &self.0.refused)
            .finish_non_exhaustive()
    }
}

impl Templates {
    /// Takes templates of the operator's own. Each is tried on sample reports that have
    /// everything; one with a problem is left out and the built-in one is used in its place.
    pub fn with(own: &[OwnTemplate]) -> (Self, Vec<TemplateProblem>) {
        let mut tera = BUILT_IN.clone();
        let (mut files, mut refused) = (Vec::new(), Vec::new());
        for template in own {
            let mut with_it = tera.clone();
            let problems = match with_it.add_raw_template(&template.name, &template.text) {
                Ok(()) => tried(&with_it, template),
                Err(error) => vec![problem(&error, &template.file)],
            };
            if problems.is_empty() {
                tera = with_it;
                files.push((template.name.clone(), template.file.clone()));
            }
            refused.extend(problems);
        }
        let inner = Inner {
            own: (!files.is_empty()).then_some(tera),
            files,
            refused: refused.clone(),
            broken: OnceLock::new(),
        };
        (Self(Arc::new(inner)), refused)
    }

    /// Renders by the operator's templates, and by the built-in ones where those fail.
    pub(super) fn render<T>(
        &self,
        make: impl Fn(&Set<'_>) -> Result<T, ReportError>,
    ) -> Result<T, ReportError> {
        let Inner { own, broken, .. } = &*self.0;
        if let (Some(tera), None) = (own, broken.get()) {
            let notes = self.notes();
            match make(&Set { tera, notes }) {
                Err(ReportError::Template { template, source }) => {
                    self.give_up(problem(&source, &self.file(template)));
                }
                Err(ReportError::TooLong { template }) => self.give_up(TemplateProblem {
                    file: self.file(template),
                    line: None,
                    message: "what it makes is too long for a comment".to_owned(),
                }),
                other => return other,
            }
        }
        let notes = self.notes();
        make(&Set {
            tera: &BUILT_IN,
            notes,
        })
    }

    fn give_up(&self, problem: TemplateProblem) {
        if self.0.broken.set(problem.clone()).is_ok() {
            warn!(template = %problem.file, "A template of your own fails, and the built-in ones are used until the next start: {problem}");
        }
    }

    fn file(&self, template: &str) -> String {
        let known = self.0.files.iter().find(|(name, _)| name == template);
        known.map_or_else(|| format!("{template}.tera"), |(_, file)| file.clone())
    }

    /// What a reader should know of the templates.
    fn notes(&self) -> Vec<String> {
        let refused = self.0.refused.iter();
        refused
            .chain(self.0.broken.get())
            .map(|problem| {
                let text = problem.to_string().replace('`', "'");
                format!("A template of the operator's own is not used: `{text}`")
            })
            .collect()
    }
}

/// Templates to render with.
pub(super) struct Set<'t> {
    tera: &'t Tera,
    /// What the reader should know of them.
    pub(super) notes: Vec<String>,
}

impl Set<'_> {
    pub(super) fn render(
        &self,
        template: &'static str,
        view: &impl Serialize,
    ) -> Result<String, ReportError> {
        Context::from_serialize(view)
            .and_then(|context| self.tera.render(template, &context))
            .map_err(|error| ReportError::Template {
                template,
                source: Box::new(error),
            })
    }
}

/// What is wrong with a template that can be parsed.
fn tried(tera: &Tera, template: &OwnTemplate) -> Vec<TemplateProblem> {
    let contexts = match sample::contexts(&template.name) {
        Some(contexts) => contexts,
        None => {
            return vec![TemplateProblem {
                file: template.file.clone(),
                line: None,
                message: format!("there is no such template; there are {}", names()),
            }];
        }
    };
    // A branch that no sample takes is found by the names of its variables.
    let unknown = unknown_variables(tera, template, &contexts);
    if !unknown.is_empty() {
        return unknown;
    }
    // The changes stand inside of the comment.
    let rendered = match template.name.as_str() {
        "changes" => "comment",
        name => name,
    };
    let failed = contexts
        .iter()
        .find_map(|context| tera.render(rendered, context).err());
    failed
        .map(|error| problem(&error, &template.file))
        .into_iter()
        .collect()
}

fn unknown_variables(
    tera: &Tera,
    template: &OwnTemplate,
    contexts: &[Context],
) -> Vec<TemplateProblem> {
    let used: BTreeSet<&str> = tera
        .get_template_variables(&template.name)
        .unwrap_or_default()
        .into_iter()
        .collect();
    let is_known = |name: &str| {
        // What the comment includes has the fold that it stands in.
        (matches!(template.name.as_str(), "comment" | "changes") && name == "fold")
            || contexts.iter().any(|context| context.contains_key(name))
    };
    let unknown = used.into_iter().filter(|name| !is_known(name));
    unknown
        .map(|name| TemplateProblem {
            file: template.file.clone(),
            line: template
                .text
                .lines()
                .position(|line| line.contains(name))
                .map(|index| index + 1),
            message: format!(
                "there is no variable `{name}`; the head of the built-in template says which there are"
            ),
        })
        .collect()
}

fn names() -> String {
    let quoted: Vec<String> = TEMPLATES
        .iter()
        .map(|name| format!("`{name}.tera`"))
        .collect();
    quoted.join(", ")
}

/// What the template engine says, in one line with its place.
fn problem(error: &tera::Error, file: &str) -> TemplateProblem {
    let (line, message) = match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
            (Some(report.span().start_line), report.message().to_owned())
        }
        other => (None, other.to_string()),
    };
    TemplateProblem {
        file: file.to_owned(),
        line,
        message: message.lines().collect::<Vec<_>>().join(" "),
    }
}
