//! The repository that the demonstration plays with: `examples/shop`, built in.

/// A file of a repository: its path, relative with `/`, and what it holds.
pub type ExampleFile = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../examples/", $folder, "/", $path)))),+]
    };
}

/// The files of the shop's repository, at the beginning.
pub fn example_files() -> &'static [ExampleFile] {
    files!("shop":
        ".gitignore",
        "README.md",
        "database/main.tf",
        "database/outputs.tf",
        "database/variables.tf",
        "database/versions.tf",
        "modules/site/main.tf",
        "modules/site/outputs.tf",
        "modules/site/variables.tf",
        "modules/site/versions.tf",
        "network/main.tf",
        "network/outputs.tf",
        "network/terraform.tfvars",
        "network/variables.tf",
        "network/versions.tf",
        "web/main.tf",
        "web/outputs.tf",
        "web/variables.tf",
        "web/versions.tf",
    )
}

/// The files that a proposal changes, with their new text.
///
/// In `web` it adds a page, changes one and drops one; in `network` it replaces
/// a subnet; `database` it leaves alone.
pub fn proposal_files() -> &'static [ExampleFile] {
    files!("shop-proposal": "network/terraform.tfvars", "web/main.tf")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn on_disk(folder: &Path, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => found.extend(on_disk(&entry.path(), &format!("{path}/"))),
                false => found.push(path),
            }
        }
        found.sort();
        found
    }

    fn listed(files: &[ExampleFile]) -> Vec<String> {
        files.iter().map(|(path, _)| (*path).to_owned()).collect()
    }

    #[test]
    fn every_file_of_the_example_is_built_in() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        assert_eq!(listed(example_files()), on_disk(&examples.join("shop"), ""));
        assert_eq!(
            listed(proposal_files()),
            on_disk(&examples.join("shop-proposal"), "")
        );
    }

    #[test]
    fn the_proposal_changes_files_that_are_there() {
        for (path, proposed) in proposal_files() {
            let (_, present) = example_files()
                .iter()
                .find(|(known, _)| known == path)
                .unwrap();
            assert_ne!(present, proposed, "{path}");
        }
    }
}
