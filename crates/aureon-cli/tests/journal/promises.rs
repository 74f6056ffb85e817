//! What the journal promises, one by one.

use crate::scratch::Scratch;
use crate::{alice, deploy, host, ignore, step, steps, undo};
use aureon_cli::host::{Answer, Host, HostError};
use aureon_cli::journal::history::State;
use aureon_cli::journal::{self, Back, Journal, JournalError, Run};
use aureon_cli::plan::Step;
use std::io::{Read, empty};

#[test]
fn an_undone_run_leaves_nothing_changed() {
    let mut host = host();
    let before = host.tree();
    deploy(&mut host).unwrap();
    assert_eq!(host.read("/etc/file"), "once more\n");
    assert_eq!(host.read("/etc/old/a"), "another\n");
    assert_ne!(host.tree().timeless(), before.timeless());
    let said = undo(&mut host, Back::All).unwrap();
    assert_eq!(host.tree().difference(&before), "", "{said}");
    let audit = host.read("/var/log/aureon-operator.log");
    for word in ["began: a test", "finished", "undone", "alice@laptop"] {
        assert!(audit.contains(word), "no {word} in {audit}");
    }
}

#[test]
fn a_second_run_of_the_same_changes_nothing_and_leaves_no_run() {
    let mut host = host();
    let alice = alice();
    let stable = |step: &Step| ["directories", "files"].contains(&step.id.as_str());
    for round in 0..2 {
        alice.lock(&mut host, false, &mut ignore).unwrap();
        let run = alice.begin(&mut host, "blog", "a test").unwrap();
        let before = host.tree().timeless();
        for step in steps().iter().filter(|step| stable(step)) {
            alice
                .step(&mut host, &run, step, &mut empty(), &mut ignore)
                .unwrap();
        }
        assert_eq!(host.tree().timeless() == before, round == 1);
        alice.finish(&mut host, &run, "finished").unwrap();
        alice.unlock(&mut host).unwrap();
    }
    assert_eq!(journal::read(&mut host).unwrap().runs.len(), 1);
}

/// Locks and begins.
fn begun(host: &mut Scratch) -> Run {
    alice().lock(host, false, &mut ignore).unwrap();
    alice().begin(host, "blog", "a test").unwrap()
}

#[test]
fn a_step_that_fails_is_taken_back_and_says_why() {
    let mut host = host();
    let run = begun(&mut host);
    let good = step("good", "put /etc/good 0644 ME <<'END'\ngood\nEND\n");
    alice()
        .step(&mut host, &run, &good, &mut empty(), &mut ignore)
        .unwrap();
    let before = host.tree();
    let failing = [
        ("false\n", ""),
        ("ls /nowhere-at-all\n", ""),
        ("fail 'it is Tuesday'\n", "it is Tuesday"),
        (
            "put /nowhere/file 0644 ME <<'END'\nEND\n",
            "there is no directory for /nowhere/file",
        ),
        (
            "put /etc/nginx 0644 ME <<'END'\nEND\n",
            "/etc/nginx is a directory",
        ),
        (
            "put '/etc/a b' 0644 ME <<'END'\nEND\n",
            "not a path for this: /etc/a b",
        ),
        (
            "put /etc/../etc/x 0644 ME <<'END'\nEND\n",
            "not a path for this: /etc/../etc/x",
        ),
        (
            "put etc/x 0644 ME <<'END'\nEND\n",
            "not an absolute path: etc/x",
        ),
        (
            "put /etc/x 0644 nobody-at-all <<'END'\nEND\n",
            "/etc/x can not be prepared",
        ),
        (
            "make_dir /etc/file 0755 ME\n",
            "/etc/file is not a directory",
        ),
        ("echo $nothing_is_called_so\n", ""),
    ];
    for (last, why) in failing {
        let apply = format!(
            "put /etc/file 0600 ME <<'END'\nx\nEND\nremove /etc/old\n{last}\
             touch \"$AUREON_ROOT/etc/went-on\"\n"
        );
        let step = step("bad", &apply);
        let failed = alice().step(&mut host, &run, &step, &mut empty(), &mut ignore);
        let Err(JournalError::Failed(said)) = failed else {
            panic!("{last}: {failed:?}");
        };
        assert!(said.contains(why), "{last}: {said}");
        let (now, then) = (host.tree(), before.clone());
        assert_eq!(now.hosts_own().difference(&then.hosts_own()), "", "{last}");
    }
    let past = journal::read(&mut host).unwrap().runs.remove(0);
    assert_eq!(past.state_of("good"), Some(State::Done));
    assert_eq!(past.state_of("bad"), Some(State::Back));
    assert_eq!(past.back.len(), 1, "{past:?}");
}

