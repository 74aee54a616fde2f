//! The readable difference of two values, in the form that Terraform's users know.
//!
//! Plan JSON has no schema, so a list of maps is shown as nested blocks, and a text
//! that is a JSON document as `jsonencode(…)`. What is the same is counted, not shown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::lines::{Group, Lines, hidden_text, shortened, text_lines};
use super::node::Node;
use super::pairs::{Pair, pairs};
use super::text::legible;
use super::wording::{Shape, UNKNOWN, Wording};
use super::{Line, Sign};
use crate::redact::Redactor;

/// Names are padded to the longest beside them, up to this many characters.
const PADDING: usize = 32;

/// These attributes are shown though they stay the same: they say which thing it is.
const IDENTIFIERS: [&str; 2] = ["id", "name"];

const FORCES: &str = " # forces replacement";

type Entries = BTreeMap<String, Node>;

/// What attributes are part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// A resource: identifiers are shown, lists of maps are blocks.
    Resource,
    /// A block in a resource.
    Block,
    /// A map or an object.
    Map,
}

/// What is compared.
pub(super) enum Compared {
    /// The attributes of something that is there before and after.
    Changed(Node, Node),
    /// Those of something that comes.
    Added(Node),
    /// Those of something that goes.
    Removed(Node),
    /// Those of something that leaves the state and stays as it is.
    Kept(Node),
}

/// The lines of a resource's attributes. `forcing` holds the paths that force a replacement.
pub(super) fn resource_lines(
    compared: Compared,
    forcing: &[Vec<Value>],
    redactor: &Redactor,
) -> Vec<Line> {
    let writer = Writer {
        wording: Wording::new(redactor),
    };
    let (before, after) = match compared {
        Compared::Changed(before, after) => (before.entries(), after.entries()),
        Compared::Added(after) => (Entries::new(), after.entries()),
        Compared::Removed(before) => (before.entries(), Entries::new()),
        Compared::Kept(node) => {
            let entries = node.entries();
            (entries.clone(), entries)
        }
    };
    let paths = Paths(forcing.iter().map(Vec::as_slice).collect());
    shortened(writer.attributes(0, &before, &after, &paths, Setting::Resource))
}

/// The lines of an output's change.
pub(super) fn output_lines(
    name: &str,
    before: &Node,
    after: &Node,
    redactor: &Redactor,
) -> Vec<Line> {
    let writer = Writer {
        wording: Wording::new(redactor),
    };
    let of = |node: &Node| Entries::from([(name.to_owned(), node.clone())]);
    shortened(writer.attributes(0, &of(before), &of(after), &Paths(Vec::new()), Setting::Map))
}

/// Which paths below here force a replacement.
struct Paths<'p>(Vec<&'p [Value]>);

impl<'p> Paths<'p> {
    fn under(&self, is_step: impl Fn(&Value) -> bool) -> Self {
        Self(
            self.0
                .iter()
                .filter_map(|path| path.split_first())
                .filter(|(step, _)| is_step(step))
                .map(|(_, rest)| rest)
                .collect(),
        )
    }

    fn key(&self, key: &str) -> Paths<'p> {
        self.under(|step| step.as_str() == Some(key))
    }

    fn index(&self, index: usize) -> Paths<'p> {
        self.under(|step| step.as_u64() == Some(index as u64))
    }

    fn suffix(&self) -> &'static str {
        if self.0.iter().any(|path| path.is_empty()) {
            FORCES
        } else {
            ""
        }
    }
}

struct Writer<'r> {
    wording: Wording<'r>,
}

