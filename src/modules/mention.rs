//! Paths that expressions spell out.

use std::collections::BTreeSet;

use hcl_edit::expr::{Expression, FuncCall, TraversalOperator};
use hcl_edit::template::{Element, Template};
use hcl_edit::visit::{Visit, visit_expr, visit_func_call, visit_template};

/// Terraform's functions whose first argument is the path of a file.
///
/// See the filesystem and hash functions of the language's documentation.
const FILE_FUNCTIONS: [&str; 10] = [
    "file",
    "fileexists",
    "filebase64",
    "filemd5",
    "filesha1",
    "filesha256",
    "filesha512",
    "filebase64sha256",
    "filebase64sha512",
    "templatefile",
];

/// A path that an expression spells out, as far as it does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mention {
    /// The folder that the path is relative to.
    pub(super) anchor: Anchor,
    /// The path, or what of it is literal.
    pub(super) path: String,
}

/// The folder that a path is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Anchor {
    /// The folder of the module that has the expression: `path.module`.
    Module,
    /// The folder of the root module, which is also where Terraform runs:
    /// `path.root`, `path.cwd` and every relative path.
    Root,
}

/// Collects the [`Mention`]s of what it visits.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    /// What was found so far.
    pub(super) found: BTreeSet<Mention>,
}

impl Mentions {
    /// Notes the folder that holds whatever a half-literal path may name.
    fn folder(&mut self, anchor: Anchor, literal: &str) {
        let path = literal
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned();
        self.found.insert(Mention { anchor, path });
    }

    /// Notes a path that begins with one of the `path.…` values, or (where the
    /// whole is known to be a path) with literal text.
    fn template(&mut self, elements: &[&Element], use_as: Use) {
        let (anchor, rest) = match elements.split_first() {
            Some((Element::Interpolation(first), rest)) => match path_value(&first.expr) {
                Some(anchor) => (anchor, rest),
                None => return,
            },
            Some(_) if use_as == Use::Path => (Anchor::Root, elements),
            _ => return,
        };
        // `${path.module}/x` goes on with a slash, which would make the rest absolute.
        let literal: String = rest
            .iter()
            .map_while(|element| element.as_literal().map(|l| l.as_str()))
            .collect();
        let literal = match (anchor, rest.len() == elements.len()) {
            (Anchor::Root, true) => literal.as_str(),
            _ => literal.trim_start_matches('/'),
        };
        if rest.iter().all(|element| element.is_literal()) {
            self.found.insert(Mention {
                anchor,
                path: literal.to_owned(),
            });
        } else {
            self.folder(anchor, literal);
        }
    }

    /// Notes the path that an argument is.
    fn argument(&mut self, argument: &Expression) {
        match argument {
            Expression::Parenthesis(inner) => self.argument(inner.inner()),
            Expression::String(text) => {
                let path = text.as_str().to_owned();
                self.found.insert(Mention {
                    anchor: Anchor::Root,
                    path,
                });
            }
            Expression::StringTemplate(template) => {
                self.template(&template.iter().collect::<Vec<_>>(), Use::Path);
            }
            _ => {}
        }
    }

    /// Notes the folders that `fileset(path, pattern)` looks into.
    fn fileset(&mut self, path: &Expression, pattern: Option<&Expression>) {
        let mut inner = Self::default();
        inner.argument(path);
        let pattern = match pattern {
            Some(Expression::String(text)) => text.as_str(),
            _ => "",
        };
        // A pattern looks below its folder, unless it climbs.
        let literal = pattern
            .split(['*', '?', '[', '{'])
            .next()
            .unwrap_or_default();
        let climbs = literal
            .rsplit_once('/')
            .filter(|_| literal.starts_with(".."));
        for mention in inner.found {
            if let Some((folder, _)) = climbs {
                let path = if mention.path.is_empty() {
                    folder.to_owned()
                } else {
                    format!("{}/{folder}", mention.path)
                };
                self.found.insert(Mention {
                    anchor: mention.anchor,
                    path,
                });
            }
            self.found.insert(mention);
        }
    }
}

/// Whether a template is known to be a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Path,
    Text,
}

impl Visit for Mentions {
    fn visit_func_call(&mut self, call: &FuncCall) {
        let name = call.name.name.as_str();
        let core = match call.name.namespace.first() {
            None => true,
            Some(namespace) => namespace.as_str() == "core",
        };
        let arguments: Vec<&Expression> = call.args.iter().collect();
        match arguments.as_slice() {
            [path, rest @ ..] if core && name == "fileset" => {
                self.fileset(path, rest.first().copied());
            }
            [path, ..] if core && FILE_FUNCTIONS.contains(&name) => self.argument(path),
            _ => {}
        }
        visit_func_call(self, call);
    }

