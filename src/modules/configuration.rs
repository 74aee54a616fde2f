//! What one configuration file says, as far as it matters here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::panic::catch_unwind;

use hcl_edit::Span;
use hcl_edit::expr::Expression;
use hcl_edit::parser::parse_body;
use hcl_edit::structure::{Block, Body, Structure};
use hcl_edit::visit::Visit;

use super::Backend;
use super::demand::{self, Found, Kind};
use super::heredoc;
use super::mention::{Anchor, Mention, Mentions, chosen_folder};

/// Files of more bytes than this count, but are not parsed: nobody writes them by hand.
const PARSE_LIMIT: usize = 1024 * 1024;

/// Bytes of stack for the parser. It refuses what is nested more than 64 levels
/// deep, and a level of the costliest kind, a `for` in braces, takes over 32 KiB
/// unoptimised: more in all than the 2 MiB that an ordinary thread has.
const PARSE_STACK: usize = 16 * 1024 * 1024;

/// Where Terraform writes down which providers it chose.
pub(super) const LOCK_FILE: &str = ".terraform.lock.hcl";

/// Blocks that make something of a folder; `locals` and `variable` alone are no root module.
const SUBSTANCE: [&str; 11] = [
    "check",
    "data",
    "ephemeral",
    "import",
    "module",
    "moved",
    "output",
    "provider",
    "removed",
    "resource",
    "terraform",
];

/// What one configuration file says.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// The local modules that it uses, as their `source` is written.
    pub(super) modules: Vec<LocalModule>,
    /// The paths that its expressions spell out.
    pub(super) mentions: BTreeSet<Mention>,
    /// Its `backend` or `cloud` block.
    pub(super) backend: Option<Backend>,
    /// What its `backend` and `cloud` blocks set.
    pub(super) backend_settings: Vec<BackendSettings>,
    /// What it demands of Terraform's version.
    pub(super) required_version: Vec<String>,
    /// What it asks of the world outside of its folder.
    pub(super) demands: Vec<Found>,
    /// Whether it does something.
    pub(super) substance: Substance,
    /// Why it could not be read, and where.
    pub(super) fault: Option<Fault>,
}

/// What a `backend` or `cloud` block sets by name: a text, a number, yes or no as a text; `None`
/// where it is a block or anything that would have to be worked out.
pub type BackendSettings = BTreeMap<String, Option<String>>;

/// A use of a local module.
#[derive(Debug)]
pub(super) struct LocalModule {
    /// The relative path of the module's folder.
    pub(super) source: String,
    /// The line of the `module` block, counted from 1.
    pub(super) line: Option<usize>,
}

/// Whether configuration does something, or only declares what others may use.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Substance {
    /// It has variables and locals at most.
    #[default]
    Little,
    /// It has resources, modules, outputs, settings, or cannot be read.
    Much,
}

/// Why a file could not be read.
#[derive(Debug)]
pub(super) struct Fault {
    /// The line, counted from 1, where it is known.
    pub(super) line: Option<usize>,
    /// What is wrong.
    pub(super) message: String,
}

/// Whether Terraform or OpenTofu would read a file of this name as configuration.
pub fn is_configuration(name: &str) -> bool {
    let endings = [".tf", ".tofu", ".tf.json", ".tofu.json"];
    // Both skip hidden files and what editors leave behind.
    !name.starts_with('.') && endings.iter().any(|ending| name.ends_with(ending))
}

/// Whether the settings of a file of this name win over those of others.
pub(super) fn is_override(name: &str) -> bool {
    let endings = [".tf.json", ".tofu.json", ".tf", ".tofu"];
    let stem = endings.iter().find_map(|ending| name.strip_suffix(ending));
    stem.is_some_and(|stem| stem == "override" || stem.ends_with("_override"))
}

