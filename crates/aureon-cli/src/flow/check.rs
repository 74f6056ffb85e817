//! `aureon check`: what stands between here and a deployment, in the order in which it would.
//!
//! Nothing is changed anywhere. Each line is a thing that was looked at; the first that fails is
//! the last, because what comes after it can not be known.

use std::fs;

use serde_json::json;

use super::plan::{planned, read_release};
use super::{Context, ask_facts, clock_warning, questions};
use crate::arguments::table::Flag;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::{Host, Ssh};
use crate::say::Tone;
use crate::wanted::{Deployment, Reader};

/// Looks at each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut reader = Reader::new(&context.arguments)?;
    let target = reader.target()?;
    // A host alone can be looked at too, to record it.
    let deployment = match context.arguments.has(Flag::Record) {
        true => reader
            .deployment(&target)
            .or_else(|_| reader.unserved(&target))?,
        false => reader.deployment(&target)?,
    };
    tell(
        context,
        "configuration",
        &format!("{} for {}", target.app, target.domains.join(", ")),
    );
    context.each_host(&target, |host| check_one(context, host, &deployment))
}

fn check_one(context: &Context, host: &mut Ssh, deployment: &Deployment) -> Result<(), Failure> {
    let wanted = &deployment.wanted;
    let questions = questions(&wanted.app, Some(wanted));
    let (facts, text) = ask_facts(host, &questions, &wanted.domains)?;
    tell(
        context,
        "connection",
        &format!("{} as {}", host.name(), facts.user),
    );
    tell(context, "host", &describe(&facts));
    if let Some(path) = context.arguments.path(Flag::Record) {
        fs::write(&path, text).map_err(|error| {
            Failure::new(
                format!("{} can not be written: {error}", path.display()),
                "",
            )
        })?;
        tell(context, "recorded", &path.display().to_string());
        return Ok(());
    }
    if let Some(warning) = clock_warning(&facts) {
        context.say.warn(&warning);
    }
    for domain in &wanted.domains {
        tell(
            context,
            "domain",
            &format!("{domain}: {}", facts.leads(domain)),
        );
    }
    let release = read_release(&context.say, deployment, &facts)?;
    let (files, bytes) = (release.entries().len(), release.bytes());
    tell(context, "release", &format!("{files} files, {bytes} bytes"));
    let plan = planned(host.name(), deployment, &facts, &release)?;
    for warning in &plan.warnings {
        context.say.warn(warning);
    }
    tell(
        context,
        "plan",
        &format!("{} steps; aureon plan shows them", plan.steps.len()),
    );
    Ok(())
}

fn describe(facts: &Facts) -> String {
    format!(
        "{} {} on {}, systemd {}, {} MiB of memory, {} MiB of disk left",
        facts.system,
        facts.system_version,
        facts.architecture,
        facts.systemd,
        facts.memory_bytes >> 20,
        facts.disk_free_bytes >> 20,
    )
}

fn tell(context: &Context, what: &str, text: &str) {
    let say = &context.say;
    if say.json {
        say.event(&json!({"event": "check", "id": what, "state": "pass", "text": text}));
    } else {
        say.print(&format!("{} {what}: {text}\n", say.paint(Tone::Good, "ok")));
    }
}
