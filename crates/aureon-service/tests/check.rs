//! `aureond check`, as the real binary says it: what would keep a service from starting, by place,
//! and what will only go otherwise than the configuration sounds.

#![cfg_attr(windows, allow(unused_imports, dead_code))]
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::fs;
use std::process::Command;

use daemon::{Place, aureond, run, text};
use serde_json::Value;

/// The words of `problems` or `warnings` in a report, and the exit code.
fn told(place: &Place, list: &str) -> (Vec<String>, Option<i32>) {
    let output = run(place, &["check", "--json", "--listen", "127.0.0.1:0"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_fine = output.status.code() == Some(0);
    assert_eq!(report["ok"], is_fine, "{report}");
    let words = report[list].as_array().unwrap().iter();
    let words = words.map(|word| word.as_str().unwrap().to_owned());
    (words.collect(), output.status.code())
}

/// That a file is refused by checking and by serving, with the same words.
fn check_refused(place: &Place, file: &str, code: i32, expected: &str) {
    place.write("aureon.toml", file);
    let (problems, exit) = told(place, "problems");
    let here = format!("{}/", place.0.display()).replace('\\', "/");
    let from_here = |told: &str| told.replace('\\', "/").replace(&here, "");
    let problems: Vec<String> = problems.iter().map(|told| from_here(told)).collect();
    assert_eq!(
        (&problems[..], exit),
        (&[expected.to_owned()][..], Some(code))
    );
    let output = run(place, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(code));
    let served = from_here(text(&output.stderr));
    assert_eq!(served, format!("aureond: {expected}\n"));
}

#[test]
fn what_a_file_names_and_can_not_be_used_is_told_with_its_place() {
    let place = Place::new("check-places");
    check_refused(
        &place,
        "port = 0\nroot = \"dist\"\n",
        78,
        "aureon.toml:2:8: there is no dist; create it or name another",
    );
    // In this system's words; the number is the same on all.
    let missing = std::io::Error::from_raw_os_error(2);
    let cause = format!(
        "aureon.toml:1:12: cannot write the log to logs/a.log: {missing}; create its directory"
    );
    check_refused(&place, "log_file = \"logs/a.log\"\n", 78, &cause);
    place.write("ranges.txt", "10.0.0.0/8\n<html>\n");
    check_refused(
        &place,
        "behind = \"cloudflare\"\ncloudflare_ranges = \"ranges.txt\"\n",
        78,
        "aureon.toml:2:21: cloudflare_ranges: ranges.txt: `<html>` is no network; one network a \
           line, as Cloudflare lists them",
    );
    let cause = format!(
        "aureon.toml:2:21: cloudflare_ranges: missing.txt: {missing}; one network a line, as \
         Cloudflare lists them"
    );
    let file = "behind = \"cloudflare\"\ncloudflare_ranges = \"missing.txt\"\n";
    check_refused(&place, file, 78, &cause);
}

#[test]
#[cfg(unix)] // Windows opens no directory to write, and has no sandbox.
fn a_log_that_is_a_directory_and_a_sandbox_of_nothing_are_told_with_their_place() {
    let place = Place::new("check-unix");
    fs::create_dir(place.0.join("logs")).unwrap();
    check_refused(
        &place,
        "log_file = \"logs\"\n",
        78,
        "aureon.toml:1:12: cannot write the log to logs: is a directory; the user \
           aureond runs as must be able to write there",
    );
    check_refused(
        &place,
        "sandbox = \"on\"\nsandbox_paths = [\"/no/such\"]\n",
        78,
        "aureon.toml:2:17: cannot look at /no/such: No such file or directory (os error 2); \
           create it or name another",
    );
}

#[test]
fn everything_is_told_at_once_and_an_address_has_its_place_too() {
    let place = Place::new("check-all");
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    place.write(
        "aureon.toml",
        format!("root = \"a\"\nlog_file = \"b/c\"\nlisten = [\"{address}\"]\n"),
    );
    let output = run(&place, &["check"]);
    assert_eq!(
        output.status.code(),
        Some(78),
        "as serving would: by the first"
    );
    let out = text(&output.stdout);
    let problems: Vec<&str> = out
        .lines()
        .filter_map(|line| line.strip_prefix("aureond: "))
        .collect();
    assert_eq!(problems.len(), 3, "{out}");
    assert!(problems[0].starts_with("aureon.toml:1:8: there is no "));
    assert!(problems[1].starts_with("aureon.toml:2:12: cannot write the log to "));
    let expected = format!("aureon.toml:3:10: cannot listen on {address}: another process");
    assert!(problems[2].starts_with(&expected), "{out}");
    assert!(!out.contains("The configuration is fine."));
}

#[test]
fn checking_a_log_creates_nothing() {
    let place = Place::new("check-log");
    place.write("aureon.toml", "log_file = \"a.log\"\n");
    assert_eq!(told(&place, "problems"), (Vec::new(), Some(0)));
    assert!(!place.0.join("a.log").exists());
    place.write("a.log", "a line\n");
    assert_eq!(told(&place, "problems"), (Vec::new(), Some(0)));
    assert_eq!(fs::read(place.0.join("a.log")).unwrap(), b"a line\n");
}

#[test]
#[cfg(unix)] // Windows has no limit of descriptors.
fn a_warning_is_told_and_keeps_nobody_from_serving() {
    let place = Place::new("check-warnings");
    place.write(
        "aureon.toml",
        "connections_max = 4096\nworkers = 1000\nport = 0\n",
    );
    let mut limited = Command::new("sh");
    let command = aureond(&place, &["check"]);
    limited.current_dir(&place.0).env_remove("PORT");
    limited.args(["-c", "ulimit -n 300; exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    let output = limited.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    let warnings: Vec<&str> = out
        .lines()
        .filter_map(|line| line.strip_prefix("warning: "))
        .collect();
    let expected = "aureon.toml:1:19: `connections_max` is 4096, but this process may open 300 \
                    files: from about 0 connections on, who waits longest is closed for each new \
                    one; have root raise the hard limit to ";
    assert!(warnings[0].starts_with(expected), "{out}");
    assert!(warnings[0].ends_with(" in the unit"), "{out}");
    let more = "aureon.toml:2:11: there are more `workers` than the processors";
    assert!(
        warnings.iter().any(|warning| warning.starts_with(more)),
        "{out}"
    );
    assert!(out.ends_with("The configuration is fine.\n"), "{out}");

    place.write("aureon.toml", "connections_max = 10\nworkers = 1000\n");
    let (warnings, exit) = told(&place, "warnings");
    assert_eq!(exit, Some(0));
    assert!(
        warnings.iter().any(|warning| warning.starts_with(more)),
        "{warnings:?}"
    );
    place.write("aureon.toml", "connections_max = 10\nworkers = 1\n");
    assert_eq!(told(&place, "warnings"), (Vec::new(), Some(0)));
}

#[test]
#[cfg(unix)] // The admin socket is a Unix socket.
fn what_the_running_service_has_is_in_nobodys_way() {
    let place = Place::new("check-running");
    place.write("aureon.toml", "admin = \"unix:admin\"\n");
    place.write("other.toml", "admin = \"unix:other\"\n");
    let daemon = daemon::Daemon::start(&place, &[]);
    let check = |more: &[&str]| {
        let output = run(
            &place,
            &[&["check", "--listen", &daemon.address], more].concat(),
        );
        (output.status.code(), text(&output.stdout).to_owned())
    };
    let (code, said) = check(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the running service has it"), "{said}");
    let (_, said) = check(&["--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["addresses"][0]["free"], false);
    assert_eq!(report["addresses"][0]["held_by_service"], true);
    // For another service it is taken.
    let (code, said) = check(&["--config", "other.toml"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("cannot be bound"), "{said}");
    // And what the service does not have is taken for it too.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    assert_eq!(check(&["--listen", &taken]).0, Some(69));
}
