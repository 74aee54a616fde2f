//! Files that are refused for what they are.

use std::collections::BTreeSet;

use super::Refusal;
use crate::modules::{EntryKind, FollowError, Resolved, Tree, TreeError, follow};
use crate::workspace::Rule;

/// Files of more bytes set no variables that anybody wrote.
const ENVIRONMENT_LIMIT: usize = 1024 * 1024;

/// Terraform's variables that only give a value to a variable of the configuration, which a file of
/// values in the tree could do as well.
const VALUES: &str = "TF_VAR_";

/// What is refused among the files of a workspace.
pub(super) fn refused(tree: &dyn Tree, resolved: &Resolved) -> Result<Vec<Refusal>, TreeError> {
    let mut refusals = Vec::new();
    let mut folders = BTreeSet::new();
    for path in &resolved.files {
        let Some(entry) = tree.files().get(path) else {
            continue;
        };
        let mut refuse = |rule, file: &str, line, what: &str, remedy: &str| {
            refusals.push(Refusal {
                rule,
                file: file.to_owned(),
                line,
                what: what.to_owned(),
                remedy: remedy.to_owned(),
            });
        };
        if let Some((rule, folder)) = refused_folder(path) {
            // A folder of many files is one mistake.
            if folders.insert(folder.to_owned()) {
                let (what, remedy) = match rule {
                    Rule::TerraformFolder => (
                        "a `.terraform` folder is committed: it holds programs that a plan would run, and which workspace and backend are chosen",
                        "take it out of git, and add `.terraform/` to `.gitignore`",
                    ),
                    _ => (
                        "a `terraform.d` folder is committed: Terraform takes providers from it, and runs them at plan",
                        "take it out of git, and put the providers into a registry or a mirror of the operator's",
                    ),
                };
                refuse(rule, folder, None, what, remedy);
            }
            continue;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if is_cli_config(name) {
            refuse(
                Rule::CliConfig,
                path,
                None,
                "settings of Terraform's command line are committed: they say where providers come from, and hold credentials",
                "take the file out of git; these settings are the operator's",
            );
        }
        match entry.kind {
            EntryKind::Symlink => {
                let why = match follow(tree, "", path) {
                    Ok(_) => continue,
                    Err(FollowError::Leaves) => "leads out of the repository",
                    Err(FollowError::TooManyLinks) => "leads in a circle",
                    Err(FollowError::Tree(error)) => return Err(error),
                };
                let target = String::from_utf8_lossy(&tree.read(path)?).into_owned();
                refuse(
                    Rule::Symlinks,
                    path,
                    None,
                    &format!(
                        "the symbolic link to `{target}` {why}: what is there was never reviewed"
                    ),
                    "put the file itself into the repository",
                );
            }
            EntryKind::Submodule => refuse(
                Rule::Submodules,
                path,
                None,
                "a git submodule is among the workspace's files: its code is in another repository, and it is never fetched",
                "use the module by its address, or put its files into the repository",
            ),
            EntryKind::Regular | EntryKind::Executable if sets_environment(path) => {
                if let Some((line, variable)) = steering(&tree.read(path)?) {
                    refuse(
                        Rule::Variables,
                        path,
                        Some(line),
                        &format!(
                            "`{variable}` is set: it changes how Terraform is run, wherever the program in Terraform's place reads this file"
                        ),
                        "take the line out; such variables are the operator's",
                    );
                }
            }
            EntryKind::Regular | EntryKind::Executable => {}
        }
    }
    Ok(refusals)
}

/// The folder on the way to a path that no repository should hold, with its rule. A file system
/// may take another case for the same name.
fn refused_folder(path: &str) -> Option<(Rule, &str)> {
    let mut end = 0;
    for part in path.split('/') {
        end += part.len();
        let rule = match part.to_ascii_lowercase().as_str() {
            ".terraform" => Some(Rule::TerraformFolder),
            "terraform.d" => Some(Rule::PluginFolder),
            _ => None,
        };
        if let Some(rule) = rule {
            return Some((rule, &path[..end]));
        }
        end += 1;
    }
    None
}

/// Whether a file of that name has settings of Terraform's command line.
fn is_cli_config(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".terraformrc", "terraform.rc", ".tofurc", "tofu.rc"].contains(&name.as_str())
        || name.ends_with(".tfrc")
        || name.ends_with(".tfrc.json")
}

/// Whether programs that start Terraform read variables from such a file: shells with `direnv`,
/// wrappers that read `.env`, and version managers. Terraform itself reads none of them.
fn sets_environment(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    [".env", ".envrc", "mise.toml", ".mise.toml"].contains(&name)
        || name.starts_with(".env.")
        || path.ends_with(".mise/config.toml")
}

/// The first line that sets a variable which steers Terraform, and the variable.
fn steering(content: &[u8]) -> Option<(usize, String)> {
    let text = String::from_utf8_lossy(content.get(..ENVIRONMENT_LIMIT).unwrap_or(content));
    (1..).zip(text.lines()).find_map(|(number, line)| {
        let line = line.trim_start();
        if line.starts_with('#') {
            return None;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        line.match_indices("TF_").find_map(|(at, _)| {
            let begins = !line[..at].ends_with(is_name);
            let rest = &line[at..];
            let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
            let after = rest[name.len()..].trim_start_matches(['"', '\'', ' ']);
            (begins && after.starts_with(['=', ':']) && !name.starts_with(VALUES))
                .then(|| (number, name.to_owned()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_steers_terraform_is_found_with_its_line() {
        let found = |text: &str| steering(text.as_bytes());
        assert_eq!(
            found("A=1\nexport TF_CLI_ARGS=\"-x\""),
            Some((2, "TF_CLI_ARGS".to_owned()))
        );
        assert_eq!(
            found("[env]\nTF_WORKSPACE = \"production\""),
            Some((2, "TF_WORKSPACE".to_owned()))
        );
        for text in [
            "# TF_WORKSPACE=x",
            "TF_VAR_size=3",
            "NOT_TF_WORKSPACE=x",
            "echo $TF_WORKSPACE",
            "",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn a_refused_folder_is_named_up_to_itself() {
        assert_eq!(
            refused_folder("net/.terraform/a/b"),
            Some((Rule::TerraformFolder, "net/.terraform"))
        );
        assert_eq!(
            refused_folder("Terraform.D/plugins/x"),
            Some((Rule::PluginFolder, "Terraform.D"))
        );
        assert_eq!(refused_folder("net/terraform.d.md"), None);
        assert_eq!(refused_folder("net/.terraform.lock.hcl"), None);
    }
}
