//! The real binary, spawned: what it prints, how it ends, what it serves.
//!
//! Every test starts its own process on a port the kernel picks and waits for the line that
//! names it. Nothing sleeps: a test waits for a line, an answer or the end of the process.

// Those that are ended by a signal are not there.
#![cfg_attr(windows, allow(unused_imports))]
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use daemon::{Daemon, PATIENCE, Place, aureond, run, text};
use serde_json::Value;

#[test]
fn help_is_what_the_golden_file_says() {
    let place = Place::new("cli-help");
    for arguments in [
        &["--help"][..],
        &["help"],
        &["-h"],
        &["check", "--bogus", "-h"],
    ] {
        let output = run(&place, arguments);
        assert_eq!(output.status.code(), Some(0));
        let golden = include_str!("help.txt");
        let hint = "after a wanted change: aureond help > crates/aureon-service/tests/help.txt";
        assert_eq!(text(&output.stdout), golden, "{hint}");
    }
}

#[test]
fn version_is_one_line() {
    let place = Place::new("cli-version");
    let expected = concat!("aureond ", env!("CARGO_PKG_VERSION"), "\n");
    for flag in ["--version", "-V", "version"] {
        let output = run(&place, &[flag]);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(0), expected)
        );
    }
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let place = Place::new("cli-usage");
    let output = run(&place, &["--lisen", "x", "--port=99999"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "aureond: --lisen: unknown flag; did you mean `--listen`?\n"
    );
    let output = run(&place, &["--port=99999"]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "aureond: --port: `port` cannot be \"99999\"; expected a whole number from 0 \
                    to 65535\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn a_wrong_file_is_told_by_line_and_column_and_ends_with_its_own_code() {
    let place = Place::new("cli-file");
    place.write(
        "aureon.toml",
        "# mine\nport = 80 80\nidel_timeout = \"5s\"\nlog = \"xml\"\n",
    );
    for command in ["serve", "check"] {
        let mut command = aureond(&place, &[command]);
        let output = command.env("AUREON_HEAD_BYTES_MAX", "1").output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        let lines: Vec<&str> = text(&output.stderr).lines().collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        let expected = "aureon.toml:2:8: `port` cannot be 80 80; expected a whole number";
        assert!(lines[0].starts_with(expected), "{}", lines[0]);
        let expected = "aureon.toml:3:1: unknown key `idel_timeout`; did you mean `idle_timeout`?";
        assert_eq!(lines[1], expected);
        assert!(lines[2].starts_with("aureon.toml:4:7: `log` cannot be \"xml\"; expected one of"));
        assert!(lines[3].starts_with("aureond: AUREON_HEAD_BYTES_MAX: `head_bytes_max` cannot"));
    }
}

#[test]
fn a_file_that_was_named_must_exist() {
    let place = Place::new("cli-missing");
    let output = run(&place, &["check", "-c", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--config: cannot read nowhere.toml"));
    let output = aureond(&place, &["check"])
        .env("AUREON_CONFIG", "nowhere.toml")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn check_says_what_is_in_force_and_from_where() {
    let place = Place::new("cli-check");
    place.write(
        "aureon.toml",
        "idle_timeout = \"5s\"\nmessage = \"from the file\"\n",
    );
    let arguments = ["check", "--json", "--listen", "127.0.0.1", "."];
    let mut command = aureond(&place, &arguments);
    let output = command
        .env("PORT", "0")
        .env("AUREON_LOG", "json")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let find = |key: &str| {
        let settings = report["settings"].as_array().unwrap();
        let setting = settings
            .iter()
            .find(|setting| setting["key"] == key)
            .unwrap();
        (
            setting["value"].as_str().unwrap(),
            setting["source"].as_str().unwrap(),
        )
    };
    assert_eq!(find("listen"), ("127.0.0.1", "--listen"));
    assert_eq!(find("port"), ("0", "PORT"));
    assert_eq!(find("log"), ("json", "AUREON_LOG"));
    assert_eq!(find("idle_timeout"), ("5s", "aureon.toml:1:16"));
    assert_eq!(find("root"), (".", "DIR"));
    assert_eq!(find("gzip"), ("true", "default"));
    assert_eq!(report["addresses"][0]["address"], "http://127.0.0.1:0");
    assert_eq!(report["ok"], true);

    let output = run(&place, &["-t", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).ends_with("The configuration is fine.\n"));
}

#[test]
fn a_missing_root_is_told_before_anything_listens() {
    let place = Place::new("cli-root");
    let arguments = ["--listen", "127.0.0.1:0", "./dist"];
    for command in ["serve", "check"] {
        let output = run(&place, &[&[command], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(78));
        let told = [text(&output.stderr), text(&output.stdout)].concat();
        let missing = std::path::absolute(place.0.join("dist")).unwrap();
        let expected = format!("there is no {}", missing.display());
        assert!(told.contains(&expected), "{told}");
        assert!(!told.contains("listening"));
    }
}

#[test]
fn a_taken_port_is_told_with_the_address() {
    let place = Place::new("cli-port");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let output = run(&place, &["--listen", &address]);
    assert_eq!(output.status.code(), Some(69));
    let expected = format!("aureond: cannot listen on {address}: another process listens there");
    assert!(
        text(&output.stderr).contains(&expected),
        "{}",
        text(&output.stderr)
    );
    // Two of our own must not share a port by `SO_REUSEPORT` either.
    let first = Daemon::start(&place, &[]);
    let output = run(&place, &["--listen", &first.address]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains("another process listens there"));
}

#[test]
fn serves_a_directory_with_its_files() {
    let place = Place::new("cli-directory");
    place
        .write("index.html", "<h1>hers</h1>")
        .write("style.css", "a{}");
    std::fs::create_dir(place.0.join("check")).unwrap();
    std::fs::write(
        place.0.join("check/index.html"),
        "a directory called like a command",
    )
    .unwrap();
    let daemon = Daemon::start(&place, &["."]);
    let index = daemon.get("/");
    assert_eq!(
        (index.status(), &index.body[..]),
        ("200", &b"<h1>hers</h1>"[..])
    );
    assert_eq!(index.field("x-content-type-options"), Some("nosniff"));
    assert!(index.field("referrer-policy").is_some());
    assert_eq!(
        index.field("content-security-policy"),
        None,
        "her page has her own rules"
    );
    assert!(index.field("x-request-id").is_some());
    assert_eq!(
        daemon.get("/style.css").field("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert_eq!(daemon.get("/missing").status(), "404");
    assert_eq!(daemon.get("/..%2f..%2fetc/passwd").status(), "404");
    assert_eq!(daemon.get("/api/status").status(), "200");

    let daemon = Daemon::start(&place, &["./check"]);
    assert_eq!(daemon.get("/").body, b"a directory called like a command");
}

#[test]
fn serves_the_page_built_in_when_no_directory_is_named() {
    let place = Place::new("cli-page");
    let daemon = Daemon::start(&place, &[]);
    let page = daemon.get("/");
    assert_eq!(page.status(), "200");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.field("content-security-policy")
            .unwrap()
            .starts_with("default-src 'self'")
    );
    assert!(text(&page.body).contains("/app.js"));
    assert_eq!(daemon.get("/app.js").status(), "200");
    let missing = daemon.get("/nothing/here");
    assert_eq!(missing.status(), "404");
    assert!(text(&missing.body).contains("<html"), "the 404 page");
}

#[test]
fn answers_the_api() {
    let place = Place::new("cli-api");
    let daemon = Daemon::start(&place, &["--message", "Grüße \"an\" alle"]);
    let answer = daemon.get("/api/status");
    assert_eq!(answer.status(), "200");
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    let status = answer.json();
    assert_eq!(status["status"], "ok");
    assert_eq!(status["engine"], "Rust");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime"].is_u64());
    assert_eq!(status["message"], "Grüße \"an\" alle");
    assert_eq!(
        daemon.get("/api/message").json()["message"],
        "Grüße \"an\" alle"
    );
    assert_eq!(daemon.get("/healthz").status(), "200");
}

#[test]
fn greets_whoever_can_be_named() {
    let place = Place::new("cli-greet");
    let daemon = Daemon::start(&place, &[]);
    let greeting = |query: &str| {
        let answer = daemon.get(&format!("/api/greet{query}"));
        assert_eq!(answer.status(), "200", "{query}");
        answer.json()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(greeting(""), "Hello, Guest!");
    assert_eq!(greeting("?name="), "Hello, Guest!");
    assert_eq!(greeting("?name=Ada+Lovelace"), "Hello, Ada Lovelace!");
    assert_eq!(
        greeting("?name=%E6%97%A5%E6%9C%AC%20%F0%9F%A6%80"),
        "Hello, 日本 🦀!"
    );
    assert_eq!(greeting("?name=%22%5C%0A%00%3C"), "Hello, \"\\\n\0<!");
    assert_eq!(greeting(&format!("?name={}", "x".repeat(256))).len(), 264);
    for query in [
        "?name=%ff",
        "?name=%C3",
        &format!("?name={}", "x".repeat(257)),
    ] {
        assert_eq!(
            daemon.get(&format!("/api/greet{query}")).status(),
            "400",
            "{query}"
        );
    }
}

#[test]
fn the_api_and_its_origin_can_be_set() {
    let place = Place::new("cli-origin");
    let daemon = Daemon::start(&place, &["--cors-origin", "none"]);
    assert_eq!(
        daemon
            .get("/api/status")
            .field("access-control-allow-origin"),
        None
    );
    let daemon = Daemon::start(&place, &["--no-api"]);
    assert_eq!(daemon.get("/api/status").status(), "404");
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let place = Place::new("cli-precedence");
    place.write("aureon.toml", "message = \"file\"");
    let message = |arguments: &[&str], environment: Option<&str>| {
        let mut command = aureond(&place, arguments);
        command.args(["--listen", "127.0.0.1:0"]);
        command.envs(environment.map(|value| ("AUREON_MESSAGE", value)));
        Daemon::spawn(command).get("/api/message").json()["message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(message(&[], None), "file");
    assert_eq!(message(&[], Some("environment")), "environment");
    assert_eq!(message(&["--message", "flag"], Some("environment")), "flag");
}

#[test]
fn by_default_both_loopback_addresses_listen_on_the_port() {
    let place = Place::new("cli-loopback");
    let mut command = aureond(&place, &[]);
    command.env("PORT", "0");
    let daemon = Daemon::spawn(command);
    assert!(daemon.address.starts_with("127.0.0.1:"));
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(
            daemon
                .line_with("listening on http://")
                .contains("http://[::1]:")
        );
    }
}

#[test]
fn logs_a_json_line_for_each_exchange_and_none_for_health_checks() {
    let place = Place::new("cli-log");
    let daemon = Daemon::start(&place, &[]);
    assert_eq!(daemon.get("/healthz").status(), "200");
    let answer = daemon.ask(
        "GET /api/greet?name=secret-name HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\
         User-Agent: te\"st\r\nCookie: secret=cookie\r\nAuthorization: Bearer secret-token\r\n\r\n",
    );
    assert_eq!(daemon.get("/missing%C3%BC").status(), "404");
    assert!(
        daemon
            .ask("GET / HTTP/1.1\r\n\r\n")
            .head
            .starts_with("HTTP/1.1 400")
    );
    let (code, out) = daemon.stop();
    assert_eq!(code, Some(0));
    assert!(!out.contains("secret"), "{out}");
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(lines.len(), 3, "{out}");
    let line = &lines[0];
    let stamp = line["ts"].as_str().unwrap();
    assert!(
        stamp.len() == 24 && stamp.starts_with("20") && stamp.ends_with('Z'),
        "{stamp}"
    );
    assert_eq!(line["level"], "info");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/api/greet");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes"].as_u64(), Some(answer.body.len() as u64));
    assert!(
        line["duration"]
            .as_f64()
            .is_some_and(|seconds| (0.0..60.0).contains(&seconds))
    );
    assert_eq!(line["client_ip"], "127.0.0.1");
    assert_eq!(line["host"], "example.com");
    assert_eq!(line["user_agent"], "te\"st");
    assert_eq!(line["request_id"].as_str(), answer.field("x-request-id"));
    assert_eq!(line["route"], "/api/greet");
    assert_eq!(
        (&lines[1]["status"], &lines[1]["path"]),
        (&404.into(), &"/missing%C3%BC".into())
    );
    assert_eq!(lines[2]["status"], 400);
}

#[test]
fn the_log_can_be_pretty_or_off() {
    let place = Place::new("cli-pretty");
    let daemon = Daemon::start(&place, &["--log", "pretty"]);
    daemon.get("/api/status");
    let (_, out) = daemon.stop();
    assert!(out.contains(" 200 GET     /api/status "), "{out}");
    assert!(!out.contains('\x1b'), "no colours in a pipe");
    let arguments = ["--log", "off", "--connections-max", "1"];
    let daemon = Daemon::start(&place, &arguments);
    // Who is idle goes for who comes: a limit is a warning, and no failure.
    let idle = TcpStream::connect(&daemon.address).unwrap();
    daemon.get("/api/status");
    assert_eq!(daemon.stop(), (Some(0), String::new()));
    drop(idle);
}

#[test]
fn term_finishes_what_runs_and_ends_well() {
    const SIZE: usize = 64 << 20;
    let place = Place::new("cli-drain");
    place.write("large.bin", vec![7; SIZE]);
    let daemon = Daemon::start(&place, &["."]);
    let mut stream = TcpStream::connect(&daemon.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET /large.bin HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    // The answer has begun, and buffers between us are far smaller than the rest of it.
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    daemon.signal("TERM");
    daemon.line_with("TERM: finishing what runs, for at most 30s");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let head_end = rest
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    assert_eq!(rest.len() - head_end - 4, SIZE, "the download was finished");
    daemon.line_with("stopped");
    let address = daemon.address.clone();
    assert_eq!(daemon.wait().0, Some(0));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_second_int_stops_at_once() {
    let place = Place::new("cli-int");
    place.write("large.bin", vec![7; 64 << 20]);
    let daemon = Daemon::start(&place, &["."]);
    let mut stream = TcpStream::connect(&daemon.address).unwrap();
    stream
        .write_all(b"GET /large.bin HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    daemon.signal("INT");
    daemon.line_with("INT: finishing what runs");
    daemon.signal("INT");
    daemon.line_with("INT again");
    daemon.line_with("stopped");
    assert_eq!(daemon.wait().0, Some(0));
}

#[test]
fn a_log_that_nobody_reads_blocks_nobody() {
    let place = Place::new("cli-blocked");
    let mut daemon = Daemon::start(&place, &[]);
    // Held open and never read: 64 KiB fit into the pipe, the rest must wait or be dropped.
    let unread = daemon.child.stdout.take().unwrap();
    let agent = "x".repeat(500);
    let request = format!("GET /healthz/ HTTP/1.1\r\nHost: t\r\nUser-Agent: {agent}\r\n\r\n");
    let mut stream = TcpStream::connect(&daemon.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    // 5,000 lines of 700 bytes are more than the pipe and both vectors hold.
    for _ in 0..5_000 {
        stream.write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(
                reader.read_line(&mut line).unwrap(),
                0,
                "the connection was closed"
            );
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
    }
    daemon.signal("TERM");
    daemon.line_with("the reader of the access log is stuck");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    drop(unread);
}

#[test]
fn what_a_service_is_to_do_is_named_and_only_installing_takes_settings() {
    let place = Place::new("cli-service");
    for (arguments, told) in [
        (
            &["service"][..],
            "write install, start, stop, reload, status or remove",
        ),
        (&["service", "restart"], "what to do is named"),
        (
            &["service", "start", "-p", "80"],
            "only `service install` takes settings",
        ),
        (
            &["service", "stop", "-c", "a"],
            "only `service install` takes settings",
        ),
        (
            &["service", "status", "--json"],
            "only commands that report have it",
        ),
    ] {
        let output = run(&place, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(told), "{output:?}");
    }
}

#[test]
#[cfg(unix)] // Windows has them: e2e/windows/run.
fn where_services_are_not_installed_by_programs_it_says_who_does() {
    let place = Place::new("cli-no-service");
    for action in [
        "install", "start", "stop", "reload", "status", "remove", "run",
    ] {
        let output = run(&place, &["service", action]);
        assert_eq!(output.status.code(), Some(2), "{action}");
        let told = text(&output.stderr);
        assert!(
            told.contains("systemd's or launchd's business: see docs/OPERATING.md"),
            "{told}"
        );
    }
}

#[test]
fn completions_are_printed_for_each_shell_and_refused_for_another() {
    let place = Place::new("cli-completions");
    for (shell, begins) in [
        ("bash", "complete -o default -W ' serve check "),
        ("zsh", "#compdef aureond\ncompadd -- serve check "),
        (
            "fish",
            "complete -c aureond -n __fish_use_subcommand -a serve -d ",
        ),
    ] {
        let output = run(&place, &["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).starts_with(begins), "{shell}");
    }
    let output = run(&place, &["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("write bash, zsh or fish"));
}
