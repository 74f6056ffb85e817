//! The firewall's moves on a machine that may break at any point: every order of what can happen
//! is walked through, and after each of them somebody who comes by ssh is let in, now or within 90
//! seconds.
//!
//! The moves are those of `moves.rs`, which the plan renders to shell: there is no second list.
//! What is modelled is the host (ufw's files in the page cache and on the disk, the rules in the
//! kernel, what is armed) and what happens to it: power cuts, reboots, a client that dies, a link
//! that drops, commands that fail in their middle, the timer, `aureon undo`. A `World` says what
//! the plan can not know: whether its rules let this session's successor in.
//!
//! "Within 90 seconds" is: ssh is open, or the timer runs (60 s), or the restore itself does (25 s
//! at most until it begins its work). Time while the machine is down does not count, and a boot
//! that has not come to ufw yet is on its way.

use super::Before;
use super::moves::{BACK, Back, Move, stages};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// What is true of the host and nobody has told the plan.
#[derive(Debug, Clone)]
struct World {
    /// What the plan was made from.
    before: Before,
    /// The port through which people come in fact.
    port: u16,
    /// They come by IPv6.
    v6: bool,
    /// Something else shuts ssh out once ufw is on: a rule before ours, a kernel without conntrack.
    shut: bool,
    /// ufw's unit starts at boot already.
    unit: bool,
}

/// ufw.conf's `ENABLED`; half a file starts nothing, as `no`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Enabled {
    No,
    Yes,
}

/// ufw's rules, as a file: which of the missing ports are in it; half a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Rules {
    Allow { ports: u32, v6: bool },
    Half,
}

/// The way back's first word, and who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Claim {
    Nobody,
    Armed,
    Restoring,
}

/// What lies in files. Each is lost or kept by itself when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Files {
    /// The copy of what was there, and its name, by which alone it is found.
    copied: bool,
    named: bool,
    claim: Claim,
    boot_armed: bool,
    boot_unit: bool,
    enabled: Enabled,
    rules: Rules,
    /// The rules have been written in place since the last sync, and may come out as a half.
    in_place: bool,
}

/// The rules in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Live {
    /// What was there before us lets people in.
    AsBefore,
    /// No rules.
    Open,
    Ours(Rules),
    /// A policy that drops, and no rule.
    Shut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mode {
    Now,
    Boot,
    Undo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    /// As programs see the files, and as a power cut would leave them at worst.
    seen: Files,
    disk: Files,
    live: Live,
    timer: bool,
    /// The restore runs, and this is its next piece.
    back: Option<(Mode, usize)>,
    /// The next move; nothing when nobody goes on.
    next: Option<usize>,
    /// The client heard that all is done.
    done: bool,
    /// `aureon undo` has been asked for.
    undone: bool,
}

/// What the search is about.
struct Model<'w> {
    world: &'w World,
    moves: Vec<Move>,
    /// Indices of `moves` at which a new script begins: only there a client is needed.
    starts: Vec<usize>,
    /// Whether `guarded` is there.
    guard: bool,
    back: Vec<Back>,
}

