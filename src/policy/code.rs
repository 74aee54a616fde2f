//! The text of a Rego file, as far as it is looked at without a parser: its code apart from
//! comments and strings, the calls in it, its imports, its annotations' places.

/// A text with what stands in comments and strings blanked out, byte for byte in its place.
pub(super) struct Code {
    text: String,
    blanked: String,
}

/// A function that is called.
pub(super) struct Call<'c> {
    /// Its name as it is written: `sprintf`, `net.cidr_contains`, `data.lib.plan.created`.
    pub(super) name: &'c str,
    /// Where its opening parenthesis is, in bytes.
    pub(super) at: usize,
    /// The line, from 1.
    pub(super) line: usize,
}

impl Code {
    pub(super) fn new(text: &str) -> Self {
        Self {
            blanked: blanked(text),
            text: text.to_owned(),
        }
    }

    /// The code alone: comments and the insides of strings are spaces.
    pub(super) fn blanked(&self) -> &str {
        &self.blanked
    }

    /// The line of a byte, from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.blanked.as_bytes()[..at]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1
    }

    /// The first line that a word stands on as a word of its own, from 1.
    pub(super) fn line_with(&self, word: &str) -> Option<usize> {
        self.blanked
            .lines()
            .position(|line| words(line).any(|w| w == word))
            .map(|at| at + 1)
    }

    /// Every name in the code, once for each place.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        words(&self.blanked)
    }

    /// The functions that are called, or declared: a name right before a parenthesis.
    pub(super) fn calls(&self) -> impl Iterator<Item = Call<'_>> {
        self.blanked
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'(')
            .filter_map(|(at, _)| {
                let before = &self.blanked[..at];
                let start = before
                    .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
                    .map_or(0, |i| {
                        i + before[i..].chars().next().map_or(1, char::len_utf8)
                    });
                let name = before[start..].trim_start_matches('.');
                (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then(|| {
                    Call {
                        name,
                        at,
                        line: self.line_of(at),
                    }
                })
            })
    }

    /// The `import`s as alias and full path: (`plan`, `data.lib.plan`).
    pub(super) fn imports(&self) -> impl Iterator<Item = (&str, &str)> {
        self.blanked.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            if words.next() != Some("import") {
                return None;
            }
            let path = words.next()?;
            match (words.next(), words.next()) {
                (Some("as"), Some(alias)) => Some((alias, path)),
                _ => Some((path.rsplit('.').next()?, path)),
            }
        })
    }

    /// The text of the string that begins right after `at`, spaces aside, if one does.
    pub(super) fn string_after(&self, at: usize) -> Option<&str> {
        let rest = self.text.get(at + 1..)?.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '`'))?;
        let inside = &rest[1..];
        let mut escaped = false;
        for (i, c) in inside.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quote == '"' => escaped = true,
                c if c == quote => return Some(&inside[..i]),
                _ => {}
            }
        }
        None
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// Blanks comments and the insides of strings; line breaks stay.
fn blanked(text: &str) -> String {
    enum At {
        Code,
        Comment,
        Quoted { escaped: bool },
        Raw,
    }
    let mut at = At::Code;
    let mut out = String::with_capacity(text.len());
    let hide = |out: &mut String, c: char| {
        if c == '\n' {
            out.push('\n');
        } else {
            out.extend(std::iter::repeat_n(' ', c.len_utf8()));
        }
    };
    for c in text.chars() {
        at = match (at, c) {
            (At::Code, '#') => {
                hide(&mut out, c);
                At::Comment
            }
            (At::Code, '"') => {
                out.push(c);
                At::Quoted { escaped: false }
            }
            (At::Code, '`') => {
                out.push(c);
                At::Raw
            }
            (At::Code, c) => {
                out.push(c);
                At::Code
            }
            (At::Comment, '\n') => {
                out.push(c);
                At::Code
            }
            (At::Quoted { escaped: false }, '"') | (At::Raw, '`') => {
                out.push(c);
                At::Code
            }
            // A string of this kind ends with its line at the latest.
            (At::Quoted { .. }, '\n') => {
                out.push(c);
                At::Code
            }
            (At::Quoted { escaped }, c) => {
                hide(&mut out, c);
                At::Quoted {
                    escaped: !escaped && c == '\\',
                }
            }
            (state @ (At::Comment | At::Raw), c) => {
                hide(&mut out, c);
                state
            }
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        let code = Code::new("a(1) # b(2)\nx := \"c(3) \\\" d(4)\" e.f(5) `g(6)`\n");
        let names: Vec<_> = code.calls().map(|c| (c.name, c.line)).collect();
        assert_eq!(names, [("a", 1), ("e.f", 2)]);
    }

    #[test]
    fn imports_have_an_alias() {
        let code = Code::new("import rego.v1\nimport data.lib.plan\nimport data.lib.text as t\n");
        let imports: Vec<_> = code.imports().collect();
        assert_eq!(
            imports,
            [
                ("v1", "rego.v1"),
                ("plan", "data.lib.plan"),
                ("t", "data.lib.text")
            ]
        );
    }

    #[test]
    fn the_string_of_a_call_is_found() {
        let code = Code::new("sprintf( \"%s \\\"and %t\", [x])");
        let call = code.calls().next().unwrap();
        assert_eq!(code.string_after(call.at), Some("%s \\\"and %t"));
    }

    proptest::proptest! {
        #[test]
        fn blanking_keeps_every_place(text in "(?s).{0,200}") {
            let code = Code::new(&text);
            assert_eq!(code.blanked().len(), text.len());
            for call in code.calls() {
                let _ = code.string_after(call.at);
            }
        }
    }
}
