//! A mirror of providers with `localfs` in it, and the configuration that points Terraform there.

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What a module writes as `source` in `required_providers`.
///
/// Terraform takes the first part for the host of a registry. `.invalid` is
/// reserved (RFC 2606), so that no such host can ever answer.
pub const SOURCE: &str = "mainstay.invalid/demo/localfs";

/// The version that the provider is installed as.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Name of the CLI configuration file in the mirror's folder.
const CLI_CONFIG: &str = "terraform.tfrc";

/// Terraform's CLI configuration file that knows the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliConfig {
    path: PathBuf,
}

impl CliConfig {
    /// The file's absolute path: the value for `TF_CLI_CONFIG_FILE`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The provider could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The mirror's path cannot stand in a configuration file.
    #[error(
        "the folder {0:?} cannot hold Terraform's providers: its path must be UTF-8 \
         without quotes, backslashes, dollar signs and control characters"
    )]
    UnwritablePath(PathBuf),
    /// Something on disk went wrong.
    #[error("the provider cannot be installed: {action} {path} failed")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl InstallError {
    fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk {
            action,
            path,
            source,
        }
    }
}

/// Puts `executable`, this program, as the provider `localfs` into a mirror at
/// `mirror_dir`, and writes a CLI configuration file beside it by which
/// Terraform takes providers from there and nowhere else: nothing is downloaded.
///
/// Whatever Terraform needs is below `mirror_dir`, so that a sandbox has one
/// folder to show. The executable is a hard link, and a copy where the folder is
/// on another file system or the link is not allowed.
///
/// Repeating it is safe, at the same time too; a program that changed since is
/// put in anew. Lock files hold the program's hash, so they end with it.
///
/// # Errors
///
/// [`InstallError`] says which file or folder could not be made.
pub fn install(mirror_dir: &Path, executable: &Path) -> Result<CliConfig, InstallError> {
    let mirror = std::path::absolute(mirror_dir)
        .map_err(InstallError::disk("finding the folder", mirror_dir))?;
    let config = cli_config(&mirror)?;
    let folder = mirror.join(SOURCE).join(VERSION).join(platform());
    std::fs::create_dir_all(&folder).map_err(InstallError::disk("creating the folder", &folder))?;
    let provider = folder.join(format!("terraform-provider-localfs_v{VERSION}"));
    place(executable, &mirror, &provider)?;
    let path = mirror.join(CLI_CONFIG);
    write_where_it_differs(&path, &config)?;
    Ok(CliConfig { path })
}

/// The CLI configuration. Its one way to install providers is the mirror, so
/// that those in a repository's `terraform.d/plugins` do not count either.
fn cli_config(mirror: &Path) -> Result<String, InstallError> {
    let unwritable = |c: char| c.is_control() || matches!(c, '"' | '\\' | '$');
    let path = mirror.to_str().filter(|path| !path.contains(unwritable));
    let path = path.ok_or_else(|| InstallError::UnwritablePath(mirror.to_owned()))?;
    Ok(format!(
        "disable_checkpoint = true\n\n\
         provider_installation {{\n  filesystem_mirror {{\n    path = \"{path}\"\n  }}\n}}\n"
    ))
}

/// Makes `provider` the same file as `executable`, or one that equals it.
fn place(executable: &Path, mirror: &Path, provider: &Path) -> Result<(), InstallError> {
    let executable = executable
        .canonicalize()
        .map_err(InstallError::disk("finding the program", executable))?;
    let wanted = std::fs::metadata(&executable)
        .map_err(InstallError::disk("looking at the program", &executable))?;
    if let Ok(present) = std::fs::metadata(provider) {
        let same_file = (present.dev(), present.ino()) == (wanted.dev(), wanted.ino());
        let equal_copy =
            present.len() == wanted.len() && present.modified().ok() == wanted.modified().ok();
        if same_file || equal_copy {
            return Ok(());
        }
    }
    // Made under another name and moved, so that a Terraform that is just
    // starting sees the whole old program or the whole new one; and outside the
    // package's folder, all files of which count for its hash.
    let fresh = tempfile::Builder::new()
        .prefix(".localfs-")
        .make_in(mirror, |fresh| link_or_copy(&executable, fresh))
        .map_err(InstallError::disk("linking the program into", mirror))?;
    fresh
        .persist(provider)
        .map_err(|error| error.error)
        .map_err(InstallError::disk("creating the file", provider))?;
    Ok(())
}

fn link_or_copy(executable: &Path, fresh: &Path) -> io::Result<()> {
    match std::fs::hard_link(executable, fresh) {
        // The name is taken: another one is tried.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => copy(executable, fresh),
        Ok(()) => Ok(()),
    }
}

/// A copy gets the time of the original, by which it is known again.
fn copy(executable: &Path, fresh: &Path) -> io::Result<()> {
    std::fs::copy(executable, fresh)?;
    let modified = std::fs::metadata(executable)?.modified()?;
    std::fs::File::options()
        .append(true)
        .open(fresh)?
        .set_modified(modified)
}

/// The file is replaced at once, and left alone where it says the same already.
fn write_where_it_differs(path: &Path, text: &str) -> Result<(), InstallError> {
    if std::fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.persist(path).map_err(|error| error.error)
    });
    written
        .map(drop)
        .map_err(InstallError::disk("writing the file", path))
}

/// This platform in Terraform's words, as `linux_amd64`: Go's names.
fn platform() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    };
    format!("{system}_{architecture}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, content: &str) -> PathBuf {
        let path = folder.join("program");
        std::fs::write(&path, content).unwrap();
        path
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => found.extend(files(&entry.path())),
                false => found.push(entry.path()),
            }
        }
        found.sort();
        found
    }

    #[test]
    fn installing_again_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), "one");
        let mirror = folder.path().join("mirror");
        let first = install(&mirror, &program).unwrap();
        let before = files(&mirror);
        assert_eq!(before.len(), 2, "{before:?}");
        assert_eq!(install(&mirror, &program).unwrap(), first);
        assert_eq!(files(&mirror), before);
    }

    #[test]
    fn a_new_program_takes_the_old_ones_place() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = folder.path().join("mirror");
        let old = program(folder.path(), "old");
        install(&mirror, &old).unwrap();
        std::fs::remove_file(&old).unwrap();
        install(&mirror, &program(folder.path(), "newer")).unwrap();
        let provider = files(&mirror.join(SOURCE)).remove(0);
        assert_eq!(std::fs::read_to_string(provider).unwrap(), "newer");
        assert_eq!(files(&mirror).len(), 2, "nothing unfinished stays");
    }

    #[test]
    fn a_copy_of_the_program_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = folder.path().join("mirror");
        let program = program(folder.path(), "one");
        install(&mirror, &program).unwrap();
        let provider = files(&mirror.join(SOURCE)).remove(0);
        std::fs::remove_file(&provider).unwrap();
        copy(&program, &provider).unwrap();
        let number = || std::fs::metadata(&provider).unwrap().ino();
        let copied = number();
        install(&mirror, &program).unwrap();
        assert_eq!(number(), copied, "the copy stays");
        std::fs::write(&program, "two, and longer").unwrap();
        install(&mirror, &program).unwrap();
        assert_ne!(number(), copied, "the program has changed");
    }

    #[test]
    fn a_path_that_would_break_the_configuration_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), "one");
        for name in ["a\"b", "a\\b", "${x}", "a\nb"] {
            let error = install(&folder.path().join(name), &program).unwrap_err();
            assert!(matches!(error, InstallError::UnwritablePath(_)), "{name:?}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = install(folder.path(), Path::new("/no/such/program")).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