impl Writer<'_> {
    /// The entries of two maps that differ, each as a group, and a count of those that do not.
    fn attributes(
        &self,
        depth: u8,
        before: &Entries,
        after: &Entries,
        paths: &Paths<'_>,
        setting: Setting,
    ) -> Vec<Group> {
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut shown = Vec::new();
        let mut blocks = Vec::new();
        let (mut hidden, mut hidden_blocks) = (0_usize, 0_usize);
        for key in keys {
            let (old, new) = (before.get(key), after.get(key));
            let is_block = setting != Setting::Map && is_block_list(old, new);
            let identifies = setting == Setting::Resource
                && IDENTIFIERS.contains(&key.as_str())
                && matches!(new, Some(Node::Text(_) | Node::Literal(_)));
            match (old == new, is_block) {
                (true, true) => hidden_blocks += 1,
                (true, false) if !identifies => hidden += 1,
                (false, true) => blocks.push((key, old, new)),
                _ => shown.push((key, old, new)),
            }
        }
        let width = shown
            .iter()
            .map(|(key, ..)| self.wording.key(key).chars().count())
            .max()
            .unwrap_or(0)
            .min(PADDING);
        let mut groups = Vec::new();
        for (key, old, new) in shown {
            let name = self.wording.key(key);
            let mut lines = Lines::new(depth);
            let prefix = format!("{name:<width$} = ");
            self.entry(&mut lines, &prefix, old, new, &paths.key(key));
            groups.push(Group {
                name,
                lines: lines.lines,
            });
        }
        if hidden > 0 {
            groups.push(Group::hidden(depth, hidden, "unchanged attribute"));
        }
        for (key, old, new) in blocks {
            let mut lines = Lines::new(depth);
            self.block_list(
                &mut lines,
                &self.wording.key(key),
                old,
                new,
                &paths.key(key),
            );
            groups.push(Group {
                name: self.wording.key(key),
                lines: lines.lines,
            });
        }
        if hidden_blocks > 0 {
            groups.push(Group::hidden(depth, hidden_blocks, "unchanged block"));
        }
        groups
    }

    /// One entry of a map, `prefix` being its name with ` = `.
    fn entry(
        &self,
        lines: &mut Lines,
        prefix: &str,
        old: Option<&Node>,
        new: Option<&Node>,
        paths: &Paths<'_>,
    ) {
        match (old, new) {
            (Some(old), Some(new)) if old == new => self.whole(lines, Sign::Same, prefix, old, ""),
            (Some(old), Some(new)) => self.change(lines, prefix, old, new, paths),
            (None, Some(new)) => self.whole(lines, Sign::Add, prefix, new, paths.suffix()),
            (Some(old), None) => {
                let suffix = format!(" -> null{}", paths.suffix());
                self.whole(lines, Sign::Remove, prefix, old, &suffix);
            }
            (None, None) => {}
        }
    }

    /// A value that comes, goes or stays as a whole.
    fn whole(&self, lines: &mut Lines, sign: Sign, prefix: &str, node: &Node, suffix: &str) {
        match node {
            Node::List(items) if !items.is_empty() => {
                lines.push(sign, format!("{prefix}["));
                lines.nested(|lines| {
                    for item in items {
                        self.whole(lines, sign, "", item, ",");
                    }
                });
                lines.push(sign, format!("]{suffix}"));
            }
            Node::Map(entries) if !entries.is_empty() => {
                lines.push(sign, format!("{prefix}{{"));
                lines.nested(|lines| self.whole_entries(lines, sign, entries, false));
                lines.push(sign, format!("}}{suffix}"));
            }
            Node::Text(text) => match self.wording.shape(text, lines.depth) {
                Shape::Quoted(text) => lines.push(sign, format!("{prefix}{text}{suffix}")),
                Shape::Lines(text) => {
                    lines.push(sign, format!("{prefix}<<-EOT"));
                    lines.nested(|lines| text.iter().for_each(|l| lines.push(sign, legible(l))));
                    lines.push(sign, format!("EOT{suffix}"));
                }
                Shape::Document(node) => {
                    lines.push(sign, format!("{prefix}jsonencode("));
                    lines.nested(|lines| self.whole(lines, sign, "", &node, ""));
                    lines.push(sign, format!("){suffix}"));
                }
            },
            scalar => lines.push(
                sign,
                format!("{prefix}{}{suffix}", self.wording.scalar(scalar)),
            ),
        }
    }

    fn whole_entries(&self, lines: &mut Lines, sign: Sign, entries: &Entries, blocks: bool) {
        let width = entries
            .keys()
            .map(|key| self.wording.key(key).chars().count())
            .max()
            .unwrap_or(0)
            .min(PADDING);
        // What a map loses with the map needs no arrow of its own.
        let ending = if blocks && sign == Sign::Remove {
            " -> null"
        } else {
            ""
        };
        for (key, node) in entries {
            match node.as_blocks() {
                Some(items) if blocks => {
                    for item in items {
                        self.whole_block(lines, sign, &self.wording.key(key), item, "");
                    }
                }
                _ => {
                    let prefix = format!("{:<width$} = ", self.wording.key(key));
                    self.whole(lines, sign, &prefix, node, ending);
                }
            }
        }
    }

    /// A value that becomes another one.
    fn change(&self, lines: &mut Lines, prefix: &str, old: &Node, new: &Node, paths: &Paths<'_>) {
        let suffix = paths.suffix();
        match (old, new) {
            (Node::List(old), Node::List(new)) => {
                lines.push(Sign::Change, format!("{prefix}[{suffix}"));
                lines.nested(|lines| self.items(lines, old, new, paths));
                lines.push(Sign::Same, "]");
            }
            (Node::Map(old), Node::Map(new)) => {
                lines.push(Sign::Change, format!("{prefix}{{{suffix}"));
                lines.groups(|depth| self.attributes(depth, old, new, paths, Setting::Map));
                lines.push(Sign::Same, "}");
            }
            (Node::Text(old), Node::Text(new)) => self.texts(lines, prefix, old, new, suffix),
            (old, Node::Unknown) => {
                self.whole_then(lines, prefix, old, &format!(" -> {UNKNOWN}{suffix}"));
            }
            (old, new) if is_scalar(old) && is_scalar(new) => {
                lines.push(
                    Sign::Change,
                    format!("{prefix}{}{suffix}", self.wording.arrow(old, new)),
                );
            }
            (old, new) => {
                self.whole(lines, Sign::Remove, prefix, old, "");
                self.whole(lines, Sign::Add, prefix, new, suffix);
            }
        }
    }

    /// A value that goes, in a line or lines that say what comes for it.
    fn whole_then(&self, lines: &mut Lines, prefix: &str, old: &Node, then: &str) {
        let start = lines.lines.len();
        self.whole(lines, Sign::Remove, prefix, old, then);
        if let Some(first) = lines.lines.get_mut(start) {
            first.sign = Sign::Change;
        }
    }

    fn texts(&self, lines: &mut Lines, prefix: &str, old: &str, new: &str, suffix: &str) {
        match (
            self.wording.shape(old, lines.depth),
            self.wording.shape(new, lines.depth),
        ) {
            (Shape::Document(old), Shape::Document(new)) if old != new => {
                lines.push(Sign::Change, format!("{prefix}jsonencode({suffix}"));
                lines.nested(|lines| self.change(lines, "", &old, &new, &Paths(Vec::new())));
                lines.push(Sign::Same, ")");
            }
            (Shape::Lines(old), Shape::Lines(new)) if old != new => {
                lines.push(Sign::Change, format!("{prefix}<<-EOT{suffix}"));
                lines.nested(|lines| text_lines(lines, &old, &new));
                lines.push(Sign::Same, "EOT");
            }
            (Shape::Lines(_), _) | (_, Shape::Lines(_)) if !self.wording.look_alike(old, new) => {
                // A text of one line against one of several: as two texts of several.
                let split = |text: &str| self.wording.split(text);
                lines.push(Sign::Change, format!("{prefix}<<-EOT{suffix}"));
                lines.nested(|lines| text_lines(lines, &split(old), &split(new)));
                lines.push(Sign::Same, "EOT");
            }
            _ => {
                let (old, new) = (Node::Text(old.to_owned()), Node::Text(new.to_owned()));
                lines.push(
                    Sign::Change,
                    format!("{prefix}{}{suffix}", self.wording.arrow(&old, &new)),
                );
            }
        }
    }

    /// The change of a list.
    fn items(&self, lines: &mut Lines, old: &[Node], new: &[Node], paths: &Paths<'_>) {
        let mut same = 0;
        for pair in pairs(old, new) {
            match pair {
                Pair::Same => same += 1,
                Pair::Changed(i, j) => self.change(lines, "", &old[i], &new[j], &paths.index(j)),
                Pair::Removed(i) => self.whole(lines, Sign::Remove, "", &old[i], ","),
                Pair::Added(j) => self.whole(lines, Sign::Add, "", &new[j], ","),
            }
        }
        if same > 0 {
            lines.push(Sign::Same, hidden_text(same, "unchanged element"));
        }
    }

    /// The change of a list of blocks.
    fn block_list(
        &self,
        lines: &mut Lines,
        name: &str,
        old: Option<&Node>,
        new: Option<&Node>,
        paths: &Paths<'_>,
    ) {
        let items = |node: Option<&Node>| {
            node.and_then(Node::as_blocks)
                .map(<[Node]>::to_vec)
                .unwrap_or_default()
        };
        let (old, new) = (items(old), items(new));
        let mut same = 0;
        for pair in pairs(&old, &new) {
            match pair {
                Pair::Same => same += 1,
                Pair::Changed(i, j) => {
                    let paths = paths.index(j);
                    let (old, new) = (old[i].clone().entries(), new[j].clone().entries());
                    lines.push(Sign::Change, format!("{name} {{{}", paths.suffix()));
                    lines
                        .groups(|depth| self.attributes(depth, &old, &new, &paths, Setting::Block));
                    lines.push(Sign::Same, "}");
                }
                Pair::Removed(i) => {
                    self.whole_block(lines, Sign::Remove, name, &old[i], paths.suffix());
                }
                Pair::Added(j) => {
                    self.whole_block(lines, Sign::Add, name, &new[j], paths.suffix());
                }
            }
        }
        if same > 0 {
            lines.push(
                Sign::Same,
                hidden_text(same, &format!("unchanged `{name}` block")),
            );
        }
    }

    fn whole_block(&self, lines: &mut Lines, sign: Sign, name: &str, node: &Node, suffix: &str) {
        let entries = node.clone().entries();
        lines.push(sign, format!("{name} {{{suffix}"));
        lines.nested(|lines| self.whole_entries(lines, sign, &entries, true));
        lines.push(sign, "}");
    }
}

/// Whether what is compared is shown as blocks: lists of maps, or such a list against nothing.
fn is_block_list(old: Option<&Node>, new: Option<&Node>) -> bool {
    let may_be = |node: Option<&Node>| match node {
        None => true,
        Some(Node::List(items)) if items.is_empty() => true,
        Some(node) => node.as_blocks().is_some(),
    };
    let is = |node: Option<&Node>| node.is_some_and(|node| node.as_blocks().is_some());
    may_be(old) && may_be(new) && (is(old) || is(new))
}

fn is_scalar(node: &Node) -> bool {
    match node {
        Node::List(items) => items.is_empty(),
        Node::Map(entries) => entries.is_empty(),
        _ => true,
    }
}
