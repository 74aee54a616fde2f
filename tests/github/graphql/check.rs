//! Checks a query against the schema, in the words that GitHub uses.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::syntax::{
    Definition, Document, FieldDefinition, FieldNode, Literal, Operation, Position, Selection,
    TypeRef,
};

/// The schema by type name.
pub(super) type Schema = BTreeMap<String, Definition>;

/// The types that an interface of the schema stands for.
const MEMBERS: [(&str, &[&str]); 3] = [
    ("Actor", &["User", "Bot", "Organization"]),
    ("RepositoryOwner", &["User", "Organization"]),
    ("GitObject", &["Commit"]),
];

/// Everything that is wrong with an operation, as GraphQL errors.
pub(super) fn check(schema: &Schema, document: &Document, operation: &Operation) -> Vec<Value> {
    let label = operation
        .name
        .as_ref()
        .map_or("query".to_owned(), |name| format!("query {name}"));
    let mut checker = Checker {
        schema,
        document,
        operation,
        errors: Vec::new(),
        used: BTreeSet::new(),
    };
    checker.selections("Query", &operation.selections, &[label]);
    let Checker {
        mut errors, used, ..
    } = checker;
    let whose = operation
        .name
        .as_ref()
        .map_or("anonymous query".to_owned(), |name| name.clone());
    for variable in &operation.variables {
        let name = &variable.name;
        if !used.contains(name) {
            errors.push(json!({
                "message": format!("Variable ${name} is declared by {whose} but not used"),
                "locations": variable.at.json(),
                "extensions": { "code": "variableNotUsed", "variableName": name },
            }));
        }
    }
    errors
}

struct Checker<'a> {
    schema: &'a Schema,
    document: &'a Document,
    operation: &'a Operation,
    errors: Vec<Value>,
    used: BTreeSet<String>,
}

