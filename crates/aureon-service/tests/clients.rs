//! Who asks, as the real binary sees it: behind proxies, in floods, with no descriptor left.

#![cfg_attr(windows, allow(unused_imports, dead_code))]
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use daemon::{Daemon, PATIENCE, Place, aureond, run, text};
use serde_json::Value;

/// The lines of the log for a path.
fn lines(out: &str, path: &str) -> Vec<Value> {
    let lines = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["path"] == path).collect()
}

fn ask(daemon: &Daemon, path: &str, fields: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\nConnection: close\r\n\r\n");
    let answer = daemon.ask(&request);
    answer.field("x-request-id").unwrap().to_owned()
}

#[test]
fn a_client_is_who_a_trusted_proxy_says_and_nobody_else() {
    let place = Place::new("clients-forwarded");
    place.write("aureon.toml", "trusted_proxies = [\"10.0.0.0/8\"]\n");
    let daemon = Daemon::start(&place, &[]);
    let told = "X-Forwarded-For: 203.0.113.9\r\nX-Request-Id: from-outside";
    assert_ne!(ask(&daemon, "/stranger", told), "from-outside");
    place.write("aureon.toml", "trusted_proxies = [\"loopback\"]\n");
    daemon.signal("HUP");
    daemon.line_with("trusted_proxies: 10.0.0.0/8 -> loopback");
    assert_eq!(ask(&daemon, "/proxied", told), "from-outside");
    let forwarded = "Forwarded: for=203.0.113.8";
    ask(&daemon, "/other", forwarded);
    place.write(
        "aureon.toml",
        "trusted_proxies = [\"loopback\"]\nclient_address_from = \"forwarded\"\n",
    );
    daemon.signal("HUP");
    daemon.line_with("reloaded");
    ask(&daemon, "/asked", forwarded);
    let (_, out) = daemon.stop();
    for (path, client) in [
        ("/stranger", "127.0.0.1"),
        ("/proxied", "203.0.113.9"),
        ("/other", "127.0.0.1"),
        ("/asked", "203.0.113.8"),
    ] {
        assert_eq!(lines(&out, path)[0]["client_ip"], client, "{path}");
    }
}

#[test]
fn an_id_is_made_returned_and_logged_and_only_a_proxys_is_taken_over() {
    let place = Place::new("clients-ids");
    place.write("aureon.toml", "message = \"m\"\n");
    let daemon = Daemon::start(&place, &[]);
    let claimed = "X-Request-Id: claimed";
    let made = [ask(&daemon, "/one", claimed), ask(&daemon, "/two", "")];
    for id in &made {
        // RFC 9562 §5.7: the version in the third group, the variant in the fourth.
        let groups: Vec<&str> = id.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert!(groups[2].starts_with('7'), "{id}");
        assert!(groups[3].starts_with(['8', '9', 'a', 'b']), "{id}");
    }
    assert_ne!(made[0], made[1]);
    place.write("aureon.toml", "trusted_proxies = [\"loopback\"]\n");
    daemon.signal("HUP");
    daemon.line_with("trusted_proxies: ");
    assert_eq!(ask(&daemon, "/three", claimed), "claimed");
    let (_, out) = daemon.stop();
    for (path, id) in [
        ("/one", &*made[0]),
        ("/two", &*made[1]),
        ("/three", "claimed"),
    ] {
        assert_eq!(lines(&out, path)[0]["request_id"], id, "{path}");
    }
}

#[test]
fn cloudflare_is_believed_from_its_ranges_which_a_reload_reads_again() {
    let place = Place::new("clients-cloudflare");
    place.write("ranges.txt", "# theirs\n198.51.100.0/24\n");
    place.write(
        "aureon.toml",
        "behind = \"cloudflare\"\ncloudflare_ranges = \"ranges.txt\"\n",
    );
    let daemon = Daemon::start(&place, &[]);
    let told = "CF-Connecting-IP: 2001:db8::9";
    ask(&daemon, "/before", told);
    place.write("ranges.txt", "198.51.100.0/24\n127.0.0.0/8\n");
    daemon.signal("HUP");
    daemon.line_with("reloaded");
    ask(&daemon, "/after", told);
    place.write("ranges.txt", "<html>\n");
    daemon.signal("HUP");
    daemon.line_with("ranges.txt: `<html>` is no network");
    ask(&daemon, "/still", told);
    let (_, out) = daemon.stop();
    for (path, client) in [
        ("/before", "127.0.0.1"),
        ("/after", "2001:db8::9"),
        ("/still", "2001:db8::9"),
    ] {
        assert_eq!(lines(&out, path)[0]["client_ip"], client, "{path}");
    }
}

#[test]
fn a_proxy_that_is_none_is_named_with_its_place() {
    let place = Place::new("clients-wrong");
    place.write(
        "aureon.toml",
        "trusted_proxies = [\"loopback\", \"nginx\"]\n",
    );
    let output = run(&place, &["check"]);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    assert!(
        told.contains("aureon.toml:1:19: `nginx` is no proxy; write an address"),
        "{told}"
    );
}

/// Asks on a connection; false when it was closed instead.
fn is_answered(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let asked = stream.write_all(b"HEAD /api/status HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut answer = [0; 4096];
    asked.is_ok() && matches!(stream.read(&mut answer), Ok(length) if length > 0)
}

#[test]
#[cfg(unix)] // Windows has no such limit.
fn before_descriptors_run_out_the_longest_idle_make_room() {
    let place = Place::new("clients-descriptors");
    let mut limited = Command::new("sh");
    let admin = ["--admin", "unix:admin"];
    let command = aureond(
        &place,
        &[&["--listen", "127.0.0.1:0", "--workers", "1"], &admin[..]].concat(),
    );
    limited.current_dir(&place.0);
    limited.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    let daemon = Daemon::spawn(limited);
    let connect = || TcpStream::connect(&daemon.address).unwrap();
    // More than fit, each answered and then idle.
    let mut clients = Vec::new();
    for number in 0..60 {
        clients.push(connect());
        assert!(is_answered(&clients[number]), "{number} was shed");
    }
    // The newest is still open, the oldest has gone for the others.
    assert!(is_answered(&clients[59]) && !is_answered(&clients[0]));
    assert!(is_answered(&connect()));
    drop(clients);
    assert!(is_answered(&connect()));
    // Nobody is turned away uncounted; one connection was the service's own.
    let told = run(&place, &[&["status", "--json"], &admin[..]].concat());
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let counted = told["accepted"].as_u64().unwrap() + told["shed"].as_u64().unwrap();
    assert_eq!(counted, 60 + 2 + 1, "{told}");
    let (_, out) = daemon.stop();
    let troubles = out.lines().filter(|line| line.contains("accept: ")).count();
    assert!(troubles >= 1, "{out}");
}
