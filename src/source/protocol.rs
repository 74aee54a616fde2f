//! The client's side of git's fetch protocol, versions 2 and 0.
//!
//! Version 2 lists only the refs that are asked for, which matters where a
//! repository has tens of thousands of old pull requests; some servers speak
//! only version 0. What we have is told in one go, without a dialogue: a mirror
//! that is fetched regularly has its refs in common with the server, and a pack
//! that is larger than it had to be is still right.
//!
//! See `gitprotocol-v2(5)` and `gitprotocol-pack(5)`.

use std::io::{self, Read, Write};

use git2::{Odb, OdbPackwriter, Oid};

use super::error::{SourceError, one_line};
use super::peer::Peer;
use super::wire::{Band, Packet, band, line, read_packet, text};
use crate::config::Size;

/// A connection to `git-upload-pack`, however it is made.
pub(super) trait Channel {
    /// What the server says first.
    fn greeting(&mut self) -> Result<Box<dyn Read + '_>, SourceError>;

    /// Sends a request, and gives the answer to it. After an answer of version 0
    /// the connection is over.
    fn ask(&mut self, request: &[u8]) -> Result<Box<dyn Read + '_>, SourceError>;

    /// Says why an answer broke off.
    fn broke_off(&mut self, tried: &str, cause: io::Error) -> SourceError;

    /// The remote's URL, as it may be shown.
    fn url(&self) -> &str;
}

/// What the server said that it speaks.
pub(super) enum Server {
    /// Version 2, with these capabilities.
    Two { capabilities: Vec<String> },
    /// Version 0, with these capabilities and all refs.
    Zero {
        capabilities: Vec<String>,
        refs: Vec<(String, Oid)>,
    },
}

/// Why an answer could not be used.
pub(super) enum Trouble {
    /// It broke off, or is no answer.
    Read(io::Error),
    /// The server said no.
    Refused(String),
    /// It does not follow the protocol.
    Unexpected(String),
    /// The pack could not be stored.
    Store(git2::Error),
    /// The pack is larger than this.
    TooLarge(Size),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// A server that introduced itself.
pub(super) struct Conversation<C> {
    channel: C,
    server: Server,
}

/// What names us to a server.
pub(super) const AGENT: &str = concat!("agent=mainstay/", env!("CARGO_PKG_VERSION"));

impl<C: Channel> Conversation<C> {
    /// Reads the server's greeting.
    pub(super) fn open(mut channel: C) -> Result<Self, SourceError> {
        let greeted = read_greeting(&mut *channel.greeting()?);
        match greeted {
            Ok(server) => Ok(Self { channel, server }),
            Err(trouble) => Err(explain(&mut channel, "list its branches", trouble)),
        }
    }
}

impl<C: Channel> Peer for Conversation<C> {
    fn list(&mut self, prefixes: &[String]) -> Result<Vec<(String, Oid)>, SourceError> {
        let wanted = |name: &str| {
            prefixes
                .iter()
                .any(|prefix| name.starts_with(prefix.as_str()))
        };
        let capabilities = match &self.server {
            Server::Zero { refs, .. } => {
                return Ok(refs
                    .iter()
                    .filter(|(name, _)| wanted(name))
                    .cloned()
                    .collect());
            }
            Server::Two { capabilities } => capabilities,
        };
        let mut request = command("ls-refs", capabilities);
        for prefix in prefixes {
            line(&mut request, &format!("ref-prefix {prefix}"));
        }
        request.extend(b"0000");
        let listed = read_refs(&mut *self.channel.ask(&request)?);
        match listed {
            // The server need not heed the prefixes.
            Ok(refs) => Ok(refs.into_iter().filter(|(name, _)| wanted(name)).collect()),
            Err(trouble) => Err(explain(&mut self.channel, "list its branches", trouble)),
        }
    }

