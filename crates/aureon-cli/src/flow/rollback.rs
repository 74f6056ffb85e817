//! `aureon rollback`: back to a release that the host has kept, by the same gate as a new one.
//!
//! Nothing travels and nothing is read here but the names: it works from any machine.

use std::time::Instant;

use super::deploy::Work;
use super::plan::show;
use super::{Context, ask_facts, questions};
use crate::arguments::table::Flag;
use crate::failure::Failure;
use crate::host::{Host, Ssh};
use crate::plan::{Plan, rollback};
use crate::wanted::{Reader, Wanted};

/// Goes back on each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut reader = Reader::new(&context.arguments)?;
    let target = reader.target()?;
    let named = reader.other_words().first().cloned();
    let wanted = reader.deployed(&target)?;
    context.each_host(&target, |host| {
        go_back(context, host, &wanted, named.as_deref())
    })
}

fn go_back(
    context: &Context,
    host: &mut Ssh,
    wanted: &Wanted,
    named: Option<&str>,
) -> Result<(), Failure> {
    let planned = |host: &mut dyn Host| -> Result<Plan, Failure> {
        let (facts, _) = ask_facts(host, &questions(&wanted.app, None), &[])?;
        let mut plan = Plan {
            host: host.name().to_owned(),
            app: wanted.app.clone(),
            ..Plan::default()
        };
        rollback(wanted, &facts, named, &mut plan)?;
        Ok(plan)
    };
    let plan = planned(host)?;
    show(&context.say, &plan);
    if context.arguments.has(Flag::DryRun) {
        return Ok(());
    }
    context.confirm(&format!("Go back on {}?", host.name()))?;
    let journal = context.journal();
    let begun = Instant::now();
    let mut work = Work::new(context, &journal, None);
    context.locked(host, &journal, |host| {
        let plan = planned(host)?;
        work.run(host, &plan, "roll back")
    })?;
    work.end(host, &wanted.app, begun, "");
    Ok(())
}