#[test]
fn what_somebody_else_has_changed_stays_and_is_named() {
    let mut host = host();
    deploy(&mut host).unwrap();
    host.prepare("echo mine >etc/file; rm etc/new; chmod 0600 etc/second; echo x >opt/aureon/x");
    let said = undo(&mut host, Back::All).unwrap();
    assert_eq!(host.read("/etc/file"), "mine\n");
    assert_eq!(host.read("/opt/aureon/x"), "x\n");
    for path in ["/etc/file", "/opt/aureon"] {
        assert!(
            said.contains(&format!("left: {path}")),
            "{path} is not in {said}"
        );
    }
    assert_eq!(
        host.read("/etc/second"),
        "no newline",
        "a file of ours, by its link"
    );
    // What there was before is where it is said to be.
    let kept = said
        .lines()
        .find_map(|line| line.strip_prefix("what was left, and")?.split(": ").nth(1));
    let kept = std::path::Path::new(kept.unwrap()).join("kept");
    let mut contents = std::fs::read_dir(kept)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
    assert!(contents.any(|content| content == "as it was\n"));
    assert_eq!(journal::read(&mut host).unwrap().runs, []);
}

#[test]
fn runs_are_taken_back_in_reverse_and_one_by_one() {
    let mut host = host();
    let before = host.tree();
    let mut trees = Vec::new();
    for text in ["one", "two", "three"] {
        trees.push(host.tree().timeless());
        let run = begun(&mut host);
        let apply = format!(
            "put /etc/file 0644 ME <<'END'\n{text}\nEND\nput /etc/{text} 0644 ME <<'END'\nEND\n"
        );
        alice()
            .step(
                &mut host,
                &run,
                &step(text, &apply),
                &mut empty(),
                &mut ignore,
            )
            .unwrap();
        alice().finish(&mut host, &run, "finished").unwrap();
        alice().unlock(&mut host).unwrap();
    }
    let names: Vec<String> = journal::read(&mut host)
        .unwrap()
        .runs
        .into_iter()
        .map(|run| run.name)
        .collect();
    assert_eq!(names.len(), 3);
    assert!(names.is_sorted(), "{names:?}");
    undo(&mut host, Back::Last).unwrap();
    assert_eq!(host.tree().timeless().difference(&trees[2]), "");
    undo(&mut host, Back::All).unwrap();
    assert_eq!(host.tree().difference(&before), "");
    assert_eq!(
        undo(&mut host, Back::All).unwrap(),
        "",
        "nothing is left to undo"
    );
}

#[test]
fn a_way_back_that_fails_ends_the_undo_which_goes_on_later() {
    let mut host = host();
    let before = host.tree();
    let run = begun(&mut host);
    let blocked = "put /etc/first 0644 ME <<'END'\nEND\n\
        undo_by 'test -e \"$AUREON_ROOT/srv/allowed\"\nrm \"$AUREON_ROOT/srv/allowed\"'\n";
    alice()
        .step(
            &mut host,
            &run,
            &step("blocked", blocked),
            &mut empty(),
            &mut ignore,
        )
        .unwrap();
    alice().finish(&mut host, &run, "finished").unwrap();
    let failed = alice().undo(&mut host, Back::All, &mut ignore);
    assert!(
        matches!(&failed, Err(JournalError::Failed(why)) if why.contains("change 10002")),
        "{failed:?}"
    );
    assert!(
        host.path("/etc/first").exists(),
        "what came before it is not touched"
    );
    assert!(journal::read(&mut host).unwrap().runs[0].undoing);
    // Nor does anything new begin before that; and nobody is kept waiting.
    let failed = alice()
        .lock(&mut host, false, &mut ignore)
        .unwrap_err()
        .to_string();
    assert!(
        failed.contains("/undo/10002. Mend what it needs"),
        "{failed}"
    );
    assert_eq!(journal::read(&mut host).unwrap().lock, None);
    host.prepare("touch srv/allowed; touch -d '2020-02-02 02:02:02.123456789' srv/");
    alice().lock(&mut host, false, &mut ignore).unwrap();
    alice().unlock(&mut host).unwrap();
    let (now, then) = (host.tree(), before);
    assert_eq!(
        now.timeless().difference(&then.timeless()),
        "",
        "the next lock ends it"
    );
}

