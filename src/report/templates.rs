//! The templates, and the only ways for text to get into them.
//!
//! Nothing escapes by itself here, Markdown not being HTML: each variable of a
//! template that is not a number or a word of ours passes `code`, `cell`, `prose`,
//! `cell_prose` or `fence`.

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera, TeraResult};

use super::ReportError;
use super::markdown::{cell, cell_prose, code, fence, prose};

/// All templates, by name.
const SOURCES: [(&str, &str); 4] = [
    ("comment", include_str!("templates/comment.tera")),
    ("changes", include_str!("templates/changes.tera")),
    ("drift", include_str!("templates/drift.tera")),
    ("hold", include_str!("templates/hold.tera")),
];

/// The templates, ready to render.
pub(super) struct Templates(Tera);

impl Templates {
    pub(super) fn new() -> Result<Self, ReportError> {
        let mut tera = Tera::default();
        tera.autoescape_on(Vec::<&str>::new());
        tera.register_filter("code", |text: &str, _: Kwargs, _: &State| code(text));
        tera.register_filter("cell", |text: &str, _: Kwargs, _: &State| cell(text));
        tera.register_filter("prose", |text: &str, _: Kwargs, _: &State| prose(text));
        tera.register_filter("cell_prose", |text: &str, _: Kwargs, _: &State| {
            cell_prose(text)
        });
        tera.register_filter(
            "fence",
            |text: &str, options: Kwargs, _: &State| -> TeraResult<String> {
                Ok(fence(text, options.must_get::<&str>("language")?))
            },
        );
        tera.add_raw_templates(SOURCES)
            .map_err(|error| ReportError::Template {
                template: "all",
                source: Box::new(error),
            })?;
        Ok(Self(tera))
    }

    pub(super) fn render(
        &self,
        template: &'static str,
        view: &impl Serialize,
    ) -> Result<String, ReportError> {
        Context::from_serialize(view)
            .and_then(|context| self.0.render(template, &context))
            .map_err(|error| ReportError::Template {
                template,
                source: Box::new(error),
            })
    }
}