impl Configuration {
    /// Reads files, each given by its name and content. What is wrong with a file is in its fault.
    ///
    /// # Errors
    ///
    /// Where the machine has no thread to parse them on.
    pub(super) fn parse_all(files: &[(&str, Vec<u8>)]) -> io::Result<Vec<Self>> {
        let parse = || -> Vec<Self> {
            let one = |(name, content): &(&str, Vec<u8>)| {
                // What a stranger wrote must not end us, even by a mistake of the parser.
                catch_unwind(|| Self::parse(name, content))
                    .unwrap_or_else(|_| fault(None, "is something the parser cannot cope with"))
            };
            files.iter().map(one).collect()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(PARSE_STACK);
            let parsed = thread.spawn_scoped(scope, parse)?.join();
            parsed.map_err(|_| io::Error::other("the parser ended by a panic"))
        })
    }

    /// Reads a file of that name; needs much of the stack.
    fn parse(name: &str, content: &[u8]) -> Self {
        let mut read = Self::parse_text(name, content);
        if let Some(Fault { line, message }) = &read.fault {
            read.demands
                .push(demand::unreadable(content, *line, message));
        }
        read
    }

    /// Reads a file of that name, save what it asks for where it cannot be read.
    fn parse_text(name: &str, content: &[u8]) -> Self {
        // Editors on Windows put a byte order mark there, which the grammar has no place for.
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let Ok(text) = std::str::from_utf8(content) else {
            return fault(None, "is no UTF-8 text, as configuration must be");
        };
        if content.len() > PARSE_LIMIT {
            let message = "is larger than 1 MiB: not all that it names is looked for";
            return guess(text, fault(None, message));
        }
        if name.ends_with(".json") {
            match serde_json::from_str(text) {
                Ok(value) => Self {
                    demands: demand::json::read(&value, text, kind_of(name)),
                    ..json::read(&value)
                },
                Err(error) => fault(Some(error.line()), &error.to_string()),
            }
        } else if let Some((line, message)) = heredoc::doubt(text) {
            guess(text, fault(Some(line), message))
        } else {
            match parse_body(text) {
                Ok(body) if name.ends_with(LOCK_FILE) => Self {
                    demands: demand::read_lock(&body, text),
                    ..Self::default()
                },
                Ok(body) => Self {
                    demands: demand::read(&body, text, kind_of(name)),
                    ..read(&body, text)
                },
                Err(error) => guess(text, fault(Some(error.location().line()), error.message())),
            }
        }
    }
}

/// Whether a file of that path overrides others.
fn kind_of(path: &str) -> Kind {
    match is_override(path.rsplit('/').next().unwrap_or_default()) {
        true => Kind::Override,
        false => Kind::Ordinary,
    }
}

/// What is known of a file that cannot be read.
fn fault(line: Option<usize>, message: &str) -> Configuration {
    let message = message.to_owned();
    Configuration {
        substance: Substance::Much,
        fault: Some(Fault { line, message }),
        ..Configuration::default()
    }
}

/// Adds to what is known of a file that does not parse: every relative path in quotes
/// counts. Terraform may understand what the parser does not, and a change must not be
/// missed for that.
fn guess(text: &str, mut read: Configuration) -> Configuration {
    for (line, text) in (1..).zip(text.lines()) {
        let is_source = text.trim_start().starts_with("source");
        // The odd parts of a line cut at its quotes are what stands in quotes.
        for quoted in text
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|quoted| is_local(quoted))
        {
            if is_source && !quoted.contains("${") {
                let source = quoted.to_owned();
                read.modules.push(LocalModule {
                    source,
                    line: Some(line),
                });
            } else {
                let path = match quoted.split_once("${") {
                    Some((literal, _)) => literal.rsplit_once('/').map_or("", |(folder, _)| folder),
                    None => quoted,
                };
                let anchors = [Anchor::Module, Anchor::Root];
                let mention = |anchor| Mention {
                    anchor,
                    path: path.to_owned(),
                };
                read.mentions.extend(anchors.map(mention));
            }
        }
    }
    read
}