impl Model<'_> {
    fn all_ports(&self) -> u32 {
        (1 << self.world.before.missing.len()) - 1
    }

    fn begin(&self) -> State {
        let files = Files {
            copied: false,
            named: false,
            claim: Claim::Nobody,
            boot_armed: false,
            boot_unit: self.world.unit || self.world.before.active,
            enabled: match self.world.before.active {
                true => Enabled::Yes,
                false => Enabled::No,
            },
            rules: Rules::Allow {
                ports: 0,
                v6: !self.world.before.ipv6_off,
            },
            in_place: false,
        };
        State {
            seen: files,
            disk: files,
            live: match self.world.before.active {
                true => Live::AsBefore,
                false => Live::Open,
            },
            timer: false,
            back: None,
            next: Some(0),
            done: false,
            undone: false,
        }
    }

    /// Whether somebody who comes now gets in.
    fn lets_in(&self, live: Live) -> bool {
        let world = self.world;
        match live {
            Live::AsBefore | Live::Open => true,
            // What let people in before ufw's file grew still does.
            Live::Ours(Rules::Allow { .. }) if world.before.active => true,
            Live::Ours(Rules::Allow { ports, v6 }) => {
                let at = world.before.missing.iter().position(|p| *p == world.port);
                let open = at.is_some_and(|at| ports & (1 << at) != 0);
                open && !world.shut && (v6 || !world.v6)
            }
            Live::Ours(Rules::Half) | Live::Shut => false,
        }
    }

    /// What ufw loads from its file.
    fn load(rules: Rules) -> Live {
        match rules {
            Rules::Half => Live::Shut,
            rules => Live::Ours(rules),
        }
    }

    /// After everything that a boot does before ufw.
    fn start_ufw(&self, mut state: State) -> State {
        let starts = state.seen.enabled == Enabled::Yes && state.seen.boot_unit;
        state.live = match starts {
            true => Self::load(state.seen.rules),
            false => Live::Open,
        };
        state
    }

    /// The power goes: each file by itself is what was seen, or what was on the disk, or, where
    /// it was being written in place, a half.
    fn power_cuts(&self, state: &State) -> Vec<State> {
        let (seen, disk) = (state.seen, state.disk);
        let mut found = vec![seen];
        let mut or = |is_other: bool, change: &dyn Fn(&mut Files)| {
            if is_other {
                for at in 0..found.len() {
                    let mut other = found[at];
                    change(&mut other);
                    found.push(other);
                }
            }
        };
        or(seen.claim != disk.claim, &|files| files.claim = disk.claim);
        or(seen.boot_armed != disk.boot_armed, &|files| {
            files.boot_armed = disk.boot_armed;
        });
        or(seen.boot_unit != disk.boot_unit, &|files| {
            files.boot_unit = disk.boot_unit;
        });
        or(seen.enabled != disk.enabled, &|files| {
            files.enabled = disk.enabled;
        });
        or(seen.copied != disk.copied, &|files| {
            files.copied = disk.copied;
        });
        or(seen.named != disk.named, &|files| files.named = disk.named);
        or(seen.rules != disk.rules, &|files| files.rules = disk.rules);
        or(seen.in_place, &|files| files.rules = Rules::Half);
        let booted = found.into_iter().map(|mut files| {
            files.in_place = false;
            self.boot(files, state)
        });
        booted.collect()
    }

    fn boot(&self, files: Files, from: &State) -> State {
        let state = State {
            seen: files,
            disk: files,
            live: Live::Shut,
            timer: false,
            back: None,
            next: None,
            ..*from
        };
        if files.boot_armed {
            let back = Some((Mode::Boot, 0));
            return State { back, ..state };
        }
        self.start_ufw(state)
    }

    fn settle(state: &mut State) {
        state.seen.in_place = false;
        state.disk = state.seen;
    }

    /// The next piece of the restore.
    fn go_back(&self, state: &State, mode: Mode, at: usize) -> Vec<State> {
        let Some(piece) = self.back.get(at) else {
            return vec![self.end_back(*state, mode)];
        };
        let mut next = State {
            back: Some((mode, at + 1)),
            ..*state
        };
        let before = self.begin();
        match piece {
            Back::Claim if next.seen.claim == Claim::Nobody && mode != Mode::Undo => {
                return vec![self.end_back(*state, mode)];
            }
            Back::Claim if next.seen.claim == Claim::Armed => next.seen.claim = Claim::Restoring,
            Back::Claim => {}
            Back::Settle => Self::settle(&mut next),
            // Without what was kept there is nothing to put back.
            _ if !next.seen.named && *piece != Back::Forget => {
                return vec![self.end_back(*state, mode)];
            }
            Back::Files if !next.seen.copied => next.seen.rules = Rules::Half,
            Back::Boot => next.seen.enabled = before.seen.enabled,
            // Renamed into place: old or new, never a half.
            Back::Files => next.seen.rules = before.seen.rules,
            Back::Live if mode == Mode::Boot => {}
            Back::Live => next.live = before.live,
            Back::Release => {
                next.seen.claim = Claim::Nobody;
                next.seen.boot_armed = false;
                next.timer = false;
            }
            Back::Unname if mode == Mode::Undo => next.seen.named = false,
            Back::Unname => {}
            Back::Forget if mode == Mode::Undo => next.seen.copied = false,
            Back::Forget => {}
        }
        vec![next]
    }

    fn end_back(&self, mut state: State, mode: Mode) -> State {
        state.back = None;
        match mode {
            Mode::Boot => self.start_ufw(state),
            Mode::Now | Mode::Undo => state,
        }
    }

    /// A move fails: the client hears it and goes no further. What the failed step wrote into the
    /// journal may be run at once.
    fn failed(&self, state: State) -> Vec<State> {
        let state = State {
            next: None,
            ..state
        };
        let back = Some((Mode::Now, 0));
        vec![state, State { back, ..state }]
    }

    /// Everything that the next move may lead to.
    fn go_on(&self, state: &State, at: usize) -> Vec<State> {
        let Some(step) = self.moves.get(at) else {
            let done = State {
                next: None,
                done: true,
                ..*state
            };
            return vec![done];
        };
        let mut found = Vec::new();
        if self.guard && step.is_guarded(&self.world.before) {
            if state.back.is_some() {
                return found;
            }
            if state.seen.claim != Claim::Armed {
                return self.failed(*state);
            }
        }
        // It may fail and leave nothing.
        found.extend(self.failed(*state));
        let mut next = State {
            next: Some(at + 1),
            ..*state
        };
        match step {
            Move::Keep => next.seen.copied = true,
            Move::Name if !state.seen.copied => return self.failed(*state),
            Move::Name => next.seen.named = true,
            Move::Settle => Self::settle(&mut next),
            Move::ArmBoot => {
                // By halves: the unit without the claim does nothing.
                let mut half = next;
                half.seen.boot_armed = true;
                found.extend(self.failed(half));
                (next.seen.boot_armed, next.seen.claim) = (true, Claim::Armed);
            }
            Move::ArmTimer => next.timer = true,
            Move::Ipv6 | Move::Allow(_) => return self.write_rules(*step, next, found),
            Move::BootUnit => next.seen.boot_unit = true,
            Move::Enable => return self.enable(next, found),
            Move::Prove if !self.lets_in(state.live) => return self.failed(*state),
            Move::Prove => {}
            Move::Commit if state.seen.claim != Claim::Armed => return self.failed(*state),
            Move::Commit => next.seen.claim = Claim::Nobody,
            Move::Unarm => {
                // The units one after the other.
                next.timer = false;
                found.extend(self.failed(next));
                next.seen.boot_armed = false;
            }
        }
        found.push(next);
        found
    }

    /// ufw writes in place: a failure may leave half a file, and one that is loaded then.
    fn write_rules(&self, step: Move, mut next: State, mut found: Vec<State>) -> Vec<State> {
        next.seen.in_place = true;
        let mut half = next;
        half.seen.rules = Rules::Half;
        found.extend(self.failed(half));
        if let Rules::Allow { ports, v6 } = next.seen.rules {
            let missing = &self.world.before.missing;
            next.seen.rules = match step {
                Move::Allow(port) => {
                    let at = missing.iter().position(|p| *p == port).unwrap_or(31);
                    let ports = ports | (1 << at);
                    Rules::Allow { ports, v6 }
                }
                _ => Rules::Allow { ports, v6: true },
            };
        }
        if next.seen.enabled == Enabled::Yes && next.live != Live::Open {
            next.live = Self::load(next.seen.rules);
            half.live = Live::Shut;
            found.extend(self.failed(half));
        }
        found.push(next);
        found
    }

    /// ufw writes `ENABLED=yes` and then loads its rules. When it fails it may have shut all out
    /// already, and taken the word back or not.
    fn enable(&self, mut next: State, mut found: Vec<State>) -> Vec<State> {
        // It writes its rules anew, for what it logs.
        (next.seen.enabled, next.seen.in_place) = (Enabled::Yes, true);
        for live in [next.live, Live::Shut] {
            for enabled in [Enabled::Yes, Enabled::No] {
                let mut failed = next;
                failed.seen.enabled = enabled;
                failed.live = live;
                found.extend(self.failed(failed));
            }
        }
        if !self.guard && next.timer {
            // Nothing keeps the restore from running in the middle of it.
            let mut middle = next;
            middle.timer = false;
            if middle.seen.claim == Claim::Armed && middle.seen.named {
                (middle.seen.claim, middle.seen.boot_armed) = (Claim::Nobody, false);
                middle.live = Self::load(middle.seen.rules);
                found.push(middle);
            }
        }
        next.live = Self::load(next.seen.rules);
        found.push(next);
        found
    }

    /// Everything that may happen next.
    fn next(&self, state: &State) -> Vec<State> {
        let mut found = self.power_cuts(state);
        if let Some((mode, at)) = state.back {
            found.extend(self.go_back(state, mode, at));
        } else if state.timer {
            let back = Some((Mode::Now, 0));
            let timer = false;
            found.push(State {
                back,
                timer,
                ..*state
            });
        }
        match state.next {
            Some(at) => {
                // Between two scripts the client may be gone for good.
                if self.starts.contains(&at) {
                    found.push(State {
                        next: None,
                        ..*state
                    });
                }
                found.extend(self.go_on(state, at));
            }
            None if state.back.is_none() && state.seen.named => {
                let back = Some((Mode::Undo, 0));
                let undone = true;
                found.push(State {
                    back,
                    undone,
                    ..*state
                });
            }
            None => {}
        }
        found
    }

    /// What is wrong with a state, if anything is.
    fn wrong(&self, state: &State) -> Option<&'static str> {
        let pending = state.timer || state.back.is_some();
        if !self.lets_in(state.live) && !pending {
            return Some("nobody is let in, and nothing is on its way");
        }
        let before = self.begin().seen;
        if state.undone && !state.seen.named && state.back.is_none() {
            let files = (state.seen.rules, state.seen.enabled);
            if files != (before.rules, before.enabled) || state.seen.boot_armed {
                return Some("it has been taken back, and is not what it was");
            }
        }
        if state.done && !state.undone {
            let all = Rules::Allow {
                ports: self.all_ports(),
                v6: true,
            };
            let on = state.seen.enabled == Enabled::Yes && state.seen.boot_unit;
            if state.live != Live::Ours(all) || !on || state.seen.rules != all {
                return Some("the client was told that the firewall is on, and it is not");
            }
            if state.timer || state.seen.claim != Claim::Nobody || state.seen.boot_armed {
                return Some("the client was told that it is done, and something is still armed");
            }
        }
        None
    }

    /// Walks through everything. The first thing that is wrong, with how it came to it; how many
    /// states there are; whether the client can hear that it is done.
    fn walk(&self) -> Found {
        let begin = self.begin();
        let mut known = HashMap::from([(begin, None)]);
        let mut waiting = VecDeque::from([begin]);
        let mut done = false;
        while let Some(state) = waiting.pop_front() {
            done |= state.done;
            if let Some(wrong) = self.wrong(&state) {
                let mut way = format!("{wrong}, in {:?}", self.world);
                let mut at = Some(state);
                while let Some(state) = at {
                    way = format!("{way}\n  {state:?}");
                    at = known[&state];
                }
                return Found::Wrong(way);
            }
            for next in self.next(&state) {
                if let Entry::Vacant(entry) = known.entry(next) {
                    entry.insert(Some(state));
                    waiting.push_back(next);
                }
            }
        }
        Found::Nothing {
            states: known.len(),
            done,
        }
    }
}

