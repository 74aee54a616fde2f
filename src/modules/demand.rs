//! What configuration asks of the world: modules, providers, the place of its state.

use std::collections::HashSet;
use std::ops::Range;

use hcl_edit::Span;
use hcl_edit::expr::{Expression, Object, ObjectKey};
use hcl_edit::structure::{Attribute, Block, Body, Structure};
use hcl_edit::visit::{Visit, visit_expr};

/// Something that configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The file, by its path in the tree.
    pub file: String,
    /// The line in it, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What.
    pub asked: Asked,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A module, by its `source`; `None` where that is computed.
    Module(Option<String>),
    /// `required_providers` says which provider a local name stands for.
    Provider {
        /// The local name.
        name: String,
        /// What it stands for.
        source: Source,
    },
    /// A block uses a provider by its local name.
    Uses(String),
    /// The lock file names a provider, by its whole address.
    Locked(String),
    /// A `backend` or `cloud` block.
    Backend {
        /// Its name, `s3` say; `cloud` for a `cloud` block.
        name: String,
        /// Whether its values stand in it.
        values: Values,
        /// All that it says, in one form however it is laid out.
        says: String,
    },
    /// A `terraform` block in an override file.
    Override {
        /// All that it says, in one form however it is laid out.
        says: String,
    },
    /// The file cannot be read, so that what it asks for is not known.
    Unreadable {
        /// Why.
        message: String,
        /// Words in it with which it may ask for any of this.
        words: Vec<&'static str>,
    },
}

/// Whether the values of a block stand in it. OpenTofu lets those of a backend be worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// All are written out.
    Written,
    /// One refers to something, or is the result of a function.
    Computed,
}

impl Values {
    fn of(body: &Body) -> Self {
        struct Computing(bool);
        impl Visit for Computing {
            fn visit_expr(&mut self, expression: &Expression) {
                match expression {
                    Expression::Variable(_) | Expression::FuncCall(_) => self.0 = true,
                    expression => visit_expr(self, expression),
                }
            }

            fn visit_object_key(&mut self, key: &ObjectKey) {
                match key {
                    // A bare word is a name here.
                    ObjectKey::Ident(_) | ObjectKey::Expression(Expression::Variable(_)) => {}
                    ObjectKey::Expression(expression) => self.visit_expr(expression),
                }
            }
        }
        let mut computing = Computing(false);
        computing.visit_body(body);
        match computing.0 {
            true => Self::Computed,
            false => Self::Written,
        }
    }
}

/// What `required_providers` says of a local name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This address, as it is written.
    Written(String),
    /// Nothing: HashiCorp's provider of that name is meant.
    Implied,
    /// Something that is computed.
    Computed,
}

/// What was found in one file, with its line.
pub(super) type Found = (Option<usize>, Asked);

/// Whether a file of configuration may override what others say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It may not.
    Ordinary,
    /// It may.
    Override,
}

/// Words without which a file asks for nothing of this, save by what its resources imply.
const WORDS: [&str; 9] = [
    "backend",
    "cloud",
    "source",
    "required_providers",
    "provider",
    "module",
    "resource",
    "data",
    "ephemeral",
];

/// What is known of a file that cannot be read.
pub(super) fn unreadable(content: &[u8], line: Option<usize>, message: &str) -> Found {
    let text = String::from_utf8_lossy(content);
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let there: HashSet<&str> = text.split(|c: char| !is_part(c)).collect();
    // JSON may spell any word by codes.
    let coded = text.contains("\\u");
    let words = WORDS
        .into_iter()
        .filter(|word| coded || there.contains(word))
        .collect();
    let message = message.to_owned();
    (line, Asked::Unreadable { message, words })
}

/// A file's text, in which the line of any place is found quickly: there may be many.
struct Text<'t> {
    text: &'t str,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl<'t> Text<'t> {
    fn new(text: &'t str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { text, ends }
    }

    /// The line, counted from 1, that a span begins on.
    fn line(&self, span: Option<Range<usize>>) -> Option<usize> {
        let begin = span?.start;
        Some(self.ends.partition_point(|end| *end < begin) + 1)
    }
}