    fn pack(
        &mut self,
        wants: &[Oid],
        haves: &[Oid],
        odb: &Odb<'_>,
        most: u64,
    ) -> Result<(), SourceError> {
        let mut request = match &self.server {
            Server::Two { capabilities } => {
                let mut request = command("fetch", capabilities);
                for word in ["thin-pack", "ofs-delta", "no-progress"] {
                    line(&mut request, word);
                }
                for want in wants {
                    line(&mut request, &format!("want {want}"));
                }
                request
            }
            Server::Zero { capabilities, .. } => {
                let words = ["side-band-64k", "thin-pack", "ofs-delta", "no-progress"];
                let known = words
                    .iter()
                    .filter(|word| capabilities.iter().any(|c| c == *word));
                let known: Vec<&str> = known.copied().collect();
                if !known.contains(&"side-band-64k") {
                    let trouble = Trouble::Unexpected("it cannot send packs in bands".to_owned());
                    return Err(explain(&mut self.channel, "send commits", trouble));
                }
                let mut request = Vec::new();
                for (number, want) in wants.iter().enumerate() {
                    let words = if number == 0 {
                        format!(" {} {AGENT}", known.join(" "))
                    } else {
                        String::new()
                    };
                    line(&mut request, &format!("want {want}{words}"));
                }
                request.extend(b"0000");
                request
            }
        };
        for have in haves {
            line(&mut request, &format!("have {have}"));
        }
        line(&mut request, "done");
        if matches!(self.server, Server::Two { .. }) {
            request.extend(b"0000");
        }
        let stored = {
            let mut answer = self.channel.ask(&request)?;
            let begun = match self.server {
                Server::Two { .. } => skip_to_packfile(&mut *answer),
                Server::Zero { .. } => Ok(()),
            };
            begun.and_then(|()| {
                let mut writer = odb.packwriter().map_err(Trouble::Store)?;
                read_pack(&mut *answer, &mut writer, most)
            })
        };
        stored.map_err(|trouble| explain(&mut self.channel, "send commits", trouble))
    }
}

/// Begins a request of version 2.
fn command(name: &str, capabilities: &[String]) -> Vec<u8> {
    let mut request = Vec::new();
    line(&mut request, &format!("command={name}"));
    if capabilities
        .iter()
        .any(|c| c == "agent" || c.starts_with("agent="))
    {
        line(&mut request, AGENT);
    }
    if capabilities.iter().any(|c| c.starts_with("object-format=")) {
        line(&mut request, "object-format=sha1");
    }
    request.extend(b"0001");
    request
}

/// Reads what the server says first.
pub(super) fn read_greeting(from: &mut dyn Read) -> Result<Server, Trouble> {
    let mut first = data(from)?.ok_or_else(|| unexpected("it says nothing"))?;
    if first.starts_with(b"# service=git-") {
        read_flush(from)?;
        // An empty repository of version 0 may end here.
        match read_packet(from)? {
            Some(Packet::Data(next)) => first = next,
            _ => {
                return Ok(Server::Zero {
                    capabilities: Vec::new(),
                    refs: Vec::new(),
                });
            }
        }
    }
    refuse_error(&first)?;
    if text(&first) == "version 2" {
        let mut capabilities = Vec::new();
        while let Some(capability) = data(from)? {
            capabilities.push(text(&capability));
        }
        check_format(capabilities.iter().map(String::as_str))?;
        return Ok(Server::Two { capabilities });
    }
    if text(&first) == "version 1" {
        first = data(from)?.ok_or_else(|| unexpected("it ends after its version"))?;
    }
    let Some(end) = first.iter().position(|byte| *byte == 0) else {
        return Err(unexpected("its first line is none of git's"));
    };
    let capabilities: Vec<String> = text(&first[end + 1..])
        .split(' ')
        .filter(|c| !c.is_empty())
        .map(str::to_owned)
        .collect();
    check_format(capabilities.iter().map(String::as_str))?;
    let mut refs = Vec::new();
    let mut next = Some(first[..end].to_vec());
    while let Some(data_line) = next {
        refuse_error(&data_line)?;
        let entry = text(&data_line);
        if !entry.starts_with("shallow ") {
            let (oid, name) = read_ref(&entry)?;
            // Tags are listed a second time as `name^{}`, nothing at all as `capabilities^{}`.
            if !name.ends_with("^{}") {
                refs.push((name, oid));
            }
        }
        next = data(from)?;
    }
    Ok(Server::Zero { capabilities, refs })
}

/// Refuses repositories whose ids are not of the usual kind.
fn check_format<'c>(mut capabilities: impl Iterator<Item = &'c str>) -> Result<(), Trouble> {
    match capabilities.find_map(|c| c.strip_prefix("object-format=")) {
        None | Some("sha1") => Ok(()),
        Some(other) => Err(unexpected(&format!(
            "the repository's object ids are {}, and only sha1 is supported",
            one_line(other)
        ))),
    }
}

