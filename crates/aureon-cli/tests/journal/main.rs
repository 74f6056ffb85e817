//! The journal, over real files: every change comes back byte for byte, whatever ended it.
//!
//! Scripts run on this machine with its own `sh`, below a root of their own (`scratch`), with
//! Debian's programs over a directory (`machine`). `crashes` ends them at every call; `promises`
//! are those of the journal one by one; `apply` runs whole plans, as a deploy does and by hand.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apply;
mod crashes;
mod machine;
#[path = "../programs/mod.rs"]
mod programs;
mod promises;
mod scratch;

use aureon_cli::journal::{Back, Journal, JournalError, Run};
use aureon_cli::plan::{Act, Step, Undo};
use scratch::Scratch;
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
    let apply = apply.replace(" ME", " \"$(id -u):$(id -g)\"");
    // Root can give them away.
    let apply = apply.replace(" OTHER", " \"$(id -u | sed 's/^0$/65534/'):$(id -g)\"");
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
             make_dir /etc/nginx 0755 OTHER\nmake_dir /opt 0755 ME\n",
        ),
        step(
            "files",
            "put /etc/file 0600 ME <<'END'\nsecret $HOME `x` \\\\\nEND\n\
             put /etc/new 0644 OTHER <<'END'\nnew\nEND\n\
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
            "put /etc/file 0640 ME <<'END'\nonce more\nEND\n\
             put /etc/link 0644 ME <<'END'\nfile\nEND\n\
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