enum Found {
    Wrong(String),
    Nothing { states: usize, done: bool },
}

/// The scripts as lists of moves.
fn scripts(before: &Before) -> Vec<Vec<Move>> {
    stages(before)
        .into_iter()
        .map(|stage| stage.moves)
        .collect()
}

fn walk(world: &World, scripts: &[Vec<Move>], guard: bool, back: &[Back]) -> Found {
    let lengths = scripts.iter().map(Vec::len);
    let starts = lengths.scan(0, |at, length| {
        let start = *at;
        *at += length;
        Some(start)
    });
    let model = Model {
        world,
        moves: scripts.concat(),
        starts: starts.collect(),
        guard,
        back: back.to_vec(),
    };
    model.walk()
}

fn before(active: bool, ssh_ports: &[u16], ipv6_off: bool) -> Before {
    let mut missing = match active {
        true => Vec::new(),
        false => ssh_ports.to_vec(),
    };
    missing.extend([80, 443]);
    Before {
        active,
        ssh_ports: ssh_ports.to_vec(),
        missing,
        ipv6_off,
    }
}

/// sshd on 22, on another port, on several, behind ssh.socket (which is a port like any other once
/// the facts have it), or on one that nobody told us of; IPv4 and IPv6; with and without ufw on.
fn worlds() -> Vec<World> {
    let mut found = Vec::new();
    let lists: [&[u16]; 4] = [&[22], &[2222], &[22, 2222], &[22, 2222, 22022]];
    for ports in lists {
        let mut real = ports.to_vec();
        real.push(61022);
        for port in real {
            for bits in 0..16u32 {
                let bit = |at: u32| bits & (1 << at) != 0;
                found.push(World {
                    before: before(false, ports, bit(0)),
                    port,
                    v6: bit(1),
                    shut: bit(2),
                    unit: bit(3),
                });
            }
        }
        found.push(World {
            before: before(true, ports, false),
            port: ports[0],
            v6: false,
            shut: false,
            unit: true,
        });
    }
    found
}