/// Reads the answer to `ls-refs`.
fn read_refs(from: &mut dyn Read) -> Result<Vec<(String, Oid)>, Trouble> {
    let mut refs = Vec::new();
    while let Some(entry) = data(from)? {
        refuse_error(&entry)?;
        let (oid, name) = read_ref(&text(&entry))?;
        refs.push((name, oid));
    }
    Ok(refs)
}

/// Reads `<oid> <name>[ <attribute>…]`.
fn read_ref(entry: &str) -> Result<(Oid, String), Trouble> {
    let mut words = entry.split(' ');
    let (Some(oid), Some(name)) = (words.next(), words.next()) else {
        return Err(unexpected("a line of its list of refs has no name"));
    };
    let oid = Some(oid)
        .filter(|oid| oid.len() == 40)
        .and_then(|oid| Oid::from_str(oid).ok());
    Ok((
        oid.ok_or_else(|| unexpected("an object id in its list of refs is none"))?,
        name.to_owned(),
    ))
}

/// Skips the sections before the pack in an answer of version 2.
fn skip_to_packfile(from: &mut dyn Read) -> Result<(), Trouble> {
    loop {
        match read_packet(from)?.ok_or_else(cut)? {
            Packet::Data(data) if text(&data) == "packfile" => return Ok(()),
            Packet::Data(data) => refuse_error(&data)?,
            Packet::Delimiter => {}
            Packet::Flush => return Err(unexpected("its answer has no pack")),
        }
    }
}

/// Stores a pack; nothing of it is kept unless all of it came.
fn read_pack(from: &mut dyn Read, into: &mut OdbPackwriter<'_>, most: u64) -> Result<(), Trouble> {
    let mut size = 0;
    let stored = |_| Trouble::Store(git2::Error::last_error(-1));
    while let Some(packet) = data(from)? {
        // Version 0 says first what it recognised: one line or more, none of which is in a band.
        if packet.starts_with(b"ACK ") || packet.starts_with(b"NAK") {
            continue;
        }
        refuse_error(&packet)?;
        match band(&packet)? {
            Band::Pack(piece) => {
                size += piece.len() as u64;
                if size > most {
                    return Err(Trouble::TooLarge(Size(most)));
                }
                into.write_all(piece).map_err(stored)?;
            }
            Band::Progress => {}
            Band::Error(message) => return Err(Trouble::Refused(message)),
        }
    }
    into.commit().map_err(Trouble::Store)?;
    Ok(())
}

/// The data of the next packet; `None` where the message ends.
pub(super) fn data(from: &mut dyn Read) -> Result<Option<Vec<u8>>, Trouble> {
    match read_packet(from)?.ok_or_else(cut)? {
        Packet::Data(data) => Ok(Some(data)),
        Packet::Flush | Packet::Delimiter => Ok(None),
    }
}

/// Reads the end of the part that `http` puts before everything else.
fn read_flush(from: &mut dyn Read) -> Result<(), Trouble> {
    match data(from)? {
        None => Ok(()),
        Some(_) => Err(unexpected("its announcement of the service goes on")),
    }
}

/// An answer that ended before its end.
pub(super) fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ended too early")
}

