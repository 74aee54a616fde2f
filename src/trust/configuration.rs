//! Configuration that is refused for what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use super::{Base, Refusal};
use crate::modules::{
    Asked, Demand, DemandReader, EntryKind, FollowError, Part, Resolved, Source, Tree, TreeError,
    Values, cleaned, follow_source,
};
use crate::workspace::{ModuleSource, ProviderAddress, Rule, Trust};

/// Words with which a file asks for what is refused under whatever declaration.
const TELLING: [&str; 6] = [
    "backend",
    "cloud",
    "source",
    "required_providers",
    "provider",
    "module",
];

/// Modules that are reached through links and are looked at; of more than that nobody has need.
const LINKED_LIMIT: usize = 1000;

/// What is refused in the configuration of a workspace and its local modules.
pub(super) fn refused(
    tree: &dyn Tree,
    resolved: &Resolved,
    base: Base<'_>,
) -> Result<Vec<Refusal>, TreeError> {
    let root = folder(&resolved.workspace.path);
    let reader = DemandReader::new(tree);
    let mut judge = Judge {
        tree,
        trust: &resolved.workspace.settings.trust,
        linked: Vec::new(),
        refusals: Vec::new(),
    };
    let mut ahead: Vec<String> = resolved.modules.iter().cloned().collect();
    let mut met: BTreeSet<String> = resolved.modules.clone();
    while let Some(dir) = ahead.pop() {
        let part = match dir == root {
            true => Part::Root,
            false => Part::Module,
        };
        let asked = reader.read(&dir, part)?;
        // Tests use modules that the configuration itself does not.
        for module in judge.modules(&dir, &asked)? {
            if met.insert(module.clone()) {
                ahead.push(module);
            }
        }
        judge.providers(&asked);
        judge.unreadable(&asked);
        // Of any other module Terraform ignores where it says that the state is.
        if let (Part::Root, Base::Tree(base)) = (part, base) {
            let before = DemandReader::new(base).read(&root, Part::Root)?;
            judge.backend(&root, &before, &asked);
            judge.overrides(&before, &asked);
        }
    }
    judge.linked(&reader)?;
    Ok(judge.refusals)
}

/// A folder's path as the tree writes it.
fn folder(path: &str) -> String {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

struct Judge<'a> {
    tree: &'a dyn Tree,
    trust: &'a Trust,
    /// Modules that are reached through a link: the folder by the name that Terraform has for it,
    /// and the folder that it is.
    linked: Vec<(String, String)>,
    refusals: Vec<Refusal>,
}