impl Checker<'_> {
    fn fields(&self, kind: &str) -> Option<&BTreeMap<String, FieldDefinition>> {
        match self.schema.get(kind) {
            Some(Definition::Object(fields)) => Some(fields),
            _ => None,
        }
    }

    fn selections(&mut self, kind: &str, selections: &[Selection], path: &[String]) {
        for selection in selections {
            match selection {
                Selection::Field(field) => self.field(kind, field, path),
                Selection::Inline {
                    on, selections, at, ..
                } => {
                    let on = on.as_deref().unwrap_or(kind);
                    let path = extended(path, &format!("... on {on}"));
                    if self.spreads(kind, on, *at, &path) {
                        self.selections(on, selections, &path);
                    }
                }
                Selection::Spread { name, at, .. } => match self.document.fragments.get(name) {
                    Some(fragment) => {
                        let path = [format!("fragment {name}")];
                        if self.spreads(kind, &fragment.on, *at, &path) {
                            self.selections(&fragment.on, &fragment.selections, &path);
                        }
                    }
                    None => self.errors.push(json!({
                        "message": format!("Fragment {name} was used, but not defined"),
                        "locations": at.json(),
                        "path": extended(path, &format!("... {name}")),
                        "extensions": { "code": "useAndDefineFragment", "fragmentName": name },
                    })),
                },
            }
        }
    }

    /// Checks that a fragment on `on` can stand where `kind` is.
    fn spreads(&mut self, kind: &str, on: &str, at: Position, path: &[String]) -> bool {
        let fits = kind == on
            || MEMBERS
                .iter()
                .any(|(interface, members)| *interface == kind && members.contains(&on));
        if !fits {
            self.errors.push(json!({
                "message": format!("Fragment on {on} can't be spread inside {kind}"),
                "locations": at.json(),
                "path": path,
                "extensions": {
                    "code": "cannotSpreadFragment", "typeName": on, "parentName": kind,
                },
            }));
        }
        fits
    }

    fn field(&mut self, kind: &str, field: &FieldNode, path: &[String]) {
        let path = extended(path, field.key());
        if field.name == "__typename" {
            return;
        }
        let Some(definition) = self.fields(kind).and_then(|fields| fields.get(&field.name)) else {
            self.errors.push(json!({
                "path": path,
                "extensions": {
                    "code": "undefinedField", "typeName": kind, "fieldName": field.name,
                },
                "locations": field.at.json(),
                "message": format!("Field '{}' doesn't exist on type '{kind}'", field.name),
            }));
            return;
        };
        let result = definition.kind.name().to_owned();
        let wanted: Vec<(String, TypeRef)> = definition
            .arguments
            .iter()
            .map(|(name, kind)| (name.clone(), kind.clone()))
            .collect();
        self.arguments(field, &wanted, &path);
        for directive in &field.directives {
            for literal in directive.arguments.values() {
                self.literal(
                    field,
                    "if",
                    literal,
                    &TypeRef::Named("Boolean".to_owned()),
                    &path,
                );
            }
        }
        let is_object = matches!(self.schema.get(&result), Some(Definition::Object(_)));
        match &field.selections {
            Some(selections) if is_object => self.selections(&result, selections, &path),
            None if !is_object => {}
            Some(_) => self.mismatch(field, &result, &path, "Selections can't be made on scalars"),
            None => self.mismatch(field, &result, &path, "Field must have selections"),
        }
    }

    fn mismatch(&mut self, field: &FieldNode, result: &str, path: &[String], why: &str) {
        self.errors.push(json!({
            "message": format!("{why} (field '{}' returns {result})", field.name),
            "locations": field.at.json(),
            "path": path,
            "extensions": {
                "code": "selectionMismatch",
                "nodeName": format!("field '{}'", field.name),
                "typeName": result,
            },
        }));
    }

    fn arguments(&mut self, field: &FieldNode, wanted: &[(String, TypeRef)], path: &[String]) {
        for (name, literal) in &field.arguments {
            match wanted.iter().find(|(known, _)| known == name) {
                Some((_, kind)) => self.literal(field, name, literal, kind, path),
                None => self.errors.push(json!({
                    "message": format!("Field '{}' doesn't accept argument '{name}'", field.name),
                    "locations": field.at.json(),
                    "path": extended(path, name),
                    "extensions": {
                        "code": "argumentNotAccepted", "name": field.name,
                        "typeName": "Field", "argumentName": name,
                    },
                })),
            }
        }
        let missing: Vec<&str> = wanted
            .iter()
            .filter(|(name, kind)| {
                matches!(kind, TypeRef::NonNull(_)) && !field.arguments.contains_key(name)
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            self.errors.push(json!({
                "message": format!("Field '{}' is missing required arguments: {missing}", field.name),
                "locations": field.at.json(),
                "path": path,
                "extensions": {
                    "code": "missingRequiredArguments", "className": "Field",
                    "name": field.name, "arguments": missing,
                },
            }));
        }
    }

    fn literal(
        &mut self,
        field: &FieldNode,
        argument: &str,
        literal: &Literal,
        kind: &TypeRef,
        path: &[String],
    ) {
        let fits = match (literal, kind) {
            (Literal::Variable(name), _) => {
                return self.variable(field, argument, name, kind, path);
            }
            (Literal::Plain(Value::Null), TypeRef::NonNull(_)) => false,
            (Literal::Plain(Value::Null), _) => true,
            (_, TypeRef::NonNull(inner)) => {
                return self.literal(field, argument, literal, inner, path);
            }
            (Literal::List(items), TypeRef::List(inner)) => {
                for item in items {
                    self.literal(field, argument, item, inner, path);
                }
                true
            }
            // One item stands for a list of one.
            (_, TypeRef::List(inner)) => {
                return self.literal(field, argument, literal, inner, path);
            }
            (Literal::Object(given), TypeRef::Named(name)) => match self.schema.get(name) {
                Some(Definition::Input(fields)) => {
                    let complete = fields.iter().all(|(name, kind)| {
                        given.contains_key(name) || !matches!(kind, TypeRef::NonNull(_))
                    });
                    let known: Vec<(Literal, TypeRef)> = given
                        .iter()
                        .filter_map(|(name, value)| {
                            Some((value.clone(), fields.get(name)?.clone()))
                        })
                        .collect();
                    let all_known = known.len() == given.len();
                    for (value, kind) in known {
                        self.literal(field, argument, &value, &kind, path);
                    }
                    complete && all_known
                }
                _ => false,
            },
            (Literal::Enum(value), TypeRef::Named(name)) => {
                matches!(self.schema.get(name), Some(Definition::Enum(known)) if known.contains(value))
            }
            (Literal::Plain(value), TypeRef::Named(name)) => scalar_fits(value, name),
            (Literal::List(_), TypeRef::Named(_)) => false,
        };
        if !fits {
            self.errors.push(json!({
                "message": format!(
                    "Argument '{argument}' on Field '{}' has an invalid value. Expected type '{}'.",
                    field.name, kind.text()
                ),
                "locations": field.at.json(),
                "path": extended(path, argument),
                "extensions": {
                    "code": "argumentLiteralsIncompatible", "typeName": "Field",
                    "argumentName": argument,
                },
            }));
        }
    }

    fn variable(
        &mut self,
        field: &FieldNode,
        argument: &str,
        name: &str,
        wanted: &TypeRef,
        path: &[String],
    ) {
        self.used.insert(name.to_owned());
        let Some(variable) = self.operation.variables.iter().find(|v| v.name == name) else {
            let whose = self.operation.name.as_deref().unwrap_or("anonymous query");
            self.errors.push(json!({
                "message": format!("Variable ${name} is used by {whose} but not declared"),
                "locations": field.at.json(),
                "path": extended(path, argument),
                "extensions": { "code": "variableNotDefined", "variableName": name },
            }));
            return;
        };
        let nullable_with_default = variable.default.is_some();
        if !type_fits(&variable.kind, wanted, nullable_with_default) {
            self.errors.push(json!({
                "message": format!(
                    "Type mismatch on variable ${name} and argument {argument} ({} / {})",
                    variable.kind.text(), wanted.text()
                ),
                "locations": field.at.json(),
                "path": extended(path, argument),
                "extensions": {
                    "code": "variableMismatch", "variableName": name,
                    "typeName": variable.kind.text(), "argumentName": argument,
                    "errorMessage": "Type mismatch",
                },
            }));
        }
    }
}

