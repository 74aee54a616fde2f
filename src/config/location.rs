//! Where `mainstay.toml` is looked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file of settings that is looked for in the current folder.
pub const DEFAULT_FILE: &str = "mainstay.toml";

/// The environment variable that may name the file of settings.
pub const FILE_VARIABLE: &str = "MAINSTAY_CONFIG";

/// No file of settings was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigNotFound {
    /// The one that the command line names is not there.
    #[error("there is no file {}, which `--config` names", file.display())]
    Argument {
        /// The file.
        file: PathBuf,
    },
    /// The one that the environment names is not there.
    #[error("there is no file {}, which the environment variable `MAINSTAY_CONFIG` names", file.display())]
    Variable {
        /// The file.
        file: PathBuf,
    },
    /// None is named, and none stands in the current folder.
    #[error(
        "there are no settings: no `--config FILE` is given, `MAINSTAY_CONFIG` is not set, and there is no `mainstay.toml` in {}; \
         `mainstay demo` and `mainstay dry-run` need none",
        folder.display()
    )]
    Nowhere {
        /// The folder that was looked in.
        folder: PathBuf,
    },
}

/// Finds the file of settings: `explicit`, else what `MAINSTAY_CONFIG` names, else
/// `mainstay.toml` in the current folder.
///
/// # Errors
///
/// [`ConfigNotFound`] says what was looked for. A file that is named and missing is
/// an error, whatever else there is.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, ConfigNotFound> {
    find_from(explicit, std::env::var_os(FILE_VARIABLE), Path::new(""))
}

fn find_from(
    explicit: Option<&Path>,
    variable: Option<OsString>,
    folder: &Path,
) -> Result<PathBuf, ConfigNotFound> {
    // Joined to an empty folder, a path stays as it was written: problems name it so.
    if let Some(file) = explicit {
        let file = folder.join(file);
        return if is_file(&file) {
            Ok(file)
        } else {
            Err(ConfigNotFound::Argument { file })
        };
    }
    if let Some(file) = variable.filter(|file| !file.is_empty()) {
        let file = folder.join(file);
        return if is_file(&file) {
            Ok(file)
        } else {
            Err(ConfigNotFound::Variable { file })
        };
    }
    let file = folder.join(DEFAULT_FILE);
    if is_file(&file) {
        return Ok(file);
    }
    Err(ConfigNotFound::Nowhere {
        // `absolute` keeps the slash that an empty folder leaves at the end.
        folder: std::path::absolute(Path::new(".").join(folder))
            .map_or_else(|_| folder.to_owned(), |path| path.components().collect()),
    })
}

/// Whether something that can be read as a file is there; a pipe counts
/// (`--config <(…)`), a folder does not.
fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| !file.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_environment_and_that_before_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for name in ["a.toml", "b.toml", DEFAULT_FILE] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let find = |explicit: Option<&str>, variable: Option<&str>| {
            find_from(
                explicit.map(Path::new),
                variable.map(OsString::from),
                folder,
            )
        };
        assert_eq!(
            find(Some("a.toml"), Some("b.toml")),
            Ok(folder.join("a.toml"))
        );
        assert_eq!(find(None, Some("b.toml")), Ok(folder.join("b.toml")));
        assert_eq!(find(None, Some("")), Ok(folder.join(DEFAULT_FILE)));
        assert_eq!(find(None, None), Ok(folder.join(DEFAULT_FILE)));
    }

    #[test]
    fn a_file_that_is_named_and_missing_is_an_error_even_beside_another() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::write(folder.join(DEFAULT_FILE), "").unwrap();
        let file = folder.join("none.toml");
        assert_eq!(
            find_from(Some(&file), None, folder),
            Err(ConfigNotFound::Argument { file: file.clone() })
        );
        assert_eq!(
            find_from(None, Some(file.clone().into()), folder),
            Err(ConfigNotFound::Variable { file })
        );
    }

    #[test]
    fn where_there_is_nothing_the_error_says_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let text = find_from(None, None, folder.path())
            .unwrap_err()
            .to_string();
        let text = text.replace(&*folder.path().to_string_lossy(), "HERE");
        insta::assert_snapshot!(text, @"there are no settings: no `--config FILE` is given, `MAINSTAY_CONFIG` is not set, and there is no `mainstay.toml` in HERE; `mainstay demo` and `mainstay dry-run` need none");
    }
}
