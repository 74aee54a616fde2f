//! Notes on commits, as `git notes` reads them, written to the remote.

use std::collections::BTreeMap;

use git2::{ErrorCode, Oid, Repository, Signature, Sort, Time};

use super::address::RemoteAddress;
use super::error::SourceError;
use super::mirror::{Mirror, oid};
use super::peer::Update;
use crate::clock::Timestamp;
use crate::id::CommitSha;

/// Who writes the notes. The address is none that anybody could have.
const AUTHOR: (&str, &str) = ("Mainstay", "mainstay@mainstay.invalid");

/// How often another writer may be quicker before we give up for now.
const TRIES: usize = 3;

/// Whether notes had to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Those that differed were written.
    Written,
    /// The remote had all of them.
    AsWanted,
}

impl Mirror {
    /// Makes the notes of commits in `name` (`refs/notes/mainstay`) of a remote say what is given;
    /// notes of other commits stay as they are. All of it takes place, or nothing.
    ///
    /// Safe to repeat: what the remote has already is not written again. Notes that somebody else
    /// wrote there in the meantime are kept.
    ///
    /// # Errors
    ///
    /// Those of the connection; [`SourceError::MayNotPush`] where we may not write, and
    /// [`SourceError::Outrun`] where others change the ref all the time.
    pub fn write_notes(
        &self,
        remote: &RemoteAddress,
        name: &str,
        notes: &BTreeMap<CommitSha, String>,
        at: Timestamp,
    ) -> Result<Noted, SourceError> {
        let _lock = self.lock()?;
        let network = self.network();
        let mut said = String::new();
        for _ in 0..TRIES {
            let mut receiver = network.push(remote)?;
            let old = receiver.find(name)?;
            let repo = self.repo()?;
            if let Some(old) = old.filter(|old| repo.find_commit(*old).is_err()) {
                let odb = repo
                    .odb()
                    .map_err(|error| self.failed("read its notes", error))?;
                network
                    .connect(remote)?
                    .pack(&[old], &[], &odb, self.limits().pack)?;
            }
            // Opened anew, so that what was fetched is seen.
            let repo = self.repo()?;
            let new = note_all(&repo, old, notes, at)
                .map_err(|error| self.failed("write notes in it", error))?;
            let Some(new) = new else {
                return Ok(Noted::AsWanted);
            };
            let pack = pack(&repo, old, new)
                .map_err(|error| self.failed("make a pack of its notes", error))?;
            match receiver.update(name, old, new, &pack)? {
                Update::Done => return Ok(Noted::Written),
                Update::Outrun(reason) => said = reason,
            }
        }
        Err(SourceError::Outrun {
            url: remote.shown(),
            name: name.to_owned(),
            said,
        })
    }
}

/// Where the notes are while they are written. It is not among the refs that the mirror keeps:
/// what nothing leads to any more is cleared up with the rest.
const SCRATCH: &str = "refs/notes/writing";

/// Writes the notes that differ on top of `old`; gives the new commit, where there is one.
fn note_all(
    repo: &Repository,
    old: Option<Oid>,
    notes: &BTreeMap<CommitSha, String>,
    at: Timestamp,
) -> Result<Option<Oid>, git2::Error> {
    match old {
        Some(old) => {
            repo.reference(SCRATCH, old, true, "notes of the remote")?;
        }
        None => match repo.find_reference(SCRATCH) {
            Ok(mut left) => left.delete()?,
            Err(error) if error.code() == ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        },
    }
    let author = Signature::new(AUTHOR.0, AUTHOR.1, &Time::new(at.timestamp(), 0))?;
    for (commit, text) in notes {
        let commit = oid(commit.as_str());
        let same = match repo.find_note(Some(SCRATCH), commit) {
            Ok(note) => note.message().is_ok_and(|present| present == text),
            Err(error) if error.code() == ErrorCode::NotFound => false,
            Err(error) => return Err(error),
        };
        if !same {
            repo.note(&author, &author, Some(SCRATCH), commit, text, true)?;
        }
    }
    match repo.refname_to_id(SCRATCH) {
        Ok(new) if Some(new) != old => Ok(Some(new)),
        Ok(_) => Ok(None),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a remote that has `old` needs for `new`.
fn pack(repo: &Repository, old: Option<Oid>, new: Oid) -> Result<Vec<u8>, git2::Error> {
    let mut walk = repo.revwalk()?;
    // Parents after children is what the builder needs to tell new from known.
    walk.set_sorting(Sort::TOPOLOGICAL)?;
    walk.push(new)?;
    if let Some(old) = old {
        walk.hide(old)?;
    }
    let mut builder = repo.packbuilder()?;
    builder.insert_walk(&mut walk)?;
    let mut pack = git2::Buf::new();
    builder.write_buf(&mut pack)?;
    Ok(pack.to_vec())
}