impl Judge<'_> {
    fn refuse(&mut self, rule: Rule, demand: &Demand, what: String, remedy: &str) {
        self.refusals.push(Refusal {
            rule,
            file: demand.file.clone(),
            line: demand.line,
            what,
            remedy: remedy.to_owned(),
        });
    }

    /// Module sources that are not allowed. Gives the folders of those in the repository.
    fn modules(&mut self, dir: &str, asked: &[Demand]) -> Result<Vec<String>, TreeError> {
        let mut local = Vec::new();
        for demand in asked {
            let Asked::Module(source) = &demand.asked else {
                continue;
            };
            let Some(source) = source else {
                self.refuse(
                    Rule::Modules,
                    demand,
                    "the source of a module is computed, so that nobody sees where it comes from"
                        .to_owned(),
                    "write the source out",
                );
                continue;
            };
            match ModuleSource::parse(source) {
                ModuleSource::Local => local.extend(self.local(dir, demand, source)?),
                parsed if self.trust.modules.iter().any(|p| p.matches(&parsed)) => {}
                _ => {
                    let allowed = listed(&self.trust.modules);
                    let what = format!(
                        "the module source `{source}` is not allowed; sources may be paths in the repository{allowed}"
                    );
                    self.refuse(Rule::Modules, demand, what, "use a module from there, or add its source to `modules` in the declaration");
                }
            }
        }
        Ok(local)
    }

    /// Judges a path, and gives the folder that it leads to where it is in the repository.
    fn local(
        &mut self,
        dir: &str,
        demand: &Demand,
        source: &str,
    ) -> Result<Option<String>, TreeError> {
        match follow_source(self.tree, dir, source) {
            Ok(followed) => {
                let files = self.tree.files();
                let is_submodule = |path: &str| {
                    files
                        .get(path)
                        .is_some_and(|entry| entry.kind == EntryKind::Submodule)
                };
                let ends = followed.path.match_indices('/').map(|(at, _)| at);
                let submodule = ends
                    .chain([followed.path.len()])
                    .map(|end| &followed.path[..end])
                    .find(|path| is_submodule(path));
                if let Some(path) = submodule {
                    let what = format!(
                        "the module `{source}` is in the git submodule `{path}`: its code is in another repository, and it is never fetched"
                    );
                    self.refuse(
                        Rule::Submodules,
                        demand,
                        what,
                        "use the module by its address, or put its files into the repository",
                    );
                }
                if !followed.links.is_empty() {
                    let name = cleaned(&format!("{dir}/{source}"));
                    self.linked.push((name, followed.path.clone()));
                }
                return Ok(Some(followed.path));
            }
            Err(FollowError::Leaves) => {
                let what = format!("the module source `{source}` leads out of the repository");
                self.refuse(
                    Rule::Modules,
                    demand,
                    what,
                    "put the module into the repository",
                );
            }
            // Terraform finds nothing there.
            Err(FollowError::TooManyLinks) => {}
            Err(FollowError::Tree(error)) => return Err(error),
        }
        Ok(None)
    }

    /// Modules reached through a link that use others which are not where the link leads: Terraform
    /// goes by the names of folders, and everybody else by the folders.
    fn linked(&mut self, reader: &DemandReader<'_>) -> Result<(), TreeError> {
        let mut met = BTreeSet::new();
        while let Some((named, dir)) = self.linked.pop() {
            if !met.insert(named.clone()) {
                continue;
            }
            for demand in reader.read(&dir, Part::Module)? {
                let Asked::Module(Some(source)) = &demand.asked else {
                    continue;
                };
                if ModuleSource::parse(source) != ModuleSource::Local {
                    continue;
                }
                let name = cleaned(&format!("{named}/{source}"));
                let by_name = follow_source(self.tree, "", &name);
                let by_folder = follow_source(self.tree, &dir, source);
                match (by_name, by_folder) {
                    (Err(FollowError::Tree(error)), _) | (_, Err(FollowError::Tree(error))) => {
                        return Err(error);
                    }
                    (Ok(by_name), Ok(by_folder))
                        if by_name.path == by_folder.path && met.len() < LINKED_LIMIT =>
                    {
                        if by_name.path != name {
                            self.linked.push((name, by_name.path));
                        }
                    }
                    _ => {
                        let what = format!(
                            "the module `{source}` of a module that is reached through a link, as `{named}`, is another one for Terraform than the files show"
                        );
                        self.refuse(
                            Rule::Symlinks,
                            &demand,
                            what,
                            "use the module by its own path",
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// Providers that are not allowed. `asked` is all of one module, since local names are its own.
    fn providers(&mut self, asked: &[Demand]) {
        let mut named = BTreeSet::new();
        for demand in asked {
            match &demand.asked {
                Asked::Provider { name, source } => {
                    named.insert(name.as_str());
                    match source {
                        Source::Written(source) => {
                            self.provider(demand, source, ProviderAddress::parse(source));
                        }
                        Source::Implied => {
                            self.provider(demand, name, ProviderAddress::implied(name));
                        }
                        Source::Computed => self.refuse(
                            Rule::Providers,
                            demand,
                            format!("the source of the provider `{name}` is computed, so that nobody sees which it is"),
                            "write the source out",
                        ),
                    }
                }
                Asked::Locked(address) => {
                    self.provider(demand, address, ProviderAddress::parse(address));
                }
                _ => {}
            }
        }
        let mut used: BTreeMap<&str, &Demand> = BTreeMap::new();
        for demand in asked {
            if let Asked::Uses(name) = &demand.asked
                && !named.contains(name.as_str())
            {
                used.entry(name).or_insert(demand);
            }
        }
        for (name, demand) in used {
            self.provider(demand, name, ProviderAddress::implied(name));
        }
    }

    fn provider(&mut self, demand: &Demand, written: &str, address: Option<ProviderAddress>) {
        let allowed = |address: &ProviderAddress| {
            address.is_built_in() || self.trust.providers.iter().any(|p| p.matches(address))
        };
        let what = match &address {
            Some(address) if allowed(address) => return,
            Some(address) => format!(
                "the provider `{address}` is not allowed: a provider is a program that every plan runs; those allowed are{}",
                match self.trust.providers.is_empty() {
                    true => " none".to_owned(),
                    false => listed(&self.trust.providers).replacen(',', "", 1),
                }
            ),
            None => format!("`{written}` is no address of a provider"),
        };
        self.refuse(
            Rule::Providers,
            demand,
            what,
            "use another provider, or add this one to `providers` in the declaration",
        );
    }

    /// Files that cannot be read and may ask for any of this.
    fn unreadable(&mut self, asked: &[Demand]) {
        let narrowed = self.trust.providers != Trust::default().providers;
        for demand in asked {
            let Asked::Unreadable { message, words } = &demand.asked else {
                continue;
            };
            let telling = words.iter().find(|word| narrowed || TELLING.contains(word));
            if let Some(word) = telling {
                let what = format!(
                    "the file cannot be read ({message}), and it has the word `{word}`: what it asks for cannot be judged"
                );
                self.refuse(Rule::Unreadable, demand, what, "mend the file");
            }
        }
    }

    /// Backends that the base does not have, and the base's that are gone.
    fn backend(&mut self, root: &str, before: &[Demand], asked: &[Demand]) {
        let of = |demands: &[Demand]| {
            let backends = demands.iter().filter_map(|demand| match &demand.asked {
                Asked::Backend { name, says, .. } => Some((name.clone(), says.clone())),
                _ => None,
            });
            backends.collect::<Vec<_>>()
        };
        let (old, new) = (of(before), of(asked));
        let remedy = match old.is_empty() {
            true => "merge the backend first, by itself",
            false => "merge the change of the backend first, with the state moved by hand",
        };
        for demand in asked {
            let Asked::Backend { name, values, says } = &demand.asked else {
                continue;
            };
            if *values == Values::Computed {
                let what = format!(
                    "the backend `{name}` is set by values that are computed: a proposal that changes those moves the state"
                );
                self.refuse(Rule::Backend, demand, what, "write the values out");
                continue;
            }
            if old.iter().any(|(n, s)| (n, s) == (name, says)) {
                continue;
            }
            let what = match old.is_empty() {
                true => format!(
                    "the backend `{name}` is not on the base branch: a proposal does not say where the state is"
                ),
                false => format!(
                    "the backend `{name}` is not as on the base branch: a proposal does not move the state"
                ),
            };
            self.refuse(Rule::Backend, demand, what, remedy);
        }
        if new.is_empty()
            && let Some((name, _)) = old.first()
        {
            let file = before.iter().find_map(|demand| match demand.asked {
                Asked::Backend { .. } => Some(demand.file.clone()),
                _ => None,
            });
            self.refusals.push(Refusal {
                rule: Rule::Backend,
                file: file.unwrap_or_else(|| root.to_owned()),
                line: None,
                what: format!("the backend `{name}` of the base branch is gone: a proposal does not move the state"),
                remedy: remedy.to_owned(),
            });
        }
    }

    /// Override files that touch how Terraform is set up, other than the base's.
    fn overrides(&mut self, before: &[Demand], asked: &[Demand]) {
        for demand in asked {
            let Asked::Override { says } = &demand.asked else {
                continue;
            };
            let is_old = before.iter().any(|old| {
                old.file == demand.file
                    && matches!(&old.asked, Asked::Override { says: s } if s == says)
            });
            if !is_old {
                self.refuse(
                    Rule::Overrides,
                    demand,
                    "an override file has a `terraform` block: it wins over what every other file says of the backend, the providers and the version".to_owned(),
                    "say it in an ordinary file",
                );
            }
        }
    }
}

/// What else is allowed, as the end of a list.
fn listed(patterns: &[impl std::fmt::Display]) -> String {
    let all: Vec<String> = patterns.iter().map(|p| format!(", `{p}`")).collect();
    all.concat()
}