/// Whether the rules that we write let this world in: then it has to come to its end.
fn is_right(world: &World) -> bool {
    world.before.active || (world.before.ssh_ports.contains(&world.port) && !world.shut)
}

/// What is wrong with these scripts in any world: somebody is shut out, or the end is never
/// reached where it should be, or it is where it must not be.
fn fault(
    worlds: &[World],
    guard: bool,
    back: &[Back],
    scripts: impl Fn(&World) -> Vec<Vec<Move>>,
) -> Option<String> {
    worlds
        .iter()
        .find_map(|world| match walk(world, &scripts(world), guard, back) {
            Found::Wrong(wrong) => Some(wrong),
            Found::Nothing { done, .. } if done != is_right(world) => {
                Some(format!("done is {done} in {world:?}"))
            }
            Found::Nothing { .. } => None,
        })
}

#[test]
fn somebody_is_always_let_in_now_or_soon() {
    let mut states_all = 0;
    for world in worlds() {
        match walk(&world, &scripts(&world.before), true, &BACK) {
            Found::Wrong(wrong) => panic!("{wrong}"),
            Found::Nothing { states, done } => {
                assert_eq!(done, is_right(&world), "{world:?}");
                states_all += states;
            }
        }
    }
    // A walk that goes nowhere finds nothing wrong.
    assert!(states_all > 20_000, "only {states_all} states");
}