    fn visit_expr(&mut self, expression: &Expression) {
        if let Expression::StringTemplate(template) = expression {
            self.template(&template.iter().collect::<Vec<_>>(), Use::Text);
        }
        visit_expr(self, expression);
    }

    fn visit_template(&mut self, template: &Template) {
        self.template(&template.iter().collect::<Vec<_>>(), Use::Text);
        visit_template(self, template);
    }
}

/// The folder that `path.module`, `path.root` or `path.cwd` stands for.
fn path_value(expression: &Expression) -> Option<Anchor> {
    let Expression::Traversal(traversal) = expression else {
        return None;
    };
    let Expression::Variable(variable) = &traversal.expr else {
        return None;
    };
    let [operator] = traversal.operators.as_slice() else {
        return None;
    };
    let TraversalOperator::GetAttr(name) = operator.value() else {
        return None;
    };
    match (variable.as_str(), name.as_str()) {
        ("path", "module") => Some(Anchor::Module),
        ("path", "root" | "cwd") => Some(Anchor::Root),
        _ => None,
    }
}

/// What of a literal `source` with interpolations is known: the folder of modules it chooses from.
pub(super) fn chosen_folder(source: &Expression) -> Option<Mention> {
    let Expression::StringTemplate(template) = source else {
        return None;
    };
    let literal: String = template
        .iter()
        .map_while(|element| element.as_literal().map(|l| l.as_str()))
        .collect();
    let (folder, _) = literal.rsplit_once('/')?;
    (folder.starts_with('.')).then(|| Mention {
        anchor: Anchor::Module,
        path: folder.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(expression: &str) -> Vec<(Anchor, String)> {
        let mut mentions = Mentions::default();
        mentions.visit_expr(&expression.parse().unwrap());
        mentions
            .found
            .into_iter()
            .map(|m| (m.anchor, m.path))
            .collect()
    }

    #[test]
    fn a_literal_argument_is_relative_to_the_root() {
        for call in [
            "file",
            "filebase64",
            "filesha256",
            "filemd5",
            "templatefile",
        ] {
            assert_eq!(
                found(&format!(r#"upper({call}("../x.txt"))"#)),
                [(Anchor::Root, "../x.txt".to_owned())],
                "{call}"
            );
        }
        assert_eq!(found(r#"upper("../x.txt")"#), []);
    }

    #[test]
    fn a_path_value_says_what_a_path_is_relative_to() {
        assert_eq!(
            found(r#"file("${path.module}/a.txt")"#),
            [(Anchor::Module, "a.txt".to_owned())]
        );
        assert_eq!(
            found(r#"[for x in [1] : yamldecode(file("${path.root}/../a.yaml"))]"#),
            [(Anchor::Root, "../a.yaml".to_owned())]
        );
    }

    #[test]
    fn a_path_that_no_function_reads_counts_where_a_path_value_begins_it() {
        assert_eq!(
            found(r#"{ source_dir = "${path.module}/../lambda" }"#),
            [(Anchor::Module, "../lambda".to_owned())]
        );
    }

    #[test]
    fn of_a_path_with_other_interpolations_the_literal_folder_counts() {
        assert_eq!(
            found(r#"file("${path.module}/../env/${var.env}.yaml")"#),
            [(Anchor::Module, "../env".to_owned())]
        );
        assert_eq!(
            found(r#"file("../env/prefix-${var.env}/x")"#),
            [(Anchor::Root, "../env".to_owned())]
        );
        assert_eq!(found(r#"file("${var.dir}/x")"#), []);
    }

    #[test]
    fn a_fileset_names_the_folder_below_which_it_looks() {
        assert_eq!(
            found(r#"fileset("${path.module}/../files", "sub/**/*.json")"#),
            [(Anchor::Module, "../files".to_owned())]
        );
        assert_eq!(
            found(r#"fileset("${path.module}", "../f/*")"#),
            [
                (Anchor::Module, String::new()),
                (Anchor::Module, "../f".to_owned())
            ]
        );
        assert_eq!(
            found(r#"fileset("../f", "*")"#),
            [(Anchor::Root, "../f".to_owned())]
        );
    }

    #[test]
    fn a_module_chosen_by_a_variable_names_the_folder_of_modules() {
        let source = r#""../modules/${var.kind}""#.parse().unwrap();
        assert_eq!(
            chosen_folder(&source),
            Some(Mention {
                anchor: Anchor::Module,
                path: "../modules".to_owned()
            })
        );
        assert_eq!(chosen_folder(&r#""${var.kind}/x""#.parse().unwrap()), None);
    }
}
