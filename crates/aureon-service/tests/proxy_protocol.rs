//! Listeners that expect a PROXY header, in the real binary: who is believed, how the service asks
//! itself there, and that sockets which somebody else opened expect one too.

#![cfg_attr(windows, allow(unused_imports, dead_code))]
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use daemon::{Daemon, PATIENCE, Place, aureond, run, text};
use serde_json::Value;

/// Version 1.
const LINE: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 80\r\n";

/// Version 2: a TCP connection over IPv6 from 2001:db8::9.
fn binary() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    header.extend_from_slice(
        &"2001:db8::9"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    header.extend_from_slice(
        &"2001:db8::1"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    header.extend_from_slice(&[0xdc, 0x04, 0, 80]);
    header
}

/// `LOCAL`, as a proxy's health check sends it.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// What comes back for a header and a request for a path; a reset is an end as good as any.
fn ask(address: &str, header: &[u8], path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(request.as_bytes());
    drop(stream.write_all(&bytes));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The log's lines as path and client.
fn clients(out: &str) -> Vec<(String, String)> {
    let lines = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["path"].is_string());
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .map(|line| (word(&line["path"]), word(&line["client_ip"])))
        .collect()
}

fn pair(path: &str, client: &str) -> (String, String) {
    (path.to_owned(), client.to_owned())
}

/// Starts it on a plain address and on one that expects the header, and gives the latter.
fn start(place: &Place, trusted: &str) -> (Daemon, String) {
    place.write(
        "aureon.toml",
        format!(
            "listen = [\"127.0.0.1:0\", \"127.0.0.2:0 proxy_protocol\"]\n\
             trusted_proxies = [\"{trusted}\"]\n"
        ),
    );
    let daemon = Daemon::spawn(aureond(place, &["--workers", "2"]));
    let line = daemon.line_with("listening on http://127.0.0.2:");
    (daemon, proxied(&line))
}

/// The address in the line that announces such a listener.
fn proxied(line: &str) -> String {
    let address = line.trim_end().strip_suffix(" with PROXY headers").unwrap();
    address.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn the_client_that_a_trusted_proxy_names_is_the_one_that_is_logged() {
    let place = Place::new("proxied-trusted");
    let (daemon, address) = start(&place, "loopback");
    for (path, header) in [("/line", LINE), ("/binary", &binary()), ("/local", LOCAL)] {
        let answer = ask(&address, header, path);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    assert_eq!(ask(&address, b"", "/bare"), "");
    // Beside it nothing changes: a header is a request line that makes no sense.
    assert!(ask(&daemon.address, LINE, "/plain").starts_with("HTTP/1.1 501 "));
    assert_eq!(daemon.get("/plain").status(), "404");
    let (code, out) = daemon.stop();
    assert_eq!(code, Some(0));
    let seen = clients(&out);
    for (path, client) in [
        ("/line", "203.0.113.9"),
        ("/binary", "2001:db8::9"),
        ("/local", "127.0.0.1"),
        ("/plain", "127.0.0.1"),
    ] {
        assert!(seen.contains(&pair(path, client)), "{path} in {seen:?}");
    }
    assert!(!out.contains("/bare"), "{out}");
}

#[test]
fn whoever_is_no_trusted_proxy_is_not_believed_and_the_service_still_asks_itself() {
    let place = Place::new("proxied-stranger");
    let (daemon, address) = start(&place, "10.0.0.2");
    for header in [LINE, &binary(), b""] {
        assert_eq!(ask(&address, header, "/"), "");
    }
    assert!(ask(&address, LOCAL, "/healthz").contains("\r\n\r\nalive\n"));
    // The command finds the first address of the configuration, as an image's probe does.
    let listen = ["--listen", &[&address, " proxy_protocol"].concat()].map(str::to_owned);
    let arguments = ["healthcheck", &listen[0], &listen[1]];
    let output = run(&place, &arguments);
    assert_eq!(text(&output.stdout), "ready\n", "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    // Without the word it is a stranger.
    let output = run(&place, &["healthcheck", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let (_, out) = daemon.stop();
    assert!(out.contains("ProxyHeader"), "the log says why: {out}");
}

#[test]
#[cfg(unix)] // No process takes over from another on Windows.
fn a_new_process_expects_headers_where_the_old_one_did() {
    let place = Place::new("proxied-upgrade");
    let (daemon, address) = start(&place, "loopback");
    daemon.signal("USR2");
    let taking = daemon.line_with("is to take over");
    // The end of the old process and the beginning of the new one are told in any order.
    let (mut listening, mut stopped) = (String::new(), false);
    while listening.is_empty() || !stopped {
        let line = daemon.line_with("");
        stopped |= line.ends_with("stopped");
        if line.contains("listening on http://127.0.0.2:") {
            listening = line;
        }
    }
    assert_eq!(proxied(&listening), address);
    assert!(ask(&address, LINE, "/after").starts_with("HTTP/1.1 404 "));
    assert_eq!(ask(&address, b"", "/bare"), "");
    assert_eq!(daemon.get("/plain").status(), "404");
    let pid: u32 = taking
        .split(' ')
        .find_map(|word| word.parse().ok())
        .unwrap();
    let kill = format!("kill -TERM {pid}");
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    daemon.line_with("stopped");
    let (_, out) = daemon.wait();
    assert!(
        clients(&out).contains(&pair("/after", "203.0.113.9")),
        "{out}"
    );
}

#[test]
#[cfg(unix)] // No manager hands over sockets on Windows.
fn a_socket_of_the_manager_expects_headers_when_the_configuration_says_so() {
    let place = Place::new("proxied-held");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    place.write(
        "aureon.toml",
        format!("listen = [\"{address} proxy_protocol\"]\ntrusted_proxies = [\"loopback\"]\n"),
    );
    let plain = aureond(&place, &[]);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\"")
        .arg(plain.get_program())
        .env_remove("PORT")
        .current_dir(&place.0)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let daemon = Daemon::spawn(command);
    let address = address.to_string();
    assert_eq!(proxied(&daemon.address), address);
    assert!(ask(&address, LINE, "/held").starts_with("HTTP/1.1 404 "));
    assert_eq!(ask(&address, b"", "/bare"), "");
    let (code, out) = daemon.stop();
    assert_eq!(code, Some(0));
    assert!(
        clients(&out).contains(&pair("/held", "203.0.113.9")),
        "{out}"
    );
}

#[test]
fn check_shows_which_addresses_expect_headers() {
    let place = Place::new("proxied-check");
    let listen = ["--listen", "127.0.0.1:0,127.0.0.2:0 proxy_protocol"];
    let trusted = ["--trusted-proxies", "loopback"];
    let output = run(&place, &[&["check"][..], &listen, &trusted].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(
        told.contains("http://127.0.0.1:0            free\n"),
        "{told}"
    );
    let expected = "http://127.0.0.2:0            free, with PROXY headers\n";
    assert!(told.contains(expected), "{told}");
    let output = run(
        &place,
        &[&["check", "--json"][..], &listen, &trusted].concat(),
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["addresses"][0]["proxy_protocol"], false);
    assert_eq!(report["addresses"][1]["proxy_protocol"], true);
}

#[test]
fn a_header_that_nobody_may_send_or_that_is_asked_for_wrongly_is_told_with_its_place() {
    let place = Place::new("proxied-wrong");
    for (file, expected) in [
        (
            "listen = [\"127.0.0.1:8081 proxy_protocol\"]\n",
            "aureon.toml:1:10: `127.0.0.1:8081` expects PROXY headers, and `trusted_proxies` \
             names nobody who may send one; list the proxy",
        ),
        (
            "listen = [\"127.0.0.1:8081 accept-proxy\"]\n",
            "aureon.toml:1:10: `127.0.0.1:8081 accept-proxy` is no address; write",
        ),
        (
            "trusted_proxies = [\"loopback\"]\n\
             listen = [\"localhost:81\", \"127.0.0.1:81 proxy_protocol\"]\n",
            "aureon.toml:2:10: `127.0.0.1:81` stands there with and without proxy_protocol",
        ),
        (
            "admin = [\"127.0.0.1:9100 proxy_protocol\"]\n",
            "aureon.toml:1:9: `127.0.0.1:9100 proxy_protocol` is no admin address",
        ),
    ] {
        place.write("aureon.toml", file);
        let output = run(&place, &["check"]);
        assert_eq!(output.status.code(), Some(78));
        let told = text(&output.stderr);
        assert!(told.starts_with(expected), "{told}");
    }
}
