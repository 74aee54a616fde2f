//! The proxy against servers of the test's own, in a world of the test's own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A world in which names resolve as the test says, and every address is one server.
struct Stage {
    names: HashMap<&'static str, Vec<IpAddr>>,
    server: SocketAddr,
    reached: Arc<Mutex<Vec<SocketAddr>>>,
}

#[async_trait]
impl World for Stage {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.names.get(name).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.reached.lock().unwrap().push(address);
        TcpStream::connect(self.server).await
    }
}

struct Bench {
    proxy: SocketAddr,
    reached: Arc<Mutex<Vec<SocketAddr>>>,
    refused: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// A proxy for `hosts` before a server that answers all it is sent, once, with `answer`.
    async fn new(hosts: &[&str], names: &[(&'static str, &[&str])], answer: &'static [u8]) -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut guest, _) = server.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut said = vec![0; 4096];
                    let read = guest.read(&mut said).await.unwrap();
                    guest.write_all(answer).await.unwrap();
                    guest.write_all(&said[..read]).await.unwrap();
                    guest.shutdown().await.unwrap();
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let refused = folder.path().join("refused");
        let reached = Arc::default();
        let stage = Stage {
            names: names
                .iter()
                .map(|(name, found)| {
                    let found = found.iter().map(|text| text.parse().unwrap());
                    (*name, found.collect())
                })
                .collect(),
            server: address,
            reached: Arc::clone(&reached),
        };
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let proxy = Proxy::new(hosts, Refusals::create(&refused).unwrap(), stage);
        let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = door.local_addr().unwrap();
        tokio::spawn(proxy.serve(door));
        Self {
            proxy: address,
            reached,
            refused,
            _folder: folder,
        }
    }

    /// Sends a text, and gives all that comes back.
    async fn says(&self, text: &str) -> String {
        let mut guest = TcpStream::connect(self.proxy).await.unwrap();
        guest.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // What is refused may be closed before all was read.
        let _ = guest.read_to_string(&mut answer).await;
        answer
    }

    async fn connect(&self, target: &str) -> String {
        self.says(&format!("CONNECT {target} HTTP/1.1\r\n\r\nping"))
            .await
    }

    fn reached(&self) -> Vec<String> {
        let reached = self.reached.lock().unwrap();
        reached.iter().map(ToString::to_string).collect()
    }

    fn refused(&self) -> Vec<String> {
        let refused = read_refusals(&self.refused).unwrap();
        refused.into_iter().map(|refusal| refusal.asked).collect()
    }
}

