//! A plan as one POSIX shell script: the very shell that a deploy runs, to be read and, if one
//! likes, run by hand as root on the host. It begins and ends a run as a deploy does, so that
//! `aureon undo` takes it back.

use super::shell::{comment, word};
use super::{Act, Plan, Step, Undo};
use crate::journal::PRELUDE;

/// The whole script.
#[must_use]
pub fn render(plan: &Plan) -> String {
    // Steps bring functions of their own, and `lock` has a word that nobody says here.
    let mut out = String::from("#!/bin/sh\n# shellcheck disable=SC2119,SC2120,SC2218,SC2317\n");
    let title = format!(
        "Deploys {} to {}, as `aureon deploy` would do it. Run it as root on the host: sh SCRIPT. \
         Each step is taken back when it fails; `aureon undo` takes all of it back.",
        plan.app, plan.host
    );
    out.push_str(&comment(&title));
    for warning in &plan.warnings {
        out.push_str(&comment(&format!("Know before: {warning}")));
    }
    if plan.steps.iter().any(|step| step.act == Act::Upload) {
        out.push_str(&comment(
            "It reads the contents of the release as its standard input: add --contents FILE to \
             the command that printed this, and run it by: sh SCRIPT <FILE.",
        ));
    }
    out.push_str("#\n");
    out.push_str(PRELUDE);
    out.push_str("\nlock\njoin_run ''\nheal\n");
    let what = format!("deploy {} to {}", plan.app, plan.host);
    out.push_str(&format!("start_run {} {}\n", word(&plan.app), word(&what)));
    for step in &plan.steps {
        out.push('\n');
        out.push_str(&comment(&format!("{}: {}", step.title, step.why)));
        out.push_str(&comment(&undo_text(step)));
        out.push_str(&act_text(step.act));
        out.push_str(&step_shell(step));
    }
    out.push_str("\nfinish_run\nunlock\n");
    out
}

/// The shell of one step, between its beginning and its end.
#[must_use]
pub fn step_shell(step: &Step) -> String {
    let mut out = format!("begin {} {}\n", word(&step.id), word(&step.title));
    if let Undo::Shell(shell) = &step.undo {
        out.push_str(&format!("undo_by {}\n", word(shell.trim_end())));
    }
    out.push_str(step.apply.trim_end());
    out.push_str("\nend\n");
    out
}

fn undo_text(step: &Step) -> String {
    match &step.undo {
        Undo::Kept => "Undo: what is replaced is kept, and put back.".to_owned(),
        Undo::Shell(shell) if shell.contains('\n') => "Undo: by the shell in undo_by.".to_owned(),
        Undo::Shell(shell) => format!("Undo: {shell}"),
        Undo::Not(why) => format!("Undo: not possible: {why}"),
    }
}

fn act_text(act: Act) -> String {
    match act {
        Act::Host => String::new(),
        Act::Upload => comment("Reads contents from this script's standard input."),
        Act::Key => comment("Its standard input is the private key."),
        Act::Reach => comment("A deploy then asks for the file by name, from where it runs."),
        Act::Anew => comment("A deploy runs this through a new ssh connection."),
    }
}
