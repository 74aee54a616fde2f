//! What the source may not do: import upwards, start processes, reach for the world in pure code.
//!
//! The table of layers stands in ARCHITECTURE.md and nowhere else; it is read from there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The heading in ARCHITECTURE.md under which the table stands.
const HEADING: &str = "## Layers";

/// Files, beside those of `engine`, that may start processes, and which ones.
const STARTERS: [(&str, &str); 4] = [
    (
        "src/sandbox/confine.rs",
        "nothing: it becomes the program that it was given",
    ),
    ("src/sandbox/probe.rs", "our own program, to try a sandbox"),
    ("src/source/ssh.rs", "`ssh`, the transport of that name"),
    ("src/demo/stage.rs", "`git`, as the people of the demo do"),
];

/// What a decision or a rendering has no use for: disk, network, processes, time, the terminal.
const WORLDLY: [&str; 14] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::io",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "Utc::now",
    "clock::now",
    "tokio",
    "rustix",
    "println!",
    "eprintln!",
];

/// What is never written, put together so that this file may name it.
const NEVER: [(&str, &str); 6] = [
    (concat!("TO", "DO"), "finish it, or leave it out"),
    (concat!("FIX", "ME"), "mend it"),
    (concat!("to", "do!("), "write it"),
    (concat!("unimple", "mented!("), "write it"),
    (
        concat!("#[al", "low("),
        "write `#[expect(lint, reason = \"…\")]`",
    ),
    (concat!("#![al", "low("), "settle it where it arises"),
];

/// A file of Rust, by its path from the top of the repository.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines with what is no code blanked out: comments, whole or at the end of a line.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, without_comment(line)))
    }

    /// Whether a line of it is only there in tests: in a file of tests, or after the file's own.
    fn is_tests_from(&self) -> usize {
        let is_tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        if is_tests {
            return 1;
        }
        let mut lines = self.text.lines();
        let own = lines.position(|line| line == "mod tests {");
        own.map_or(usize::MAX, |index| index + 1)
    }

    /// The module that it belongs to: `engine` for `src/engine/error.rs`, and how deep it is in it.
    fn module(&self) -> Option<(&str, usize)> {
        let inner = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let inner = inner.strip_suffix("/mod").unwrap_or(inner);
        let parts: Vec<&str> = inner.split('/').collect();
        let first = *parts.first()?;
        (first != "lib").then_some((first, parts.len()))
    }
}

fn without_comment(line: &str) -> &str {
    let mut start = 0;
    while let Some(found) = line[start..].find("//") {
        let at = start + found;
        // In `https://…` it is a part of a text.
        if at == 0 || !line[..at].ends_with(':') {
            return &line[..at];
        }
        start = at + 2;
    }
    line
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder of the repository.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = vec![top().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source is text");
                let path = path.strip_prefix(top()).unwrap_or(&path);
                let path = path.to_str().expect("a path of ours is text").to_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no source");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The layer of each module, from the table's rows `| 4 | `forge`, `engine` | … |`.
fn table(architecture: &str) -> BTreeMap<String, u32> {
    let section = architecture
        .split_once(HEADING)
        .map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest))
        .expect("ARCHITECTURE.md has the section of layers");
    let mut layers = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (Some(layer), Some(modules)) = (cells.first(), cells.get(1)) else {
            continue;
        };
        let Ok(layer) = layer.parse::<u32>() else {
            continue; // The head of the table, and the line below it.
        };
        for name in modules.split('`').skip(1).step_by(2) {
            let before = layers.insert(name.to_owned(), layer);
            assert_eq!(before, None, "`{name}` stands in the table twice");
        }
    }
    layers
}

fn real_table() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(top().join("ARCHITECTURE.md"))
        .expect("ARCHITECTURE.md is there and is text");
    table(&text)
}

/// A module that a line names.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    line: usize,
    of: String,
}