#[test]
fn the_first_order_of_the_article_shuts_out() {
    let orders: [&[Move]; 4] = [
        // `ufw enable`, then `ufw allow ssh`.
        &[Move::Enable, Move::Allow(22)],
        // `ufw allow ssh` while sshd is on 2222.
        &[Move::Allow(22), Move::Enable],
        // The right port, and the rules do not do what they say.
        &[Move::Allow(2222), Move::Enable],
        // A timer, which a reboot takes away.
        &[Move::Keep, Move::ArmTimer, Move::Enable, Move::Prove],
    ];
    let shown = orders.map(|order| {
        let world = World {
            before: before(false, &[22, 2222], false),
            port: 2222,
            v6: false,
            shut: order[0] == Move::Allow(2222),
            unit: true,
        };
        walk(&world, &[order.to_vec()], false, &BACK)
    });
    for (order, found) in orders.iter().zip(shown) {
        let Found::Wrong(wrong) = found else {
            panic!("{order:?} is said to be fine");
        };
        assert!(wrong.starts_with("nobody is let in"), "{order:?}: {wrong}");
    }
}

#[test]
fn no_move_can_be_left_out() {
    for active in [false, true] {
        let worlds: Vec<World> = worlds()
            .into_iter()
            .filter(|world| world.before.active == active)
            .collect();
        let ours = scripts(&worlds[0].before);
        for (script, moves) in ours.iter().enumerate() {
            for (at, left_out) in moves.iter().enumerate() {
                // Where ufw was on, its rules let people in; the proof is for what no model has.
                if active && *left_out == Move::Prove {
                    continue;
                }
                let without = |world: &World| {
                    let mut scripts = scripts(&world.before);
                    // `IPV6=yes` is in some worlds only, and the first of its script.
                    let ipv6 = scripts[script].first() == Some(&Move::Ipv6);
                    scripts[script].remove(at + usize::from(ipv6));
                    scripts
                };
                let fault = fault(&worlds, true, &BACK, without);
                assert!(
                    fault.is_some(),
                    "{left_out:?} ({script}, {at}) is not missed"
                );
            }
        }
    }
    let ipv6_off: Vec<World> = worlds()
        .into_iter()
        .filter(|world| world.before.ipv6_off && world.v6)
        .collect();
    let without = |world: &World| {
        let scripts = scripts(&world.before).into_iter();
        let without = |script: Vec<Move>| script.into_iter().filter(|m| *m != Move::Ipv6).collect();
        scripts.map(without).collect()
    };
    assert!(fault(&ipv6_off, true, &BACK, without).is_some());
}

