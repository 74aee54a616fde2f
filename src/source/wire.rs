//! Git's framing of lines, and the bands that share one connection.
//!
//! See `gitprotocol-common(5)` and `gitprotocol-pack(5)`.

use std::io::{self, Read};

/// A packet may be this long, its four digits of length among them.
const PACKET_LIMIT: usize = 65_520;

/// What the framing yields.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// A line or a piece of data.
    Data(Vec<u8>),
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section; `0002` is the end of a response and means the same here.
    Delimiter,
}

/// Frames one line.
pub(super) fn line(out: &mut Vec<u8>, text: &str) {
    debug_assert!(
        text.len() + 5 <= PACKET_LIMIT,
        "lines of a request are short"
    );
    out.extend(format!("{:04x}{text}\n", text.len() + 5).into_bytes());
}

/// Frames bytes as they are.
pub(super) fn packet(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(
        data.len() + 4 <= PACKET_LIMIT,
        "packets of a request are short"
    );
    out.extend(format!("{:04x}", data.len() + 4).into_bytes());
    out.extend(data);
}

/// Reads the next packet; `None` at the end of the stream.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] where this is no packet, and what reading yields.
pub(super) fn read_packet(from: &mut dyn Read) -> io::Result<Option<Packet>> {
    let mut digits = [0; 4];
    match from.read(&mut digits[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut digits[1..])?,
    }
    let length = std::str::from_utf8(&digits)
        .ok()
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a packet without a length"))?;
    match length {
        0 => Ok(Some(Packet::Flush)),
        1 | 2 => Ok(Some(Packet::Delimiter)),
        3 | PACKET_LIMIT.. if length != PACKET_LIMIT => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet with an impossible length",
        )),
        _ => {
            let mut data = vec![0; length - 4];
            from.read_exact(&mut data)?;
            Ok(Some(Packet::Data(data)))
        }
    }
}

/// A line of text, without its end.
pub(super) fn text(data: &[u8]) -> String {
    let data = data.strip_suffix(b"\n").unwrap_or(data);
    String::from_utf8_lossy(data).into_owned()
}

/// What one packet of a response with bands carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Band<'d> {
    /// A piece of the pack.
    Pack(&'d [u8]),
    /// Progress for people.
    Progress,
    /// The server gave up, and says why.
    Error(String),
}

/// Takes a packet's band off.
pub(super) fn band(data: &[u8]) -> io::Result<Band<'_>> {
    match data.split_first() {
        Some((1, pack)) => Ok(Band::Pack(pack)),
        Some((2, _)) => Ok(Band::Progress),
        Some((3, message)) => Ok(Band::Error(text(message))),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet of no known band",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_reads_back() {
        let mut out = Vec::new();
        line(&mut out, "want 1");
        out.extend(b"00010000");
        let mut from = out.as_slice();
        assert_eq!(
            read_packet(&mut from).unwrap(),
            Some(Packet::Data(b"want 1\n".to_vec()))
        );
        assert_eq!(read_packet(&mut from).unwrap(), Some(Packet::Delimiter));
        assert_eq!(read_packet(&mut from).unwrap(), Some(Packet::Flush));
        assert_eq!(read_packet(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_no_packet_is_an_error() {
        for bad in ["<htm", "0003", "fff1", "00", "0009ab"] {
            assert!(read_packet(&mut bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
