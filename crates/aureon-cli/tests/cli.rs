//! The spawned program: exit codes, help, and plans for a recorded host.
//!
//! What it prints in whole is compared with files in `tests/golden`; AUREON_GOLDEN=write writes
//! them anew, so that a change is seen in review.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

mod programs;

/// A user's directory, and `aureon` in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("aureon-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("public")).unwrap();
        let place = Place(path);
        place.write("public/index.html", "<p>hello</p>\n");
        fs::write(place.0.join("aureond"), elf(62)).unwrap();
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aureon"));
        command.args(line.split_whitespace()).current_dir(&self.0);
        command.env("AUREON_SSH", self.0.join("no-such-ssh"));
        command.output().unwrap()
    }

    /// Plans for a recorded host.
    fn plan(&self, more: &str) -> Output {
        // Beside the crate wherever the program is run from, which is another disk under Wine.
        let facts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/debian-12.facts");
        let facts = std::path::absolute(facts).unwrap();
        self.run(&format!(
            "plan root@203.0.113.7 --aureond aureond --facts {} {more}",
            facts.display()
        ))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The head of a static program for Linux on a machine.
fn elf(machine: u8) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[18] = machine;
    bytes
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .replace("\r\n", "\n")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone())
        .unwrap()
        .replace("\r\n", "\n")
}

fn check_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("AUREON_GOLDEN").is_some_and(|what| what == "write") {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{name} would change; AUREON_GOLDEN=write writes it. It would be:\n{text}"
    );
}

#[test]
fn help_is_what_it_was() {
    let place = Place::new("help");
    let mut text = out(&place.run("help"));
    for command in [
        "deploy", "plan", "rollback", "undo", "status", "logs", "run", "env", "check",
    ] {
        text.push_str(&format!("\n$ aureon help {command}\n"));
        text.push_str(&out(&place.run(&format!("help {command}"))));
    }
    check_golden("help.txt", &text);
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "a line is too long"
    );
}