fn type_fits(given: &TypeRef, wanted: &TypeRef, has_default: bool) -> bool {
    match (given, wanted) {
        (TypeRef::NonNull(given), TypeRef::NonNull(wanted)) => type_fits(given, wanted, true),
        (given, TypeRef::NonNull(wanted)) => has_default && type_fits(given, wanted, true),
        (TypeRef::NonNull(given), wanted) => type_fits(given, wanted, true),
        (TypeRef::List(given), TypeRef::List(wanted)) => type_fits(given, wanted, false),
        (given, TypeRef::List(wanted)) => type_fits(given, wanted, true),
        (TypeRef::Named(given), TypeRef::Named(wanted)) => given == wanted,
        (TypeRef::List(_), TypeRef::Named(_)) => false,
    }
}

/// Whether a plain value is one of a scalar.
pub(super) fn scalar_fits(value: &Value, name: &str) -> bool {
    match name {
        "Int" => value
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        "Boolean" => value.is_boolean(),
        "ID" => value.is_string() || value.is_i64(),
        "String" | "DateTime" | "URI" | "GitObjectID" => value.is_string(),
        _ => false,
    }
}

fn extended(path: &[String], more: &str) -> Vec<String> {
    path.iter().cloned().chain([more.to_owned()]).collect()
}
