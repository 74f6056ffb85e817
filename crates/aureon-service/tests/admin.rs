//! The admin listener of the real binary: what it tells, whom, and what it can be told to do.

#![cfg(unix)]
// Unix sockets and signals; what Windows has of it is in windows.rs.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use daemon::{Daemon, PATIENCE, Place, run, text};
use serde_json::Value;

/// Asks on a Unix socket: status and content.
fn ask(path: &Path, request: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let fields = "Host: test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let whole = format!("{request} HTTP/1.1\r\n{fields}");
    stream.write_all(whole.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, content) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), content.to_owned())
}

fn json(path: &Path, request: &str) -> Value {
    let (status, content) = ask(path, request);
    assert_eq!(status, 200, "{content}");
    serde_json::from_str(&content).unwrap()
}

/// A place with a configuration that names an admin socket there.
fn configured(name: &str) -> Place {
    let place = Place::new(name);
    place.write(
        "aureon.toml",
        "admin = \"unix:admin\"\nmessage = \"before\"\n",
    );
    place
}

#[test]
fn only_the_owner_may_open_the_socket_and_it_is_gone_with_the_service() {
    let place = configured("admin-mode");
    let daemon = Daemon::start(&place, &[]);
    let path = place.0.join("admin");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.stop();
    assert!(!path.exists());
}

#[test]
fn no_umask_opens_the_socket_to_others() {
    for umask in ["0", "022", "0777"] {
        let place = configured("admin-umask");
        let mut command = std::process::Command::new("sh");
        let served = daemon::aureond(&place, &["--listen", "127.0.0.1:0", "--workers", "1"]);
        let line = format!("umask {umask}; exec \"$0\" \"$@\"");
        command.current_dir(&place.0).args(["-c", &line]);
        command.arg(served.get_program()).args(served.get_args());
        let daemon = Daemon::spawn(command);
        let mode = std::fs::metadata(place.0.join("admin")).unwrap();
        let mode = mode.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "umask {umask}: {mode:o}");
        assert_eq!(daemon.stop().0, Some(0));
    }
}

#[test]
fn tells_what_was_served() {
    let place = configured("admin-tells");
    let daemon = Daemon::start(&place, &[]);
    let path = place.0.join("admin");
    assert_eq!(daemon.get("/api/greet?name=secret").status(), "200");
    assert_eq!(daemon.get("/no/such").status(), "404");
    assert_eq!(daemon.ask("BROKEN\r\n\r\n").status(), "400");

    let exchanges = json(&path, "GET /exchanges");
    let told = |at: usize, name: &str| exchanges[at][name].as_str().unwrap().to_owned();
    assert_eq!(
        (told(0, "path"), told(0, "route")),
        ("/no/such".into(), "/{*rest}".into())
    );
    assert_eq!(
        (told(1, "path"), told(1, "client_ip")),
        ("/api/greet".into(), "127.0.0.1".into())
    );
    assert_eq!(exchanges[1]["status"], 200);
    assert_eq!(told(1, "request_id").len(), 36);
    assert!(
        !exchanges.to_string().contains("secret"),
        "a query is not told"
    );

    tells_numbers(&path);
    tells_itself(&path, daemon.child.id());
}

fn tells_numbers(path: &Path) {
    let (status, metrics) = ask(path, "GET /metrics");
    assert_eq!(status, 200);
    let series = "http_request_method=\"GET\",http_response_status_code=\"200\",\
                  http_route=\"/api/greet\"";
    let count = format!("http_server_request_duration_seconds_count{{{series}}} 1");
    for line in [
        &count,
        "aureon_refusals_total{reason=\"LineEnd\"} 1",
        "aureon_ready 1",
        "aureon_log_lines_lost_total 0",
        &format!(
            "aureon_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        ),
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line}\n{metrics}"
        );
    }
    let families = json(path, "GET /api/metrics");
    let names = families
        .as_array()
        .unwrap()
        .iter()
        .map(|family| &family["name"]);
    for name in names {
        let named = format!("# TYPE {} ", name.as_str().unwrap());
        assert!(metrics.contains(&named), "{name}");
    }
}