/// Reads the native syntax.
pub(super) fn read(body: &Body, text: &str, kind: Kind) -> Vec<Found> {
    let text = &Text::new(text);
    let mut found = Vec::new();
    for block in body.iter().filter_map(Structure::as_block) {
        let line = text.line(block.span());
        let mut uses = |name: String| found.push((line, Asked::Uses(name)));
        match block.ident.as_str() {
            "resource" | "data" | "ephemeral" | "action" | "list" => uses(used_by(block)),
            "check" => {
                let inner = block.body.iter().filter_map(Structure::as_block);
                inner
                    .filter(|inner| inner.ident.as_str() == "data")
                    .for_each(|inner| uses(used_by(inner)));
            }
            // A provider that is made up in a test is started all the same, for its schema.
            "provider" | "mock_provider" => uses(label(block)),
            "module" => found.extend(module(block, line)),
            // A test may have another module in the place of the one that is tested.
            "run" => {
                let inner = block.body.iter().filter_map(Structure::as_block);
                for inner in inner.filter(|inner| inner.ident.as_str() == "module") {
                    found.extend(module(inner, line));
                }
            }
            "terraform" => {
                settings(&block.body, text, &mut found);
                if kind == Kind::Override {
                    let says = says(&block.body, text);
                    found.push((line, Asked::Override { says }));
                }
            }
            _ => {}
        }
    }
    found
}

/// Reads the entries of a lock file.
pub(super) fn read_lock(body: &Body, text: &str) -> Vec<Found> {
    let text = &Text::new(text);
    body.iter()
        .filter_map(Structure::as_block)
        .filter(|block| block.ident.as_str() == "provider")
        .map(|block| {
            let line = text.line(block.span());
            (line, Asked::Locked(label(block)))
        })
        .collect()
}

fn label(block: &Block) -> String {
    let label = block.labels.first();
    label.map_or("", |label| label.as_str()).to_owned()
}

/// The local name of the provider that a block of a resource is of.
fn used_by(block: &Block) -> String {
    if let Some(attribute) = block.body.get_attribute("provider") {
        let named = match &attribute.value {
            Expression::Variable(name) => Some(name.as_str().to_owned()),
            Expression::Traversal(traversal) => match &traversal.expr {
                Expression::Variable(name) => Some(name.as_str().to_owned()),
                _ => None,
            },
            Expression::String(text) => text.as_str().split('.').next().map(str::to_owned),
            _ => None,
        };
        if let Some(name) = named {
            return name;
        }
    }
    prefix_of(&label(block))
}

/// The local name that the type of a resource stands for: `aws` for `aws_instance`.
fn prefix_of(kind: &str) -> String {
    kind.split('_').next().unwrap_or_default().to_owned()
}

fn module(block: &Block, line: Option<usize>) -> Option<Found> {
    let source = block.body.get_attribute("source")?;
    Some((line, Asked::Module(literal(&source.value))))
}

/// The text of an expression that is one, or of one whose beginning makes it a path here.
fn literal(expression: &Expression) -> Option<String> {
    match expression {
        Expression::String(text) => Some(text.as_str().to_owned()),
        Expression::Parenthesis(inner) => literal(inner.inner()),
        // A computed path in the repository stays one, whatever is computed.
        Expression::StringTemplate(template) => {
            let first = template.iter().next()?.as_literal()?.as_str().to_owned();
            ["./", "../"]
                .iter()
                .any(|dot| first.starts_with(dot))
                .then(|| "./".to_owned())
        }
        _ => None,
    }
}

/// Reads a `terraform` block.
fn settings(body: &Body, text: &Text<'_>, found: &mut Vec<Found>) {
    for block in body.iter().filter_map(Structure::as_block) {
        let line = text.line(block.span());
        match block.ident.as_str() {
            kind @ ("backend" | "cloud") => {
                let name = match kind {
                    "cloud" => kind.to_owned(),
                    _ => label(block),
                };
                let (values, says) = (Values::of(&block.body), says(&block.body, text));
                found.push((line, Asked::Backend { name, values, says }));
            }
            "required_providers" => {
                for attribute in block.body.iter().filter_map(Structure::as_attribute) {
                    found.push(required(attribute, text, line));
                }
            }
            _ => {}
        }
    }
}

fn required(attribute: &Attribute, text: &Text<'_>, block: Option<usize>) -> Found {
    let line = text.line(attribute.span());
    let source = match &attribute.value {
        // Only a version, as it was written once.
        Expression::String(_) => Source::Implied,
        Expression::Object(object) => source_of(object),
        _ => Source::Computed,
    };
    let name = attribute.key.as_str().to_owned();
    (line.or(block), Asked::Provider { name, source })
}

