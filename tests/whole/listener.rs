//! The listener for health and metrics, as programs and browsers meet it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::scenario::Scenario;

/// The answer to a request, all of it.
fn answer(address: &str, method: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the listener takes connections");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time-out can be set");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .expect("a request can be sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_tells_health_to_whoever_asks_by_address_and_lets_nobody_write() {
    let mut s = Scenario::new().await;
    let text = std::fs::read_to_string(s.config()).unwrap();
    let text = text.replace("listen = \"off\"", "listen = \"127.0.0.1:0\"");
    std::fs::write(s.config(), text).unwrap();
    s.repo
        .commit("main", &[("README.md", "Nothing yet.\n")], "The beginning");
    s.start();
    s.looked().await;
    let log = s.log();
    let (_, rest) = log
        .split_once("Health and metrics are at http://")
        .expect("the log says where the listener is");
    let (address, _) = rest.split_once('/').unwrap();

    let health = answer(address, "GET", "/health", address);
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
    assert!(health.ends_with("\r\n\r\nok\n"), "{health}");
    for header in [
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(health.contains(header), "{header}: {health}");
    }
    let metrics = answer(address, "GET", "/metrics", "localhost");
    assert!(
        metrics.contains("mainstay_repository_up{repository=\"acme/infra\"} 1"),
        "{metrics}"
    );

    let rebound = answer(address, "GET", "/metrics", "evil.example");
    assert!(rebound.starts_with("HTTP/1.1 421 "), "{rebound}");
    assert!(!rebound.contains("acme/infra"), "{rebound}");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let refused = answer(address, method, "/health", address);
        assert!(refused.starts_with("HTTP/1.1 405 "), "{method}: {refused}");
    }
    s.end().await;
}
