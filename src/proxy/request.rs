//! What is asked of the proxy: the head of a request, read strictly.

use crate::network::{Host, InvalidHost};

/// A request that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Where to, as it was written.
    pub(super) asked: String,
    /// The host; what was written may be none.
    pub(super) host: Result<Host, InvalidHost>,
    /// The port.
    pub(super) port: u16,
    /// What is to be done there.
    pub(super) wanted: Wanted,
}

/// What is to be done with the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Bytes go to and fro (`CONNECT`).
    Tunnel,
    /// This head is sent, in the form for the server itself.
    Plain(Vec<u8>),
}

/// The head is none that a proxy is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Headers that are between two neighbours, and `host`, which is written anew: where a request
/// goes must be what it says.
const OF_THE_WAY: [&str; 9] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// Reads the head of a request, up to the empty line.
pub(super) fn read(head: &[u8]) -> Result<Request, Malformed> {
    let head = std::str::from_utf8(head).map_err(|_| Malformed)?;
    let head = head.strip_suffix("\r\n\r\n").ok_or(Malformed)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().ok_or(Malformed)?.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed);
    };
    let is_token = !method.is_empty() && method.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_clean = target.bytes().all(|b| b.is_ascii_graphic());
    if !is_token || !is_clean || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(Malformed);
    }
    if method == "CONNECT" {
        let (host, port) = split(target);
        return Ok(Request {
            asked: target.to_owned(),
            host: host.parse(),
            port: port.ok_or(Malformed)?,
            wanted: Wanted::Tunnel,
        });
    }
    let scheme = target.get(..7).ok_or(Malformed)?;
    if !scheme.eq_ignore_ascii_case("http://") {
        return Err(Malformed);
    }
    let rest = &target[7..];
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = split(authority);
    // `host:` and `host:http` are not the same as `host`.
    let port = match (port, host.len() == authority.len()) {
        (Some(port), _) => port,
        (None, true) => 80,
        (None, false) => return Err(Malformed),
    };
    let path = match path.as_bytes().first() {
        Some(b'/') => path.to_owned(),
        Some(b'?') => format!("/{path}"),
        None => "/".to_owned(),
        Some(_) => return Err(Malformed),
    };
    let mut plain = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\n");
    for line in lines {
        let (name, value) = header(line)?;
        if !OF_THE_WAY.contains(&name.to_ascii_lowercase().as_str()) {
            plain.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    plain.push_str("Connection: close\r\n\r\n");
    Ok(Request {
        asked: format!("{host}:{port}"),
        host: host.parse(),
        port,
        wanted: Wanted::Plain(plain.into_bytes()),
    })
}

/// A header in two parts. What goes on from the line before, or has a line's end in it, is none.
fn header(line: &str) -> Result<(&str, &str), Malformed> {
    let (name, value) = line.split_once(':').ok_or(Malformed)?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) || value.contains(['\r', '\n', '\0']) {
        return Err(Malformed);
    }
    Ok((name, value.trim()))
}

/// A host and its port; `None` where there is none, or it is no number from 1 to 65535.
fn split(authority: &str) -> (&str, Option<u16>) {
    let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after_brackets..].find(':') {
        None => (authority, None),
        Some(at) => {
            let (host, port) = authority.split_at(after_brackets + at);
            let digits = &port[1..];
            let is_number = digits.bytes().all(|b| b.is_ascii_digit());
            let port = digits.parse().ok().filter(|port| is_number && *port > 0);
            (host, port)
        }
    }
}

/// The head of an answer, with the connection said to end after it; `None` where it is none. An
/// interim answer (1xx) is passed on as it is.
///
/// Clients keep connections to a proxy and send requests for other servers over them.
pub(super) fn last_answer(head: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(head).ok()?;
    let text = text.strip_suffix("\r\n\r\n")?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?;
    let code = status.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    if code.len() == 3 && code.starts_with('1') && code != "101" {
        return Some(Answer::Interim);
    }
    let mut answer = format!("{status}\r\n");
    for line in lines {
        let (name, value) = header(line).ok()?;
        if !["connection", "keep-alive", "proxy-connection"]
            .contains(&name.to_ascii_lowercase().as_str())
        {
            answer.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    answer.push_str("Connection: close\r\n\r\n");
    Some(Answer::Last(answer.into_bytes()))
}

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Another answer follows.
    Interim,
    /// It is the one.
    Last(Vec<u8>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(head: &str) -> Result<(String, u16), Malformed> {
        read(head.as_bytes()).map(|request| {
            let host = request.host.map(|host| host.to_string());
            (host.unwrap_or_else(|e| format!("{e:?}")), request.port)
        })
    }

    #[test]
    fn a_tunnel_names_its_host_and_port() {
        let request = read(b"CONNECT API.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(request.asked, "API.example.com:443");
        assert_eq!(request.host.unwrap().to_string(), "api.example.com");
        assert_eq!((request.port, request.wanted), (443, Wanted::Tunnel));
        assert_eq!(
            asked("CONNECT [::1]:443 HTTP/1.1\r\n\r\n").unwrap(),
            ("[::1]".to_owned(), 443)
        );
    }

    #[test]
    fn a_plain_request_goes_where_it_says_and_nowhere_else() {
        let head = "GET http://a.example/x?y HTTP/1.1\r\nHost: evil.example\r\n\
            Proxy-Authorization: Basic x\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n";
        let request = read(head.as_bytes()).unwrap();
        assert_eq!((request.asked.as_str(), request.port), ("a.example:80", 80));
        assert_eq!(
            request.wanted,
            Wanted::Plain(
                b"GET /x?y HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nConnection: close\r\n\r\n"
                    .to_vec()
            )
        );
        assert_eq!(
            asked("GET HTTP://a.example:8080 HTTP/1.1\r\n\r\n").unwrap(),
            ("a.example".to_owned(), 8080)
        );
    }

    #[test]
    fn what_two_readers_would_understand_differently_is_no_request() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "GET https://a.example/ HTTP/1.1\r\n\r\n",
            "CONNECT a.example HTTP/1.1\r\n\r\n",
            "CONNECT a.example:0 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:+443 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:65536 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:443 HTTP/2.0\r\n\r\n",
            "CONNECT  a.example:443 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:443\tx HTTP/1.1\r\n\r\n",
            "GET http://a.example: HTTP/1.1\r\n\r\n",
            "GET http://a.example:80:80/ HTTP/1.1\r\n\r\n",
            "GET http://a.example\\@evil.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example#@evil.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nHost: x\n\nGET http://b/\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nA: b\r\n c: d\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nno header\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nA : b\r\n\r\n",
            "\r\n\r\n",
            "GET",
        ] {
            assert_eq!(asked(head), Err(Malformed), "{head:?}");
        }
    }

    #[test]
    fn a_host_in_disguise_is_no_host() {
        for target in [
            "http://user@a.example/",
            "http://a.example%2eevil/",
            "http://2130706433/",
            "http://0x7f.1/",
        ] {
            let head = format!("GET {target} HTTP/1.1\r\n\r\n");
            assert!(read(head.as_bytes()).unwrap().host.is_err(), "{target}");
        }
    }

    #[test]
    fn an_answer_ends_its_connection() {
        let head = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n";
        let last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
        assert_eq!(last_answer(head), Some(Answer::Last(last.to_vec())));
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(last_answer(interim), Some(Answer::Interim));
        assert_eq!(last_answer(b"SSH-2.0\r\n\r\n"), None);
    }
}
