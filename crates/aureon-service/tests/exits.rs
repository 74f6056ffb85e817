//! How the real binary ends when the machine or the configuration does not let it serve: a code
//! that a unit can name, the cause, and what to do. `check` must say the same as serving.

#![cfg_attr(windows, allow(unused_imports, dead_code))]
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::fs;
use std::net::TcpListener;
#[cfg(unix)]
use std::os::unix::{
    fs::{MetadataExt, PermissionsExt},
    net::UnixListener,
    process::CommandExt,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use daemon::{Place, run, text};

/// What every failure here is: a code, and words that name cause and cure.
fn check(output: &Output, code: i32, words: &[&str]) {
    let told = [text(&output.stderr), text(&output.stdout)].concat();
    assert_eq!(output.status.code(), Some(code), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?} in {told}");
    }
    assert!(!told.contains("listening on"), "{told}");
}

/// The same from serving and from checking.
fn check_both(place: &Place, arguments: &[&str], code: i32, words: &[&str]) {
    for command in ["serve", "check"] {
        let output = run(place, &[&[command], arguments].concat());
        check(&output, code, words);
    }
}

#[test]
fn an_address_that_is_taken_has_a_code_of_its_own() {
    let place = Place::new("exits-taken");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let words = [address.as_str(), "another process listens there; stop it"];
    check_both(&place, &["--listen", &address], 69, &words);
}

#[test]
#[cfg(unix)] // A Unix socket.
fn a_socket_that_is_taken_has_the_same_code() {
    let place = Place::new("exits-taken-unix");
    let held = UnixListener::bind(place.0.join("s")).unwrap();
    let words = ["unix:s: another process listens there"];
    check_both(&place, &["--listen", "unix:s"], 69, &words);
    let admin = ["--listen", "127.0.0.1:0", "--admin", "unix:s"];
    check_both(&place, &admin, 69, &words);
    drop(held);
    // What nobody listens on any more is in nobody's way, and looking leaves it there.
    let output = run(&place, &["check", "--listen", "unix:s"]);
    assert!(output.status.success() && place.0.join("s").exists());
}

#[test]
#[cfg(unix)] // A Unix socket.
fn an_address_that_can_not_exist_is_wrong_configuration() {
    let place = Place::new("exits-address");
    let words = ["unix:no/such/s: there is no such directory; create it"];
    check_both(&place, &["--listen", "unix:no/such/s"], 78, &words);
    place.write("file", "no socket");
    let words = ["a file that is no socket is in the way"];
    check_both(&place, &["--listen", "unix:file"], 78, &words);
    let long = format!("unix:{}", "x".repeat(200));
    check_both(&place, &["--listen", &long], 78, &[&long]);
}

#[test]
fn an_address_of_another_machine_may_be_there_after_a_restart() {
    let place = Place::new("exits-absent");
    // TEST-NET-1 of RFC 5737: no machine has it.
    let words = ["192.0.2.1:8080: no interface of this machine has that address"];
    check_both(&place, &["--listen", "192.0.2.1:8080"], 1, &words);
}

#[test]
fn a_root_that_can_not_be_served_is_wrong_configuration() {
    let place = Place::new("exits-root");
    let free = ["--listen", "127.0.0.1:0"];
    let missing = place.0.join("dist").display().to_string();
    let words = [missing.as_str(), "there is no", "create it or name another"];
    check_both(&place, &[&free[..], &["./dist"]].concat(), 78, &words);
    place.write("page", "text");
    let words = ["page is no directory; name the one it lies in"];
    check_both(&place, &[&free[..], &["./page"]].concat(), 78, &words);
}

#[test]
#[cfg(unix)] // There is no sandbox on Windows.
fn a_sandbox_of_paths_that_are_not_there_is_wrong_configuration() {
    let place = Place::new("exits-sandbox");
    place.write(
        "aureon.toml",
        "sandbox = \"on\"\nsandbox_paths = [\"/no/such/path\"]\n",
    );
    let words = [
        "aureon.toml:2:17: cannot look at /no/such/path",
        "create it",
    ];
    check_both(&place, &["--listen", "127.0.0.1:0"], 78, &words);
    let flags = ["--listen", "127.0.0.1:0", "--sandbox-paths", "data"];
    let words = ["--sandbox-paths: `sandbox_paths` cannot be relative: data"];
    check_both(&place, &flags, 78, &words);
}

/// The binary run by a user who may do nothing, also when the tests are run by root.
#[cfg(unix)]
struct Nobody {
    place: PathBuf,
    is_root: bool,
}

