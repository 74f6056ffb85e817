//! The way to a host, with a program in ssh's place that runs its command on this machine.
//!
//! What a real sshd does with it is e2e/ssh's business.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aureon_cli::host::{Answer, Host, HostError, Ssh, SshOptions};

mod programs;

/// A directory of a test's own, with the program in ssh's place.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, body: &str) -> Place {
        let path = std::env::temp_dir().join(format!("aureon-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let place = Place(path);
        place.program("ssh", body);
        // Whoever runs the tests is root here.
        place.program("id", "echo 0");
        place
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.0.join(name);
        let text = format!("#!/bin/sh\nPATH='{}':$PATH\n{body}\n", self.0.display());
        programs::write(&path, &text);
    }

    fn ssh(&self) -> Ssh {
        let options = SshOptions {
            program: Some(self.0.join("ssh")),
            ..SshOptions::default()
        };
        Ssh::new("root@host", options)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Runs the last argument, as sshd has the user's shell do; `-O exit` ends nothing here.
const LOCAL: &str = "[ \"$1\" != -O ] || exit 0\nfor last; do :; done\nexec sh -c \"$last\"";

fn run(
    ssh: &mut Ssh,
    script: &str,
    input: &mut dyn Read,
) -> (Result<Answer, HostError>, Vec<String>) {
    let mut told = Vec::new();
    let answer = ssh.run(script, input, &mut |line| told.push(line.to_owned()));
    (answer, told)
}

#[test]
fn a_script_gets_its_input_and_gives_its_lines_and_its_code() {
    let place = Place::new("whole", LOCAL);
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let script = "echo 'it'\\''s \"$0\"'; wc -c; printf 'no end'; echo wrong >&2; exit 3";
    let (answer, told) = run(&mut place.ssh(), script, &mut &bytes[..]);
    let answer = answer.unwrap();
    assert_eq!(answer.code, 3);
    assert_eq!(told[0], "it's \"$0\"");
    assert_eq!(told[1].trim(), "300000");
    assert_eq!(told[2], "no end");
    assert_eq!(answer.stdout.lines().collect::<Vec<_>>(), told);
    assert_eq!(answer.stderr, "wrong\n");
}

#[test]
fn a_script_that_reads_nothing_of_a_long_input_is_no_error() {
    let place = Place::new("unread", LOCAL);
    let mut input = io::repeat(7).take(8 << 20);
    let (answer, told) = run(&mut place.ssh(), "echo done", &mut input);
    assert_eq!((answer.unwrap().code, told), (0, vec!["done".to_owned()]));
}

#[test]
fn both_sides_may_say_much_at_once() {
    let place = Place::new("much", LOCAL);
    let mut input = io::repeat(b'\n').take(1 << 20);
    let (answer, told) = run(&mut place.ssh(), "cat; echo end", &mut input);
    assert_eq!(answer.unwrap().stdout.len(), (1 << 20) + 4);
    assert_eq!(told.len(), (1 << 20) + 1);
}

#[test]
fn a_script_that_arrives_in_part_does_nothing() {
    let place = Place::new("part", LOCAL);
    let mark = place.0.join("mark");
    // A link that breaks after each number of bytes.
    for bytes in [0, 1, 20, 40] {
        let body = format!(
            "[ \"$1\" != -O ] || exit 0\nfor last; do :; done\nhead -c {bytes} | sh -c \"$last\""
        );
        place.program("ssh", &body);
        let script = format!("touch '{}'", mark.display());
        let (answer, _) = run(&mut place.ssh(), &script, &mut io::empty());
        assert!(
            matches!(answer, Err(HostError::Unreachable(_))),
            "{answer:?}"
        );
        assert!(!mark.exists());
    }
}

#[test]
fn a_connection_that_ends_in_the_middle_was_lost() {
    let place = Place::new("lost", LOCAL);
    let body = "[ \"$1\" != -O ] || exit 0\nfor last; do :; done\nsh -c \"$last\" | head -n 2; \
                echo 'client_loop: send disconnect: Broken pipe' >&2; exit 255";
    place.program("ssh", body);
    let (answer, told) = run(&mut place.ssh(), "echo one; echo two", &mut io::empty());
    let error = answer.unwrap_err().to_string();
    assert!(
        error.starts_with("the connection to the host was lost: client_loop"),
        "{error}"
    );
    assert_eq!(told, ["one"]);
}

#[test]
fn who_is_not_root_becomes_it_or_is_told_how() {
    let place = Place::new("sudo", LOCAL);
    place.program("id", "echo 1000");
    place.program(
        "sudo",
        "[ \"$1\" = -n ] || exit 9; shift; SUDO_USER=me; export SUDO_USER; exec \"$@\"",
    );
    let (answer, told) = run(
        &mut place.ssh(),
        "echo \"$SUDO_USER\"; cat",
        &mut &b"in"[..],
    );
    assert_eq!(
        (answer.unwrap().code, told),
        (0, vec!["me".to_owned(), "in".to_owned()])
    );
    place.program("sudo", "echo 'sudo: a password is required' >&2; exit 1");
    let (answer, _) = run(&mut place.ssh(), "echo", &mut io::empty());
    let error = answer.unwrap_err().to_string();
    assert!(
        error.contains("sudo: a password is required; log in as root"),
        "{error}"
    );
}

#[test]
fn what_ssh_says_is_told_with_what_to_try() {
    let body = "echo 'ssh: connect to host h port 22: Connection refused' >&2; exit 255";
    let place = Place::new("refused", body);
    let (answer, _) = run(&mut place.ssh(), "true", &mut io::empty());
    assert_eq!(
        answer.unwrap_err().to_string(),
        "the host can not be reached: ssh: connect to host h port 22: Connection refused; no ssh \
         listens there: is the port another one? -p PORT"
    );
    let options = SshOptions {
        program: Some(Path::new("/nowhere/ssh").to_owned()),
        ..SshOptions::default()
    };
    let (answer, _) = run(&mut Ssh::new("h", options), "true", &mut io::empty());
    assert!(matches!(answer, Err(HostError::Client(_))), "{answer:?}");
}

#[test]
fn what_a_script_leaves_running_does_not_keep_its_answer() {
    let place = Place::new("left", LOCAL);
    // It ends when the place is gone, which it is whatever becomes of the test.
    let script = format!(
        "while [ -e '{}' ]; do sleep 0.1; done & echo done",
        place.0.display()
    );
    let (answer, told) = run(&mut place.ssh(), &script, &mut io::empty());
    assert_eq!((answer.unwrap().code, told), (0, vec!["done".to_owned()]));
}

#[test]
fn an_input_that_can_not_be_read_stops_it() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad disk"))
        }
    }
    let place = Place::new("broken", LOCAL);
    let (answer, _) = run(&mut place.ssh(), "cat", &mut Broken);
    assert!(matches!(answer, Err(HostError::Input(_))), "{answer:?}");
}