#[tokio::test]
async fn a_named_host_is_reached_at_the_address_that_was_judged() {
    let bench = Bench::new(&["api.example"], &[("api.example", &["192.0.2.7"])], b"").await;
    let answer = bench.connect("API.example:443").await;
    assert_eq!(answer, "HTTP/1.1 200 Connected\r\n\r\nping");
    assert_eq!(bench.reached(), ["192.0.2.7:443"]);
    assert_eq!(bench.refused(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plain_request_is_passed_on_and_its_connection_ends() {
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n";
    let bench = Bench::new(&["api.example"], &[("api.example", &["192.0.2.7"])], answer).await;
    let said = bench
        .says("GET http://api.example/x HTTP/1.1\r\nHost: other.example\r\n\r\n")
        .await;
    assert!(
        said.contains("200 OK\r\nConnection: close\r\n\r\nGET /x HTTP/1.1"),
        "{said}"
    );
    assert!(said.contains("Host: api.example\r\n"), "{said}");
    assert!(!said.contains("other.example"), "{said}");
    assert_eq!(bench.reached(), ["192.0.2.7:80"]);
}

#[tokio::test]
async fn a_host_that_is_not_named_is_refused_and_noted() {
    let names: [(&str, &[&str]); 1] = [("evil.example", &["192.0.2.66"])];
    let bench = Bench::new(&["api.example", "*.cloud.example"], &names, b"").await;
    for target in [
        "evil.example:443",
        "api.example:22",
        "api.example.evil.example:443",
        "cloud.example:443",
        "192.0.2.7:443",
    ] {
        let answer = bench.connect(target).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
    }
    let answer = bench
        .says("GET http://evil.example/ HTTP/1.1\r\n\r\n")
        .await;
    assert!(answer.contains("`network` does not allow"), "{answer}");
    assert_eq!(bench.reached(), Vec::<String>::new());
    let refused = bench.refused();
    assert_eq!(refused.len(), 6, "{refused:?}");
    assert!(refused.contains(&"evil.example:443".to_owned()));
}

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_gets_through() {
    // The list is as wide as it can be: whatever is refused is refused for what it is.
    let open = ["*.evil.example", "a.evil.example"];
    let bench = Bench::new(&open, &[], b"").await;
    for target in [
        "127.0.0.1:80",
        "127.1:80",
        "2130706433:80",
        "0x7f000001:80",
        "0177.0.0.1:80",
        "017700000001:80",
        "0.0.0.0:80",
        "0:80",
        "[::1]:80",
        "[::]:80",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:a9fe:a9fe]:80",
        "[64:ff9b::a9fe:a9fe]:80",
        "[2002:a9fe:a9fe::]:80",
        "[fe80::1]:80",
        "[fe80::1%25lo]:80",
        "[fd00:ec2::254]:80",
        "169.254.169.254:80",
        "2852039166:80",
        "0xA9FEA9FE:80",
        "0251.0376.0251.0376:80",
        "169.254.43518:80",
        "100.100.100.200:80",
        "localhost:80",
        "LOCALHOST.:80",
        "a.localhost:80",
        "metadata.google.internal:80",
        "metadata:80",
    ] {
        let answer = bench.connect(target).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
        let plain = bench
            .says(&format!("GET http://{target}/ HTTP/1.1\r\n\r\n"))
            .await;
        assert!(plain.starts_with("HTTP/1.1 403 "), "{target}: {plain}");
    }
    assert_eq!(bench.reached(), Vec::<String>::new());
}

#[tokio::test]
async fn a_permitted_name_that_resolves_to_a_forbidden_address_is_refused() {
    for address in [
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
    ] {
        let name: [(&str, &[&str]); 1] = [("api.example", &[address])];
        let bench = Bench::new(&["api.example"], &name, b"").await;
        let answer = bench.connect("api.example:443").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{address}: {answer}");
        assert_eq!(bench.reached(), Vec::<String>::new(), "{address}");
        let refused = read_refusals(&bench.refused).unwrap();
        let why = refused[0].why.clone().unwrap();
        assert!(why.contains("it resolves to"), "{why}");
    }
}

#[tokio::test]
async fn of_several_addresses_only_those_that_may_be_are_reached() {
    let names: [(&str, &[&str]); 1] = [(
        "api.example",
        &["127.0.0.1", "169.254.169.254", "192.0.2.7"],
    )];
    let bench = Bench::new(&["api.example"], &names, b"").await;
    assert!(bench.connect("api.example:443").await.ends_with("ping"));
    assert_eq!(bench.reached(), ["192.0.2.7:443"]);
}

#[tokio::test]
async fn a_private_address_is_reached_only_by_a_host_that_is_named_in_full() {
    let names: [(&str, &[&str]); 2] = [
        ("registry.corp.example", &["10.1.2.3"]),
        ("other.corp.example", &["10.1.2.4"]),
    ];
    let hosts = ["*.corp.example", "registry.corp.example", "10.9.9.9"];
    let bench = Bench::new(&hosts, &names, b"").await;
    assert!(
        bench
            .connect("registry.corp.example:443")
            .await
            .ends_with("ping")
    );
    assert!(bench.connect("10.9.9.9:443").await.ends_with("ping"));
    let answer = bench.connect("other.corp.example:443").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(bench.reached(), ["10.1.2.3:443", "10.9.9.9:443"]);
}

#[tokio::test]
async fn with_an_empty_list_nothing_gets_through() {
    let names: [(&str, &[&str]); 1] = [("api.example", &["192.0.2.7"])];
    let bench = Bench::new(&[], &names, b"").await;
    let answer = bench.connect("api.example:443").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(bench.refused(), ["api.example:443"]);
}

#[tokio::test]
async fn what_is_no_request_or_has_no_end_is_not_served() {
    let bench = Bench::new(&["api.example"], &[], b"").await;
    let answer = bench.says("GET / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let endless = "GET http://api.example/ HTTP/1.1\r\nA: ".to_owned() + &"x".repeat(HEAD_LIMIT);
    assert_eq!(bench.says(&endless).await, "");
    let unknown = bench.connect("api.example:443").await;
    assert!(unknown.starts_with("HTTP/1.1 502 "), "{unknown}");
    assert_eq!(bench.refused(), Vec::<String>::new());
}
