//! `aureon undo`: takes runs back, the youngest first, until the host is as it was.
//!
//! What would be taken back is shown and asked about like a plan. A file that somebody else has
//! changed since is left as it is, and said.

use serde_json::json;

use super::Context;
use crate::arguments::table::Flag;
use crate::failure::Failure;
use crate::host::{Host, Ssh};
use crate::journal::history::describe_undo;
use crate::journal::{Back, read};
use crate::wanted::Reader;

/// Undoes on each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let target = Reader::new(&context.arguments)?.hosts_alone()?;
    context.each_host(&target, |host| undo_one(context, host))
}

fn undo_one(context: &Context, host: &mut Ssh) -> Result<(), Failure> {
    let say = &context.say;
    let history = read(host)?;
    let last = context.arguments.has(Flag::Last);
    let (back, from) = match last {
        true => (Back::Last, history.runs.len().saturating_sub(1)),
        false => (Back::All, 0),
    };
    let runs = history.runs.get(from..).unwrap_or_default();
    if runs.is_empty() {
        say.note(&format!("nothing to undo on {}", host.name()));
        say.event(&json!({"event": "undo", "runs": []}));
        return Ok(());
    }
    if say.json {
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        say.event(&json!({"event": "undo", "runs": names}));
    } else {
        say.print(&describe_undo(runs));
    }
    if context.arguments.has(Flag::DryRun) {
        return Ok(());
    }
    context.confirm(&format!("Take this back on {}?", host.name()))?;
    let journal = context.journal();
    let mut left = 0;
    context.locked(host, &journal, |host| {
        let mut told = |line: &str| {
            if line.starts_with("left: ") {
                left += 1;
                say.warn(line);
            } else if line.starts_with("undone: ") {
                say.note(line);
            } else {
                say.host(line);
            }
        };
        Ok(journal.undo(host, back, &mut told)?)
    })?;
    match left {
        0 => say.note("undone"),
        some => say.warn(&format!("undone, but for {some} named above")),
    }
    say.event(&json!({"event": "undone", "left": left}));
    Ok(())
}