/// The modules of our own that a file names, by `crate::…`, by `mainstay::…` in the binary, or by
/// climbing to the top with `super::…`.
fn imports(source: &Source) -> Vec<Import> {
    let depth = source.module().map_or(0, |(_, depth)| depth);
    let mut found = Vec::new();
    let mut code = String::new();
    let mut starts = Vec::new();
    // How many `super`s lead to the top, from each line on: rustfmt sets modules inside a file in.
    let mut inner: Vec<usize> = Vec::new();
    let mut climbs = Vec::new();
    for (number, line) in source.code() {
        let indent = line.len() - line.trim_start().len();
        if inner.last() == Some(&indent) && line.trim_end() == format!("{:indent$}}}", "") {
            inner.pop();
        }
        starts.push((code.len(), number));
        climbs.push(depth + inner.len());
        code.push_str(line);
        code.push('\n');
        let words = line.trim().trim_start_matches("pub ");
        if words.starts_with("mod ") && words.ends_with('{') {
            inner.push(indent);
        }
    }
    let line_at = |at: usize| starts.partition_point(|(start, _)| *start <= at) - 1;
    for root in ["crate::", "mainstay::"] {
        if root == "mainstay::" && source.path != "src/main.rs" {
            continue;
        }
        for at in places(&code, root) {
            let line = starts[line_at(at)].1;
            for of in named(&code[at + root.len()..]) {
                found.push(Import { line, of });
            }
        }
    }
    for at in places(&code, "super::") {
        let chain = code[at..]
            .split("super::")
            .skip(1)
            .take_while(|between| between.is_empty())
            .count()
            + 1;
        let place = line_at(at);
        if chain >= climbs[place] {
            for of in named(&code[at + chain * "super::".len()..]) {
                let line = starts[place].1;
                found.push(Import { line, of });
            }
        }
    }
    found.sort_by_key(|import| import.line);
    found
}

/// Where a path begins with `root`: not within another word, nor further on in a path.
fn places(code: &str, root: &str) -> Vec<usize> {
    code.match_indices(root)
        .map(|(at, _)| at)
        .filter(|at| {
            !code[..*at]
                .ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$')
        })
        .collect()
}

/// The first names of what follows `crate::`: one, or each of `{a, b::c}`.
fn named(rest: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(list) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let mut names = Vec::new();
    let mut nested = 0_usize;
    let mut item = String::new();
    for c in list.chars() {
        match c {
            '{' => nested += 1,
            '}' if nested == 0 => break,
            '}' => nested -= 1,
            ',' if nested == 0 => {
                names.push(word(&item));
                item.clear();
                continue;
            }
            _ => {}
        }
        item.push(c);
    }
    names.push(word(&item));
    names.retain(|name| !name.is_empty());
    names
}

/// An import that goes against the table.
struct Breach {
    path: String,
    line: usize,
    from: (String, u32),
    to: (String, u32),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            from: (from, own),
            to: (to, other),
        } = self;
        write!(
            f,
            "{path}:{line}: `{from}` (layer {own}) imports `{to}` (layer {other})"
        )
    }
}

/// What of a file goes against the table. A module may import from lower layers only.
fn breaches(source: &Source, layers: &BTreeMap<String, u32>) -> Vec<Breach> {
    let Some((module, _)) = source.module() else {
        return Vec::new();
    };
    let own = *layers
        .get(module)
        .unwrap_or_else(|| panic!("`{module}` is in no layer of ARCHITECTURE.md"));
    imports(source)
        .into_iter()
        .filter(|import| import.of != module)
        .filter_map(|import| {
            let other = *layers.get(&import.of)?;
            (other >= own).then(|| Breach {
                path: source.path.clone(),
                line: import.line,
                from: (module.to_owned(), own),
                to: (import.of, other),
            })
        })
        .collect()
}

fn one_a_line<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("\n  {item}")).collect()
}

#[test]
fn a_module_imports_only_from_layers_below_its_own() {
    let layers = real_table();
    let found: Vec<Breach> = sources("src")
        .iter()
        .flat_map(|source| breaches(source, &layers))
        .collect();
    assert!(
        found.is_empty(),
        "imports that go sideways or up:{}",
        one_a_line(&found)
    );
}

#[test]
fn the_table_names_every_module_and_no_other() {
    let files = sources("src");
    let mut modules: Vec<&str> = files
        .iter()
        .filter_map(|source| Some(source.module()?.0))
        .collect();
    modules.sort_unstable();
    modules.dedup();
    let layers = real_table();
    let named: Vec<&str> = layers.keys().map(String::as_str).collect();
    assert_eq!(named, modules);
}