#[test]
fn exit_codes_say_whose_mistake_it_was() {
    let place = Place::new("codes");
    let check = |line: &str, code: i32, said: &str| {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", err(&output));
        assert!(err(&output).contains(said), "{line}: {}", err(&output));
    };
    check("version", 0, "");
    check("depoly", 2, "did you mean `deploy`?");
    check("deploy root@h", 2, "--domain: which site?");
    check("deploy --domain a.de", 2, "USER@HOST: which host?");
    check(
        "deploy root@h --domain a.de",
        2,
        "write root = \"public\" in aureon.toml",
    );
    check(
        "deploy root@h ./nowhere --domain a.de",
        2,
        "./nowhere is no directory",
    );
    check("status root@h --domain a.de", 1, "ssh can not be run");
    check(
        "deploy root@h --domain a.de -c none.toml",
        78,
        "none.toml can not be read",
    );
    place.write("aureon.toml", "[app]\nnmae = \"x\"\n");
    check(
        "deploy root@h --domain a.de",
        78,
        "aureon.toml:2:1: unknown key `nmae`",
    );
    place.write("aureon.toml", "prot = 80\n[deploy]\n");
    check(
        "deploy root@h ./public --domain a.de",
        78,
        "aureon.toml:1:1: unknown key `prot`",
    );
    let text = "[deploy]\nhosts = [\"root@h\"]\ndomains = [\n  \"a.de\",\n  \"ä.de\",\n]\n";
    place.write("aureon.toml", text);
    check(
        "deploy",
        78,
        "aureon.toml:5:3: `ä.de` has letters that DNS does not know",
    );
    place.write(
        "aureon.toml",
        "root = \"public\"\n[app]\nname = \"x\"\nsecrets = [\"TOKEN\"]\n",
    );
    let output = place.plan("--domain a.de");
    assert_eq!(output.status.code(), Some(69));
    assert!(err(&output).contains("to do: aureon env root@203.0.113.7 set TOKEN"));
    fs::write(place.0.join("aureond"), elf(183)).unwrap();
    place.write("aureon.toml", "root = \"public\"\n");
    let output = place.plan("--domain a.de");
    assert_eq!(output.status.code(), Some(69));
    assert!(err(&output).contains("aureond is for aarch64, and the host is x86_64"));
    assert!(
        err(&output).ends_with("nothing has been changed\n"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_plan_for_a_recorded_host_is_what_it_was() {
    let place = Place::new("plan");
    let output = place.plan("public --domain example.com");
    assert!(output.status.success(), "{}", err(&output));
    check_golden("plan.txt", &out(&output));
    // The same by a file.
    place.write("aureon.toml", "[deploy]\ndomains = [\"example.com\"]\n");
    let by_file = place.plan("public");
    assert!(by_file.status.success(), "{}", err(&by_file));
}

#[test]
fn a_plan_for_machines_is_an_object() {
    let place = Place::new("json");
    let output = place.plan("public --domain example.com --json");
    let lines = out(&output);
    let objects = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let plan = objects
        .into_iter()
        .find(|object| object["event"] == "plan")
        .unwrap();
    assert_eq!(plan["app"], "example");
    let steps = plan["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["id"] == "release/switch"));
    assert!(steps.iter().all(|step| {
        step["apply"]
            .as_str()
            .is_some_and(|shell| !shell.is_empty())
    }));
    let failed = place.plan("public --domain example.com --json --port 22");
    let error: serde_json::Value = serde_json::from_str(&out(&failed)).unwrap();
    assert_eq!(
        (&error["event"], &error["id"]),
        (&"error".into(), &"port/taken".into())
    );
    assert_eq!(failed.status.code(), Some(69));
}

#[cfg(unix)]
#[test]
fn the_script_of_a_plan_is_shell() {
    let place = Place::new("script");
    let output = place.plan("public --domain example.com --script --contents contents.tar");
    let script = place.0.join("script.sh");
    fs::write(&script, &output.stdout).unwrap();
    let read = Command::new("sh").arg("-n").arg(&script).output().unwrap();
    assert!(read.status.success(), "{}", err(&read));
    assert!(out(&output).starts_with("#!/bin/sh\n"));
    let mut list = Command::new("tar");
    list.arg("-tf").arg(place.0.join("contents.tar"));
    let listed = list.output().unwrap();
    // The page, the configuration, the program, the manifest; and that it was the last.
    assert_eq!(out(&listed).lines().count(), 5, "{listed:?}");
    assert!(err(&output).is_empty(), "{}", err(&output));
}

#[test]
fn the_first_host_that_fails_is_the_last() {
    let place = Place::new("hosts");
    let text = "[app]\nname = \"x\"\n[deploy]\nhosts = [\"root@a\", \"root@b\", \"root@c\"]\n";
    place.write("aureon.toml", text);
    let output = place.run("status");
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(said.contains("== root@a (1 of 3)"), "{said}");
    assert!(!said.contains("== root@b"), "{said}");
    assert!(
        said.contains("not reached after this failure: root@b, root@c"),
        "{said}"
    );
}

#[test]
fn completions_are_for_the_three_shells() {
    let place = Place::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        assert!(out(&place.run(&format!("completions {shell}"))).contains("rollback"));
    }
}

#[test]
fn the_program_for_the_host_is_found_beside_the_operator() {
    let place = Place::new("beside");
    // As in an archive: both in one directory, which is neither the user's nor on the PATH.
    let archive = place.0.join("archive");
    fs::create_dir(&archive).unwrap();
    fs::remove_file(place.0.join("aureond")).unwrap();
    let name = Path::new(env!("CARGO_BIN_EXE_aureon")).file_name().unwrap();
    let operator = archive.join(name);
    programs::copy(Path::new(env!("CARGO_BIN_EXE_aureon")), &operator);
    let facts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/debian-12.facts");
    let facts = std::path::absolute(facts).unwrap();
    let elsewhere = place.0.join("elsewhere");
    let path = std::env::join_paths(["".as_ref(), elsewhere.as_path(), archive.as_path()]).unwrap();
    let plan = || {
        let mut command = Command::new(&operator);
        command.args(["plan", "root@h", "public", "--domain", "a.de", "--json"]);
        command.arg("--facts").arg(&facts);
        command.current_dir(&place.0).env("PATH", &path);
        command.output().unwrap()
    };
    // What only lies where the user is, is not taken, whatever the PATH says.
    fs::write(place.0.join("aureond"), elf(62)).unwrap();
    let output = plan();
    assert_eq!(output.status.code(), Some(69), "{}", err(&output));
    let said: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(said["id"], "program/aureond");
    // Both names, each place once, and what makes one.
    let (what, fix) = (
        said["what"].as_str().unwrap(),
        said["fix"].as_str().unwrap(),
    );
    assert!(what.contains("aureond-x86_64") && what.contains("aureond is in "));
    for part in [&archive, &elsewhere] {
        let part = part.file_name().unwrap().to_str().unwrap();
        let found = what.split(", ").filter(|place| place.ends_with(part));
        assert_eq!(found.count(), 1, "{part}: {what}");
    }
    assert!(
        fix.contains("scripts/dist") && fix.contains("--aureond"),
        "{fix}"
    );
    // One that the host can not run is named.
    fs::write(archive.join("aureond"), elf(183)).unwrap();
    let output = plan();
    assert_eq!(output.status.code(), Some(69));
    assert!(out(&output).contains("is for aarch64, and the host is x86_64"));
    // One of the host's kind goes before it.
    fs::write(archive.join("aureond-x86_64"), elf(62)).unwrap();
    let output = plan();
    assert!(output.status.success(), "{}", err(&output));
    fs::remove_file(archive.join("aureond-x86_64")).unwrap();
    fs::write(archive.join("aureond"), elf(62)).unwrap();
    let output = plan();
    assert!(output.status.success(), "{}", err(&output));
}

/// What a deployed host says, as if the release that is planned were the one that serves there.
fn deployed_facts(id: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/debian-12-deployed.facts");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| match line.split_once('\t') {
        Some((name @ ("release" | "current"), _)) => format!("{name}\t{id}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn a_second_plan_is_empty() {
    let place = Place::new("second");
    let first = out(&place.plan("public --domain aureon.test --json"));
    let plan: serde_json::Value = serde_json::from_str(first.lines().last().unwrap()).unwrap();
    let steps = plan["steps"].as_array().unwrap();
    let switch = steps
        .iter()
        .find(|step| step["id"] == "release/switch")
        .unwrap();
    let id = switch["desired"].as_str().unwrap().trim();
    place.write("deployed.facts", &deployed_facts(id));
    // As it was deployed when it was recorded, with a certificate of a test's authority.
    let line = "plan root@203.0.113.7 public --domain aureon.test --aureond aureond \
                --acme-server https://10.77.2.1:14000/dir";
    let again = place.run(&format!("{line} --facts deployed.facts"));
    assert!(again.status.success(), "{}", err(&again));
    assert!(
        out(&again).ends_with("nothing to do: the host is as it is wanted\n"),
        "{}",
        out(&again)
    );
    // And one file more is a release more, and nothing else.
    place.write("public/new.html", "new");
    let more = out(&place.run(&format!("{line} --facts deployed.facts --json")));
    let plan: serde_json::Value = serde_json::from_str(more.lines().last().unwrap()).unwrap();
    let steps = plan["steps"].as_array().unwrap().iter();
    let ids: Vec<&str> = steps.map(|step| step["id"].as_str().unwrap()).collect();
    assert!(
        ids.iter().all(|id| id.starts_with("release/")) && ids.len() == 4,
        "{ids:?}"
    );
}