/// Reads configuration in the native syntax.
fn read(body: &Body, text: &str) -> Configuration {
    let mut read = Configuration::default();
    let mut mentions = Mentions::default();
    mentions.visit_body(body);
    read.mentions = mentions.found;
    for block in body.iter().filter_map(|structure| structure.as_block()) {
        let kind = block.ident.as_str();
        if SUBSTANCE.contains(&kind) {
            read.substance = Substance::Much;
        }
        match kind {
            "module" => read_module(block, text, &mut read),
            "terraform" => read_settings(&block.body, &mut read),
            _ => {}
        }
    }
    read
}

/// Reads a `module` block.
fn read_module(block: &Block, text: &str, read: &mut Configuration) {
    let Some(source) = block.body.get_attribute("source") else {
        return;
    };
    match &source.value {
        Expression::String(source) if is_local(source.as_str()) => {
            let line = block.span().map(|span| line_of(text, &span));
            read.modules.push(LocalModule {
                source: source.as_str().to_owned(),
                line,
            });
        }
        source => read.mentions.extend(chosen_folder(source)),
    }
}

/// Reads a `terraform` block.
fn read_settings(body: &Body, read: &mut Configuration) {
    if let Some(Expression::String(version)) = body
        .get_attribute("required_version")
        .map(|attribute| &attribute.value)
    {
        read.required_version.push(version.as_str().to_owned());
    }
    for block in body.iter().filter_map(|structure| structure.as_block()) {
        if matches!(block.ident.as_str(), "backend" | "cloud") {
            read.backend_settings.push(backend_settings(&block.body));
        }
        match (block.ident.as_str(), block.labels.first()) {
            ("backend", Some(name)) => {
                read.backend = Some(Backend::Named(name.as_str().to_owned()));
            }
            ("cloud", _) => read.backend = Some(Backend::Cloud),
            _ => {}
        }
    }
}

/// What the body of a `backend` or `cloud` block sets.
fn backend_settings(body: &Body) -> BackendSettings {
    let setting = |structure: &Structure| match structure {
        Structure::Attribute(attribute) => {
            let value = match &attribute.value {
                Expression::String(text) => Some(text.as_str().to_owned()),
                Expression::Number(number) => Some(number.value().to_string()),
                Expression::Bool(value) => Some(value.value().to_string()),
                _ => None,
            };
            (attribute.key.as_str().to_owned(), value)
        }
        Structure::Block(block) => (block.ident.as_str().to_owned(), None),
    };
    body.iter().map(setting).collect()
}

/// Whether a module's `source` is a path in the same repository.
fn is_local(source: &str) -> bool {
    source == "." || source == ".." || source.starts_with("./") || source.starts_with("../")
}

/// The line, counted from 1, that a span of `text` begins on.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Configuration in JSON.
mod json {
    use hcl_edit::parser::parse_template;
    use hcl_edit::visit::Visit;

    use super::super::Backend;
    use super::super::demand::json::Json;
    use super::{
        BackendSettings, Configuration, LocalModule, Mentions, SUBSTANCE, Substance, is_local,
    };

    /// Reads configuration in the JSON syntax.
    pub(super) fn read(top: &Json) -> Configuration {
        let mut read = Configuration::default();
        let mut mentions = Mentions::default();
        visit(top, &mut mentions);
        read.mentions = mentions.found;
        if top
            .entries()
            .iter()
            .any(|(kind, _)| SUBSTANCE.contains(kind))
        {
            read.substance = Substance::Much;
        }
        let modules = top.all("module").into_iter().flat_map(Json::entries);
        for source in modules.flat_map(|(_, module)| module.all("source")) {
            if let Some(source) = source.text().filter(|source| is_local(source)) {
                read.modules.push(LocalModule {
                    source: source.to_owned(),
                    line: None,
                });
            }
        }
        for settings in top.all("terraform") {
            let versions = settings.all("required_version");
            let versions = versions.into_iter().filter_map(Json::text);
            read.required_version.extend(versions.map(str::to_owned));
            if !settings.all("cloud").is_empty() {
                read.backend = Some(Backend::Cloud);
            }
            let named = settings.all("backend").into_iter().flat_map(Json::entries);
            let blocks = named.map(|(_, block)| block).chain(settings.all("cloud"));
            read.backend_settings.extend(blocks.map(backend_settings));
            let backends = settings.all("backend").into_iter().flat_map(Json::entries);
            if let Some((name, _)) = backends.into_iter().next() {
                read.backend = Some(Backend::Named(name.to_owned()));
            }
        }
        read
    }