#[test]
fn only_the_engine_starts_processes() {
    let starts = |line: &str| line.contains("Command::new(") || line.contains("process::Command");
    let mut found = Vec::new();
    for source in sources("src") {
        let may = source.path.starts_with("src/engine/")
            || STARTERS.iter().any(|(path, _)| *path == source.path);
        let tests = source.is_tests_from();
        found.extend(
            source
                .code()
                .filter(|(number, line)| !may && *number < tests && starts(line))
                .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())),
        );
    }
    assert!(
        found.is_empty(),
        "processes are started outside of `engine`:{}",
        one_a_line(&found)
    );
    for (path, what) in STARTERS {
        let text = std::fs::read_to_string(top().join(path)).expect("the exception is there");
        assert!(text.lines().any(starts), "{path} no longer starts {what}");
    }
}

#[test]
fn decisions_and_renderings_do_not_touch_the_world() {
    let mut found = Vec::new();
    for folder in ["src/decide", "src/report"] {
        for source in sources(folder) {
            let tests = source.is_tests_from();
            for (number, line) in source.code().filter(|(number, _)| *number < tests) {
                for word in WORLDLY.iter().filter(|word| line.contains(**word)) {
                    found.push(format!("{}:{number}: `{word}`", source.path));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "pure code reaches out:{}",
        one_a_line(&found)
    );
}

#[test]
fn nothing_is_left_undone_and_no_lint_is_silenced() {
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches"] {
        if !Path::new(&top().join(folder)).exists() {
            continue;
        }
        for source in sources(folder) {
            for (index, line) in source.text.lines().enumerate() {
                for (word, instead) in NEVER.iter().filter(|(word, _)| line.contains(word)) {
                    let number = index + 1;
                    found.push(format!("{}:{number}: `{word}`: {instead}", source.path));
                }
            }
            for (number, line) in source.code() {
                let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
                if words.into_iter().any(|word| word == concat!("un", "safe")) {
                    found.push(format!("{}:{number}: no such block", source.path));
                }
            }
        }
    }
    assert!(found.is_empty(), "not so:{}", one_a_line(&found));
}

mod reading {
    //! The reading itself, tried on sources that are made up.

    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn of(source: &Source) -> Vec<(usize, String)> {
        imports(source)
            .into_iter()
            .map(|i| (i.line, i.of))
            .collect()
    }

    #[test]
    fn every_way_to_name_a_module_is_seen() {
        let text = "use crate::id::RunId;\nuse crate::{\n    clock,\n    plan::{Plan, text},\n};\n\
                    fn f() -> crate::run::Run {\n    // crate::web in a comment\n    my_crate::serve()\n}\n";
        let found = of(&source("src/decide/facts.rs", text));
        let named: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(named, ["id", "clock", "plan", "run"]);
        assert_eq!((found[0].0, found[3].0), (1, 6));
    }

    #[test]
    fn climbing_to_the_top_is_seen_and_climbing_within_a_module_is_none() {
        assert_eq!(
            of(&source("src/fleet.rs", "use super::web;\n")),
            [(1, "web".to_owned())]
        );
        assert_eq!(
            of(&source(
                "src/engine/error.rs",
                "use super::super::web::x;\n"
            )),
            [(1, "web".to_owned())]
        );
        assert!(of(&source("src/engine/error.rs", "use super::lines;\n")).is_empty());
        let inner =
            "mod tests {\n    use super::*;\n    use super::super::serve;\n}\nuse super::web;\n";
        assert_eq!(
            of(&source("src/fleet.rs", inner)),
            [(3, "serve".to_owned()), (5, "web".to_owned())]
        );
    }

    #[test]
    fn an_import_upwards_or_sideways_is_told_with_its_place_and_both_layers() {
        let layers = table(
            "## Layers\n\n| layer | module | knows |\n|---|---|---|\n| 1 | `watch`, `tell` | x |\n| 0 | `id` | `serve` |\n\n## Other\n| 9 | `web` | |\n",
        );
        assert_eq!(layers.len(), 3);
        let text = "use crate::id::A;\nuse crate::tell::B;\n";
        let found = breaches(&source("src/watch/mod.rs", text), &layers);
        assert_eq!(
            one_a_line(&found),
            "\n  src/watch/mod.rs:2: `watch` (layer 1) imports `tell` (layer 1)"
        );
        let found = breaches(&source("src/id.rs", text), &layers);
        assert_eq!(found.len(), 1, "{}", one_a_line(&found));
    }
}
