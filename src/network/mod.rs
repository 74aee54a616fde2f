//! Which hosts a run may reach: what the settings say, and what no setting can.
//!
//! Everything here is pure. Names are compared as they are written; what they resolve to is judged
//! by [`reach`] when it is known.

mod address;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::address::{Reach, reach};

/// What of the network a run may reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NetworkRule {
    /// Whatever the machine can: nothing is held back.
    #[default]
    Allow,
    /// Nothing.
    Deny,
    /// These hosts alone, through a proxy.
    Hosts(Vec<HostPattern>),
}

impl fmt::Display for NetworkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::Deny => f.write_str("deny"),
            Self::Hosts(hosts) => {
                for (number, host) in hosts.iter().enumerate() {
                    let between = if number == 0 { "" } else { ", " };
                    write!(f, "{between}{host}")?;
                }
                Ok(())
            }
        }
    }
}

/// Names by which machines reach themselves or a cloud's metadata, whatever they resolve to.
const NEVER_NAMED: [&str; 6] = [
    "localhost",
    "localdomain",
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data.ec2.internal",
];

/// A host as it was asked for, in the one way that it is compared: lower case, without a dot at its
/// end, an address in its usual form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Host {
    /// By its name.
    Name(String),
    /// By its address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A text is no host that can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing stands there.
    #[error("it is empty")]
    Empty,
    /// It has other characters than names of hosts have.
    #[error("a name has letters, digits, `-`, `_` and `.`; write others in punycode (`xn--…`)")]
    Characters,
    /// A name, or a part of it, is too long or empty.
    #[error("a part of the name is empty or too long")]
    Part,
    /// `2130706433`, `0x7f.1`, `127.1` and `0177.0.0.1` are 127.0.0.1 for many programs.
    #[error("it is an address in an unusual form; write it as `192.0.2.1`")]
    UnusualAddress,
    /// An address of IPv6 without brackets, with a zone, or none at all.
    #[error("an address of IPv6 is written as `[2001:db8::1]`")]
    Brackets,
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(given: &str) -> Result<Self, InvalidHost> {
        if let Some(inner) = given.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(InvalidHost::Brackets)?;
            let address: Ipv6Addr = inner.parse().map_err(|_| InvalidHost::Brackets)?;
            return Ok(Self::Address(address.into()));
        }
        let name = given.strip_suffix('.').unwrap_or(given);
        if name.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if name.contains(':') {
            return Err(InvalidHost::Brackets);
        }
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.chars().all(is_fit) {
            return Err(InvalidHost::Characters);
        }
        if name.len() > 253
            || name
                .split('.')
                .any(|part| part.is_empty() || part.len() > 63)
        {
            return Err(InvalidHost::Part);
        }
        // The strict form alone; no part has a zero before it.
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let last = name.rsplit('.').next().unwrap_or(name);
        let hexadecimal = |digits: &str| digits.chars().all(|c| c.is_ascii_hexdigit());
        let is_number = last.chars().all(|c| c.is_ascii_digit())
            || last
                .strip_prefix("0x")
                .or_else(|| last.strip_prefix("0X"))
                .is_some_and(hexadecimal);
        if is_number {
            return Err(InvalidHost::UnusualAddress);
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl Host {
    /// Why the host is never reached by this name or address, whatever is listed.
    pub fn never(&self) -> Option<&'static str> {
        match self {
            Self::Address(address) => match reach(*address) {
                Reach::Never(reason) => Some(reason),
                Reach::Public | Reach::Private => None,
            },
            Self::Name(name) => {
                let below = |top: &str| {
                    name == top
                        || name
                            .strip_suffix(top)
                            .is_some_and(|rest| rest.ends_with('.'))
                };
                (NEVER_NAMED.contains(&name.as_str()) || below("localhost"))
                    .then_some("a name of the machine itself or of a cloud's metadata")
            }
        }
    }
}

/// What a list names: a host, or all below a name, at one port or at those of https and http.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPattern {
    which: Which,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Which {
    /// This one.
    Exactly(Host),
    /// Every name that ends with a dot and this.
    Below(String),
}

/// Ports that need not be named: https and http.
const USUAL_PORTS: [u16; 2] = [443, 80];

/// How closely a host is named by a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// By `*.` and the end of its name: whoever can make names there chose its address.
    ByEnd,
    /// In full: the operator knows where it is, be it in a private network.
    InFull,
}

