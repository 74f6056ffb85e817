//! A service whose handlers never return: what its manager hears, and what its clients do.
//!
//! The program is its own subject: with arguments it is the service, without a harness so that
//! it can be, and otherwise the test that starts it.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "daemon/mod.rs"]
mod daemon;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::time::Duration;

use aureon::{Method, Request};

/// The word by which the program knows that it is to be the service.
const SERVICE: &str = "STUCK_SERVICE";

fn main() -> ExitCode {
    if std::env::var_os(SERVICE).is_some() {
        return aureon_service::main(|router| {
            router.get("/stuck", never);
            router.blocking(Method::Get, "/blocked", never);
            router.get("/panic", |_: &Request<'_>| -> &'static str {
                panic!("meant to")
            });
        });
    }
    // What `cargo test -- FILTER` passes is not for us; there are three tests, and they run.
    #[cfg(unix)] // Windows has no manager that waits to hear of us.
    a_worker_that_a_handler_holds_is_not_hidden_from_the_watchdog();
    handlers_that_never_return_or_panic_harm_nobody_else();
    a_log_that_has_no_field_for_it_says_what_went_wrong_too();
    ExitCode::SUCCESS
}

fn never(_: &Request<'_>) -> &'static str {
    loop {
        std::thread::park();
    }
}

/// The service, and what it says on standard error.
fn serve(command: &mut Command) -> (Child, Lines<BufReader<ChildStderr>>) {
    let command = command.env(SERVICE, "1").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    (child, lines)
}

fn line_with(lines: &mut Lines<BufReader<ChildStderr>>, words: &str) -> String {
    let mut found = lines
        .map_while(Result::ok)
        .filter(|line| line.contains(words));
    found.next().unwrap()
}

/// Asks on a connection of its own and reads to its end.
fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[cfg(unix)]
fn told(socket: &UnixDatagram) -> Option<String> {
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

#[cfg(unix)]
fn a_worker_that_a_handler_holds_is_not_hidden_from_the_watchdog() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("stuck-notify");
    drop(std::fs::remove_file(&path));
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let (mut child, mut lines) = serve(
        Command::new(std::env::current_exe().unwrap())
            .args(["--listen", "127.0.0.1:0", "--workers", "2"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "40000")
            .stdout(Stdio::null()),
    );
    let line = line_with(&mut lines, "listening on http://");
    let mut stream = TcpStream::connect(line.rsplit('/').next().unwrap()).unwrap();
    while told(&socket).unwrap() != "WATCHDOG=1" {}
    stream
        .write_all(b"GET /stuck HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    line_with(&mut lines, "does not turn: a handler holds it");
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

/// The log in this form of a service whose handlers never return or panic, three times each.
fn harmed(form: &str) -> String {
    let (child, mut lines) = serve(
        Command::new(std::env::current_exe().unwrap())
            .args(["--listen", "127.0.0.1:0", "--workers", "1", "--log", form])
            .args(["--answer-timeout", "300ms", "--drain-timeout", "300ms"])
            .args(["--pool-threads-max", "2", "--log-slow", "250ms"])
            .stdout(Stdio::piped()),
    );
    let line = line_with(&mut lines, "listening on http://");
    let address = line.rsplit('/').next().unwrap();
    // Both threads of the pool are held by the first two; the third waits for one in vain.
    for _ in 0..3 {
        let answer = ask(address, "/blocked");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
        // The answer is the server's, and can be found in the log as any other.
        assert!(answer.contains("\r\nX-Request-Id: "), "{answer}");
        assert!(ask(address, "/panic").starts_with("HTTP/1.1 500 "));
        assert!(ask(address, "/api/status").starts_with("HTTP/1.1 200 "));
    }
    daemon::signal(child.id(), address, "TERM");
    line_with(&mut lines, "stopped");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

/// How many lines have all of these.
fn count(log: &str, parts: &[&str]) -> usize {
    let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
    log.lines().filter(has_all).count()
}

fn handlers_that_never_return_or_panic_harm_nobody_else() {
    let log = harmed("json");
    let panics = ["\"route\":\"/panic\"", "\"panic\":\"meant to\""];
    assert_eq!(count(&log, &panics), 3, "{log}");
    let unanswered = [
        "\"level\":\"error\"",
        "\"path\":\"/blocked\",\"status\":503",
        "\"slow\":true,\"stage\":\"handle\"",
        "\"error\":\"the handler gave no answer in time: answer_timeout\"",
    ];
    assert_eq!(count(&log, &unanswered), 3, "{log}");
}

fn a_log_that_has_no_field_for_it_says_what_went_wrong_too() {
    let log = harmed("combined");
    let late = "error: error in /blocked: the handler gave no answer in time: answer_timeout";
    for (line, fault) in [
        (
            "\"GET /panic HTTP/1.1\" 500 ",
            "error: panic in /panic: meant to (status: 500)",
        ),
        ("\"GET /blocked HTTP/1.1\" 503 ", late),
    ] {
        assert_eq!(
            (count(&log, &[line]), count(&log, &[fault])),
            (3, 3),
            "{log}"
        );
    }
}