#[cfg(unix)]
impl Nobody {
    fn new(name: &str) -> Nobody {
        let name = format!("aureon-exits-{name}-{}", std::process::id());
        let place = std::env::temp_dir().join(name);
        fs::create_dir_all(place.join("here")).unwrap();
        // Where the tests are built nobody else may be allowed to look.
        // By a process of its own: a file that this one holds open for writing, be it in a child of
        // another test's, can not be run.
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_aureond"))
            .arg(place.join("aureond"));
        assert!(copy.status().unwrap().success());
        for path in ["", "aureond", "here"] {
            fs::set_permissions(place.join(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        Nobody { place, is_root }
    }

    fn close(&self, name: &str, mode: u32) {
        let path = self.place.join("here").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.place.join("aureond"));
        command.env_clear().current_dir(self.place.join("here"));
        if self.is_root {
            command.uid(65_534);
        }
        command.args(arguments).stdin(Stdio::null());
        command.output().unwrap()
    }
}

#[cfg(unix)]
impl Drop for Nobody {
    fn drop(&mut self) {
        drop(fs::set_permissions(
            self.place.join("here/site"),
            fs::Permissions::from_mode(0o755),
        ));
        drop(fs::set_permissions(
            self.place.join("here/run"),
            fs::Permissions::from_mode(0o755),
        ));
        drop(fs::remove_dir_all(&self.place));
    }
}

/// A log that was made by somebody who could: it goes on, and will not be rotated.
#[test]
#[cfg(unix)] // Users and modes.
fn a_log_whose_directory_is_closed_is_written_and_a_warning_says_what_it_lacks() {
    let nobody = Nobody::new("rotation");
    let here = nobody.place.join("here");
    fs::create_dir(here.join("run")).unwrap();
    fs::write(here.join("run/log"), "").unwrap();
    nobody.close("run/log", 0o666);
    nobody.close("run", 0o555);
    let flags = ["check", "--listen", "127.0.0.1:0", "--log-file", "run/log"];
    let output = nobody.run(&flags);
    assert_eq!(output.status.code(), Some(0));
    let told = text(&output.stdout);
    let expected = "warning: --log-file: the log can be written but not its directory, so it will";
    assert!(told.contains(expected), "{told}");
    let output = nobody.run(&[&flags[..], &["--log-files-max", "0"]].concat());
    assert!(!text(&output.stdout).contains("rotated"));
}

#[test]
#[cfg(unix)] // Users and modes.
fn what_the_user_it_runs_as_may_not_do_has_a_code_of_its_own() {
    let nobody = Nobody::new("denied");
    let here = nobody.place.join("here");
    for name in ["site", "run", "names"] {
        fs::create_dir(here.join(name)).unwrap();
    }
    nobody.close("site", 0o000);
    nobody.close("run", 0o555);
    for command in ["serve", "check"] {
        let output = nobody.run(&[command, "--listen", "127.0.0.1:0", "--root", "site"]);
        let words = ["cannot read", "here/site", "must be able to read it"];
        check(&output, 77, &words);
    }
    // Its names may be read, and nothing behind them.
    nobody.close("names", 0o444);
    for command in ["serve", "check"] {
        let output = nobody.run(&[command, "--listen", "127.0.0.1:0", "--root", "names"]);
        let words = [
            "--root: cannot read",
            "here/names",
            "must be able to enter it",
        ];
        check(&output, 77, &words);
    }
    nobody.close("names", 0o755);
    for command in ["serve", "check"] {
        let output = nobody.run(&[command, "--listen", "127.0.0.1:0", "--log-file", "run/log"]);
        let words = [
            "--log-file: cannot write the log to",
            "must be able to write there",
        ];
        check(&output, 78, &words);
    }
    fs::write(here.join("ranges"), "10.0.0.0/8\n").unwrap();
    nobody.close("ranges", 0o000);
    for command in ["serve", "check"] {
        let flags = ["--behind", "cloudflare", "--cloudflare-ranges", "ranges"];
        let listen = ["--listen", "127.0.0.1:0"];
        let output = nobody.run(&[&[command], &listen[..], &flags].concat());
        let words = ["--cloudflare-ranges: ", "ranges: Permission denied"];
        check(&output, 78, &words);
    }
    let words = ["unix:run/s: the user aureond runs as must be able to write"];
    for command in ["serve", "check"] {
        check(
            &nobody.run(&[command, "--listen", "unix:run/s"]),
            77,
            &words,
        );
    }
    assert!(Path::new(&here).join("run").is_dir());

    fs::write(here.join("aureon.toml"), "port = 0\n").unwrap();
    nobody.close("aureon.toml", 0o000);
    for command in ["serve", "check"] {
        let output = nobody.run(&[command]);
        let words = [
            "aureon.toml:1:1: cannot read aureon.toml",
            "must be able to read it",
        ];
        check(&output, 78, &words);
    }
}
