//! The GraphQL API: enough of it to look at many repositories at once.
//!
//! A field that the schema has not is answered as GitHub answers it, so that a
//! slip of the pen in a client is found here.

mod check;
mod execute;
mod syntax;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::auth::Caller;
use super::limit::{Resource, Standing};
use super::reply::Reply;
use super::rest::Call;
use super::world::World;
use check::{Schema, check};
use execute::{Execution, Variables};
use syntax::{Definition, Operation, TypeRef, parse_document, parse_schema};

/// The schema, read once.
fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        parse_schema(include_str!("schema.graphql")).expect("the model's own schema can be read")
    })
}

/// An answer, and the points that it costs.
pub(crate) fn answer(world: &World, call: &Call, standing: &Standing) -> (Reply, u64) {
    if let Caller::Anonymous | Caller::App(_) = call.caller {
        let message = "This endpoint requires you to be authenticated.";
        return (Reply::error(401, message), 0);
    }
    if let Some(status) = world.graphql_refusal {
        return (
            Reply::error(
                status,
                if status == 404 {
                    "Not Found"
                } else {
                    "Forbidden"
                },
            ),
            0,
        );
    }
    match run(world, call, standing) {
        Ok((body, cost)) => (Reply::ok(body), cost),
        Err(Refused::Body(reply)) => (reply, 0),
        Err(Refused::Query(errors)) => (Reply::ok(json!({ "errors": errors })), 1),
    }
}

/// Why a query was not run.
enum Refused {
    /// The body is no query at all.
    Body(Reply),
    /// The query is not good; GitHub says so with a 200 that has no data.
    Query(Vec<Value>),
}

fn run(world: &World, call: &Call, standing: &Standing) -> Result<(Value, u64), Refused> {
    let body: Value = serde_json::from_slice(&call.body)
        .map_err(|_| Refused::Body(Reply::error(400, "Problems parsing JSON")))?;
    let text = body["query"].as_str().ok_or_else(|| {
        Refused::Query(vec![
            json!({ "message": "A query attribute must be specified and must be a string." }),
        ])
    })?;
    let document = parse_document(text).map_err(|error| {
        Refused::Query(vec![
            json!({ "message": error.message, "locations": error.at.json() }),
        ])
    })?;
    let wanted = body["operationName"].as_str();
    let operation = document
        .operations
        .iter()
        .find(|operation| wanted.is_none_or(|name| operation.name.as_deref() == Some(name)))
        .ok_or_else(|| {
            let message = format!("No operation named {:?}", wanted.unwrap_or_default());
            Refused::Query(vec![json!({ "message": message })])
        })?;
    if operation.kind != "query" {
        let message = format!("The model has no {}s", operation.kind);
        return Err(Refused::Query(vec![json!({ "message": message })]));
    }
    let errors = check(schema(), &document, operation);
    if !errors.is_empty() {
        return Err(Refused::Query(errors));
    }
    let variables = variables(operation, &body["variables"])?;
    Ok(Execution::run(
        world, call, &document, operation, &variables, standing,
    ))
}

/// The variables' values, with their defaults, checked against their types.
fn variables(operation: &Operation, given: &Value) -> Result<Variables, Refused> {
    let mut values = BTreeMap::new();
    let mut errors = Vec::new();
    for variable in &operation.variables {
        let value = match (given.get(&variable.name), &variable.default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => execute::plain(default, &BTreeMap::new()),
            (None, None) => Value::Null,
        };
        if let Some(problem) = problem(&value, &variable.kind) {
            errors.push(json!({
                "message": format!(
                    "Variable ${} of type {} was provided invalid value", variable.name,
                    variable.kind.text()
                ),
                "locations": variable.at.json(),
                "extensions": {
                    "value": value, "problems": [{ "path": [], "explanation": problem }],
                },
            }));
        }
        values.insert(variable.name.clone(), value);
    }
    if errors.is_empty() {
        Ok(values)
    } else {
        Err(Refused::Query(errors))
    }
}

/// What is wrong with a variable's value.
fn problem(value: &Value, kind: &TypeRef) -> Option<String> {
    match (value, kind) {
        (Value::Null, TypeRef::NonNull(_)) => Some("Expected value to not be null".to_owned()),
        (Value::Null, _) => None,
        (_, TypeRef::NonNull(inner)) => problem(value, inner),
        (Value::Array(items), TypeRef::List(inner)) => {
            items.iter().find_map(|item| problem(item, inner))
        }
        (_, TypeRef::List(inner)) => problem(value, inner),
        (_, TypeRef::Named(name)) => match schema().get(name) {
            Some(Definition::Enum(known)) => {
                let fits = value
                    .as_str()
                    .is_some_and(|v| known.iter().any(|known| known == v));
                (!fits).then(|| format!("Expected {value} to be one of: {}", known.join(", ")))
            }
            Some(Definition::Input(fields)) => {
                let given = value.as_object();
                let unknown = given
                    .into_iter()
                    .flatten()
                    .find(|(key, _)| !fields.contains_key(*key));
                if let Some((key, _)) = unknown {
                    return Some(format!("Field {key} is not defined on {name}"));
                }
                fields
                    .iter()
                    .find_map(|(key, kind)| problem(&value[key], kind))
            }
            _ => (!check::scalar_fits(value, name))
                .then(|| format!("Could not coerce value {value} to {name}")),
        },
    }
}

/// The answer of a caller whose budget is used up: a 200, unlike REST. GitHub
/// says `RATE_LIMIT`; it said `RATE_LIMITED` in former years.
pub(crate) fn rate_limited(who: &str) -> Reply {
    Reply::ok(json!({
        "errors": [{
            "type": "RATE_LIMIT",
            "code": "graphql_rate_limit",
            "message": format!("API rate limit already exceeded for {who}."),
        }],
    }))
}

/// The budget that a path is taken from.
pub(crate) fn resource_of(path: &str) -> Resource {
    if path == "/graphql" {
        Resource::Graphql
    } else {
        Resource::Core
    }
}
