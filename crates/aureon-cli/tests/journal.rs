//! The journal, over real files: every change comes back byte for byte, whatever ended it.
//!
//! Scripts run on this machine with its own `sh`, below a root of their own. The programs that they
//! change files with end everything at the n-th call; then the next run heals and undoes, and the
//! tree is compared with what it was: content, mode, owner, time, links, directories. A sample of
//! the crash points is taken, from a seed that is told (`SEED=…` replays); `CRASHES=all` takes all.
#![cfg(target_os = "linux")]

#[path = "journal/scratch.rs"]
mod scratch;

use aureon_cli::host::Host as _;
use aureon_cli::journal::history::State;
use aureon_cli::journal::{self, Back, Journal, JournalError, Run};
use aureon_cli::plan::{Act, Step, Undo};
use scratch::{Scratch, Tree, WAYS};
use std::io::empty;

/// What there is before us: everything that a step below touches, with times of long ago.
const BEFORE: &str = "
umask 022
mkdir -p etc/old/deep etc/nginx srv opt
printf 'as it was\\n' >etc/file; chmod 0640 etc/file
printf 'no newline' >etc/second
ln -s file etc/link; ln -s /nowhere etc/dangling
printf 'a\\n' >etc/old/a; ln etc/old/a etc/old/deep/a-again; ln -s ../a etc/old/deep/l
printf 'b\\n' >etc/nginx/b
chmod 0711 etc/nginx
find . -depth -exec touch -h -d '2020-02-02 02:02:02.123456789' {} +
";

fn step(id: &str, apply: &str) -> Step {
    // The tests may not be root: files belong to whoever runs them.
    let apply = apply.replace("ME", "\"$(id -u):$(id -g)\"");
    Step {
        id: id.to_owned(),
        title: format!("The step {id}"),
        why: "It is a test.".to_owned(),
        current: String::new(),
        desired: String::new(),
        apply,
        undo: Undo::Kept,
        act: Act::Host,
    }
}

/// Every function, over something that is there and something that is not.
fn steps() -> Vec<Step> {
    vec![
        step(
            "directories",
            "make_dir /opt/aureon 0755 ME\nmake_dir /opt/aureon/releases 0750 ME\n\
             make_dir /etc/nginx 0755 ME\nmake_dir /opt 0755 ME\n",
        ),
        step(
            "files",
            "put /etc/file 0600 ME <<'END'\nsecret $HOME `x` \\\\\nEND\n\
             put /etc/new 0644 ME <<'END'\nnew\nEND\n\
             put /etc/second 0644 ME <<'END'\nEND\n\
             put /opt/aureon/releases/x 0755 ME <<'END'\n#!/bin/sh\nEND\n",
        ),
        step(
            "links",
            "put_link /etc/link second\nput_link /etc/dangling /etc/file\n\
             put_link /opt/aureon/current releases/x\nput_link /etc/second file\n",
        ),
        step(
            "gone",
            "remove /etc/old\nremove /etc/nginx/b\nremove /etc/link\nremove /etc/never\n",
        ),
        step(
            "outside",
            "keep_time /srv\nundo_by 'rm -f \"$AUREON_ROOT/srv/program\"'\n\
             printf 'by a program\\n' >\"$AUREON_ROOT/srv/program\"\n",
        ),
        step(
            "again",
            "put /etc/file 0640 ME <<'END'\nonce more\nEND\nput /etc/link 0644 ME <<'END'\nfile\nEND\n\
             make_dir /etc/old 0700 ME\nput /etc/old/a 0644 ME <<'END'\nanother\nEND\n",
        ),
    ]
}

fn ignore(_: &str) {}

fn alice() -> Journal {
    Journal::new("alice@laptop", "token of alice")
}

/// A host with what there was before.
fn host() -> Scratch {
    let host = Scratch::new();
    host.prepare(BEFORE);
    host
}

/// Runs all steps, as a deploy does; ends at the first error.
fn deploy(host: &mut Scratch) -> Result<Run, JournalError> {
    let alice = alice();
    alice.lock(host, false, &mut ignore)?;
    let run = alice.begin(host, "blog", "a test")?;
    for step in steps() {
        alice.step(host, &run, &step, &mut empty(), &mut ignore)?;
    }
    alice.finish(host, &run, "finished")?;
    alice.unlock(host)?;
    Ok(run)
}

fn undo(host: &mut Scratch, back: Back) -> Result<String, JournalError> {
    let (alice, mut said) = (alice(), String::new());
    alice.lock(host, false, &mut ignore)?;
    alice.undo(host, back, &mut |line| said += &format!("{line}\n"))?;
    alice.unlock(host)?;
    Ok(said)
}

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

/// A deploy, script by script: the host before each, and how many calls it has.
struct Moment {
    script: String,
    host: Scratch,
    calls: u32,
}