#[test]
fn a_lock_is_kept_while_a_step_runs_and_taken_from_the_dead() {
    let mut host = host();
    let bob = Journal::new("bob@desk", "token of bob");
    let run = begun(&mut host);
    let told = |host: &mut Scratch, break_lock| {
        let mut said = String::new();
        let locked = bob.lock(host, break_lock, &mut |line| said += line);
        (locked.map_err(|error| format!("{error:?}")), said)
    };
    // Just now heard of.
    let (refused, _) = told(&mut host, false);
    let why = refused.unwrap_err();
    assert!(
        why.starts_with("Locked") && why.contains("alice@laptop") && why.contains("last heard of"),
        "{why}"
    );
    // A step is running: nobody gets the lock, not even by force.
    let fifo = host.directory.join("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let script = alice().step_script(
        &run,
        &step("waits", &format!("read -r line <{}\n", fifo.display())),
    );
    let mut waits = host.command(&script);
    let mut running = waits.stdout(std::process::Stdio::null()).spawn().unwrap();
    // Opening to write returns when the step has opened it to read.
    let pipe = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    for break_lock in [false, true] {
        let (refused, _) = told(&mut host, break_lock);
        let why = refused.unwrap_err();
        assert!(why.contains("a step of it is running"), "{why}");
    }
    assert!(journal::read(&mut host).unwrap().lock.unwrap().running);
    drop(pipe);
    running.wait().unwrap();
    // A minute later.
    let (refused, _) = told(&mut host, false);
    assert!(refused.is_err());
    host.prepare("touch -d '61 seconds ago' var/lib/aureon-operator/lock/busy");
    let (taken, said) = told(&mut host, false);
    taken.unwrap();
    assert!(
        said.contains("took over the lock of alice@laptop"),
        "{said}"
    );
    // Whose it was does nothing more.
    let late = alice().step(
        &mut host,
        &run,
        &step("late", "true\n"),
        &mut empty(),
        &mut ignore,
    );
    assert!(
        matches!(&late, Err(JournalError::Failed(why)) if why.contains("taken over")),
        "{late:?}"
    );
    // And by force, at once.
    alice().lock(&mut host, true, &mut ignore).unwrap();
    assert!(bob.begin(&mut host, "blog", "a test").is_err());
    let audit = host.read("/var/log/aureon-operator.log");
    assert_eq!(audit.matches("took over the lock").count(), 2, "{audit}");
}

#[test]
fn a_step_runs_to_its_end_though_nobody_listens_any_more() {
    let mut host = host();
    let run = begun(&mut host);
    let apply = "say one\nread -r line\nsay two\nput /etc/file 0644 ME <<'END'\nwritten\nEND\n";
    let script = alice().step_script(&run, &step("alone", apply));
    let mut command = host.command(&script);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Nobody reads what it says, and then its input ends too.
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"go on\n").unwrap();
    drop(input);
    child.wait().unwrap();
    assert_eq!(host.read("/etc/file"), "written\n");
    let past = journal::read(&mut host).unwrap().runs.remove(0);
    assert_eq!(past.state_of("alone"), Some(State::Done));
    let said = host.read(&format!("/var/lib/aureon-operator/journal/{}/said", run.0));
    assert_eq!(said, "The step alone\none\ntwo\nwrote /etc/file\n");
}

/// A host whose connection is lost, before a script got there or when it had run.
struct Flaky<'a> {
    host: &'a mut Scratch,
    arrives: bool,
    losses: u32,
}

