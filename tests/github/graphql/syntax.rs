//! The syntax of GraphQL: queries, and the few definitions that a schema needs.

mod tokens;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokens::{Token, tokens};

/// Where something stands in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    pub(super) fn json(self) -> Value {
        json!([{ "line": self.line, "column": self.column }])
    }
}

/// A document that is no GraphQL.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) at: Position,
}

/// A value as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Variable(String),
    Enum(String),
    /// A number, text, boolean or null.
    Plain(Value),
    List(Vec<Literal>),
    Object(BTreeMap<String, Literal>),
}

/// A type as it is written, such as `[String!]!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TypeRef {
    Named(String),
    List(Box<TypeRef>),
    NonNull(Box<TypeRef>),
}

impl TypeRef {
    /// The name within the brackets.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::List(inner) | Self::NonNull(inner) => inner.name(),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::List(inner) => format!("[{}]", inner.text()),
            Self::NonNull(inner) => format!("{}!", inner.text()),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct FieldNode {
    pub(super) alias: Option<String>,
    pub(super) name: String,
    pub(super) arguments: BTreeMap<String, Literal>,
    pub(super) directives: Vec<Directive>,
    pub(super) selections: Option<Vec<Selection>>,
    pub(super) at: Position,
}

impl FieldNode {
    /// The name that the answer has it under.
    pub(super) fn key(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.name)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) arguments: BTreeMap<String, Literal>,
}

#[derive(Debug, Clone)]
pub(super) enum Selection {
    Field(FieldNode),
    Inline {
        on: Option<String>,
        directives: Vec<Directive>,
        selections: Vec<Selection>,
        at: Position,
    },
    Spread {
        name: String,
        directives: Vec<Directive>,
        at: Position,
    },
}

#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) kind: TypeRef,
    pub(super) default: Option<Literal>,
    pub(super) at: Position,
}

#[derive(Debug)]
pub(super) struct Operation {
    /// `query`, `mutation` or `subscription`.
    pub(super) kind: String,
    pub(super) name: Option<String>,
    pub(super) variables: Vec<Variable>,
    pub(super) selections: Vec<Selection>,
}

#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) on: String,
    pub(super) selections: Vec<Selection>,
}

#[derive(Debug)]
pub(super) struct Document {
    pub(super) operations: Vec<Operation>,
    pub(super) fragments: BTreeMap<String, Fragment>,
}

/// A field of a type in a schema.
#[derive(Debug)]
pub(super) struct FieldDefinition {
    pub(super) kind: TypeRef,
    pub(super) arguments: BTreeMap<String, TypeRef>,
}

/// A definition in a schema.
#[derive(Debug)]
pub(super) enum Definition {
    /// An object or an interface.
    Object(BTreeMap<String, FieldDefinition>),
    Input(BTreeMap<String, TypeRef>),
    Enum(Vec<String>),
}

/// Reads a query.
pub(super) fn parse_document(text: &str) -> Result<Document, SyntaxError> {
    let mut parser = Parser::new(text)?;
    let mut document = Document {
        operations: Vec::new(),
        fragments: BTreeMap::new(),
    };
    while *parser.token() != Token::End {
        if parser.takes_name("fragment") {
            let name = parser.name()?;
            parser.expect_name("on")?;
            let on = parser.name()?;
            let selections = parser.selections()?;
            document.fragments.insert(name, Fragment { on, selections });
        } else {
            document.operations.push(parser.operation()?);
        }
    }
    if document.operations.is_empty() {
        return Err(SyntaxError {
            message: "Unexpected end of document".to_owned(),
            at: parser.at(),
        });
    }
    Ok(document)
}