    /// What the object of a `backend` or `cloud` block sets.
    fn backend_settings(block: &Json) -> BackendSettings {
        let setting = |(name, value): (&str, &Json)| {
            let value = match value {
                Json::Text(text) if !text.contains("${") && !text.contains("%{") => Some(text),
                Json::Plain(text) if text != "null" => Some(text),
                _ => None,
            };
            (name.to_owned(), value.cloned())
        };
        block.entries().into_iter().map(setting).collect()
    }

    /// Visits every string that is a template; the parser of JSON bounds the depth.
    fn visit(value: &Json, mentions: &mut Mentions) {
        match value {
            Json::Text(text) if text.contains("${") || text.contains("%{") => {
                if let Ok(template) = parse_template(text) {
                    mentions.visit_template(&template);
                }
            }
            Json::List(list) => list.iter().for_each(|value| visit(value, mentions)),
            Json::Object(object) => object.iter().for_each(|(_, value)| visit(value, mentions)),
            Json::Text(_) | Json::Plain(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_as(name: &str, content: &[u8]) -> Configuration {
        Configuration::parse_all(&[(name, content.to_vec())])
            .unwrap()
            .remove(0)
    }

    fn parse(text: &str) -> Configuration {
        parse_as("main.tf", text.as_bytes())
    }

    fn sources(configuration: &Configuration) -> Vec<&str> {
        configuration
            .modules
            .iter()
            .map(|module| module.source.as_str())
            .collect()
    }

    #[test]
    fn local_modules_are_found_with_their_line_and_others_left_out() {
        let read = parse(
            "\n\nmodule \"a\" {\n  source = \"./a\"\n}\nmodule \"b\" { source = \"acme/b/aws\" }\nmodule \"c\" { source = \"git::https://x/y\" }\n",
        );
        assert_eq!(sources(&read), ["./a"]);
        assert_eq!(read.modules[0].line, Some(3));
    }

    #[test]
    fn settings_are_read() {
        let read = parse(
            "terraform {\n required_version = \">= 1.5\"\n backend \"s3\" {\n bucket = \"x\"\n }\n}",
        );
        assert_eq!(read.backend, Some(Backend::Named("s3".to_owned())));
        assert_eq!(read.required_version, [">= 1.5"]);
        assert_eq!(
            parse("terraform {\n cloud {}\n}").backend,
            Some(Backend::Cloud)
        );
    }

    #[test]
    fn json_says_the_same_as_the_native_syntax() {
        let read = parse_as(
            "main.tf.json",
            br#"{"module": {"a": {"source": "./a"}, "b": [{"source": "../b"}, {"source": "x/y/z"}]},
                "terraform": [{"required_version": "~> 1.1", "backend": {"gcs": {"bucket": "x"}}}],
                "locals": {"x": "${file(\"${path.module}/../x\")}"}}"#,
        );
        assert_eq!(sources(&read), ["./a", "../b"]);
        assert_eq!(read.backend, Some(Backend::Named("gcs".to_owned())));
        assert_eq!(read.required_version, ["~> 1.1"]);
        assert_eq!(
            read.mentions.into_iter().collect::<Vec<_>>(),
            [Mention {
                anchor: Anchor::Module,
                path: "../x".to_owned()
            }]
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_error() {
        let read = parse_as("main.tf", b"\xef\xbb\xbfmodule \"a\" { source = \"./a\" }");
        assert!(read.fault.is_none(), "{:?}", read.fault);
        assert_eq!(sources(&read), ["./a"]);
    }

    #[test]
    fn what_does_not_parse_says_on_which_line() {
        let fault = parse("locals {\n  a = 1\n}\n}\n").fault.unwrap();
        assert_eq!(fault.line, Some(4));
        assert!(!fault.message.is_empty());
    }

    #[test]
    fn relative_paths_of_what_does_not_parse_count_all_the_same() {
        let read = parse("}{\n  source = \"../m\"\n  x = file(\"../d/${y}/z\")\n");
        assert_eq!(sources(&read), ["../m"]);
        let paths: Vec<_> = read
            .mentions
            .iter()
            .map(|mention| mention.path.as_str())
            .collect();
        assert_eq!(paths, ["../d", "../d"]);
    }

    #[test]
    fn a_large_file_is_not_parsed() {
        let text = "# comment\n".repeat(PARSE_LIMIT / 10 + 1);
        assert!(parse(&text).fault.unwrap().message.contains("1 MiB"));
    }

    #[test]
    fn only_what_terraform_reads_is_configuration() {
        for name in [
            "main.tf",
            "main.tofu",
            "main.tf.json",
            "x.tofu.json",
            "a.b.tf",
        ] {
            assert!(is_configuration(name), "{name}");
        }
        for name in [
            ".main.tf",
            "main.tf~",
            "x.tfvars",
            "x.tftest.hcl",
            "main.json",
        ] {
            assert!(!is_configuration(name), "{name}");
        }
        assert!(is_override("override.tf") && is_override("x_override.tf.json"));
        assert!(is_override("a.b_override.tf") && is_override("a.override_override.tofu"));
        assert!(!is_override("overrides.tf") && !is_override("a.override.tf"));
        assert!(!is_override("override.x.tf"));
    }

    /// Half a megabyte of each shape that makes a recursive parser recurse.
    fn deep() -> Vec<(&'static str, String)> {
        let n = 250_000;
        let nested = |open: &str, close: &str| {
            format!(
                "a = {}1{}",
                open.repeat(n / open.len()),
                close.repeat(n / open.len())
            )
        };
        vec![
            ("parentheses", nested("(", ")")),
            ("lists", nested("[", "]")),
            ("objects", nested("{a=", "}")),
            ("calls", nested("f(", ")")),
            ("list loops", nested("[for x in ", ":x]")),
            ("object loops", nested("{for x in ", ":x=>x}")),
            (
                "indices",
                format!("a = {}1{}", "b[".repeat(n), "]".repeat(n)),
            ),
            ("templates", nested("\"${", "}\"")),
            ("negations", format!("a = {}b", "!".repeat(n))),
            ("minuses", format!("a = {}1", "- ".repeat(n))),
            ("sums", format!("a = 1{}", "+1".repeat(n))),
            (
                "mixed operators",
                format!("a = 1{}", "+1*2==3&&4".repeat(n / 10)),
            ),
            ("conditionals", format!("a = {}1", "b?c:".repeat(n / 4))),
            (
                "inner conditionals",
                format!("a = {}1{}", "b?".repeat(n / 4), ":c".repeat(n / 4)),
            ),
            ("attributes", format!("a = b{}", ".c".repeat(n))),
            ("splats", format!("a = b{}", "[*].c".repeat(n / 5))),
            (
                "blocks",
                format!("{}{}", "a {\n".repeat(n / 4), "}\n".repeat(n / 4)),
            ),
            (
                "directives",
                format!(
                    "a = \"{}{}\"",
                    "%{if a}".repeat(n / 7),
                    "%{endif}".repeat(n / 7)
                ),
            ),
            ("heredocs", "a = <<E\n${".repeat(n / 10)),
            ("open lists", format!("a = {}", "[".repeat(n))),
            ("open objects", format!("a = {}", "{".repeat(n))),
            ("open templates", format!("a = {}", "\"${".repeat(n / 3))),
            ("open comments", "/*".repeat(n)),
            ("labels", format!("a {} {{}}", "\"b\" ".repeat(n / 4))),
        ]
    }

    #[test]
    fn deeply_nested_configuration_neither_overflows_nor_takes_long() {
        for (shape, text) in deep() {
            let started = std::time::Instant::now();
            let read = parse(&text);
            drop(read);
            assert!(
                started.elapsed().as_secs() < 5,
                "{shape} took {:?}",
                started.elapsed()
            );
        }
        let json = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse_as("x.tf.json", json.as_bytes()).fault.is_some());
    }
}
