//! What a declaration says of trust: `providers`, `modules` and `loosen`.

use super::declaration::checked;
use super::reader::{TableReader, listed, nearest};
use crate::workspace::{ModulePattern, ProviderPattern, Rule, Trust};

/// A text is no rule's name.
#[derive(Debug, thiserror::Error)]
#[error("`{given}` is no rule; {hint}")]
struct UnknownRule {
    given: String,
    hint: String,
}

/// Reads what a table says of trust; what it does not say is as in `defaults`.
pub(super) fn read(table: &mut TableReader<'_>, defaults: &Trust) -> Trust {
    let mut trust = defaults.clone();
    if table.has("providers") {
        trust.providers = checked(table, "providers", ProviderPattern::parse);
    }
    if table.has("modules") {
        trust.modules = checked(table, "modules", ModulePattern::parse);
    }
    if table.has("loosen") {
        trust.loosened = checked(table, "loosen", rule).into_iter().collect();
    }
    trust
}

/// Reads a rule's name.
fn rule(given: &str) -> Result<Rule, UnknownRule> {
    let known = Rule::ALL.map(Rule::name);
    Rule::ALL
        .into_iter()
        .find(|rule| rule.name() == given)
        .ok_or_else(|| UnknownRule {
            given: given.to_owned(),
            hint: nearest(given, &known)
                .unwrap_or_else(|| format!("the rules are {}", listed(&known))),
        })
}
