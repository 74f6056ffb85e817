//! A service whose handler never returns, and what its manager hears: nothing any more.
//!
//! The program is its own subject: with arguments it is the service, without a harness so that
//! it can be, and otherwise the test that starts it.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use aureon::Request;

/// The word by which the program knows that it is to be the service.
const SERVICE: &str = "STUCK_SERVICE";

fn main() -> ExitCode {
    if std::env::var_os(SERVICE).is_some() {
        return aureon_service::main(|router| {
            router.get("/stuck", |_: &Request<'_>| -> &'static str {
                loop {
                    std::thread::park();
                }
            });
        });
    }
    // What `cargo test -- FILTER` passes is not for us; there is one test, and it runs.
    a_worker_that_a_handler_holds_is_not_hidden_from_the_watchdog();
    ExitCode::SUCCESS
}

fn told(socket: &UnixDatagram) -> Option<String> {
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn a_worker_that_a_handler_holds_is_not_hidden_from_the_watchdog() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("stuck-notify");
    drop(std::fs::remove_file(&path));
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--listen", "127.0.0.1:0", "--workers", "2"])
        .env(SERVICE, "1")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "40000")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line_with = |words: &str| {
        let mut found = lines
            .by_ref()
            .map_while(Result::ok)
            .filter(|line| line.contains(words));
        found.next().unwrap()
    };
    let line = line_with("listening on http://");
    let mut stream = TcpStream::connect(line.rsplit('/').next().unwrap()).unwrap();
    while told(&socket).unwrap() != "WATCHDOG=1" {}
    stream
        .write_all(b"GET /stuck HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    line_with("does not turn: a handler holds it");
    // What was on its way is read; then there is silence for more than twenty intervals.
    socket.set_nonblocking(true).unwrap();
    while told(&socket).is_some() {}
    socket.set_nonblocking(false).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let after = told(&socket);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(after, None, "it said that all is well");
}