/// All moments; and the trees before the first and after each step, which are all that a crash may
/// leave once it is healed.
fn moments() -> (Vec<Moment>, Vec<Tree>) {
    let mut host = host();
    let (mut moments, mut trees) = (Vec::new(), vec![host.tree().timeless()]);
    let alice = alice();
    let steps = steps();
    let mut run = Run(String::new());
    for at in 0..steps.len() + 3 {
        let script = match at {
            0 => alice.lock_script(false),
            1 => alice.begin_script("blog", "a test"),
            _ if at < steps.len() + 2 => alice.step_script(&run, &steps[at - 2]),
            _ => alice.finish_script(&run, "finished"),
        };
        let before = host.copy();
        host.kill = Some((u32::MAX, "before"));
        let answer = host.run(&script, &mut empty(), &mut ignore).unwrap();
        assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
        if let Some(name) = answer
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("run\t"))
        {
            run = Run(name.to_owned());
        }
        if at >= 2 {
            trees.push(host.tree().timeless());
        }
        moments.push(Moment {
            script,
            host: before,
            calls: host.calls(),
        });
    }
    (moments, trees)
}

/// Ends everything at a call, then lets the next run heal, and undoes; each of those is ended too.
fn crash(moment: &Moment, at: u32, how: &'static str, trees: &[Tree], before: &Tree) {
    let first = moment.script.lines().last().unwrap_or_default();
    let named = format!("crash {how} call {at} of the script that ends with {first}");
    let mut host = moment.host.copy();
    host.kill = Some((at, how));
    let answer = host.run(&moment.script, &mut empty(), &mut ignore);
    assert!(answer.is_err(), "{named}: it was not ended: {answer:?}");
    host.kill = Some((at % 23, WAYS[(at % 3) as usize]));
    let healed = alice().lock(&mut host, false, &mut ignore);
    host.kill = None;
    if healed.is_err() {
        let healed = alice().lock(&mut host, false, &mut ignore);
        healed.unwrap_or_else(|error| panic!("{named}: {error}"));
    }
    let tree = host.tree().timeless();
    if !trees.contains(&tree) {
        let nearest = trees.iter().map(|boundary| boundary.difference(&tree));
        let nearest = nearest.min_by_key(String::len).unwrap();
        panic!("{named}: healed to no state between two steps:\n{nearest}");
    }
    // Some go on and deploy what is missing, as the next plan would.
    if at % 4 == 0 {
        deploy(&mut host).unwrap_or_else(|error| panic!("{named}: again: {error}"));
        let difference = host.tree().timeless().difference(trees.last().unwrap());
        assert_eq!(difference, "", "{named}: deployed again");
    }
    host.kill = (at % 2 == 0).then_some((at % 61, WAYS[(at % 3) as usize]));
    let undone = undo(&mut host, Back::All);
    host.kill = None;
    let said = match undone {
        Ok(said) => said,
        Err(_) => undo(&mut host, Back::All).unwrap_or_else(|e| panic!("{named}: {e}")),
    };
    assert_eq!(
        host.tree().after_a_crash().difference(before),
        "",
        "{named}: undone\n{said}"
    );
}

#[test]
fn a_crash_at_any_point_is_healed_and_undone() {
    let before = host().tree().after_a_crash();
    let (moments, trees) = moments();
    let mut points = Vec::new();
    for moment in &moments {
        let calls = (0..moment.calls).flat_map(|call| WAYS.iter().map(move |how| (call, *how)));
        points.extend(calls.map(|(call, how)| (moment, call, how)));
    }
    let all = points.len();
    if !std::env::var("CRASHES").is_ok_and(|value| value == "all") {
        let chosen = std::env::var("SEED").map(|seed| seed.parse().unwrap());
        let seed = chosen.unwrap_or_else(|_| u64::from(std::process::id()));
        println!("SEED={seed}");
        shuffle(&mut points, seed);
        points.truncate(SAMPLE);
    }
    println!("{} of {all} points", points.len());
    let halves = points.split_at(points.len() / 2);
    std::thread::scope(|scope| {
        for half in [halves.0, halves.1] {
            let (trees, before) = (&trees, &before);
            scope.spawn(move || {
                for (moment, call, how) in half {
                    crash(moment, *call, how, trees, before);
                }
            });
        }
    });
}

/// Crash points that are tried without `CRASHES=all`. 10: a few seconds.
const SAMPLE: usize = 10;

/// Fisher and Yates, with a linear congruential generator (Knuth's MMIX).
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed;
    for at in (1..list.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        list.swap(at, (state >> 33) as usize % (at + 1));
    }
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
            "put /etc/file 0600 ME <<'END'\nx\nEND\nremove /etc/old\n{last}touch \"$AUREON_ROOT/etc/went-on\"\n"
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
    let blocked = "put /etc/first 0644 ME <<'END'\nEND\nundo_by 'test -e \"$AUREON_ROOT/srv/allowed\"\nrm \"$AUREON_ROOT/srv/allowed\"'\n";
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
