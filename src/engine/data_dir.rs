//! The folder where Terraform keeps modules, providers and the backend's record (`TF_DATA_DIR`).

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The file in which a data folder knows its own path.
const HOME: &str = "mainstay-path";

/// The file where Terraform records which backend was initialised. It is not a state.
const BACKEND: &str = "terraform.tfstate";

/// No record of a backend is longer, in bytes.
const RECORD_LIMIT: u64 = 1 << 20;

/// The file where Terraform records which of its workspaces is selected.
const SELECTED: &str = "environment";

/// Makes the folder ready to be used at `path`.
///
/// Terraform writes absolute paths of remote modules into it. One that was
/// moved is therefore emptied: the next init fills it again. One that does not
/// say where it was is not ours to empty. A workspace that an earlier init
/// selected is forgotten.
pub(super) fn prepare(path: &Path) -> io::Result<()> {
    let home = path.join(HOME);
    match fs::read(&home) {
        Ok(recorded) if recorded == path.as_os_str().as_bytes() => {
            return remove(&path.join(SELECTED));
        }
        Ok(_) => wipe(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    // What ran in it may have left a link there, to be written through.
    remove(&home)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&home)?;
    file.write_all(path.as_os_str().as_bytes())?;
    remove(&path.join(SELECTED))
}

/// What the last `init` wrote down of the backend in a data folder, as JSON; `None` where there is
/// no such record. It may hold credentials.
pub fn backend_record(path: &Path) -> Option<serde_json::Value> {
    // What ran in the folder before may have left anything in its place, of any size.
    let file = super::planning::open_own(&path.join(BACKEND)).ok()?;
    serde_json::from_reader(file.take(RECORD_LIMIT)).ok()
}

/// Forgets which backend was initialised, so that the next init takes the
/// configuration's as it is. `init -reconfigure` alone does so for a changed
/// backend but not for one that was taken away (tried with 1.11.4).
pub(super) fn forget_backend(path: &Path) -> io::Result<()> {
    remove(&path.join(BACKEND))
}

fn wipe(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_is_kept_while_it_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        prepare(&path).unwrap();
        fs::write(path.join("modules"), "x").unwrap();
        fs::write(path.join(SELECTED), "production").unwrap();
        prepare(&path).unwrap();
        assert!(path.join("modules").exists());
        assert!(!path.join(SELECTED).exists());
    }

    #[test]
    fn a_folder_that_somebody_else_filled_is_not_emptied() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("precious"), "x").unwrap();
        prepare(dir.path()).unwrap();
        assert!(dir.path().join("precious").exists());
    }

    #[test]
    fn a_moved_data_folder_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        prepare(&path).unwrap();
        fs::write(path.join("modules"), "x").unwrap();
        let moved = dir.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        prepare(&moved).unwrap();
        assert!(!moved.join("modules").exists());
        assert_eq!(
            fs::read(moved.join(HOME)).unwrap(),
            moved.as_os_str().as_bytes()
        );
    }
}
