//! Everything ends at the n-th call of a program that changes files: before it, after it, or with
//! what is not on the disk yet torn; or that call fails and nothing ends. Then the next run heals
//! and undoes, and the tree is compared with what it was: content, mode, owner, time, links,
//! directories.
//!
//! A sample of the crash points is taken, from a seed that is told (`SEED=…` replays);
//! `CRASHES=all` takes all of them, which are some minutes, `CRASHES=torn` all of one way.

use crate::scratch::{Scratch, Tree, WAYS};
use crate::{alice, deploy, host, ignore, steps, undo};
use aureon_cli::host::Host as _;
use aureon_cli::journal::{Back, Run};
use std::io::empty;

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
    assert!(
        answer.is_err() || how == "fails",
        "{named}: it was not ended: {answer:?}"
    );
    host.kill = Some((at % 23, WAYS[(at % 4) as usize]));
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
    if at.is_multiple_of(4) {
        deploy(&mut host).unwrap_or_else(|error| panic!("{named}: again: {error}"));
        let difference = host.tree().timeless().difference(trees.last().unwrap());
        assert_eq!(difference, "", "{named}: deployed again");
    }
    host.kill = at
        .is_multiple_of(2)
        .then_some((at % 61, WAYS[(at % 4) as usize]));
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
    let asked = std::env::var("CRASHES").unwrap_or_default();
    points.retain(|(_, _, how)| asked.is_empty() || asked == "all" || asked == **how);
    if asked.is_empty() {
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