pub(super) fn unexpected(what: &str) -> Trouble {
    Trouble::Unexpected(what.to_owned())
}

/// `ERR` is how a server ends a conversation with a reason.
fn refuse_error(data: &[u8]) -> Result<(), Trouble> {
    match text(data).strip_prefix("ERR ") {
        Some(message) => Err(Trouble::Refused(message.to_owned())),
        None => Ok(()),
    }
}

/// Makes an error of what went wrong in the conversation.
pub(super) fn explain(channel: &mut dyn Channel, tried: &str, trouble: Trouble) -> SourceError {
    let url = channel.url().to_owned();
    match trouble {
        Trouble::Read(error) if error.kind() == io::ErrorKind::InvalidData => {
            SourceError::Protocol {
                url,
                what: error.to_string(),
            }
        }
        Trouble::Read(error) => channel.broke_off(tried, error),
        Trouble::Refused(message) => SourceError::Refused {
            url,
            tried: tried.to_owned(),
            message: one_line(&message),
        },
        Trouble::Unexpected(what) => SourceError::Protocol { url, what },
        Trouble::Store(source) => SourceError::Store { url, source },
        Trouble::TooLarge(limit) => SourceError::PackTooLarge {
            url,
            limit,
            wanted: "its commits".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for text in lines {
            match *text {
                "0000" | "0001" => out.extend(text.bytes()),
                _ => line(&mut out, text),
            }
        }
        out
    }

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_greeting_of_version_0_lists_the_refs_without_peeled_tags() {
        let greeting = framed(&[
            "# service=git-upload-pack",
            "0000",
            &format!("{ID} HEAD\0side-band-64k thin-pack"),
            &format!("{ID} refs/heads/main"),
            &format!("{ID} refs/tags/v1^{{}}"),
            "0000",
        ]);
        let Ok(Server::Zero { capabilities, refs }) = read_greeting(&mut greeting.as_slice())
        else {
            panic!("version 0 was not understood");
        };
        assert_eq!(capabilities, ["side-band-64k", "thin-pack"]);
        assert_eq!(
            refs.iter().map(|r| r.0.as_str()).collect::<Vec<_>>(),
            ["HEAD", "refs/heads/main"]
        );
    }

    #[test]
    fn an_empty_repository_of_version_0_has_no_refs() {
        let zero = "0".repeat(40);
        let greeting = framed(&[&format!("{zero} capabilities^{{}}\0side-band-64k"), "0000"]);
        let Ok(Server::Zero { refs, .. }) = read_greeting(&mut greeting.as_slice()) else {
            panic!("version 0 was not understood");
        };
        assert_eq!(refs, []);
    }

    #[test]
    fn a_repository_with_other_object_ids_is_refused() {
        let greeting = framed(&["version 2", "object-format=sha256", "0000"]);
        let Err(Trouble::Unexpected(what)) = read_greeting(&mut greeting.as_slice()) else {
            panic!("sha256 was accepted");
        };
        assert!(what.contains("sha256"), "{what}");
    }

    #[test]
    fn an_error_line_is_a_refusal() {
        let greeting = framed(&["ERR access denied or repository not exported"]);
        assert!(matches!(
            read_greeting(&mut greeting.as_slice()),
            Err(Trouble::Refused(_))
        ));
    }

    #[test]
    fn what_ends_early_is_cut_and_what_is_no_protocol_is_unexpected() {
        for cut in [&framed(&["version 2"])[..], b"001", b""] {
            let read = read_greeting(&mut &*cut);
            assert!(
                matches!(&read, Err(Trouble::Read(e)) if e.kind() == io::ErrorKind::UnexpectedEof)
            );
        }
        let html = read_greeting(&mut &b"<html>"[..]);
        assert!(matches!(html, Err(Trouble::Read(e)) if e.kind() == io::ErrorKind::InvalidData));
        let odd = framed(&["hello", "0000"]);
        assert!(matches!(
            read_greeting(&mut odd.as_slice()),
            Err(Trouble::Unexpected(_))
        ));
    }
}
