//! What policies say of a plan.
//!
//! Policies are Rego files in the daemon's own folder, in the conventions of Conftest: rules
//! `deny`, `violation` and `warn`, exceptions, data files; and two kinds of our own, `hold` and
//! `require`. Whatever keeps one from being evaluated denies the plan.

mod code;
mod compiled;
mod folder;
mod input;
mod lint;
mod metadata;
mod sources;
mod testing;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use input::{Backend, Context, Input, InputError, PullRequest};
pub use sources::Sources;
pub use testing::{Coverage, TestOutcome, TestReport, TestResult, test};
pub use verdict::{Effect, Finding, Judgement, Override, Verdict};

use self::compiled::Policy;
use crate::redact::Redactor;

/// Something that is wrong with a file of the folder of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The file, seen from the folder of policies.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl PolicyProblem {
    fn in_file(file: &str, line: Option<usize>, message: String) -> Self {
        Self {
            file: file.to_owned(),
            line,
            message,
        }
    }

    /// Reads the place out of what the parser says.
    fn of_parser(file: &str, error: &str) -> Self {
        let place = error
            .lines()
            .find_map(|line| line.trim().strip_prefix("--> "))
            .and_then(|place| place.rsplit(':').nth(1))
            .and_then(|line| line.parse().ok());
        let said = compiled::reason(&anyhow::anyhow!("{error}"));
        let said = said.split(" at ").next().unwrap_or(&said).to_owned();
        Self::in_file(file, place, said)
    }

    fn of_evaluation(policy: &str, error: &anyhow::Error) -> Self {
        let place = error.to_string().lines().find_map(|line| {
            let place = line.trim().strip_prefix("--> ")?;
            let mut parts = place.rsplitn(3, ':').skip(1);
            let line = parts.next()?.parse().ok()?;
            Some((parts.next()?.to_owned(), line))
        });
        let message = format!(
            "a rule cannot be evaluated: {}",
            compiled::reason(error)
                .split(" at ")
                .next()
                .unwrap_or_default()
        );
        match place {
            Some((file, line)) => Self::in_file(&file, Some(line), message),
            None => Self::in_file(policy, None, message),
        }
    }
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A policy as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySummary<'p> {
    /// Its name: what `policies` of a workspace and `mainstay override` take.
    pub name: &'p str,
    /// Its title; its name where it has none.
    pub title: &'p str,
    /// Why it is there.
    pub description: Option<&'p str>,
    /// Who may override it.
    pub owners: &'p [String],
    /// Its files, seen from the folder of policies.
    pub files: &'p [String],
}

/// The policies of a folder, compiled.
#[derive(Default)]
pub struct Policies {
    policies: BTreeMap<String, Policy>,
    sources: Sources,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policies")
            .field(&self.policies.keys())
            .finish()
    }
}

impl Policies {
    /// Reads and compiles every policy below `folder`, and tries each rule.
    ///
    /// It reads the disk and nothing else, and never fails: what is wrong is among the problems.
    /// A folder that is not there holds no policies.
    pub fn load(folder: &Path) -> (Self, Vec<PolicyProblem>) {
        let found = folder::read(folder);
        let sources = Sources::of(&found);
        let mut problems = found.problems;
        let mut policies = BTreeMap::new();
        for (name, files) in &found.policies {
            let (policy, wrong) = Policy::compile(name, files, &found.library);
            for problem in wrong {
                // What is wrong with the library is said once.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            if let Some(policy) = policy {
                policies.insert(name.clone(), policy);
            }
        }
        (Self { policies, sources }, problems)
    }

    /// What another process of ours needs to judge by the policies of these names as this one would.
    pub fn sources(&self, names: &[String]) -> Sources {
        let unknown = names.iter().filter(|name| !self.has(name));
        Sources {
            unknown: unknown
                .map(|name| (name.clone(), self.unknown(name)))
                .collect(),
            ..self.sources.only(names)
        }
    }

    /// Whether there is a policy of that name.
    pub fn has(&self, name: &str) -> bool {
        self.policies.contains_key(name)
    }

    /// Every policy, by name.
    pub fn list(&self) -> impl Iterator<Item = PolicySummary<'_>> {
        self.policies.iter().map(|(name, policy)| PolicySummary {
            name,
            title: policy.title(),
            description: policy.description(),
            owners: policy.owners(),
            files: policy.files(),
        })
    }

    /// What to say of a name that no policy has: the nearest one, or all that there are.
    pub fn unknown(&self, name: &str) -> String {
        /// Names that are less alike are no typing mistake.
        const ALIKE: f64 = 0.7;
        let near = self
            .policies
            .keys()
            .map(|known| (strsim::jaro_winkler(name, known), known))
            .filter(|(likeness, _)| *likeness > ALIKE)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        let hint = match near {
            Some((_, known)) => format!("did you mean `{known}`?"),
            None if self.policies.is_empty() => "the folder of policies holds none".to_owned(),
            None => {
                let all: Vec<String> = self.policies.keys().map(|k| format!("`{k}`")).collect();
                format!("there are {}", all.join(", "))
            }
        };
        format!("there is no policy `{name}`; {hint}")
    }

    /// Whether one of these policies speaks of labels: else [`Context::labels`] may stay empty.
    pub fn read_labels(&self, names: &[String]) -> bool {
        self.named(names).any(|policy| policy.reads_labels)
    }

    /// Whether one of these policies speaks of files: else [`Context::files`] may stay empty.
    pub fn read_files(&self, names: &[String]) -> bool {
        self.named(names).any(|policy| policy.reads_files)
    }

    /// Why there is no policy of that name.
    fn why_not(&self, name: &str) -> String {
        let said = self.sources.unknown.get(name);
        said.map_or_else(|| self.unknown(name), String::clone)
    }

    fn named(&self, names: &[String]) -> impl Iterator<Item = &Policy> {
        names.iter().filter_map(|name| self.policies.get(name))
    }

    /// The policies of sources that were read, and tried, before.
    pub fn compile(sources: Sources) -> Self {
        let compiled = sources.policies.iter().filter_map(|(name, files)| {
            let policy = Policy::compile_tried(name, files, &sources.library)?;
            Some((name.clone(), policy))
        });
        Self {
            policies: compiled.collect(),
            sources,
        }
    }

    /// What the policies of these names say of a plan. Blocks, for seconds where a plan is large.
    ///
    /// Messages are masked by `redactor`. A name that no policy has, an error and a rule that takes
    /// too long deny.
    pub fn judge(&self, names: &[String], input: &Input, redactor: &Redactor) -> Verdict {
        let mut verdict = Verdict {
            evaluated: names.to_vec(),
            findings: Vec::new(),
        };
        verdict.evaluated.sort();
        verdict.evaluated.dedup();
        for name in &verdict.evaluated {
            match self.policies.get(name) {
                Some(policy) => verdict.findings.extend(policy.evaluate(input, redactor)),
                None => verdict
                    .findings
                    .push(Finding::broken(name, &self.why_not(name))),
            }
        }
        verdict.findings.sort_by(|a, b| {
            (b.effect, &a.policy, &a.address).cmp(&(a.effect, &b.policy, &b.address))
        });
        verdict
    }
}
