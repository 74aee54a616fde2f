//! A remote that is a folder of this machine.

use std::io::Write;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Odb, Oid, PackBuilder, Repository, RepositoryOpenFlags, Sort};

use super::error::{Login, SourceError};
use super::peer::{Peer, Receiver, Update};
use crate::config::Size;

/// A repository on this machine. It is read, and none of its programs run.
pub(super) struct Local {
    repo: Repository,
    path: PathBuf,
    shown: String,
}

impl Local {
    /// Opens the repository, bare or not.
    pub(super) fn open(path: &Path, shown: String) -> Result<Self, SourceError> {
        let none: [&str; 0] = [];
        match Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, none) {
            Ok(repo) => Ok(Self {
                repo,
                path: path.to_owned(),
                shown,
            }),
            Err(error) if error.code() == ErrorCode::NotFound => {
                Err(SourceError::NoSuchRepository {
                    url: shown,
                    login: Login::Here,
                })
            }
            Err(error) => Err(SourceError::git(path, "open it", error)),
        }
    }

    /// Makes a pack of what is wanted.
    fn builder(&self, wants: &[Oid], haves: &[Oid]) -> Result<PackBuilder<'_>, git2::Error> {
        let mut walk = self.repo.revwalk()?;
        // Parents after children is what the builder needs to tell new from known.
        walk.set_sorting(Sort::TOPOLOGICAL)?;
        for want in wants {
            // What is no commit is no proposal either.
            if self.repo.find_object(*want, None)?.kind() == Some(ObjectType::Commit) {
                walk.push(*want)?;
            }
        }
        for have in haves
            .iter()
            .filter(|have| self.repo.find_commit(**have).is_ok())
        {
            walk.hide(*have)?;
        }
        let mut builder = self.repo.packbuilder()?;
        builder.insert_walk(&mut walk)?;
        Ok(builder)
    }

    /// An error of the repository itself; it is not for us to mend.
    fn failed(&self, action: &str, source: git2::Error) -> SourceError {
        SourceError::Git {
            action: action.to_owned(),
            path: self.path.clone(),
            source,
        }
    }
}

impl Peer for Local {
    fn list(&mut self, prefixes: &[String]) -> Result<Vec<(String, Oid)>, SourceError> {
        let failed = |error| self.failed("list its branches", error);
        let mut refs = Vec::new();
        for reference in self.repo.references().map_err(failed)? {
            let reference = reference.map_err(failed)?;
            // A name that is no text is none that anybody could ask for.
            let Ok(name) = reference.name() else { continue };
            if !prefixes
                .iter()
                .any(|prefix| name.starts_with(prefix.as_str()))
            {
                continue;
            }
            // A symbolic ref may lead nowhere.
            if let Some(target) = reference
                .resolve()
                .ok()
                .and_then(|reference| reference.target())
            {
                refs.push((name.to_owned(), target));
            }
        }
        Ok(refs)
    }

    fn pack(
        &mut self,
        wants: &[Oid],
        haves: &[Oid],
        odb: &Odb<'_>,
        most: u64,
    ) -> Result<(), SourceError> {
        let store = |source| SourceError::Store {
            url: self.shown.clone(),
            source,
        };
        let read = |source| self.failed("read its commits", source);
        let mut builder = self.builder(wants, haves).map_err(read)?;
        let mut writer = odb.packwriter().map_err(store)?;
        let mut written = Ok(());
        let mut size = 0;
        let built = builder.foreach(|piece| {
            size += piece.len() as u64;
            if size > most {
                return false;
            }
            written = writer
                .write_all(piece)
                .map_err(|_| git2::Error::last_error(-1));
            written.is_ok()
        });
        written.map_err(store)?;
        if size > most {
            return Err(SourceError::PackTooLarge {
                url: self.shown.clone(),
                limit: Size(most),
                wanted: "its commits".to_owned(),
            });
        }
        built.map_err(read)?;
        writer.commit().map_err(store)?;
        Ok(())
    }
}

impl Receiver for Local {
    fn find(&self, name: &str) -> Result<Option<Oid>, SourceError> {
        match self.repo.refname_to_id(name) {
            Ok(id) => Ok(Some(id)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.failed("read one of its refs", error)),
        }
    }

    fn update(
        &mut self,
        name: &str,
        old: Option<Oid>,
        new: Oid,
        pack: &[u8],
    ) -> Result<Update, SourceError> {
        let write = || -> Result<(), git2::Error> {
            let odb = self.repo.odb()?;
            let mut writer = odb.packwriter()?;
            writer
                .write_all(pack)
                .map_err(|_| git2::Error::last_error(-1))?;
            writer.commit()?;
            odb.refresh()?;
            match old {
                Some(old) => self
                    .repo
                    .reference_matching(name, new, true, old, "mainstay"),
                None => self.repo.reference(name, new, false, "mainstay"),
            }?;
            Ok(())
        };
        match write() {
            Ok(()) => Ok(Update::Done),
            Err(error)
                if matches!(
                    error.code(),
                    ErrorCode::Modified | ErrorCode::Exists | ErrorCode::Locked
                ) =>
            {
                Ok(Update::Outrun(error.message().to_owned()))
            }
            Err(error) => Err(self.failed("write one of its refs", error)),
        }
    }
}
