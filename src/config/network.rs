//! The settings of what runs may reach of the network.

use super::reader::TableReader;
use crate::network::{HostPattern, NetworkRule};

/// What runs may reach of the network, for each purpose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSettings {
    /// Plans of pull requests.
    pub propose: NetworkRule,
    /// Merges.
    pub merge: NetworkRule,
    /// Drift checks.
    pub drift: NetworkRule,
}

impl NetworkSettings {
    /// Each purpose as people say it, with what holds for it.
    pub fn all(&self) -> [(&'static str, &NetworkRule); 3] {
        [
            ("plans of pull requests", &self.propose),
            ("merges", &self.merge),
            ("drift checks", &self.drift),
        ]
    }
}

/// Reads `network`: one rule for all purposes, or a table with one for each. What is wrong is noted
/// with its place; then nothing is let through, so that a slip of the pen opens nothing.
pub(super) fn read(sandbox: &mut TableReader<'_>) -> NetworkSettings {
    if !sandbox.is_table("network") {
        let rule = rule(sandbox, "network");
        return NetworkSettings {
            propose: rule.clone(),
            merge: rule.clone(),
            drift: rule,
        };
    }
    let Some(mut table) = sandbox.table("network") else {
        return NetworkSettings::default();
    };
    let settings = NetworkSettings {
        propose: rule(&mut table, "propose"),
        merge: rule(&mut table, "merge"),
        drift: rule(&mut table, "drift"),
    };
    table.finish(|_| None);
    settings
}

fn rule(table: &mut TableReader<'_>, key: &'static str) -> NetworkRule {
    if !table.has(key) {
        return NetworkRule::Allow;
    }
    if table.is_text(key) {
        let words = [("allow", Word::Allow), ("deny", Word::Deny)];
        return match table.choice(key, &words).map(|word| word.value) {
            Some(Word::Allow) => NetworkRule::Allow,
            Some(Word::Deny) | None => NetworkRule::Deny,
        };
    }
    if table.is_empty_list(key) {
        let file = table.file();
        file.error(
            table.key_at(key),
            format!("`{key}`: the list names no host"),
            Some("write \"deny\", or name the hosts".to_owned()),
        );
        return NetworkRule::Deny;
    }
    let Some(given) = table.texts(key) else {
        return NetworkRule::Deny;
    };
    let file = table.file();
    let hosts = given.into_iter().filter_map(|text| {
        text.value
            .parse::<HostPattern>()
            .map_err(|error| file.error(text.at, format!("`{key}`: {error}"), None))
            .ok()
    });
    NetworkRule::Hosts(hosts.collect())
}

#[derive(Clone, Copy)]
enum Word {
    Allow,
    Deny,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::settings_file::SettingsFile;
    use super::*;

    fn read_text(text: &str) -> (NetworkSettings, Vec<String>) {
        let text = format!("[sandbox]\n{text}\n");
        let file = SettingsFile::parse(Path::new("mainstay.toml"), text.into_bytes());
        let mut top = file.top().unwrap();
        let mut table = top.table("sandbox").unwrap();
        let settings = read(&mut table);
        table.finish(|_| None);
        let problems = file.into_problems();
        (settings, problems.iter().map(ToString::to_string).collect())
    }

    fn hosts(names: &[&str]) -> NetworkRule {
        NetworkRule::Hosts(names.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn one_rule_holds_for_every_purpose() {
        let (settings, problems) = read_text("");
        assert_eq!((settings, problems), Default::default());
        let (settings, problems) = read_text("network = \"deny\"");
        assert!(problems.is_empty(), "{problems:?}");
        for (_, rule) in settings.all() {
            assert_eq!(rule, &NetworkRule::Deny);
        }
        let (settings, _) = read_text("network = [\"api.github.com\", \"*.example.com:8443\"]");
        assert_eq!(
            settings.drift,
            hosts(&["api.github.com", "*.example.com:8443"])
        );
    }

    #[test]
    fn each_purpose_may_have_its_own() {
        let (settings, problems) =
            read_text("network = { propose = [\"a.example\"], drift = \"deny\" }");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(settings.propose, hosts(&["a.example"]));
        assert_eq!(settings.merge, NetworkRule::Allow);
        assert_eq!(settings.drift, NetworkRule::Deny);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_opens_nothing() {
        for (text, expected) in [
            ("network = \"denny\"", "did you mean `deny`?"),
            ("network = []", "names no host"),
            ("network = 3", "expected a list of texts"),
            ("network = { propos = \"deny\" }", "did you mean `propose`?"),
            ("network = [\"https://a.example\"]", "without `https://`"),
            ("network = [\"127.0.0.1\"]", "never reached"),
        ] {
            let (settings, problems) = read_text(text);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].contains(expected), "{problems:?}");
            assert!(problems[0].contains("mainstay.toml:2:"), "{problems:?}");
            if !text.contains("propos") {
                assert_ne!(settings.propose, NetworkRule::Allow, "{text}");
            }
        }
    }
}