#[test]
fn no_piece_of_the_restore_can_be_left_out() {
    let worlds = worlds();
    let ours = |world: &World| scripts(&world.before);
    // Forgetting is only tidy.
    for at in 0..BACK.len() - 1 {
        let mut back = BACK.to_vec();
        let left_out = back.remove(at);
        let fault = fault(&worlds, true, &back, ours);
        assert!(fault.is_some(), "{left_out:?} ({at}) is not missed");
    }
    // Rules before the word that loads them: a power cut between the two is a trap.
    let mut back = BACK.to_vec();
    back.swap(1, 3);
    assert!(fault(&worlds, true, &back, ours).is_some());
}

#[test]
fn the_order_matters() {
    let worlds = worlds();
    let swapped = |wanted: fn(&[Vec<Move>]) -> Vec<Vec<Move>>| {
        fault(&worlds, true, &BACK, |world| {
            wanted(&scripts(&world.before))
        })
    };
    assert!(swapped(<[Vec<Move>]>::to_vec).is_none());
    // Armed after it is on.
    let late = swapped(|ours| {
        let mut order = ours.to_vec();
        let at = order.iter().position(|s| s.contains(&Move::ArmBoot));
        let armed = order.remove(at.unwrap());
        order.insert(3, armed);
        order
    });
    assert!(late.is_some());
    // Disarmed before the proof.
    let early = swapped(|ours| {
        let mut order = ours.to_vec();
        let last = order.len() - 1;
        order.swap(last - 1, last);
        order
    });
    assert!(early.is_some());
}

#[test]
fn what_may_shut_out_is_guarded() {
    let ours = |world: &World| scripts(&world.before);
    let fault = fault(&worlds(), false, &BACK, ours);
    assert!(
        fault.is_some(),
        "a timer may run out before the firewall is on"
    );
}
