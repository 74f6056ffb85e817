//! `[deploy] hosts`: one after the other, with a program in ssh's place that plays all of them.
//!
//! It answers the question for facts by a recorded host, writes down who was asked, and fails where
//! a test wants it to. Nothing of what was sent is run here.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

mod programs;

/// A user's directory with two hosts in its aureon.toml.
struct Place(PathBuf);

/// The name of the host is one of the arguments, the last of which is what sshd would run: it reads
/// a script, and gets one that shows the facts instead.
const SSH: &str = r#"[ "$1" != -O ] || exit 0
for last; do case $last in root@?) host=$last ;; esac; done
IFS= read -r line
case $(printf '%s' "$line" | base64 -d) in
  *aureon-facts*) what=facts ;;
  *) what=change ;;
esac
echo "$host $what" >>"$PLACE/asked"
if [ "$host $what" = "$(cat "$PLACE/fails")" ]; then
  echo 'ssh: connect to host: Connection refused' >&2
  exit 255
fi
[ "$what" = facts ] || exit 255
printf '%s\n' "$(printf 'cat %s' "$PLACE/facts" | base64 | tr -d '\n')" | sh -c "$last"
"#;

impl Place {
    fn new(name: &str, fails: &str) -> Place {
        let path = std::env::temp_dir().join(format!("aureon-hosts-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("public")).unwrap();
        let place = Place(path);
        place.write("public/index.html", "<p>hello</p>\n");
        place.write("aureond", "\x7fELF");
        place.write("fails", fails);
        let hosts = "[app]\nname = \"aureon\"\n[deploy]\nhosts = [\"root@a\", \"root@b\"]\n\
                     domains = [\"aureon.test\"]\n";
        place.write("aureon.toml", hosts);
        let facts = include_str!("hosts/debian-12-deployed.facts");
        let (old, new) = (
            "-20261125T135559Z-0f88d0c6c05c",
            "-20261124T135559Z-0f88d0c6c05b",
        );
        let older = format!("release\taureon{new}\nprevious\taureon{new}\nend\n");
        assert!(facts.contains(old));
        place.write("facts", &facts.replace("end\n", &older));
        place.program("ssh", SSH);
        // Whoever runs the tests is root there.
        place.program("id", "echo 0");
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn program(&self, name: &str, body: &str) {
        let place = self.0.display();
        let text = format!("#!/bin/sh\nPLACE='{place}' PATH='{place}':$PATH\n{body}\n");
        programs::write(&self.0.join(name), &text);
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aureon"));
        command.args(line.split_whitespace()).current_dir(&self.0);
        command.env("AUREON_SSH", self.0.join("ssh"));
        command.output().unwrap()
    }

    /// Who was asked for what, in order.
    fn asked(&self) -> String {
        let asked = fs::read_to_string(self.0.join("asked")).unwrap();
        asked.lines().collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn hosts_come_one_after_the_other() {
    let place = Place::new("order", "");
    let output = place.run("rollback --dry-run");
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(place.asked(), "root@a facts, root@b facts");
    let said = err(&output);
    let (a, b) = (
        said.find("== root@a (1 of 2)"),
        said.find("== root@b (2 of 2)"),
    );
    assert!(a.is_some() && a < b, "{said}");
}

#[test]
fn the_second_is_not_touched_when_the_first_can_not_be_reached() {
    for line in ["deploy -y --aureond aureond ./public", "rollback -y"] {
        let place = Place::new("unreached", "root@a facts");
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(1), "{line}: {}", err(&output));
        assert_eq!(place.asked(), "root@a facts", "{line}");
        let said = err(&output);
        assert!(
            said.contains("not reached after this failure: root@b"),
            "{line}: {said}"
        );
    }
}

#[test]
fn the_second_is_not_touched_when_the_first_fails_at_the_change() {
    let place = Place::new("change", "");
    let output = place.run("rollback -y");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let asked = place.asked();
    assert!(
        asked.starts_with("root@a facts, root@a change") && !asked.contains("root@b"),
        "{asked}"
    );
    assert!(err(&output).contains("not reached after this failure: root@b"));
}

#[test]
fn a_second_that_fails_is_told_though_the_first_went_well() {
    let place = Place::new("second", "root@b facts");
    let output = place.run("rollback --dry-run");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert_eq!(place.asked(), "root@a facts, root@b facts");
    assert!(!err(&output).contains("not reached after"));
}