#[test]
fn a_script_that_is_followed_keeps_its_input_open() {
    let place = Place::new("follow", LOCAL);
    let mut told = Vec::new();
    // `cat` would end by itself, were the input closed.
    let script = "timeout 0.3 cat; echo $?";
    let answer = place
        .ssh()
        .follow(script, &mut |line| told.push(line.to_owned()));
    assert_eq!(answer.unwrap().code, 0);
    assert_eq!(told, ["124"]);
}

#[test]
fn the_shared_connection_is_private_and_goes_away() {
    let place = Place::new("shared", "exit 1");
    let log = place.0.join("log");
    let body = format!(
        "for a; do\ncase $a in ControlPath=/*) d=${{a#*=}}; stat -c %a \"${{d%/*}}\" ;; esac\n\
         echo \"$1 $a\"; done >>'{}'\n{LOCAL}",
        log.display()
    );
    place.program("ssh", &body);
    let mut ssh = place.ssh();
    assert!(run(&mut ssh, "true", &mut io::empty()).0.is_ok());
    assert!(ssh.run_anew("true").is_ok());
    drop(ssh);
    let log = fs::read_to_string(log).unwrap();
    let path = log
        .lines()
        .find_map(|line| line.split_once("ControlPath=/"))
        .unwrap()
        .1;
    let directory = Path::new("/").join(path).parent().unwrap().to_owned();
    assert!(log.lines().any(|line| line == "700"), "{log}");
    assert!(
        log.lines().any(|line| line == "-T ControlPath=none"),
        "{log}"
    );
    assert!(log.lines().any(|line| line.starts_with("-O ")), "{log}");
    assert!(!directory.exists());
}

