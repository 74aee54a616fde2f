//! A reader of tables that notes every mistake with its place, and goes on.
//!
//! A key is known once it was asked for, so that the list of known keys and the
//! code that reads them cannot differ.

use std::error::Error;
use std::num::NonZeroUsize;
use std::ops::Range;

use toml_edit::{Item, Table, TableLike, Value};

use super::problem::with_causes;
use super::settings_file::{SettingsFile, Spanned};

/// A table while it is read. [`TableReader::finish`] notes what nobody asked for.
pub(super) struct TableReader<'a> {
    file: &'a SettingsFile,
    table: &'a dyn TableLike,
    /// Where the table is, for people: `in [github]`.
    name: String,
    at: Option<Range<usize>>,
    known: Vec<&'static str>,
}

impl<'a> TableReader<'a> {
    /// The table at the top of a file.
    pub(super) fn top(file: &'a SettingsFile, table: &'a Table) -> Self {
        Self {
            file,
            table,
            name: "at the top of the file".to_owned(),
            at: None,
            known: Vec::new(),
        }
    }

    /// The file that the table stands in.
    pub(super) fn file(&self) -> &'a SettingsFile {
        self.file
    }

    /// The place of the table itself.
    pub(super) fn at(&self) -> Option<Range<usize>> {
        self.at.clone()
    }

    /// The place of a key, where it is given.
    pub(super) fn key_at(&self, key: &str) -> Option<Range<usize>> {
        self.table.key(key).and_then(|key| key.span())
    }

    /// Whether the key is given, rightly or wrongly; it counts as known.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.item(key).is_some()
    }

    /// Whether the key is given as a list of nothing.
    pub(super) fn is_empty_list(&mut self, key: &'static str) -> bool {
        let list = self.item(key).and_then(Item::as_array);
        list.is_some_and(|list| list.is_empty())
    }

    /// Whether the key is given as a text.
    pub(super) fn is_text(&mut self, key: &'static str) -> bool {
        self.item(key).is_some_and(Item::is_str)
    }

    /// Whether the key is given as a table.
    pub(super) fn is_table(&mut self, key: &'static str) -> bool {
        self.item(key).is_some_and(Item::is_table_like)
    }

    fn item(&mut self, key: &'static str) -> Option<&'a Item> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key).filter(|item| !item.is_none())
    }

    fn wrong_type(&self, key: &str, item: &Item, expected: &str) {
        self.file.error(
            item.span().or_else(|| self.key_at(key)),
            format!("`{key}`: expected {expected}, found {}", kind_of_item(item)),
            None,
        );
    }

    /// Notes that a key is missing, at the place of its table.
    pub(super) fn missing(&self, key: &str, hint: &str) {
        self.file.error(
            self.at(),
            format!("`{key}` is missing {}", self.name),
            Some(hint.to_owned()),
        );
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Spanned<&'a str>> {
        let item = self.item(key)?;
        match item.as_str() {
            Some(value) => Some(Spanned {
                value,
                at: item.span().or_else(|| self.key_at(key)),
            }),
            None => {
                self.wrong_type(key, item, "a text");
                None
            }
        }
    }

    /// A text that `parse` makes something of. Its error is noted with the key.
    pub(super) fn parsed<T, E: Error>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spanned<T>> {
        let Spanned { value, at } = self.text(key)?;
        match parse(value) {
            Ok(value) => Some(Spanned { value, at }),
            Err(error) => {
                self.file
                    .error(at, format!("`{key}`: {}", with_causes(&error)), None);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let item = self.item(key)?;
        let flag = item.as_bool();
        if flag.is_none() {
            self.wrong_type(key, item, "`true` or `false`");
        }
        flag
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<Spanned<T>> {
        let Spanned { value, at } = self.text(key)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == value) {
            return Some(Spanned { value: *choice, at });
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.file.error(
            at,
            format!("`{key}`: `{value}` is none of {}", listed(&words)),
            nearest(value, &words),
        );
        None
    }

    /// A list of texts. What in it is no text is noted and left out.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Spanned<&'a str>>> {
        let item = self.item(key)?;
        let Some(array) = item.as_array() else {
            self.wrong_type(key, item, "a list of texts");
            return None;
        };
        let texts = array.iter().filter_map(|value| match value.as_str() {
            Some(text) => Some(Spanned {
                value: text,
                at: value.span(),
            }),
            None => {
                self.file.error(
                    value.span(),
                    format!(
                        "`{key}`: expected a list of texts, found {} in it",
                        kind_of_value(value)
                    ),
                    None,
                );
                None
            }
        });
        Some(texts.collect())
    }

    /// A whole number from 1 to `most`.
    pub(super) fn count(&mut self, key: &'static str, most: u32) -> Option<NonZeroUsize> {
        let item = self.item(key)?;
        let Some(number) = item.as_integer() else {
            self.wrong_type(key, item, "a whole number");
            return None;
        };
        let count = usize::try_from(number)
            .ok()
            .filter(|n| u32::try_from(*n).is_ok_and(|n| n <= most))
            .and_then(NonZeroUsize::new);
        if count.is_none() {
            self.file.error(
                item.span(),
                format!("`{key}`: {number} is not between 1 and {most}"),
                None,
            );
        }
        count
    }

    /// A whole number from 1.
    pub(super) fn id(&mut self, key: &'static str) -> Option<u64> {
        let item = self.item(key)?;
        let Some(number) = item.as_integer() else {
            self.wrong_type(key, item, "a whole number");
            return None;
        };
        let id = u64::try_from(number).ok().filter(|id| *id > 0);
        if id.is_none() {
            self.file.error(
                item.span(),
                format!("`{key}`: {number} is not above 0"),
                None,
            );
        }
        id
    }

    /// A table.
    pub(super) fn table(&mut self, key: &'static str) -> Option<TableReader<'a>> {
        let item = self.item(key)?;
        match item.as_table_like() {
            Some(table) => Some(self.inner(
                table,
                format!("in `{key}`"),
                item.span().or_else(|| self.key_at(key)),
            )),
            None => {
                self.wrong_type(key, item, "a table");
                None
            }
        }
    }

    /// A table, or a text in its place.
    pub(super) fn text_or_table(&mut self, key: &'static str) -> Option<TextOrTable<'a>> {
        let item = self.item(key)?;
        if item.is_str() {
            self.text(key).map(TextOrTable::Text)
        } else if item.is_table_like() {
            self.table(key).map(TextOrTable::Table)
        } else {
            self.wrong_type(key, item, "a text or a table");
            None
        }
    }

    /// A list of tables: `[[key]]`, or a list of inline tables.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<TableReader<'a>> {
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        let name = format!("in this `{key}`");
        match item {
            Item::ArrayOfTables(tables) => tables
                .iter()
                .map(|table| self.inner(table, name.clone(), table.span()))
                .collect(),
            Item::Value(Value::Array(values)) => values
                .iter()
                .filter_map(|value| match value.as_inline_table() {
                    Some(table) => Some(self.inner(table, name.clone(), value.span())),
                    None => {
                        self.file.error(
                            value.span(),
                            format!(
                                "`{key}`: expected a list of tables, found {} in it",
                                kind_of_value(value)
                            ),
                            None,
                        );
                        None
                    }
                })
                .collect(),
            Item::Table(table) => {
                self.file.error(
                    item.span().or_else(|| self.key_at(key)),
                    format!("`{key}`: expected a list of tables, found one table"),
                    Some(format!("write `[[{key}]]`, with two brackets")),
                );
                // What it says is read all the same, for the mistakes in it.
                vec![self.inner(table, name, item.span())]
            }
            Item::None | Item::Value(_) => {
                self.wrong_type(key, item, "a list of tables");
                Vec::new()
            }
        }
    }

    fn inner(
        &self,
        table: &'a dyn TableLike,
        name: String,
        at: Option<Range<usize>>,
    ) -> TableReader<'a> {
        TableReader {
            file: self.file,
            table,
            name,
            at,
            known: Vec::new(),
        }
    }

    /// Notes each key that nobody asked for, with the nearest that is known.
    ///
    /// `explain` may say something better of a key than which one is near.
    pub(super) fn finish(self, explain: impl Fn(&str) -> Option<String>) {
        for (key, item) in self.table.iter() {
            if self.known.contains(&key) {
                continue;
            }
            let hint = explain(key)
                .or_else(|| nearest(key, &self.known))
                .unwrap_or_else(|| format!("the keys {} are {}", self.name, listed(&self.known)));
            self.file.error(
                self.key_at(key).or_else(|| item.span()),
                format!("unknown key `{key}`"),
                Some(hint),
            );
        }
    }
}

/// What [`TableReader::text_or_table`] found.
pub(super) enum TextOrTable<'a> {
    Text(Spanned<&'a str>),
    Table(TableReader<'a>),
}

/// `did you mean …?`, where one of `known` is near to what was given.
pub(super) fn nearest(given: &str, known: &[&str]) -> Option<String> {
    // Longer texts are no misspelling of anything here, and comparing costs their square.
    if given.len() > 100 {
        return None;
    }
    let folded = given.to_lowercase();
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&folded, word), word))
        .filter(|(distance, word)| *distance <= word.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| format!("did you mean `{word}`?"))
}

/// `` `a`, `b` and `c` ``.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

fn kind_of_item(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Value(value) => kind_of_value(value),
        Item::Table(_) => "a table",
        Item::ArrayOfTables(_) => "a list of tables",
    }
}

fn kind_of_value(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::InlineTable(_) => "a table",
    }
}
