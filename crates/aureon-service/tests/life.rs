//! The life of the real binary: reloads, the way to its end, what it says about its health.

#![cfg_attr(windows, allow(unused_imports, dead_code))]
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::io::{Read, Write};
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use aureon_service::log_file::LogFile;
use daemon::{Daemon, PATIENCE, Place, run, text};
use serde_json::{Value, json};

/// A keep-alive connection.
fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(&daemon.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One exchange on it: status and content.
fn ask(stream: &mut TcpStream, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let head = text(&bytes).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |digits| digits.parse().unwrap());
    let mut content = vec![0; length];
    stream.read_exact(&mut content).unwrap();
    (
        head["http/1.1 ".len()..][..3].parse().unwrap(),
        text(&content).to_owned(),
    )
}

#[test]
fn a_reload_changes_what_is_served_and_drops_nobody() {
    let place = Place::new("life-reload");
    std::fs::create_dir(place.0.join("one")).unwrap();
    std::fs::create_dir(place.0.join("two")).unwrap();
    place
        .write("one/page.txt", "one")
        .write("two/page.txt", "two");
    place.write("aureon.toml", "root = \"one\"\nmessage = \"before\"\n");
    let daemon = Daemon::start(&place, &[]);
    let over = Arc::new(AtomicBool::new(false));
    let together = Arc::new(Barrier::new(5));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, together) = (Arc::clone(&over), Arc::clone(&together));
            let mut stream = connect(&daemon);
            thread::spawn(move || {
                together.wait();
                let mut answered = 0;
                while !over.load(Ordering::Relaxed) {
                    let (status, content) = ask(&mut stream, "/page.txt");
                    assert_eq!(status, 200);
                    assert!(content == "one" || content == "two", "{content}");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    together.wait();
    for round in 0..20 {
        let name = if round % 2 == 0 { "two" } else { "one" };
        place.write(
            "aureon.toml",
            format!(
                "root = \"{name}\"\nmessage = \"{name}\"\nport = {}\n",
                9000 + round
            ),
        );
        daemon.signal("HUP");
        daemon.line_with("reloaded");
        daemon.line_with(&format!("-> {name}"));
        let line = daemon.line_with("message: ");
        assert!(line.ends_with(&format!("-> {name}")), "{line}");
        let mut stream = connect(&daemon);
        assert_eq!(ask(&mut stream, "/page.txt").1, name);
        assert!(ask(&mut stream, "/api/message").1.contains(name));
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0));
    assert!(!log.contains("\"status\":5"), "no request failed");
}

#[test]
fn what_only_a_new_process_can_change_is_said() {
    let place = Place::new("life-fixed");
    place.write("aureon.toml", "pool_threads_max = 3\n");
    let daemon = Daemon::start(&place, &[]);
    place.write(
        "aureon.toml",
        "pool_threads_max = 4\nidle_timeout = \"7s\"\n",
    );
    daemon.signal("HUP");
    daemon.line_with("idle_timeout: 1m -> 7s");
    daemon.line_with("pool_threads_max: 3 -> 4, from the next start on");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_why() {
    let place = Place::new("life-bad");
    place.write("aureon.toml", "message = \"good\"\n");
    let daemon = Daemon::start(&place, &[]);
    let mut stream = connect(&daemon);
    place.write("aureon.toml", "mesage = \"bad\"\nport = \"x\"\n");
    daemon.signal("HUP");
    daemon.line_with("not reloaded, everything stays as it was");
    daemon.line_with("aureon.toml:1:1: unknown key `mesage`; did you mean `message`?");
    daemon.line_with("aureon.toml:2:8: `port` cannot be");
    assert!(ask(&mut stream, "/api/message").1.contains("good"));
    place.write("aureon.toml", "root = \"nowhere\"\nmessage = \"bad\"\n");
    daemon.signal("HUP");
    daemon.line_with("nowhere; create it or name another");
    assert!(ask(&mut stream, "/api/message").1.contains("good"));
    std::fs::remove_file(place.0.join("aureon.toml")).unwrap();
    daemon.signal("HUP");
    daemon.line_with("message: good -> Hello from AUREON");
    assert!(
        ask(&mut stream, "/api/message")
            .1
            .contains("Hello from AUREON")
    );
}

#[test]
fn an_uptime_goes_on_through_a_reload() {
    let place = Place::new("life-uptime");
    place.write("aureon.toml", "message = \"a\"\n");
    let daemon = Daemon::start(&place, &[]);
    let mut stream = connect(&daemon);
    while ask(&mut stream, "/api/status").1.contains("\"uptime\":0,") {}
    daemon.signal("HUP");
    daemon.line_with("reloaded");
    assert!(!ask(&mut stream, "/api/status").1.contains("\"uptime\":0,"));
}

#[test]
fn a_stop_tells_balancers_first_and_serves_meanwhile() {
    let place = Place::new("life-delay");
    let daemon = Daemon::start(&place, &["--drain-delay", "1h"]);
    let mut stream = connect(&daemon);
    assert_eq!(ask(&mut stream, "/readyz"), (200, "ready\n".into()));
    daemon.signal("TERM");
    daemon.line_with("TERM: not ready any more; stopping in 1h");
    assert_eq!(ask(&mut stream, "/readyz"), (503, "draining\n".into()));
    assert_eq!(ask(&mut stream, "/healthz"), (200, "alive\n".into()));
    // New connections are taken too.
    assert_eq!(ask(&mut connect(&daemon), "/api/status").0, 200);
    assert_eq!(ask(&mut connect(&daemon), "/api/health").0, 503);
    daemon.signal("HUP");
    daemon.line_with("the service is stopping");
    // A second signal does not wait for the delay.
    daemon.signal("TERM");
    daemon.line_with("TERM: finishing what runs");
    assert_eq!(daemon.wait().0, Some(0));
}

#[test]
fn a_delay_ends_by_itself() {
    let place = Place::new("life-delay-end");
    let daemon = Daemon::start(&place, &["--drain-delay", "50ms"]);
    daemon.signal("TERM");
    daemon.line_with("stopping in 50ms");
    daemon.line_with("the delay is over: finishing what runs");
    assert_eq!(daemon.wait().0, Some(0));
}

#[test]
fn every_usual_path_of_health_is_answered_and_none_is_logged() {
    let place = Place::new("life-health");
    let daemon = Daemon::start(&place, &["--log", "json"]);
    for path in ["/healthz", "/up", "/health", "/readyz", "/api/health"] {
        let answer = daemon.get(path);
        assert_eq!(answer.status(), "200", "{path}");
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{path}");
    }
    let report = daemon.get("/api/health").json();
    assert_eq!(report["status"], "ok");
    assert_eq!(report["state"], "serving");
    assert_eq!(daemon.stop(), (Some(0), String::new()));
}

#[test]
fn a_healthcheck_is_an_exit_code() {
    let place = Place::new("life-check");
    let daemon = Daemon::start(&place, &["--drain-delay", "1h"]);
    let address = daemon.address.clone();
    let check = |address: &str| run(&place, &["healthcheck", "--listen", address]);
    let check_json = |code: i32| -> Value {
        let output = run(&place, &["healthcheck", "--json", "--listen", &address]);
        assert_eq!(output.status.code(), Some(code));
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let fine = check(&address);
    assert_eq!(fine.status.code(), Some(0), "{}", text(&fine.stderr));
    assert_eq!(text(&fine.stdout), "ready\n");
    let told = json!({"ready": true, "address": address, "status": 200, "reason": "ready"});
    assert_eq!(check_json(0), told);
    daemon.signal("TERM");
    daemon.line_with("not ready");
    let draining = check(&address);
    assert_eq!(draining.status.code(), Some(1));
    assert!(
        text(&draining.stderr).contains("503: draining"),
        "{}",
        text(&draining.stderr)
    );
    let told = json!({"ready": false, "address": address, "status": 503, "reason": "draining"});
    assert_eq!(check_json(1), told);
    drop(daemon);
    let told = check_json(1);
    assert_eq!(
        (&told["ready"], &told["status"]),
        (&json!(false), &json!(0))
    );
    assert!(
        told["reason"]
            .as_str()
            .unwrap()
            .contains("nobody answers on"),
        "{told}"
    );
    let gone = check(&address);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        text(&gone.stderr).contains("nobody answers on"),
        "{}",
        text(&gone.stderr)
    );
}

#[test]
#[cfg(unix)] // A Unix socket.
fn a_healthcheck_asks_a_unix_socket_too() {
    let place = Place::new("life-unix");
    let listen = format!("unix:{}", place.0.join("s").display());
    let daemon = Daemon::start(&place, &["--listen", &listen]);
    let fine = run(&place, &["healthcheck", "--listen", &listen]);
    assert_eq!(fine.status.code(), Some(0), "{}", text(&fine.stderr));
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
#[cfg(unix)] // `USR1`; windows.rs turns a log over.
fn a_log_file_is_rotated_moved_and_reopened_without_losing_a_line() {
    let place = Place::new("life-log");
    let arguments = [
        "--log-file",
        "d.log",
        "--log-file-bytes-max",
        "4KiB",
        "--log",
        "json",
    ];
    let daemon = Daemon::start(&place, &arguments);
    let mut stream = connect(&daemon);
    for number in 0..60 {
        assert_eq!(ask(&mut stream, &format!("/{number}")).0, 404);
    }
    // Whoever rotates by himself moves the file away and says so.
    std::fs::rename(place.0.join("d.log"), place.0.join("moved")).unwrap();
    daemon.signal("USR1");
    daemon.line_with("USR1: the log's file is opened again");
    for number in 60..70 {
        assert_eq!(ask(&mut stream, &format!("/{number}")).0, 404);
    }
    assert_eq!(
        daemon.stop(),
        (Some(0), String::new()),
        "nothing on standard output"
    );
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(&place.0).unwrap() {
        let content = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(content.len() <= 4096);
        for line in content.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            let path = value["path"].as_str().unwrap();
            numbers.push(path[1..].parse::<usize>().unwrap());
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..70).collect::<Vec<_>>());
    assert!(place.0.join("d.log").exists() && place.0.join("d.log.1").exists());
}

#[test]
#[cfg(unix)] // `/dev/full`.
fn a_disk_that_is_full_tears_no_line() {
    let path = std::path::Path::new("/dev/full");
    let mut log = LogFile::open(path, 1_000, 1).unwrap();
    // It is tried again with every write.
    for _ in 0..2 {
        let error = log.write_all(b"line 1\nline 2\nline 3\n").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
}

#[test]
#[cfg(unix)] // On Windows a file that is open keeps its directory.
fn a_directory_that_is_gone_is_an_error_until_it_is_back() {
    let place = Place::new("life-gone");
    let path = place.0.join("logs/log");
    assert!(LogFile::open(&path, 100, 1).is_err());
    std::fs::create_dir(place.0.join("logs")).unwrap();
    let mut log = LogFile::open(&path, 100, 1).unwrap();
    std::fs::remove_dir_all(place.0.join("logs")).unwrap();
    log.reopen_flag().store(true, Ordering::Release);
    assert!(log.write_all(b"lost\n").is_err());
    std::fs::create_dir(place.0.join("logs")).unwrap();
    log.write_all(b"kept\n").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"kept\n");
}

#[test]
#[cfg(unix)] // `/dev/full`.
fn a_log_that_can_not_be_written_costs_lines_and_nothing_else() {
    let place = Place::new("life-full");
    let daemon = Daemon::start(&place, &["--log-file", "/dev/full"]);
    let mut stream = connect(&daemon);
    for _ in 0..50 {
        assert_eq!(ask(&mut stream, "/api/status").0, 200);
    }
    daemon.line_with("cannot write the access log: No space left on device");
    assert_eq!(ask(&mut stream, "/api/status").0, 200);
    assert_eq!(daemon.stop().0, Some(0));
    let refused = run(&place, &["--log-file", "no/such/directory/log"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(text(&refused.stderr).contains("cannot write the log to /"));
}

#[test]
fn a_level_leaves_out_what_is_not_as_bad_and_a_reload_changes_it() {
    let place = Place::new("life-level");
    place.write("aureon.toml", "log_level = \"error\"\n");
    let daemon = Daemon::start(&place, &["--log", "json"]);
    let mut stream = connect(&daemon);
    ask(&mut stream, "/silent");
    place.write("aureon.toml", "log_level = \"info\"\n");
    daemon.signal("HUP");
    daemon.line_with("log_level: error -> info");
    ask(&mut stream, "/told");
    let (_, log) = daemon.stop();
    assert!(log.contains("/told") && !log.contains("/silent"), "{log}");
}

#[test]
#[cfg(unix)] // A Unix socket.
fn secrets_are_in_no_line_of_any_form_and_in_no_report() {
    for form in ["json", "pretty", "combined"] {
        let place = Place::new(&format!("life-secret-{form}"));
        let daemon = Daemon::start(&place, &["--log", form, "--admin", "unix:admin"]);
        let request = "GET /x?token=hidden HTTP/1.1\r\nHost: a\r\nAuthorization: Basic hidden\r\n\
            Proxy-Authorization: Bearer hidden\r\nCookie: session=hidden\r\n\
            Set-Cookie: a=hidden\r\nX-Api-Key: hidden\r\n\
            Referer: http://b/?key=hidden\r\nConnection: close\r\n\r\n";
        assert_eq!(daemon.ask(request).status(), "404");
        let mut admin = UnixStream::connect(place.0.join("admin")).unwrap();
        admin.set_read_timeout(Some(PATIENCE)).unwrap();
        let ask = b"GET /exchanges HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        admin.write_all(ask).unwrap();
        let mut report = String::new();
        admin.read_to_string(&mut report).unwrap();
        let (_, log) = daemon.stop();
        for told in [log, report] {
            assert!(told.contains("/x") && !told.contains("hidden"), "{told}");
        }
    }
}

#[test]
#[cfg(unix)] // `PIPE`.
fn neither_a_reader_of_the_log_that_is_gone_nor_pipe_ends_the_service() {
    let place = Place::new("life-pipe");
    let mut daemon = Daemon::start(&place, &["--log", "json"]);
    let mut stream = connect(&daemon);
    drop(daemon.child.stdout.take());
    assert_eq!(ask(&mut stream, "/api/status").0, 200);
    daemon.line_with("cannot write the access log: Broken pipe");
    daemon.signal("PIPE");
    assert_eq!(ask(&mut stream, "/api/status").0, 200);
    assert_eq!(ask(&mut connect(&daemon), "/api/status").0, 200);
    daemon.signal("TERM");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}

/// More than the kernel holds for a connection whose client takes nothing.
fn place_of_a_large_file(name: &str) -> Place {
    let place = Place::new(name);
    std::fs::create_dir(place.0.join("site")).unwrap();
    place.write("site/large", vec![b'x'; 32 << 20]);
    place
}

#[test]
fn a_drain_ends_at_its_deadline_and_says_whom_it_cut_off() {
    let place = place_of_a_large_file("life-deadline");
    let arguments = ["site", "--drain-timeout", "200ms", "--log", "json"];
    let daemon = Daemon::start(&place, &arguments);
    let mut stream = connect(&daemon);
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    stream.read_exact(&mut [0; 15]).unwrap();
    daemon.signal("TERM");
    daemon.line_with("finishing what runs, for at most 200ms");
    daemon.line_with("stopped");
    let (code, log) = daemon.wait();
    assert_eq!(code, Some(0));
    let line: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(line["ending"], "cut-off");
    assert!(line["duration"].as_f64().unwrap() >= 0.2, "{line}");
}

#[test]
fn a_slow_exchange_is_told_at_a_level_that_leaves_out_the_others() {
    let place = place_of_a_large_file("life-slow");
    // Under Wine an exchange takes milliseconds, and a large file longer by as much.
    let slow = if cfg!(windows) { "20ms" } else { "1ms" };
    let level = ["--log-level", "warn", "--log-slow", slow];
    let arguments = [&["site", "--log", "json"][..], &level].concat();
    let daemon = Daemon::start(&place, &arguments);
    // A client of the machine's own takes 32 MiB in more than that. A request that is
    // answered at once may take as long on a busy machine, but not a hundred times.
    for _ in 0..100 {
        assert_eq!(daemon.get("/quick").status(), "404");
    }
    assert_eq!(daemon.get("/large").body.len(), 32 << 20);
    let (_, log) = daemon.stop();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let (slow, quick): (Vec<Value>, Vec<_>) =
        lines.partition(|line: &Value| line["path"] == "/large");
    assert!(quick.len() < 100, "{quick:?}");
    assert_eq!(slow.len(), 1);
    assert_eq!(
        (&slow[0]["slow"], &slow[0]["level"]),
        (&true.into(), &"warn".into())
    );
    assert!(slow[0]["duration"].as_f64().unwrap() >= 0.001);
}

#[test]
#[cfg(unix)] // No process takes over from another on Windows.
fn two_processes_with_one_pipe_tear_no_line_of_the_log() {
    let place = Place::new("life-two");
    let mut daemon = Daemon::start(&place, &["--log", "json"]);
    let mut pipe = daemon.child.stdout.take().unwrap();
    // More than the pipe and a gathered batch hold, and some lines of every length.
    let fill = |daemon: &Daemon, count: usize| {
        let mut stream = connect(daemon);
        for number in 0..count {
            let path = format!("/a{}", "x".repeat(number % 700));
            assert_eq!(ask(&mut stream, &path).0, 404);
        }
    };
    fill(&daemon, 3_000);
    daemon.signal("USR2");
    let line = daemon.line_with("has taken over");
    let pid = line.split("process ").nth(1).unwrap();
    let pid = pid.split(' ').next().unwrap().to_owned();
    // As many as fill the pipe, and few enough for the patience of the old one, which can not
    // end before somebody reads.
    fill(&daemon, 300);
    // Both wait to write, and the reader comes back.
    let reader = thread::spawn(move || {
        let mut log = String::new();
        pipe.read_to_string(&mut log).unwrap();
        log
    });
    daemon.line_with("stopped");
    let kill = format!("kill -TERM {pid}");
    let killed = std::process::Command::new("sh")
        .args(["-c", &kill])
        .status();
    assert!(killed.unwrap().success());
    let log = reader.join().unwrap();
    let mut counted = 0;
    for line in log.lines() {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        counted += value["dropped"].as_u64().unwrap_or(1);
    }
    assert_eq!(counted, 3_300);
}