/// The script that makes the directory, as the operator runs it, beneath the test's own place.
fn make_shared(place: &Place) -> PathBuf {
    let beneath = place.0.join("tmp");
    let mut command = Command::new("sh");
    command.args(["-c", include_str!("../src/host/share.sh"), "sh"]);
    let path = format!("{}:{}", place.0.display(), std::env::var("PATH").unwrap());
    let made = command
        .arg(&beneath)
        .arg("4711")
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    let made = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim_end());
    let name = made.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("aureon-4711-") && made.parent() == Some(&beneath),
        "{name}"
    );
    assert_eq!(
        fs::metadata(&made).unwrap().permissions().mode() & 0o777,
        0o700
    );
    made
}

/// Above what Linux (2^22) and macOS (99,998) give to a process.
const NOBODY: u32 = 4_194_305;

#[test]
fn what_a_killed_operator_left_is_taken_away_and_nothing_else() {
    let place = Place::new("stale", LOCAL);
    fs::remove_file(place.0.join("id")).unwrap();
    let beneath = place.0.join("tmp");
    let left = |name: &str| beneath.join(name);
    let stale = left(&format!("aureon-{NOBODY}-aB3dE6gH9j"));
    fs::create_dir_all(&stale).unwrap();
    let kept = [
        format!("aureon-{}-aaaaaaaaaa", std::process::id()),
        format!("aureon-{NOBODY}-bbbbbbbbb"),
        format!("aureon-{NOBODY}x-cccccccccc"),
        "aureon--dddddddddd".to_owned(),
        "aureon-eeeeeeeeee".to_owned(),
        format!("other-{NOBODY}-ffffffffff"),
    ];
    for name in &kept {
        fs::create_dir(left(name)).unwrap();
    }
    let in_use = left(&format!("aureon-{NOBODY}-gggggggggg"));
    fs::create_dir(&in_use).unwrap();
    fs::write(in_use.join("s"), "").unwrap();
    let link = left(&format!("aureon-{NOBODY}-hhhhhhhhhh"));
    std::os::unix::fs::symlink(left(&kept[5]), &link).unwrap();
    let file = left(&format!("aureon-{NOBODY}-iiiiiiiiii"));
    fs::write(&file, "").unwrap();

    // Somebody else asks: it is not his.
    place.program("id", "echo 4242");
    make_shared(&place);
    assert!(stale.exists());
    fs::remove_file(place.0.join("id")).unwrap();

    let made = make_shared(&place);
    assert!(!stale.exists());
    for name in &kept {
        assert!(left(name).is_dir(), "{name}");
    }
    assert!(in_use.join("s").exists() && link.is_symlink() && file.exists());
    // An empty directory for such things is none of a mistake.
    fs::remove_dir_all(&beneath).unwrap();
    fs::create_dir(&beneath).unwrap();
    assert_ne!(make_shared(&place), made);
}

#[test]
fn the_next_run_takes_away_what_a_killed_one_left() {
    let place = Place::new("next", LOCAL);
    let stale = std::env::temp_dir().join(format!("aureon-{NOBODY}-nextrun000"));
    drop(fs::remove_dir(&stale));
    fs::create_dir(&stale).unwrap();
    assert!(run(&mut place.ssh(), "true", &mut io::empty()).0.is_ok());
    assert!(!stale.exists());
}