fn tells_itself(path: &Path, pid: u32) {
    let status = json(path, "GET /status");
    assert_eq!(status["pid"], pid);
    assert_eq!(
        (&status["state"], &status["refusals"]),
        (&"serving".into(), &1.into())
    );
    assert!(status["resident_bytes"].as_u64().unwrap() > 100_000);

    let config = json(path, "GET /config");
    let rows = config["settings"].as_array().unwrap();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
    assert_eq!(row("message")["value"], "before");
    assert_eq!(row("message")["source"], "aureon.toml:2:11");
    assert_eq!(row("listen")["source"], "--listen");
    assert_eq!(row("idle_timeout")["source"], "default");
}

#[test]
fn a_port_tells_metrics_and_health_and_nothing_else() {
    let place = Place::new("admin-port");
    place.write("aureon.toml", "admin = [\"127.0.0.1:0\", \"unix:admin\"]\n");
    let daemon = Daemon::start(&place, &[]);
    let status = json(&place.0.join("admin"), "GET /status");
    assert_eq!(
        status["addresses"].as_array().unwrap().len(),
        1,
        "the public ones"
    );
    let mut port = Daemon::start(&place, &["--admin", "off"]);
    // The kernel chose it, so it is told where everybody is told.
    let line = daemon.line_with("admin on http://");
    port.address = line.rsplit('/').next().unwrap().to_owned();
    assert_eq!(port.get("/metrics").status(), "200");
    assert_eq!(port.get("/healthz").status(), "200");
    for request in [
        "GET /status",
        "GET /config",
        "GET /exchanges",
        "POST /reload",
        "POST /upgrade",
    ] {
        let whole = format!(
            "{request} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(port.ask(&whole).status(), "403", "{request}");
    }
    assert_eq!(
        daemon.get("/metrics").status(),
        "404",
        "never on a public listener"
    );
}

#[test]
fn status_and_reload_are_commands() {
    let place = configured("admin-commands");
    let daemon = Daemon::start(&place, &[]);
    let told = run(&place, &["status"]);
    assert!(told.status.success());
    let shown = text(&told.stdout);
    let first = format!(
        "aureond      {}, serving, process {}",
        env!("CARGO_PKG_VERSION"),
        daemon.child.id()
    );
    assert!(shown.starts_with(&first), "{shown}");
    assert!(
        shown.contains(&format!("listening    http://{}\n", daemon.address)),
        "{shown}"
    );
    for line in [
        "connections  ",
        "requests     ",
        "limits hit   none\n",
        "workers      1, busy ",
        "log          level info, 0 lines lost\n",
    ] {
        assert!(shown.contains(&format!("\n{line}")), "{line}: {shown}");
    }
    let told = run(&place, &["status", "--json"]);
    let value: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(value["pid"], daemon.child.id());
    // Where the system tells of a process, both do.
    for (key, line) in [
        ("resident_bytes", "\nmemory "),
        ("open_fds", "\ndescriptors "),
    ] {
        assert_eq!(value[key].is_u64(), shown.contains(line), "{key}: {shown}");
    }

    place.write(
        "aureon.toml",
        "admin = \"unix:admin\"\nmessage = \"after\"\n",
    );
    let told = run(&place, &["reload"]);
    assert!(told.status.success());
    assert_eq!(text(&told.stderr), "aureond: message: before -> after\n");
    assert_eq!(daemon.get("/api/message").json()["message"], "after");
    let told = run(&place, &["reload"]);
    assert_eq!(text(&told.stderr), "aureond: done; nothing has changed\n");

    // A mistake that only the service sees: the command itself reads another file.
    place.write("other.toml", "admin = \"unix:admin\"\n");
    place.write("aureon.toml", "admin = \"unix:admin\"\nmesage = \"x\"\n");
    let told = run(&place, &["reload", "--config", "other.toml"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told.stderr).contains("aureon.toml:2:1: unknown key `mesage`"));
    assert_eq!(daemon.get("/api/message").json()["message"], "after");
}

#[test]
fn what_only_a_start_changes_is_not_told_to_be_in_force() {
    let place = configured("admin-fixed");
    let before = "admin = \"unix:admin\"\nbacklog = 200\nlog = \"json\"\n";
    place.write("aureon.toml", before);
    let daemon = Daemon::start(&place, &[]);
    let after = "log = \"off\"\nadmin = \"off\"\nbacklog = 300\nmessage = \"after\"\n";
    place.write("other.toml", before);
    place.write("aureon.toml", after);
    let reload = || text(&run(&place, &["reload", "--config", "other.toml"]).stderr).to_owned();
    let later = |key| format!("{key}, from the next start on\n");
    let told = reload();
    for change in ["backlog: 200 -> 300", "log: json -> off"] {
        assert!(told.contains(&later(change)), "{told}");
    }
    assert!(told.contains(" -> after\n"), "{told}");
    let config = json(&place.0.join("admin"), "GET /config");
    let rows = config["settings"].as_array().unwrap();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
    assert_eq!(row("message")["value"], "after");
    assert_eq!(row("backlog")["value"], "200");
    assert_eq!(row("backlog")["source"], "aureon.toml:2:11");
    // It is still to come, and the log goes on until then.
    assert!(reload().contains(&later("backlog: 200 -> 300")));
    daemon.get("/api/message");
    let (_, out) = daemon.stop();
    assert!(out.contains("\"path\":\"/api/message\""), "{out}");
}

#[test]
fn whom_nobody_answers_is_told_what_to_do() {
    let place = configured("admin-nobody");
    let told = run(&place, &["status"]);
    assert_eq!(told.status.code(), Some(1));
    let told = text(&told.stderr);
    assert!(told.contains("nobody answers on unix:admin"), "{told}");
    assert!(told.contains("--admin unix:PATH"), "{told}");
}

#[test]
fn the_level_of_the_log_changes_until_the_next_reload() {
    let place = configured("admin-level");
    let daemon = Daemon::start(&place, &[]);
    let path = place.0.join("admin");
    assert_eq!(ask(&path, "POST /log-level?loud").0, 400);
    assert_eq!(ask(&path, "POST /log-level?error").0, 200);
    assert_eq!(json(&path, "GET /status")["log_level"], "error");
    assert_eq!(daemon.get("/unheard").status(), "404");
    assert_eq!(ask(&path, "POST /reload").0, 200);
    assert_eq!(json(&path, "GET /status")["log_level"], "info");
    assert_eq!(daemon.get("/heard").status(), "404");
    let (_, out) = daemon.stop();
    assert!(out.contains("/heard") && !out.contains("/unheard"), "{out}");
}

#[test]
fn an_upgrade_is_a_command_and_the_socket_goes_with_it() {
    let place = configured("admin-upgrade");
    let daemon = Daemon::start(&place, &[]);
    let path = place.0.join("admin");
    let told = run(&place, &["upgrade"]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    // Until it has, the old process may still take what is asked on the admin socket.
    daemon.line_with("stopped");
    let pid = json(&path, "GET /status")["pid"].as_u64().unwrap();
    assert_ne!(pid, u64::from(daemon.child.id()));
    let line = format!("aureond: process {pid} has taken over\n");
    assert_eq!(text(&told.stderr), line);
    assert!(path.exists(), "it is the new process's now");

    place.write("other.toml", "admin = \"unix:admin\"\n");
    place.write("aureon.toml", "mesage = \"x\"\n");
    let told = run(&place, &["upgrade", "--config", "other.toml"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told.stderr).contains("this process serves on"));
    assert_eq!(json(&path, "GET /status")["pid"], pid);
    let kill = format!("kill -TERM {pid}");
    let killed = std::process::Command::new("sh")
        .args(["-c", &kill])
        .status();
    assert!(killed.unwrap().success());
    daemon.line_with("stopped");
    assert!(!path.exists());
}

#[test]
fn a_new_process_that_can_not_be_reached_leaves_the_paths_alone() {
    let place = Place::new("admin-path");
    place.write(
        "aureon.toml",
        "listen = [\"127.0.0.1:0\", \"unix:front\"]\nadmin = \"unix:admin\"\n",
    );
    let daemon = Daemon::spawn(daemon::aureond(&place, &["--workers", "1"]));
    let (front, admin) = (place.0.join("front"), place.0.join("admin"));
    // The new process finds the file rather than the socket it was handed, and does not answer
    // itself there.
    std::fs::rename(&front, place.0.join("away")).unwrap();
    std::fs::write(&front, "a file").unwrap();
    assert_eq!(ask(&admin, "POST /upgrade").0, 409);
    assert_eq!(std::fs::read(&front).unwrap(), b"a file");
    assert_eq!(json(&admin, "GET /status")["pid"], daemon.child.id());
}
