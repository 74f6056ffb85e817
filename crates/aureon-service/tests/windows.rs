//! The real binary on Windows: it serves, and says what that system has not.
//!
//! Ctrl-C is sent by `e2e/windows/run`: a test could not without `unsafe`.

#![cfg(windows)]
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::net::TcpListener;
use std::time::Instant;

use daemon::{Daemon, PATIENCE, Place, run, text};

#[test]
fn it_serves_its_page_its_api_and_a_directory_with_crlf_in_its_configuration() {
    let place = Place::new("windows-serves");
    std::fs::create_dir(place.0.join("public")).unwrap();
    place.write("public/Page.html", "<p>page");
    place.write("public/large.bin", vec![b'x'; 300_000]);
    place.write(
        "aureon.toml",
        "root = \"public\"\r\nmessage = \"from Windows\"\r\nadmin = \"127.0.0.1:0\"\r\n",
    );
    let daemon = Daemon::start(&place, &[]);
    assert_eq!(daemon.get("/Page.html").body, b"<p>page");
    assert_eq!(daemon.get("/large.bin").body.len(), 300_000);
    for path in [
        "/page.html",
        "/Page.html.",
        "/Page.html::$DATA",
        "/NUL",
        "/..%5caureon.toml",
    ] {
        assert_eq!(daemon.get(path).status(), "404", "{path}");
    }
    assert_eq!(daemon.get("/api/message").json()["message"], "from Windows");
    assert_eq!(daemon.get("/api/status").json()["status"], "ok");
    let output = run(&place, &["healthcheck", "--listen", &daemon.address]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn an_address_that_is_taken_and_a_socket_with_a_path_are_refused_with_a_reason() {
    let place = Place::new("windows-refuses");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let output = run(&place, &["--listen", &address]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(told.contains(&address), "{told}");
    let output = run(&place, &["--listen", "unix:socket"]);
    let told = text(&output.stderr);
    assert_ne!(output.status.code(), Some(0));
    assert!(told.contains("no paths on Windows"), "{told}");
}

#[test]
fn a_process_is_told_to_reload_by_its_address_and_the_admin_port_takes_no_orders() {
    let place = Place::new("windows-reload");
    place.write("aureon.toml", "message = \"before\"\n");
    let daemon = Daemon::start(&place, &["--admin", "127.0.0.1:0"]);
    let mut port = Daemon::start(&place, &["--admin", "127.0.0.1:0"]);
    let line = port.line_with("admin on http://");
    let public = std::mem::replace(
        &mut port.address,
        line.rsplit('/').next().unwrap().to_owned(),
    );
    assert_eq!(port.get("/metrics").status(), "200");
    for order in ["POST /reload", "GET /status", "GET /config"] {
        let fields = "Host: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let answer = port.ask(&format!("{order} HTTP/1.1\r\n{fields}"));
        assert_eq!(answer.status(), "403", "{order}");
    }
    place.write("aureon.toml", "message = \"after\"\n");
    let told = run(&place, &["reload", "--listen", &public]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    port.line_with("message: before -> after");
    port.address = public;
    assert_eq!(port.get("/api/message").json()["message"], "after");
    // The other one was not meant.
    assert_eq!(daemon.get("/api/message").json()["message"], "before");
    let told = run(&place, &["reload", "--listen", "127.0.0.1:1"]);
    assert_eq!(told.status.code(), Some(1));
    let said = text(&told.stderr);
    assert!(said.contains("nobody hears it for 127.0.0.1:1: "), "{said}");
    assert!(said.contains("aureond service reload"), "{said}");
    // A mistake is told by whoever asks, and nobody is bothered with it.
    place.write("aureon.toml", "mesage = \"x\"\n");
    assert_eq!(run(&place, &["reload"]).status.code(), Some(78));
}

#[test]
fn a_log_is_written_and_turned_over() {
    let place = Place::new("windows-log");
    let settings = "log_file = \"access.log\"\nlog_file_bytes_max = \"4KiB\"\nlog_files_max = 3\n";
    place.write("aureon.toml", settings);
    let daemon = Daemon::start(&place, &[]);
    // The log is written by a thread of its own: a file that was turned over says that it was.
    let turned = place.0.join("access.log.1");
    let began = Instant::now();
    let lines = loop {
        // Read, not asked for: it may have been turned over again, and be elsewhere for a moment.
        if let Ok(lines) = std::fs::read_to_string(&turned) {
            break lines;
        }
        assert_eq!(daemon.get("/").status(), "200");
        assert!(began.elapsed() < PATIENCE, "no {}", turned.display());
    };
    assert!(
        lines.starts_with("{\"ts\":") && lines.ends_with("}\n"),
        "{lines}"
    );
}
