//! The folders of `data_dir` that runs use.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::engine::kept_stranded;
use crate::fleet::folder_name;
use crate::id::{RepoName, RunId, WorkspaceName};

/// Whose code uses a folder. What a proposal's code may have written is never used by a merge, and
/// what a stranger's wrote by nobody: it has no folder that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A proposal's.
    Proposed,
    /// The base branch's.
    Merged,
}

/// The folders of `data_dir`.
#[derive(Debug, Clone)]
pub struct Places {
    data_dir: PathBuf,
}

impl Places {
    /// The folders below `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
        }
    }

    /// The bare mirrors.
    pub fn mirrors(&self) -> PathBuf {
        self.data_dir.join("mirrors")
    }

    /// Temporary checkouts, one for each run that is under way, and strangers' data folders.
    pub fn checkouts(&self) -> PathBuf {
        self.data_dir.join("checkouts")
    }

    /// How the name of a run's checkout begins.
    pub fn checkout(&self, id: RunId) -> String {
        format!("run-{id}-")
    }

    /// How the name of the folder begins that holds the data folder and plugin cache of a
    /// stranger's run, and is as short-lived as its checkout.
    pub fn strange(&self, id: RunId) -> String {
        format!("{}stranger-", self.checkout(id))
    }

    /// How the names of a run's temporary folders begin. They are short, since providers put their
    /// sockets there, and name the data folder, since other daemons have theirs beside them.
    pub fn temporary(&self, id: RunId) -> String {
        format!("{}{id}-", self.temporaries())
    }

    /// How the names of the temporary folders of all runs begin.
    pub fn temporaries(&self) -> String {
        let digest = Sha256::digest(self.data_dir.as_os_str().as_encoded_bytes());
        format!("mst-{}-", hex::encode(&digest[..4]))
    }

    /// Logs and plans of all runs, each in a folder of its number.
    pub fn runs(&self) -> PathBuf {
        self.data_dir.join("runs")
    }

    /// Logs and plans of a run.
    pub fn run(&self, id: RunId) -> PathBuf {
        self.runs().join(id.to_string())
    }

    /// A new folder for the next attempt at a run: a hold that is let go is planned again.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be made.
    pub fn next_attempt(&self, id: RunId) -> std::io::Result<PathBuf> {
        let folder = self.run(id);
        std::fs::create_dir_all(&folder)?;
        let mut attempt = 1_u32;
        loop {
            let next = folder.join(attempt.to_string());
            match std::fs::create_dir(&next) {
                Ok(()) => return Ok(next),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The folders of the attempts at a run so far.
    pub fn attempts(&self, id: RunId) -> Vec<PathBuf> {
        let folder = self.run(id);
        (1_u32..)
            .map(|attempt| folder.join(attempt.to_string()))
            .take_while(|attempt| attempt.is_dir())
            .collect()
    }

    /// The state that an apply of a run could not save, where one is kept. Nothing that runs can
    /// write where it is looked for.
    pub fn stranded(&self, id: RunId) -> Option<PathBuf> {
        let mut folders = vec![self.run(id)];
        folders.extend(self.attempts(id));
        folders.iter().find_map(|folder| kept_stranded(folder))
    }

    /// `TF_DATA_DIR` of a workspace for code that is no stranger's: reused between runs of the same trust.
    pub fn terraform(&self, repo: &RepoName, name: &WorkspaceName, trust: Trust) -> PathBuf {
        let trust = match trust {
            Trust::Proposed => "proposed",
            Trust::Merged => "merged",
        };
        self.data_dir
            .join("terraform")
            .join(folder_name(repo.as_str()))
            .join(folder_name(name.as_str()))
            .join(trust)
    }

    /// The state of a workspace that names no backend, its earlier versions beside it.
    pub fn state(&self, repo: &RepoName, name: &WorkspaceName) -> PathBuf {
        self.data_dir
            .join("states")
            .join(folder_name(repo.as_str()))
            .join(folder_name(name.as_str()))
            .join("terraform.tfstate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_at_a_run_never_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(folder.path());
        let first = places.next_attempt(RunId(3)).unwrap();
        let second = places.next_attempt(RunId(3)).unwrap();
        assert_ne!(first, second);
        assert_eq!(places.attempts(RunId(3)), [first, second]);
        assert!(places.attempts(RunId(4)).is_empty());
    }

    #[test]
    fn a_merge_never_uses_what_a_proposal_may_have_written() {
        let places = Places::new(Path::new("/var/lib/mainstay"));
        let repo = "acme/infra".parse().unwrap();
        let name = "network".parse().unwrap();
        assert_ne!(
            places.terraform(&repo, &name, Trust::Proposed),
            places.terraform(&repo, &name, Trust::Merged)
        );
    }
}
