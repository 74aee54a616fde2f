//! Lists, page by page.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::super::syntax::FieldNode;
use super::{Execution, Node, no_resolver};

/// A list shows this many at most.
const PAGE_LIMIT: i64 = 100;

impl<'a> Execution<'a> {
    /// One page of a list. A cursor names the last thing that was shown, so that
    /// what moved behind it meanwhile is not shown again, as at GitHub.
    pub(super) fn connection(
        &mut self,
        kind: &str,
        nodes: Vec<Node<'_>>,
        cursors: Vec<String>,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        let name = &field.name;
        let selections = field.selections.as_deref().unwrap_or_default();
        let lists = self
            .collect(selections, None)
            .iter()
            .any(|field| ["nodes", "edges", "pageInfo"].contains(&field.name.as_str()));
        let (first, last) = (self.argument(field, "first"), self.argument(field, "last"));
        if lists && first.is_null() && last.is_null() {
            let message = format!(
                "You must provide a `first` or `last` value to properly paginate the `{name}` connection."
            );
            return self.fail("MISSING_PAGINATION_BOUNDARIES", field, path, message);
        }
        for (which, value) in [("first", &first), ("last", &last)] {
            if let Some(size) = value.as_i64().filter(|size| *size > PAGE_LIMIT) {
                let message = format!(
                    "Requesting {size} records on the `{name}` connection exceeds the `{which}` limit of {PAGE_LIMIT} records."
                );
                return self.fail("EXCESSIVE_PAGINATION", field, path, message);
            }
        }
        let position = |which: &str| {
            let wanted = self.argument(field, which);
            wanted
                .as_str()
                .map(|wanted| cursors.iter().position(|cursor| cursor == wanted))
        };
        let start = match position("after") {
            Some(Some(at)) => at + 1,
            Some(None) => match self.after_lost(field, &cursors) {
                Some(at) => at,
                None => {
                    let given = self.argument(field, "after");
                    let message = format!("{given} does not appear to be a valid cursor.");
                    return self.fail("INVALID_CURSOR_ARGUMENTS", field, path, message);
                }
            },
            None => 0,
        };
        let end = position("before")
            .flatten()
            .unwrap_or(nodes.len())
            .max(start);
        let size = |value: &Value| value.as_u64().and_then(|size| usize::try_from(size).ok());
        let end_of_first = size(&first).map_or(end, |size| end.min(start + size));
        let start = match (size(&first), size(&last)) {
            (None, Some(size)) => end_of_first.saturating_sub(size).max(start),
            _ => start,
        };
        let shown = start..end_of_first;
        let mut object = Map::new();
        for wanted in self.collect(selections, None) {
            let path: Vec<String> = path
                .iter()
                .cloned()
                .chain([wanted.key().to_owned()])
                .collect();
            let value = match wanted.name.as_str() {
                "__typename" => format!("{kind}Connection").into(),
                "totalCount" => nodes.len().into(),
                "pageInfo" => page_info(
                    self.collect(wanted.selections.as_deref().unwrap_or_default(), None),
                    &cursors,
                    &shown,
                ),
                "nodes" => {
                    let mut values = Vec::new();
                    for at in shown.clone() {
                        values.push(self.below(
                            nodes[at],
                            kind,
                            wanted,
                            &indexed(&path, at - shown.start),
                        ));
                    }
                    values.into()
                }
                "edges" => {
                    let mut values = Vec::new();
                    for at in shown.clone() {
                        let path = indexed(&path, at - shown.start);
                        values.push(self.edge(kind, nodes[at], &cursors[at], wanted, &path));
                    }
                    values.into()
                }
                other => no_resolver("Connection", other),
            };
            object.insert(wanted.key().to_owned(), value);
        }
        Value::Object(object)
    }

    fn edge(
        &mut self,
        kind: &str,
        node: Node<'_>,
        at: &str,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        let mut object = Map::new();
        for wanted in self.collect(field.selections.as_deref().unwrap_or_default(), None) {
            let value = match wanted.name.as_str() {
                "__typename" => format!("{kind}Edge").into(),
                "cursor" => at.into(),
                "node" => self.below(node, kind, wanted, path),
                other => no_resolver("Edge", other),
            };
            object.insert(wanted.key().to_owned(), value);
        }
        Value::Object(object)
    }

    /// Where a list goes on after a thing that is no longer in it, or has moved.
    fn after_lost(&self, field: &FieldNode, cursors: &[String]) -> Option<usize> {
        let lost = cursor_key(self.argument(field, "after").as_str()?)?;
        let order = self.argument(field, "orderBy");
        let passed = |key: (i64, u64)| {
            if order["direction"] == "DESC" {
                key < lost
            } else {
                key > lost
            }
        };
        let next = cursors
            .iter()
            .position(|cursor| cursor_key(cursor).is_some_and(passed));
        Some(next.unwrap_or(cursors.len()))
    }
}

fn page_info(fields: Vec<&FieldNode>, cursors: &[String], shown: &std::ops::Range<usize>) -> Value {
    let at = |index: Option<usize>| index.and_then(|index| cursors.get(index)).cloned();
    let is_empty = shown.is_empty();
    let mut object = Map::new();
    for field in fields {
        let value = match field.name.as_str() {
            "__typename" => "PageInfo".into(),
            "hasNextPage" => (shown.end < cursors.len()).into(),
            "hasPreviousPage" => (shown.start > 0).into(),
            "startCursor" => at((!is_empty).then_some(shown.start)).into(),
            "endCursor" => at((!is_empty).then(|| shown.end - 1)).into(),
            other => no_resolver("PageInfo", other),
        };
        object.insert(field.key().to_owned(), value);
    }
    Value::Object(object)
}

pub(super) fn cursor((key, id): (i64, u64)) -> String {
    BASE64_STANDARD.encode(format!("cursor:v2:{key}:{id}"))
}

fn cursor_key(cursor: &str) -> Option<(i64, u64)> {
    let text = String::from_utf8(BASE64_STANDARD.decode(cursor).ok()?).ok()?;
    let (key, id) = text.strip_prefix("cursor:v2:")?.split_once(':')?;
    Some((key.parse().ok()?, id.parse().ok()?))
}

fn indexed(path: &[String], at: usize) -> Vec<String> {
    path.iter().cloned().chain([at.to_string()]).collect()
}