impl Host for Flaky<'_> {
    fn name(&self) -> &str {
        self.host.name()
    }

    fn run(
        &mut self,
        script: &str,
        input: &mut dyn Read,
        told: &mut dyn FnMut(&str),
    ) -> Result<Answer, HostError> {
        if self.losses == 0 {
            return self.host.run(script, input, told);
        }
        self.losses -= 1;
        if self.arrives {
            self.host.run(script, input, told)?;
        }
        Err(HostError::Lost("a digger".to_owned()))
    }

    fn run_anew(&mut self, script: &str) -> Result<Answer, HostError> {
        self.run(script, &mut empty(), &mut ignore)
    }
}

#[test]
fn the_host_is_asked_how_a_step_ended_whose_connection_was_lost() {
    let mut host = host();
    let run = begun(&mut host);
    let mut ended = |id: &str, apply: &str, arrives: bool| {
        let mut flaky = Flaky {
            host: &mut host,
            arrives,
            losses: 1,
        };
        alice().step(
            &mut flaky,
            &run,
            &step(id, apply),
            &mut empty(),
            &mut ignore,
        )
    };
    ended("done", "true\n", true).unwrap();
    let failed = ended("failed", "false\n", true).unwrap_err().to_string();
    assert!(failed.contains("and was taken back"), "{failed}");
    let lost = ended("never", "true\n", false);
    assert!(
        matches!(lost, Err(JournalError::Host(HostError::Lost(_)))),
        "{lost:?}"
    );
}

#[test]
fn a_run_is_not_finished_with_a_step_open() {
    let mut host = host();
    let run = begun(&mut host);
    // What was begun can not be taken back at once.
    let apply =
        "put /etc/file 0644 ME <<'END'\nx\nEND\nundo_by 'test -e \"$SCRATCH/allowed\"'\nfalse\n";
    let failed = alice().step(
        &mut host,
        &run,
        &step("stuck", apply),
        &mut empty(),
        &mut ignore,
    );
    assert!(failed.is_err());
    assert!(alice().finish(&mut host, &run, "failed").is_err());
    assert_eq!(
        journal::read(&mut host).unwrap().runs[0].state_of("stuck"),
        Some(State::Failed)
    );
    host.prepare("touch ../allowed");
    alice().finish(&mut host, &run, "failed").unwrap();
    assert_eq!(host.read("/etc/file"), "as it was\n");
    assert_eq!(
        journal::read(&mut host).unwrap().runs,
        [],
        "nothing is left of it"
    );
}

#[test]
fn of_two_who_want_the_lock_one_gets_it() {
    for _ in 0..5 {
        let host = host();
        let mut children = Vec::new();
        for name in ["alice", "bob", "carol"] {
            // A host of its own each, over the same root.
            let script = Journal::new(name, name).lock_script(false);
            let file = host.directory.join(name);
            std::fs::write(&file, script).unwrap();
            let mut command = std::process::Command::new("sh");
            command.arg(file).env("AUREON_ROOT", &host.root);
            command.stdout(std::process::Stdio::null());
            children.push(command.spawn().unwrap());
        }
        let codes = children
            .iter_mut()
            .map(|child| child.wait().unwrap().code());
        let mut codes: Vec<Option<i32>> = codes.collect();
        codes.sort();
        assert_eq!(codes, [Some(0), Some(75), Some(75)]);
    }
}

#[test]
fn an_undo_runs_to_its_end_though_nobody_listens_any_more() {
    let mut host = host();
    let before = host.tree();
    // A program that says more than a pipe holds, and minds that it can not.
    let apply = "undo_by 'seq 1 40000'\nput /etc/file 0644 ME <<'END'\nwritten\nEND\n";
    let run = begun(&mut host);
    alice()
        .step(
            &mut host,
            &run,
            &step("loud", apply),
            &mut empty(),
            &mut ignore,
        )
        .unwrap();
    alice().finish(&mut host, &run, "finished").unwrap();
    let mut command = host.command(&alice().undo_script(Back::All));
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    child.wait().unwrap();
    alice().unlock(&mut host).unwrap();
    assert_eq!(host.tree().difference(&before), "");
}
