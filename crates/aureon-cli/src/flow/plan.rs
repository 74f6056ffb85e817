//! `aureon plan`: what `deploy` would change, as text, as JSON, or as the script that it would run.
//!
//! The steps are planned here for `deploy` too, so that both show the same.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use similar::ChangeTag;

use super::{Context, ask_facts, clock_warning, questions, recorded_facts};
use crate::arguments::table::Flag;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::fitness;
use crate::limits;
use crate::plan::{Act, Plan, Refusal, Undo, plan as make_plan, script};
use crate::release::Release;
use crate::release::upload::{Stream, objects};
use crate::say::{Say, Tone};
use crate::wanted::{Deployment, Reader, Serves};

/// Shows the plan of each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut reader = Reader::new(&context.arguments)?;
    let target = reader.target()?;
    let deployment = reader.deployment(&target)?;
    let wanted = &deployment.wanted;
    if wanted.build.is_some() {
        context
            .say
            .note("the build step is not run by plan: the files are planned as they are");
    }
    if let Some(path) = context.arguments.path(Flag::Facts) {
        let name = target.hosts.first().map_or("recorded", String::as_str);
        let facts = recorded_facts(name, &path)?;
        return plan_one(context, name, &deployment, &facts);
    }
    context.each_host(&target, |host| {
        let questions = questions(&wanted.app, Some(wanted));
        let (facts, _) = ask_facts(host, &questions, &wanted.domains)?;
        let name = crate::host::Host::name(host).to_owned();
        plan_one(context, &name, &deployment, &facts)
    })
}

fn plan_one(
    context: &Context,
    host: &str,
    deployment: &Deployment,
    facts: &Facts,
) -> Result<(), Failure> {
    let release = read_release(&context.say, deployment, facts)?;
    let plan = planned(host, deployment, facts, &release)?;
    if context.arguments.has(Flag::Script) {
        context.say.print(&script::render(&plan));
    } else {
        show(&context.say, &plan);
    }
    match context.arguments.path(Flag::Contents) {
        Some(path) => write_contents(&path, &release),
        None => Ok(()),
    }
}

/// All contents of the release, as a script that is run by hand reads them.
fn write_contents(path: &Path, release: &Release) -> Result<(), Failure> {
    let mut stream = Stream::new(objects(release), |_| {});
    let written = File::create(path).and_then(|mut file| io::copy(&mut stream, &mut file));
    let failed = |error| {
        Failure::new(
            format!("{} can not be written: {error}", path.display()),
            "",
        )
    };
    written.map(drop).map_err(failed)
}

/// The release, once it is known that what is in it runs on the host.
pub(super) fn read_release(
    say: &Say,
    deployment: &Deployment,
    facts: &Facts,
) -> Result<Release, Failure> {
    let wanted = &deployment.wanted;
    let aureond = match &wanted.serves {
        Serves::Site { .. } => aureond(deployment, facts)?,
        Serves::Program { command, .. } => {
            check_program(&wanted.directory, command, facts)?;
            PathBuf::new()
        }
    };
    let release = Release::read(wanted, &aureond).map_err(|error| {
        let fix = match wanted.build {
            Some(_) => "does the build step write it?",
            None => "",
        };
        Failure::new(error.to_string(), fix)
    })?;
    for left_out in release.left_out() {
        say.note(&format!("left out: {left_out}"));
    }
    Ok(release)
}

/// The plan of one host, with what the user should know.
pub(super) fn planned(
    host: &str,
    deployment: &Deployment,
    facts: &Facts,
    release: &Release,
) -> Result<Plan, Failure> {
    let plan = make_plan(&deployment.wanted, facts, Some(release));
    // What is to be typed is typed as it stands there.
    let mut plan = plan.map_err(|refusal| Refusal {
        fix: refusal
            .fix
            .replace("aureon env HOST", &format!("aureon env {host}")),
        ..refusal
    })?;
    host.clone_into(&mut plan.host);
    plan.warnings.extend(clock_warning(facts));
    if let Some(run) = &facts.unfinished {
        let text = format!("the run {run} was cut off; a deploy takes its open step back first");
        plan.warnings.push(text);
    }
    Ok(plan)
}

/// A program that stands first in a command is the one that has to run.
fn check_program(directory: &Path, command: &[String], facts: &Facts) -> Result<(), Failure> {
    let Some(first) = command.first() else {
        return Ok(());
    };
    let path = directory.join(first);
    // One that is missing is for the release to tell.
    if let Ok(kind) = fitness::read(&path) {
        fitness::check(first, &kind, facts, false)?;
    }
    Ok(())
}