/// Reads a schema.
pub(super) fn parse_schema(text: &str) -> Result<BTreeMap<String, Definition>, SyntaxError> {
    let mut parser = Parser::new(text)?;
    let mut schema = BTreeMap::new();
    while *parser.token() != Token::End {
        let keyword = parser.name()?;
        let name = parser.name()?;
        parser.expect("{")?;
        let definition = match keyword.as_str() {
            "enum" => {
                let mut values = Vec::new();
                while !parser.takes("}") {
                    values.push(parser.name()?);
                }
                Definition::Enum(values)
            }
            "input" => {
                let mut fields = BTreeMap::new();
                while !parser.takes("}") {
                    let (name, kind) = parser.typed_name()?;
                    fields.insert(name, kind);
                }
                Definition::Input(fields)
            }
            _ => Definition::Object(parser.field_definitions()?),
        };
        schema.insert(name, definition);
    }
    Ok(schema)
}

struct Parser {
    tokens: Vec<(Token, Position)>,
    next: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self, SyntaxError> {
        Ok(Self {
            tokens: tokens(text)?,
            next: 0,
        })
    }

    fn token(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn at(&self) -> Position {
        self.tokens[self.next].1
    }

    fn step(&mut self) -> Token {
        let token = self.token().clone();
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
        token
    }

    fn unexpected<T>(&self) -> Result<T, SyntaxError> {
        let at = self.at();
        let message = match self.token() {
            Token::End => "Unexpected end of document".to_owned(),
            Token::Name(text) => format!("Parse error on \"{text}\" (IDENTIFIER)"),
            Token::Number(text) => format!("Parse error on \"{text}\" (NUMBER)"),
            Token::Text(text) => format!("Parse error on \"{text}\" (STRING)"),
            Token::Mark(text) => format!("Parse error on \"{text}\""),
        };
        let message = format!("{message} at [{}, {}]", at.line, at.column);
        Err(SyntaxError { message, at })
    }

    fn takes(&mut self, mark: &str) -> bool {
        let found = matches!(self.token(), Token::Mark(found) if *found == mark);
        if found {
            self.step();
        }
        found
    }

    fn takes_name(&mut self, name: &str) -> bool {
        let found = matches!(self.token(), Token::Name(found) if found == name);
        if found {
            self.step();
        }
        found
    }

    fn expect(&mut self, mark: &str) -> Result<(), SyntaxError> {
        if self.takes(mark) {
            Ok(())
        } else {
            self.unexpected()
        }
    }

    fn expect_name(&mut self, name: &str) -> Result<(), SyntaxError> {
        if self.takes_name(name) {
            Ok(())
        } else {
            self.unexpected()
        }
    }

    fn name(&mut self) -> Result<String, SyntaxError> {
        match self.token() {
            Token::Name(name) => {
                let name = name.clone();
                self.step();
                Ok(name)
            }
            _ => self.unexpected(),
        }
    }

    fn operation(&mut self) -> Result<Operation, SyntaxError> {
        let mut operation = Operation {
            kind: "query".to_owned(),
            name: None,
            variables: Vec::new(),
            selections: Vec::new(),
        };
        if !matches!(self.token(), Token::Mark("{")) {
            operation.kind = self.name()?;
            if !["query", "mutation", "subscription"].contains(&operation.kind.as_str()) {
                self.next -= 1;
                return self.unexpected();
            }
            if matches!(self.token(), Token::Name(_)) {
                operation.name = Some(self.name()?);
            }
            if self.takes("(") {
                while !self.takes(")") {
                    operation.variables.push(self.variable()?);
                }
            }
        }
        operation.selections = self.selections()?;
        Ok(operation)
    }

    fn variable(&mut self) -> Result<Variable, SyntaxError> {
        let at = self.at();
        self.expect("$")?;
        let (name, kind) = self.typed_name()?;
        let default = if self.takes("=") {
            Some(self.literal()?)
        } else {
            None
        };
        Ok(Variable {
            name,
            kind,
            default,
            at,
        })
    }

    fn typed_name(&mut self) -> Result<(String, TypeRef), SyntaxError> {
        let name = self.name()?;
        self.expect(":")?;
        Ok((name, self.type_ref()?))
    }

    fn type_ref(&mut self) -> Result<TypeRef, SyntaxError> {
        let kind = if self.takes("[") {
            let inner = self.type_ref()?;
            self.expect("]")?;
            TypeRef::List(Box::new(inner))
        } else {
            TypeRef::Named(self.name()?)
        };
        Ok(if self.takes("!") {
            TypeRef::NonNull(Box::new(kind))
        } else {
            kind
        })
    }

    fn field_definitions(&mut self) -> Result<BTreeMap<String, FieldDefinition>, SyntaxError> {
        let mut fields = BTreeMap::new();
        while !self.takes("}") {
            let name = self.name()?;
            let mut arguments = BTreeMap::new();
            if self.takes("(") {
                while !self.takes(")") {
                    let (name, kind) = self.typed_name()?;
                    arguments.insert(name, kind);
                }
            }
            self.expect(":")?;
            fields.insert(
                name,
                FieldDefinition {
                    kind: self.type_ref()?,
                    arguments,
                },
            );
        }
        Ok(fields)
    }

    fn selections(&mut self) -> Result<Vec<Selection>, SyntaxError> {
        self.expect("{")?;
        let mut selections = vec![self.selection()?];
        while !self.takes("}") {
            selections.push(self.selection()?);
        }
        Ok(selections)
    }

    fn selection(&mut self) -> Result<Selection, SyntaxError> {
        let at = self.at();
        if self.takes("...") {
            let on = if self.takes_name("on") {
                Some(self.name()?)
            } else {
                None
            };
            if on.is_none() && matches!(self.token(), Token::Name(_)) {
                let name = self.name()?;
                return Ok(Selection::Spread {
                    name,
                    directives: self.directives()?,
                    at,
                });
            }
            let directives = self.directives()?;
            return Ok(Selection::Inline {
                on,
                directives,
                selections: self.selections()?,
                at,
            });
        }
        let first = self.name()?;
        let (alias, name) = if self.takes(":") {
            (Some(first), self.name()?)
        } else {
            (None, first)
        };
        let arguments = self.arguments()?;
        let directives = self.directives()?;
        let has_selections = matches!(self.token(), Token::Mark("{"));
        let selections = if has_selections {
            Some(self.selections()?)
        } else {
            None
        };
        Ok(Selection::Field(FieldNode {
            alias,
            name,
            arguments,
            directives,
            selections,
            at,
        }))
    }

    fn directives(&mut self) -> Result<Vec<Directive>, SyntaxError> {
        let mut directives = Vec::new();
        while self.takes("@") {
            directives.push(Directive {
                name: self.name()?,
                arguments: self.arguments()?,
            });
        }
        Ok(directives)
    }

    fn arguments(&mut self) -> Result<BTreeMap<String, Literal>, SyntaxError> {
        let mut arguments = BTreeMap::new();
        if self.takes("(") {
            while !self.takes(")") {
                let name = self.name()?;
                self.expect(":")?;
                arguments.insert(name, self.literal()?);
            }
        }
        Ok(arguments)
    }

    fn literal(&mut self) -> Result<Literal, SyntaxError> {
        if self.takes("$") {
            return Ok(Literal::Variable(self.name()?));
        }
        if self.takes("[") {
            let mut items = Vec::new();
            while !self.takes("]") {
                items.push(self.literal()?);
            }
            return Ok(Literal::List(items));
        }
        if self.takes("{") {
            let mut fields = BTreeMap::new();
            while !self.takes("}") {
                let name = self.name()?;
                self.expect(":")?;
                fields.insert(name, self.literal()?);
            }
            return Ok(Literal::Object(fields));
        }
        let literal = match self.token() {
            Token::Text(text) => Literal::Plain(text.clone().into()),
            Token::Number(text) => {
                Literal::Plain(serde_json::from_str(text).unwrap_or(Value::Null))
            }
            Token::Name(name) => match name.as_str() {
                "true" => Literal::Plain(true.into()),
                "false" => Literal::Plain(false.into()),
                "null" => Literal::Plain(Value::Null),
                _ => Literal::Enum(name.clone()),
            },
            Token::Mark(_) | Token::End => return self.unexpected(),
        };
        self.step();
        Ok(literal)
    }
}