impl HostPattern {
    /// Whether it names this host at this port, and how.
    pub fn names(&self, host: &Host, port: u16) -> Option<Named> {
        let port_fits = match self.port {
            Some(own) => own == port,
            None => USUAL_PORTS.contains(&port),
        };
        let named = match (&self.which, host) {
            (Which::Exactly(own), host) => (own == host).then_some(Named::InFull),
            (Which::Below(end), Host::Name(name)) => name
                .strip_suffix(end.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
                .then_some(Named::ByEnd),
            (Which::Below(_), Host::Address(_)) => None,
        };
        named.filter(|_| port_fits)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Exactly(host) => host.fmt(f)?,
            Which::Below(end) => write!(f, "*.{end}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// A text is no entry of a list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It is an address of the web, not of a host.
    #[error(
        "`{0}` is no host; write `registry.example.com`, `*.example.com` or `registry.example.com:8443`, without `https://` and without a path"
    )]
    Url(String),
    /// A `*` in the middle, or alone.
    #[error("`{0}`: a `*` stands only at the beginning, as in `*.example.com`")]
    Star(String),
    /// A `*` before a name of one part opens as good as everything.
    #[error("`{0}` names too much: a `*` stands before two parts at least, as in `*.example.com`")]
    TooMuch(String),
    /// No number from 1 to 65535.
    #[error("`{0}`: the port is no number from 1 to 65535")]
    Port(String),
    /// The host itself is none.
    #[error("`{given}` is no host: {reason}")]
    Host {
        /// What is written.
        given: String,
        /// Why not.
        reason: InvalidHost,
    },
    /// It is one that no list can let in.
    #[error("`{given}` is {reason}, and never reached from a sandbox with a list of hosts")]
    Never {
        /// What is written.
        given: String,
        /// What it is.
        reason: &'static str,
    },
}

impl FromStr for HostPattern {
    type Err = InvalidPattern;