/// What an object of `required_providers` says of its source.
fn source_of(object: &Object) -> Source {
    let mut source = Source::Implied;
    for (key, value) in object {
        let name = match key {
            ObjectKey::Ident(name) => name.as_str(),
            ObjectKey::Expression(Expression::String(name)) => name.as_str(),
            ObjectKey::Expression(Expression::Variable(name)) => name.as_str(),
            // Any name may come of it.
            ObjectKey::Expression(_) => return Source::Computed,
        };
        if name == "source" {
            source = match (source, value.expr()) {
                (Source::Implied, Expression::String(text)) => {
                    Source::Written(text.as_str().to_owned())
                }
                // Of two sources nobody sees which it is.
                _ => return Source::Computed,
            };
        }
    }
    source
}

/// All that a block says: comments, spaces and the order of its lines make no difference.
fn says(body: &Body, text: &Text<'_>) -> String {
    let slice = |span: Option<Range<usize>>| {
        let slice = span
            .and_then(|span| text.text.get(span))
            .unwrap_or_default();
        closed_up(slice)
    };
    let mut lines: Vec<String> = body
        .iter()
        .map(|structure| match structure {
            Structure::Attribute(attribute) => {
                format!(
                    "{}={}",
                    attribute.key.as_str(),
                    slice(attribute.value.span())
                )
            }
            Structure::Block(block) => {
                let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
                format!(
                    "{} {labels:?} {{{}}}",
                    block.ident.as_str(),
                    says(&block.body, text)
                )
            }
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

/// A text with every run of spaces outside of quotes as one space.
fn closed_up(text: &str) -> String {
    let mut closed = String::new();
    let (mut quoted, mut escaped, mut spaces) = (false, false, false);
    for c in text.chars() {
        if !quoted && c.is_whitespace() {
            spaces = true;
            continue;
        }
        if spaces && !closed.is_empty() {
            closed.push(' ');
        }
        spaces = false;
        closed.push(c);
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
    }
    closed
}

/// The JSON syntax.
pub(super) mod json {
    use std::collections::HashMap;
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

    use super::{Asked, Found, Kind, Source, Values, prefix_of};

    /// A value of JSON in which an object has every entry, those of one name too: the JSON syntax
    /// of configuration takes each as a block of its own.
    #[derive(Debug, Clone, PartialEq)]
    pub(in super::super) enum Json {
        Text(String),
        List(Vec<Json>),
        Object(Vec<(String, Json)>),
        /// A number, `true`, `false` or `null`, as it is written.
        Plain(String),
    }

    impl<'de> Deserialize<'de> for Json {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Any;
            impl<'de> Visitor<'de> for Any {
                type Value = Json;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a value")
                }

                fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                    Ok(Json::Plain(value.to_string()))
                }

                fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                    Ok(Json::Plain(value.to_string()))
                }

                fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                    Ok(Json::Plain(value.to_string()))
                }

                fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                    Ok(Json::Plain(value.to_string()))
                }

                fn visit_unit<E>(self) -> Result<Json, E> {
                    Ok(Json::Plain("null".to_owned()))
                }

                fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                    Ok(Json::Text(value.to_owned()))
                }

                fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                    let mut list = Vec::new();
                    while let Some(value) = seq.next_element()? {
                        list.push(value);
                    }
                    Ok(Json::List(list))
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                    let mut entries = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        entries.push(entry);
                    }
                    Ok(Json::Object(entries))
                }
            }
            from.deserialize_any(Any)
        }
    }

    impl Json {
        /// The entries of an object, or of all objects of a list: the JSON syntax lets every
        /// block be one object or a list of them.
        pub(in super::super) fn entries(&self) -> Vec<(&str, &Self)> {
            match self {
                Self::Object(entries) => entries.iter().map(|(k, v)| (k.as_str(), v)).collect(),
                Self::List(list) => list.iter().flat_map(Self::entries).collect(),
                Self::Text(_) | Self::Plain(_) => Vec::new(),
            }
        }

        /// Every value of that name.
        pub(in super::super) fn all<'j>(&'j self, name: &str) -> Vec<&'j Self> {
            let named = |(key, value)| (key == name).then_some(value);
            self.entries().into_iter().filter_map(named).collect()
        }

        /// The text that it is.
        pub(in super::super) fn text(&self) -> Option<&str> {
            match self {
                Self::Text(text) => Some(text),
                _ => None,
            }
        }

        /// All that it says, whatever the order of its entries.
        fn says(&self) -> String {
            match self {
                Self::Text(text) => format!("{text:?}"),
                Self::Plain(text) => text.clone(),
                Self::List(list) => {
                    let list: Vec<String> = list.iter().map(Self::says).collect();
                    format!("[{}]", list.join(","))
                }
                Self::Object(entries) => {
                    let entry = |(key, value): &(String, Self)| format!("{key:?}={}", value.says());
                    let mut entries: Vec<String> = entries.iter().map(entry).collect();
                    entries.sort();
                    format!("{{{}}}", entries.join("\n"))
                }
            }
        }
    }

    impl Json {
        /// Asks for a backend of that name, as this object sets it.
        fn asked(&self, name: &str) -> Asked {
            let (name, says) = (name.to_owned(), self.says());
            let values = match says.contains("${") || says.contains("%{") {
                true => Values::Computed,
                false => Values::Written,
            };
            Asked::Backend { name, values, says }
        }
    }

    /// Reads the JSON syntax.
    pub(in super::super) fn read(top: &Json, text: &str, kind: Kind) -> Vec<Found> {
        // JSON's reader gives no places: the first line with the word in quotes is near enough.
        let mut lines: HashMap<&str, usize> = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            // Of a line cut at its quotes the odd parts are what stands in quotes.
            for word in line.split('"').skip(1).step_by(2) {
                lines.entry(word).or_insert(number);
            }
        }
        let line = |word: &str| lines.get(word).copied();
        let mut found = Vec::new();
        for blocks in ["resource", "data", "ephemeral"] {
            for (kind, named) in top.all(blocks).into_iter().flat_map(Json::entries) {
                for (_, resource) in named.entries() {
                    let said = resource.all("provider").into_iter().find_map(Json::text);
                    let name = match said {
                        Some(said) => said.trim_start_matches("${").split('.').next(),
                        None => None,
                    };
                    let name = name.map_or_else(|| prefix_of(kind), str::to_owned);
                    found.push((line(kind), Asked::Uses(name)));
                }
            }
        }
        for (_, check) in top.all("check").into_iter().flat_map(Json::entries) {
            for (kind, _) in check.all("data").into_iter().flat_map(Json::entries) {
                found.push((line(kind), Asked::Uses(prefix_of(kind))));
            }
        }
        for (name, _) in top.all("provider").into_iter().flat_map(Json::entries) {
            found.push((line(name), Asked::Uses(name.to_owned())));
        }
        let modules = top.all("module").into_iter().flat_map(Json::entries);
        let runs = top.all("run").into_iter().flat_map(Json::entries);
        let tested = runs
            .flat_map(|(_, run)| run.all("module"))
            .map(|module| ("module", module));
        for (name, module) in modules.chain(tested) {
            for source in module.all("source") {
                let source = source.text().and_then(|text| {
                    match text.contains("${") || text.contains("%{") {
                        false => Some(text.to_owned()),
                        true if text.starts_with("./") || text.starts_with("../") => {
                            Some("./".to_owned())
                        }
                        true => None,
                    }
                });
                let at = source.as_deref().and_then(line).or_else(|| line(name));
                found.push((at, Asked::Module(source)));
            }
        }
        for settings in top.all("terraform") {
            for (name, backend) in settings.all("backend").into_iter().flat_map(Json::entries) {
                found.push((line("backend"), backend.asked(name)));
            }
            for cloud in settings.all("cloud") {
                found.push((line("cloud"), cloud.asked("cloud")));
            }
            let required = settings.all("required_providers");
            for (name, required) in required.into_iter().flat_map(Json::entries) {
                let sources = required.all("source");
                let source = match (required, sources.first()) {
                    (_, Some(Json::Text(text))) if !text.contains("${") && !text.contains("%{") => {
                        Source::Written(text.clone())
                    }
                    (_, Some(_)) => Source::Computed,
                    (_, None) => Source::Implied,
                };
                let name = name.to_owned();
                found.push((line(&name), Asked::Provider { name, source }));
                // The same name once more is another source.
                for more in sources.iter().skip(1).filter_map(|source| source.text()) {
                    let (name, source) = (name_of(&found), Source::Written(more.to_owned()));
                    found.push((line(&name), Asked::Provider { name, source }));
                }
            }
            if kind == Kind::Override {
                let says = settings.says();
                found.push((line("terraform"), Asked::Override { says }));
            }
        }
        found
    }

    fn name_of(found: &[Found]) -> String {
        match found.last() {
            Some((_, Asked::Provider { name, .. })) => name.clone(),
            _ => String::new(),
        }
    }
}
