//! The client's side of git's protocol for changing refs.
//!
//! One ref is changed at a time, from what it led to when the server greeted us: a server that
//! finds another value there refuses, so that nothing of others is lost. Servers speak version 0
//! of the protocol here; see `gitprotocol-pack(5)`, "Pushing Data To a Server".

use std::io::Read;

use git2::Oid;

use super::error::SourceError;
use super::peer::{Receiver, Update};
use super::protocol::{
    AGENT, Channel, Server, Trouble, cut, data, explain, read_greeting, unexpected,
};
use super::wire::{Band, Packet, band, packet, read_packet, text};

/// What is tried, for messages.
const TRIED: &str = "take commits";

/// A server that takes commits, and introduced itself.
pub(super) struct Pushing<C> {
    channel: C,
    capabilities: Vec<String>,
    refs: Vec<(String, Oid)>,
}

impl<C: Channel> Pushing<C> {
    /// Reads the server's greeting.
    pub(super) fn open(mut channel: C) -> Result<Self, SourceError> {
        let greeted = read_greeting(&mut *channel.greeting()?);
        match greeted {
            Ok(Server::Zero { capabilities, refs }) => Ok(Self {
                channel,
                capabilities,
                refs,
            }),
            Ok(Server::Two { .. }) => {
                let trouble = unexpected("it takes commits in no version of git's protocol");
                Err(explain(&mut channel, TRIED, trouble))
            }
            Err(trouble) => Err(explain(&mut channel, TRIED, trouble)),
        }
    }

    fn offers(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }
}

impl<C: Channel> Receiver for Pushing<C> {
    fn find(&self, name: &str) -> Result<Option<Oid>, SourceError> {
        let found = self.refs.iter().find(|(listed, _)| listed == name);
        Ok(found.map(|(_, id)| *id))
    }

    fn update(
        &mut self,
        name: &str,
        old: Option<Oid>,
        new: Oid,
        pack: &[u8],
    ) -> Result<Update, SourceError> {
        if !self.offers("report-status") {
            let trouble = unexpected("it does not say what becomes of commits that it is sent");
            return Err(explain(&mut self.channel, TRIED, trouble));
        }
        let banded = self.offers("side-band-64k");
        let bands = if banded { " side-band-64k" } else { "" };
        let old = old.unwrap_or(Oid::ZERO_SHA1);
        let command = format!("{old} {new} {name}\0 report-status{bands} {AGENT}");
        let mut request = Vec::with_capacity(pack.len() + command.len() + 8);
        packet(&mut request, command.as_bytes());
        request.extend(b"0000");
        request.extend(pack);
        let reported = {
            let mut answer = self.channel.ask(&request)?;
            if banded {
                unbanded(&mut *answer).and_then(|report| read_report(&mut report.as_slice(), name))
            } else {
                read_report(&mut *answer, name)
            }
        };
        reported.map_err(|trouble| explain(&mut self.channel, TRIED, trouble))
    }
}

/// The report that came in the first band.
fn unbanded(from: &mut dyn Read) -> Result<Vec<u8>, Trouble> {
    let mut report = Vec::new();
    while let Some(piece) = data(from)? {
        match band(&piece)? {
            Band::Pack(piece) => report.extend(piece),
            Band::Progress => {}
            Band::Error(message) => return Err(Trouble::Refused(message)),
        }
    }
    Ok(report)
}

/// Reads what became of the pack and of the ref.
fn read_report(from: &mut dyn Read, name: &str) -> Result<Update, Trouble> {
    let first = data(from)?.ok_or_else(|| unexpected("its report is empty"))?;
    match text(&first).strip_prefix("unpack ") {
        Some("ok") => {}
        Some(reason) => return Err(Trouble::Refused(format!("it cannot store them: {reason}"))),
        None => return Err(unexpected("its report does not say whether it stored them")),
    }
    let (ok, ng) = (format!("ok {name}"), format!("ng {name} "));
    loop {
        let line = match read_packet(from)?.ok_or_else(cut)? {
            Packet::Data(line) => text(&line),
            Packet::Delimiter => continue,
            Packet::Flush => return Err(unexpected("its report says nothing of the ref")),
        };
        if line == ok {
            return Ok(Update::Done);
        }
        if let Some(reason) = line.strip_prefix(&ng) {
            return if is_outrun(reason) {
                Ok(Update::Outrun(reason.to_owned()))
            } else {
                Err(Trouble::Refused(reason.to_owned()))
            };
        }
    }
}

/// Whether a refusal means that the ref led elsewhere by then, in the words of git and of the large
/// forges.
fn is_outrun(reason: &str) -> bool {
    const WORDS: [&str; 6] = [
        "fetch first",
        "non-fast-forward",
        "stale info",
        "failed to update ref",
        "failed to lock",
        "cannot lock ref",
    ];
    let reason = reason.to_lowercase();
    WORDS.iter().any(|words| reason.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::wire::line;

    fn report(lines: &[&str]) -> Result<Update, Trouble> {
        let mut out = Vec::new();
        for text in lines {
            line(&mut out, text);
        }
        out.extend(b"0000");
        read_report(&mut out.as_slice(), "refs/notes/mainstay")
    }

    #[test]
    fn a_ref_is_changed_only_where_the_report_says_so() {
        let done = report(&["unpack ok", "ok refs/notes/mainstay"]);
        assert!(matches!(done, Ok(Update::Done)));
        let other = report(&["unpack ok", "ok refs/notes/other"]);
        assert!(matches!(other, Err(Trouble::Unexpected(_))));
        let silent = report(&["unpack ok"]);
        assert!(matches!(silent, Err(Trouble::Unexpected(_))));
    }

    #[test]
    fn a_pack_that_was_not_stored_is_a_refusal() {
        let full = report(&[
            "unpack index-pack abnormal exit",
            "ng refs/notes/mainstay unpacker error",
        ]);
        assert!(matches!(full, Err(Trouble::Refused(why)) if why.contains("abnormal exit")));
    }

    #[test]
    fn who_was_slower_is_told_from_who_may_not() {
        let slower = report(&["unpack ok", "ng refs/notes/mainstay failed to update ref"]);
        assert!(matches!(slower, Ok(Update::Outrun(_))));
        let hook = report(&[
            "unpack ok",
            "ng refs/notes/mainstay pre-receive hook declined",
        ]);
        assert!(matches!(hook, Err(Trouble::Refused(why)) if why.contains("hook declined")));
    }
}
