//! Addresses that are never reached from a sandbox, and those that a name must be listed in full for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who may be at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anybody on the internet.
    Public,
    /// Somebody of this network: 10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7.
    Private,
    /// Nobody that a run has business with, for this reason.
    Never(&'static str),
}

/// Single addresses at which clouds tell a machine its own credentials, beside 169.254/16.
const METADATA_V4: [Ipv4Addr; 3] = [
    // Alibaba Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    // Azure's agent.
    Ipv4Addr::new(168, 63, 129, 16),
    // Oracle Cloud.
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The same, of IPv6: Google's, Scaleway's. Amazon's are in a range of their own.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

const LOOPBACK: &str = "a loopback address";
const LINK_LOCAL: &str = "a link-local address, where clouds tell credentials";
const METADATA: &str = "an address where a cloud tells credentials";
const NO_HOST: &str = "an address of no single host";
const DISGUISED: &str = "an address that stands for another";

/// Who may be at an address, however it is written.
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    if METADATA_V4.contains(&address) {
        return Reach::Never(METADATA);
    }
    match (a, b, c) {
        // Linux takes all of 0/8 for this machine.
        (0 | 127, ..) => Reach::Never(LOOPBACK),
        (169, 254, _) => Reach::Never(LINK_LOCAL),
        // Protocol assignments; multicast, what is reserved, broadcast.
        (192, 0, 0) | (224..=255, ..) => Reach::Never(NO_HOST),
        // Relays from IPv4 into 6to4.
        (192, 88, 99) => Reach::Never(DISGUISED),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if METADATA_V6.contains(&address) {
        return Reach::Never(METADATA);
    }
    let parts = address.segments();
    let [first, second, ..] = parts;
    // What is said of an address holds for those that a router or the kernel makes it of.
    if let Some(inner) = address.to_ipv4_mapped() {
        return reach_v4(inner);
    }
    match parts {
        // NAT64, its well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => reach_v4(joined(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => match reach_v4(joined(high, low)) {
            Reach::Public => Reach::Public,
            Reach::Private => Reach::Never(DISGUISED),
            never @ Reach::Never(_) => never,
        },
        // ISATAP.
        [.., 0 | 0x200, 0x5efe, high, low] => match reach_v4(joined(high, low)) {
            Reach::Public => Reach::Public,
            Reach::Private => Reach::Never(DISGUISED),
            never @ Reach::Never(_) => never,
        },
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Reach::Never(LOOPBACK),
        // IPv4-compatible and -translated, NAT64 of a network's own, Teredo.
        [0, 0, 0, 0, ..] | [0x64, 0xff9b, ..] | [0x2001, 0, ..] => Reach::Never(DISGUISED),
        // Discard-only.
        [0x100, 0, 0, 0, ..] => Reach::Never(NO_HOST),
        _ => match (first, second) {
            // Amazon's: the machine's own at fd00:ec2::254, those of pods at fd00:ec2::23.
            (0xfd00, 0xec2) => Reach::Never(METADATA),
            (0xfe80..=0xfebf, _) => Reach::Never(LINK_LOCAL),
            // Site-local, of old; multicast.
            (0xfec0..=0xffff, _) => Reach::Never(NO_HOST),
            (0xfc00..=0xfdff, _) => Reach::Private,
            _ => Reach::Public,
        },
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Reach {
        reach(text.parse().unwrap())
    }

    #[test]
    fn loopback_link_local_and_metadata_are_never_reached_however_they_are_written() {
        for text in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "::",
            "::1",
            "::127.0.0.1",
            "::169.254.169.254",
            "::10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::ffff:100.100.100.200",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:a00:1::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2a00::5efe:127.0.0.1",
            "2a00::200:5efe:169.254.169.254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd00:ec2:1::1",
            "fd20:ce::254",
            "fd00:42::42",
        ] {
            assert!(
                matches!(of(text), Reach::Never(_)),
                "{text}: {:?}",
                of(text)
            );
        }
    }

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for text in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::192.168.0.1",
            "fc00::1",
            "fd12:3456::1",
            "fd00:ec3::23",
        ] {
            assert_eq!(of(text), Reach::Private, "{text}");
        }
        for text in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.2.1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2606:4700::1111",
            "2002:808:808::1",
        ] {
            assert_eq!(of(text), Reach::Public, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_address_in_another_ones_clothes_is_reached_no_further(bits in any::<u32>()) {
            let plain = Ipv4Addr::from(bits);
            let [high, low] = [(bits >> 16) as u16, bits as u16];
            for dressed in [
                plain.to_ipv6_mapped(),
                plain.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0x5efe, high, low),
            ] {
                let (plain, dressed) = (reach(plain.into()), reach(dressed.into()));
                if plain != Reach::Public {
                    prop_assert_ne!(dressed, Reach::Public);
                }
                if let Reach::Never(_) = plain {
                    prop_assert!(matches!(dressed, Reach::Never(_)));
                }
            }
        }
    }
}
