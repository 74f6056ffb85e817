//! The script of facts, run by a real shell on this machine, and what is made of its answer.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use aureon_cli::facts::{Facts, Questions, parse_facts};

/// Runs a script by the system's shell, which is dash where it runs in earnest.
fn run(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-eu", "-c", script])
        .env("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 2222")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    assert_eq!(errors, "");
    String::from_utf8(output.stdout).unwrap()
}

fn ask(about: &[&str]) -> Facts {
    let questions = Questions {
        app: "no-such-app".into(),
        about: about.iter().map(|word| (*word).to_owned()).collect(),
        certificate: Some("/nowhere/fullchain.pem".into()),
    };
    parse_facts(&run(&questions.script())).unwrap()
}

#[test]
fn a_shell_answers_every_question() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let facts = ask(&["no-such-unit.service", "package:no-such-package"]);
    assert!(!facts.architecture.is_empty());
    assert!(facts.memory_bytes > 1 << 20, "{}", facts.memory_bytes);
    assert!(facts.disk_free_bytes > 0);
    assert!(facts.time_s > 1_700_000_000);
    assert!(facts.ssh_ports.contains(&2222), "{:?}", facts.ssh_ports);
    let port = listener.local_addr().unwrap().port();
    let found = facts.listeners.iter().find(|one| one.port == port);
    assert_eq!(found.unwrap().address, "127.0.0.1");
    assert!(!found.unwrap().is_public());
    let unit = facts.unit("no-such-unit.service").unwrap();
    assert!(!unit.enabled && !unit.active);
    assert_eq!(facts.packages, [""; 0]);
    assert_eq!(facts.releases, [""; 0]);
    assert_eq!(facts.certificate, None);
}

#[test]
fn files_are_told_with_all_that_an_undo_needs() {
    let directory = std::env::temp_dir().join(format!("aureon-facts-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let odd = path("it's\ta \"file\"; $(x)\\").replace('\t', " ");
    fs::write(&odd, &bytes).unwrap();
    std::os::unix::fs::symlink("to it", path("link")).unwrap();
    fs::write(path("large"), vec![b'x'; 300_000]).unwrap();
    let asked = [
        odd.clone(),
        path("link"),
        path("none"),
        path("."),
        path("large"),
    ];
    let facts = ask(&asked.each_ref().map(String::as_str));
    fs::remove_dir_all(&directory).unwrap();
    let file = |at: usize| facts.file(&asked[at]).unwrap();
    assert_eq!(file(0).content.as_deref(), Some(&bytes[..]));
    assert_eq!(file(0).mode & 0o600, 0o600);
    assert!(file(0).owner.contains(':'));
    assert_eq!(file(1).link.as_deref(), Some("to it"));
    assert!(!file(2).exists());
    assert!(file(3).directory);
    let large = String::from_utf8(file(4).content.clone().unwrap()).unwrap();
    assert!(large.starts_with("(300000 bytes"), "{large}");
}

#[test]
fn the_script_is_sound_when_a_shell_reads_it_in_pieces() {
    // What is left out at the end is noticed, wherever it was cut.
    let whole = run(&Questions::default().script());
    assert!(parse_facts(&whole).is_ok());
    for (cut, _) in whole.match_indices('\n') {
        assert!(parse_facts(&whole[..cut - 1]).is_err());
    }
}