    fn from_str(given: &str) -> Result<Self, InvalidPattern> {
        if given.contains('/') || given.contains('@') {
            return Err(InvalidPattern::Url(given.to_owned()));
        }
        let after_brackets = given.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match given[after_brackets..].rfind(':') {
            // `2001:db8::1` has no port; what is wrong with it is said of the host.
            Some(_) if after_brackets == 0 && given.matches(':').count() > 1 => (given, None),
            Some(at) => {
                let (host, port) = given.split_at(after_brackets + at);
                let port = port[1..].parse().ok().filter(|port: &u16| *port > 0);
                let port = port.ok_or_else(|| InvalidPattern::Port(given.to_owned()))?;
                (host, Some(port))
            }
            None => (given, None),
        };
        let parse = |host: &str| {
            let invalid = |reason| InvalidPattern::Host {
                given: given.to_owned(),
                reason,
            };
            let host: Host = host.parse().map_err(invalid)?;
            match host.never() {
                Some(reason) => Err(InvalidPattern::Never {
                    given: given.to_owned(),
                    reason,
                }),
                None => Ok(host),
            }
        };
        let which = match host.strip_prefix("*.") {
            None if host.contains('*') => return Err(InvalidPattern::Star(given.to_owned())),
            None => Which::Exactly(parse(host)?),
            Some(end) if end.contains('*') => return Err(InvalidPattern::Star(given.to_owned())),
            Some(end) => match parse(end)? {
                Host::Name(end) if end.contains('.') => Which::Below(end),
                Host::Name(_) => return Err(InvalidPattern::TooMuch(given.to_owned())),
                Host::Address(_) => return Err(InvalidPattern::Star(given.to_owned())),
            },
        };
        Ok(Self { which, port })
    }
}

/// Whether a list names a host at a port, and how closely at best.
pub fn named(list: &[HostPattern], host: &Host, port: u16) -> Option<Named> {
    list.iter()
        .filter_map(|pattern| pattern.names(host, port))
        .max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_some_programs_take_for_an_address_is_that_address_or_no_host(bits in any::<u32>()) {
            let usual = Ipv4Addr::from(bits);
            let [a, b, c, d] = usual.octets();
            let (low, lower) = (bits & 0x00ff_ffff, bits & 0xffff);
            for text in [
                format!("{bits}"),
                format!("0x{bits:x}"),
                format!("0X{bits:08X}"),
                format!("0{bits:o}"),
                format!("{a}.{low}"),
                format!("{a}.{b}.{lower}"),
                format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
                format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
                format!("{a}.{b}.{c}.0x{d:x}"),
                format!("0{a}.{b}.{c}.{d}"),
            ] {
                prop_assert!(text.parse::<Host>().is_err(), "{}", text);
            }
            prop_assert_eq!(usual.to_string().parse(), Ok(Host::Address(usual.into())));
        }

        #[test]
        fn a_host_is_read_the_same_again(text in ".{0,80}") {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert_eq!(host.to_string().parse(), Ok(host));
            }
        }
    }

    fn list(patterns: &[&str]) -> Vec<HostPattern> {
        patterns.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn is_named(patterns: &[&str], host: &str, port: u16) -> Option<Named> {
        named(&list(patterns), &host.parse().unwrap(), port)
    }

    #[test]
    fn a_name_is_that_host_at_the_usual_ports_and_nothing_below_it() {
        let one = ["api.github.com"];
        assert_eq!(is_named(&one, "api.github.com", 443), Some(Named::InFull));
        assert_eq!(is_named(&one, "API.GitHub.com.", 80), Some(Named::InFull));
        assert_eq!(is_named(&one, "api.github.com", 22), None);
        for other in [
            "github.com",
            "x.api.github.com",
            "api.github.com.evil.example",
            "evil-api.github.com",
            "api-github.com",
        ] {
            assert_eq!(is_named(&one, other, 443), None, "{other}");
        }
    }

    #[test]
    fn a_star_is_all_below_a_name_and_not_the_name_itself() {
        let star = ["*.amazonaws.com:443"];
        assert_eq!(is_named(&star, "s3.amazonaws.com", 443), Some(Named::ByEnd));
        assert_eq!(
            is_named(&star, "b.s3.eu-west-1.amazonaws.com", 443),
            Some(Named::ByEnd)
        );
        for (other, port) in [
            ("amazonaws.com", 443),
            ("evilamazonaws.com", 443),
            ("s3.amazonaws.com", 80),
            ("s3.amazonaws.com.evil.example", 443),
        ] {
            assert_eq!(is_named(&star, other, port), None, "{other}:{port}");
        }
        let both = ["*.example.com", "in.example.com"];
        assert_eq!(is_named(&both, "in.example.com", 443), Some(Named::InFull));
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        assert_eq!(
            is_named(&["10.1.2.3"], "10.1.2.3", 443),
            Some(Named::InFull)
        );
        assert_eq!(
            is_named(&["[2001:db8::1]:8443"], "[2001:DB8:0::1]", 8443),
            Some(Named::InFull)
        );
        assert_eq!(is_named(&["*.example.com"], "10.1.2.3", 443), None);
    }

    #[test]
    fn an_address_in_an_unusual_form_is_no_host() {
        for text in [
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "017700000001",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "127.0.0.0x1",
            "127.0.0.01",
            "1.2.3.4.5",
            "evil.0x",
            "999.1.1.1",
            "127.0.0.1:80",
            "::1",
            "::ffff:127.0.0.1",
            "[::1",
            "[fe80::1%eth0]",
            "[127.0.0.1]",
            "",
            ".",
            "a..b",
            "..",
            "localhost..",
            "evil.example\0",
            "evil example",
            "ｌocalhost",
            "①②⑦.0.0.1",
            "127。0。0。1",
            "user@host",
            "host%2eevil",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_never_reached_cannot_be_listed() {
        for text in [
            "localhost",
            "LOCALHOST.",
            "x.localhost:8080",
            "127.0.0.1:8500",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "metadata.google.internal",
            "0.0.0.0",
            "*.localhost.localhost",
        ] {
            let error = text.parse::<HostPattern>().unwrap_err();
            assert!(
                matches!(error, InvalidPattern::Never { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_a_word_on_how_to_write_it() {
        for (text, part) in [
            ("https://api.github.com", "without `https://`"),
            ("api.github.com/repos", "without a path"),
            ("*", "stands only at the beginning"),
            ("api.*.com", "stands only at the beginning"),
            ("*.com", "two parts at least"),
            ("*.10.0.0.1", "stands only at the beginning"),
            ("a.example:0", "from 1 to 65535"),
            ("a.example:https", "from 1 to 65535"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("127.1", "unusual form"),
            ("", "empty"),
        ] {
            let error = text.parse::<HostPattern>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        for text in ["api.github.com", "*.example.com:8443", "[2001:db8::1]:8443"] {
            let pattern: HostPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
        }
    }
}