/// The program that serves a site on the host: the one named, else the first that is found and
/// fits.
fn aureond(deployment: &Deployment, facts: &Facts) -> Result<PathBuf, Failure> {
    let check = |path: &Path| -> Result<(), Failure> {
        let kind = fitness::read(path).map_err(|error| {
            Failure::new(format!("{} can not be read: {error}", path.display()), "")
        })?;
        Ok(fitness::check(
            &path.display().to_string(),
            &kind,
            facts,
            true,
        )?)
    };
    if let Some(path) = &deployment.aureond {
        return check(path).map(|()| path.clone());
    }
    let (names, places) = where_it_may_be(&facts.architecture);
    let mut first = None;
    for path in candidates(&names, &places) {
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    Err(first.unwrap_or_else(|| not_found(&names, &places)))
}

/// The names that it may have, and the directories that it may be in: beside this program, as in an
/// archive, then those of the PATH.
fn where_it_may_be(architecture: &str) -> ([String; 2], Vec<PathBuf>) {
    let names = [format!("aureond-{architecture}"), "aureond".to_owned()];
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| Some(own.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = Vec::new();
    for place in beside.into_iter().chain(std::env::split_paths(&path)) {
        // An empty word would be wherever the user happens to be.
        if !place.as_os_str().is_empty() && !places.contains(&place) {
            places.push(place);
        }
    }
    (names, places)
}

/// Files that may be it, the likeliest first.
fn candidates(names: &[String; 2], places: &[PathBuf]) -> Vec<PathBuf> {
    let all = places
        .iter()
        .flat_map(|place| names.iter().map(|name| place.join(name)));
    all.filter(|path| path.is_file()).collect()
}

fn not_found(names: &[String; 2], places: &[PathBuf]) -> Failure {
    let shown: Vec<String> = places
        .iter()
        .take(limits::PLACES_SHOWN)
        .map(|place| place.display().to_string())
        .collect();
    let more = match places.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more of the PATH"),
    };
    let cause = format!(
        "there is no aureond for the host: neither {} nor {} is in {}{more}",
        names[0],
        names[1],
        shown.join(", ")
    );
    let fix = "lay the static aureond of the release's archive beside this program, or build one \
               by scripts/dist and name it by --aureond target/dist/aureond";
    Failure::refuse("program/aureond", cause, fix)
}

/// Shows a plan.
pub(super) fn show(say: &Say, plan: &Plan) {
    if say.json {
        return say.event(&as_json(plan));
    }
    for warning in &plan.warnings {
        say.warn(warning);
    }
    say.print(&as_text(say, plan));
}

fn as_text(say: &Say, plan: &Plan) -> String {
    let mut out = say.paint(Tone::Strong, &format!("{} on {}\n", plan.app, plan.host));
    if plan.steps.is_empty() {
        out.push_str("nothing to do: the host is as it is wanted\n");
        return out;
    }
    for (at, step) in plan.steps.iter().enumerate() {
        let title = format!("\n{:>2}. {}\n", at + 1, step.title);
        out.push_str(&say.paint(Tone::Strong, &title));
        if say.verbose {
            let why = format!("    {}\n", step.why);
            out.push_str(&say.paint(Tone::Weak, &why));
        }
        out.push_str(&difference(say, &step.current, &step.desired));
        if let Undo::Not(why) = &step.undo {
            out.push_str(&format!("    can not be undone: {why}\n"));
        }
    }
    out
}

/// What goes and what comes, line by line, with some lines around. Without `-v` comments that come
/// are left out, and what is longer than a screen.
fn difference(say: &Say, current: &str, desired: &str) -> String {
    let diff = similar::TextDiff::from_lines(current, desired);
    let (mut out, mut more) = (Vec::new(), 0);
    for (at, group) in diff.grouped_ops(2).iter().enumerate() {
        if at > 0 {
            out.push("      …".to_owned());
        }
        for change in group
            .iter()
            .flat_map(|operation| diff.iter_changes(operation))
        {
            let line = change.value().trim_end_matches('\n');
            let (sign, tone) = match change.tag() {
                ChangeTag::Delete => ("-", Tone::Bad),
                ChangeTag::Insert => ("+", Tone::Good),
                ChangeTag::Equal => (" ", Tone::Weak),
            };
            let words = line.trim_start();
            let quiet = sign == "+" && (words.is_empty() || words.starts_with('#'));
            let full = out.len() >= limits::DIFFERENCE_LINES;
            if (quiet || full) && !say.verbose {
                more += 1;
            } else {
                out.push(say.paint(tone, &format!("    {sign} {line}")));
            }
        }
    }
    if more > 0 {
        let text = format!("      … and {more} lines that -v shows");
        out.push(say.paint(Tone::Weak, &text));
    }
    out.iter().map(|line| [line, "\n"].concat()).collect()
}

fn as_json(plan: &Plan) -> Value {
    let steps = plan.steps.iter().map(|step| {
        let undo = match &step.undo {
            Undo::Kept => json!({"by": "kept"}),
            Undo::Shell(shell) => json!({"by": "shell", "shell": shell}),
            Undo::Not(why) => json!({"by": "nothing", "why": why}),
        };
        let act = match step.act {
            Act::Host => "host",
            Act::Upload => "upload",
            Act::Key => "key",
            Act::Reach => "reach",
            Act::Anew => "anew",
        };
        json!({"id": step.id, "title": step.title, "why": step.why, "current": step.current,
            "desired": step.desired, "apply": step.apply, "undo": undo, "act": act})
    });
    json!({"event": "plan", "host": plan.host, "app": plan.app, "warnings": plan.warnings,
        "steps": steps.collect::<Vec<_>>()})
}
