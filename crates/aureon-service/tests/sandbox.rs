//! The service under the kernel's sandbox: what is served stays served whatever is done to the
//! root, a handler that is talked into another path opens nothing, and a reload knows the walls.

#![cfg(unix)] // There is no sandbox on Windows: docs/PLATFORMS.md.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Instant;

use aureon::sys::sandbox;
use aureon::{Method, Request, Sandbox};
use aureon_service::Service;
use aureon_service::config::{Given, Source};
use aureon_service::settings::{self, Config};
use daemon::{Daemon, PATIENCE, Place, run, text};

/// Asks until it is so; what is served is looked at again only once in a while.
fn until(mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "it did not come about");
        thread::yield_now();
    }
}

/// `NoNewPrivs` of every thread of a process, by the thread's name. It is what Landlock demands
/// first, and all of it that the kernel shows.
fn confined(pid: u32) -> Vec<(String, bool)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let states = threads.map(|thread| {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let name = status.lines().next().unwrap().rsplit('\t').next().unwrap();
        (name.to_owned(), status.contains("NoNewPrivs:\t1"))
    });
    states.collect()
}

/// What the configuration with this root permits to read.
fn readable(root: PathBuf) -> (Sandbox, Vec<PathBuf>) {
    let config = Config {
        root: Some(root),
        ..Config::default()
    };
    let sandbox = aureon_service::sandbox::rules(&config, false).unwrap();
    let paths = sandbox.rules().map(|(path, _)| path.to_owned()).collect();
    (sandbox, paths)
}

#[test]
fn a_root_that_is_made_again_or_switched_by_a_link_stays_inside() {
    let place = Place::new("sandbox-inside");
    for release in ["releases/1/public", "releases/2/public", "other/public"] {
        fs::create_dir_all(place.0.join(release)).unwrap();
    }
    let here = fs::canonicalize(&place.0).unwrap();
    symlink("releases/1", here.join("current")).unwrap();
    let (sandbox, paths) = readable(here.join("current/public"));
    assert_eq!(paths, [here.join("releases")]);
    let outside = |path: &str| aureon_service::sandbox::outside(&sandbox, &here.join(path));
    let is_inside = |path: &str| outside(path).is_none();
    assert!(is_inside("current/public") && is_inside("releases/2/public"));
    fs::remove_file(here.join("current")).unwrap();
    symlink("releases/2", here.join("current")).unwrap();
    assert!(is_inside("current/public"));
    let told = outside("other/public").unwrap();
    assert!(
        told.contains("other/public lies outside of the sandbox"),
        "{told}"
    );
}

#[test]
fn a_root_at_the_top_permits_itself_and_not_the_whole_file_system() {
    for path in ["/proc", "/"] {
        assert_eq!(readable(path.into()).1, [PathBuf::from(path)]);
    }
    let here = std::env::current_dir().unwrap();
    let above = here.parent().unwrap().to_owned();
    assert_eq!(readable(".".into()).1, [above]);
}

#[test]
fn workers_are_confined_and_the_supervisor_is_not() {
    let place = Place::new("sandbox-threads");
    let daemon = Daemon::start(&place, &["."]);
    assert_eq!(daemon.get("/nothing").status(), "404");
    let before = fs::read_to_string("/proc/self/status").unwrap();
    let inherited = before.contains("NoNewPrivs:\t1");
    let threads = confined(daemon.child.id());
    assert!(threads.len() > 3, "{threads:?}");
    for (name, is_confined) in threads {
        let expected = inherited || (name == "aureon-0" && sandbox::version().is_some());
        assert_eq!(is_confined, expected, "{name}");
    }
    assert_eq!(daemon.stop().0, Some(0));

    let daemon = Daemon::start(&place, &[".", "--sandbox", "off"]);
    assert_eq!(daemon.get("/nothing").status(), "404");
    let threads = confined(daemon.child.id());
    assert!(
        threads
            .iter()
            .all(|(_, is_confined)| *is_confined == inherited)
    );
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_root_that_is_removed_and_made_again_or_switched_is_served_on() {
    let place = Place::new("sandbox-switch");
    for release in ["releases/1", "releases/2"] {
        fs::create_dir_all(place.0.join(release)).unwrap();
        place.write(&format!("{release}/page"), release);
    }
    symlink("releases/1", place.0.join("current")).unwrap();
    let daemon = Daemon::start(&place, &["./current"]);
    assert_eq!(daemon.get("/page").body, b"releases/1");

    symlink("releases/2", place.0.join("next")).unwrap();
    fs::rename(place.0.join("next"), place.0.join("current")).unwrap();
    until(|| daemon.get("/page").body == b"releases/2");

    fs::remove_dir_all(place.0.join("releases/2")).unwrap();
    until(|| daemon.get("/page").status() == "404");
    fs::create_dir(place.0.join("releases/2")).unwrap();
    place.write("releases/2/page", "made again");
    until(|| daemon.get("/page").body == b"made again");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_reload_to_a_root_outside_is_refused_and_to_one_inside_is_not() {
    let place = Place::new("sandbox-reload");
    for site in ["a/site", "a/other", "b/site"] {
        fs::create_dir_all(place.0.join(site)).unwrap();
        place.write(&format!("{site}/page"), site);
    }
    let configure = |root: &str| place.write("aureon.toml", format!("root = \"{root}\"\n"));
    configure("a/site");
    let daemon = Daemon::start(&place, &[]);
    assert_eq!(daemon.get("/page").body, b"a/site");
    configure("a/other");
    daemon.signal("HUP");
    daemon.line_with("root: a/site -> a/other");
    assert_eq!(daemon.get("/page").body, b"a/other");
    configure("b/site");
    daemon.signal("HUP");
    if sandbox::version().is_some() {
        daemon.line_with("not reloaded, everything stays as it was");
        daemon.line_with("b/site lies outside of the sandbox that the workers began with");
        assert_eq!(daemon.get("/page").body, b"a/other");
    } else {
        daemon.line_with("root: a/other -> b/site");
        assert_eq!(daemon.get("/page").body, b"b/site");
    }
    assert_eq!(daemon.stop().0, Some(0));

    configure("a/site");
    let daemon = Daemon::start(&place, &["--sandbox", "off"]);
    configure("b/site");
    daemon.signal("HUP");
    daemon.line_with("root: a/site -> b/site");
    assert_eq!(daemon.get("/page").body, b"b/site");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn check_says_whether_it_is_in_force() {
    let place = Place::new("sandbox-check");
    fs::create_dir(place.0.join("site")).unwrap();
    let arguments = ["check", "--listen", "127.0.0.1:0", "./site"];
    let output = run(&place, &arguments);
    let told = text(&output.stdout);
    let expected = match sandbox::version() {
        Some(version) => format!(
            "Sandbox: Landlock {version}: handlers may open {}; auto",
            fs::canonicalize(&place.0).unwrap().display()
        ),
        None => "Sandbox: not in force: this kernel has no Landlock".to_owned(),
    };
    assert!(told.contains(&expected), "{told}");
    let output = run(&place, &[&arguments[..], &["--sandbox", "off"]].concat());
    assert!(text(&output.stdout).contains("\nSandbox: off\n"));
}

/// What a handler finds that was talked into opening or writing a path.
fn attempt(path: &str) -> String {
    let read = fs::read(path).map(drop).map_err(|error| error.kind());
    let written = fs::write([path, ".new"].concat(), "new").map_err(|error| error.kind());
    format!("{read:?} {written:?}")
}

fn ask(socket: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn a_backends_own_handlers_open_the_root_and_their_paths_only() {
    let place = Place::new("sandbox-own");
    for directory in ["www/site", "data"] {
        fs::create_dir_all(place.0.join(directory)).unwrap();
    }
    place
        .write("www/site/page", "a page")
        .write("data/d", "data");
    place.write("secret", "a secret");
    let inside = |name: &str| place.0.join(name).display().to_string();
    let socket = inside("s");
    let flags = [
        ("listen", format!("unix:{socket}")),
        ("root", inside("www/site")),
        ("sandbox", "on".to_owned()),
        ("sandbox_paths", inside("data")),
        ("workers", "2".to_owned()),
        ("log", "off".to_owned()),
    ];
    let flags = flags.map(|(key, text)| Given {
        setting: settings::find(key).unwrap(),
        flag: format!("--{key}"),
        text,
    });
    let source = Source {
        file: None,
        flags: flags.to_vec(),
    };
    let (data, secret) = (inside("data/d"), inside("secret"));
    let service = Service::new(source).unwrap().routes(|router| {
        let on_pool = secret.clone();
        router.get("/data", move |_: &Request<'_>| attempt(&data));
        router.get("/secret", move |_: &Request<'_>| attempt(&secret));
        router.blocking(Method::Get, "/pool", move |_: &Request<'_>| {
            attempt(&on_pool)
        });
        router.get("/passwd", |_: &Request<'_>| attempt("/etc/passwd"));
    });
    let server = thread::spawn(move || service.run());
    until(|| {
        assert!(!server.is_finished(), "the service did not start");
        UnixStream::connect(&socket).is_ok()
    });
    let denied = match sandbox::version() {
        Some(_) => "Err(PermissionDenied) Err(PermissionDenied)",
        None => "Ok(()) Ok(())",
    };
    for _ in 0..4 {
        assert_eq!(ask(&socket, "/page"), "a page");
        assert_eq!(ask(&socket, "/data"), "Ok(()) Ok(())");
        assert_eq!(ask(&socket, "/secret"), denied);
        assert_eq!(ask(&socket, "/pool"), denied);
    }
    if sandbox::version().is_some() {
        assert_eq!(ask(&socket, "/passwd"), denied);
    }
    assert_eq!(fs::read(place.0.join("secret")).unwrap(), b"a secret");
    let stop = format!("kill -TERM {}", std::process::id());
    let stopped = Command::new("sh").args(["-c", &stop]).status().unwrap();
    assert!(stopped.success());
    server.join().unwrap().unwrap();
}
