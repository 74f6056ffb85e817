//! `aureon deploy`: facts, plan, question, lock, steps, receipt.
//!
//! An earlier run that was cut off is taken back first. The build step runs here, before the plan,
//! which is of what it writes. Under the lock the host is asked once more: if the plan would be
//! another by now, nothing is done. A step that fails has been taken back by the host itself; those
//! before it stay, so that the next deploy goes on from there.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::process::Command as Process;
use std::time::Instant;

use serde_json::json;

use super::plan::{planned, read_release, show};
use super::{Context, ask_facts, questions};
use crate::arguments::table::Flag;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::{Host, Ssh};
use crate::journal::{Back, Journal, Run, read};
use crate::limits;
use crate::plan::{Act, Plan, Step, certificate};
use crate::release::Release;
use crate::release::receipt::{Receipt, Said};
use crate::release::upload::{Stream, lacking, stream_bytes};
use crate::wanted::{Certificate, Deployment, Reader, Wanted};

/// Deploys to each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut reader = Reader::new(&context.arguments)?;
    let target = reader.target()?;
    let deployment = reader.deployment(&target)?;
    let mut built = false;
    context.each_host(&target, |host| {
        deploy_one(context, host, &deployment, &mut built)
    })
}

fn deploy_one(
    context: &Context,
    host: &mut Ssh,
    deployment: &Deployment,
    built: &mut bool,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let (say, wanted) = (&context.say, &deployment.wanted);
    let journal = context.journal();
    let facts = facts_of_sound_host(context, host, deployment, &journal)?;
    let dry = context.arguments.has(Flag::DryRun);
    if !dry && !std::mem::replace(built, true) {
        build(context, deployment)?;
    }
    let release = read_release(say, deployment, &facts)?;
    let plan = planned(host.name(), deployment, &facts, &release)?;
    let ends = plan.steps.is_empty() || dry;
    // Whoever is asked has to see what about.
    if !say.quiet || !context.arguments.has(Flag::Yes) {
        show(say, &plan);
    }
    if ends {
        return Ok(());
    }
    context.confirm(&format!("Do this on {}?", host.name()))?;
    let mut work = Work::new(context, &journal, Some(&release));
    work.wanted = Some(wanted);
    context.locked(host, &journal, |host| {
        let questions = questions(&wanted.app, Some(wanted));
        let (mut now, _) = ask_facts(host, &questions, &wanted.domains)?;
        // A release is named after the time of its plan.
        now.time_s = facts.time_s;
        let again = planned(host.name(), deployment, &now, &release)?;
        if shell_of(&again) != shell_of(&plan) {
            let what = "the host has changed since the plan was made";
            return Err(Failure::new(what, "look at the new plan: run it again"));
        }
        work.run(host, &plan, "deploy")
    })?;
    let scheme = match wanted.certificate {
        Certificate::None => "http",
        _ => "https",
    };
    let addresses = wanted.domains.iter();
    let addresses: String = addresses
        .map(|name| format!("{scheme}://{name}/\n"))
        .collect();
    work.end(host, &wanted.app, begun, &addresses);
    Ok(())
}

/// The host as it is, once what was left unfinished there has been taken back.
fn facts_of_sound_host(
    context: &Context,
    host: &mut Ssh,
    deployment: &Deployment,
    journal: &Journal,
) -> Result<Facts, Failure> {
    let wanted = &deployment.wanted;
    let questions = questions(&wanted.app, Some(wanted));
    context
        .say
        .note(&format!("asking {} what it is like", host.name()));
    let (facts, _) = ask_facts(host, &questions, &wanted.domains)?;
    let Some(unfinished) = &facts.unfinished else {
        return Ok(facts);
    };
    if context.arguments.has(Flag::DryRun) {
        return Ok(facts);
    }
    context.say.note(&format!(
        "the run {unfinished} was cut off: its open step is taken back"
    ));
    context.locked(host, journal, |_| Ok(()))?;
    Ok(ask_facts(host, &questions, &wanted.domains)?.0)
}

/// The build step, in the user's own shell and environment.
fn build(context: &Context, deployment: &Deployment) -> Result<(), Failure> {
    let Some(command) = &deployment.wanted.build else {
        return Ok(());
    };
    context.say.note(&format!("building: {command}"));
    let (shell, flag) = match std::env::consts::OS {
        "windows" => ("cmd", "/C"),
        _ => ("sh", "-c"),
    };
    let mut process = Process::new(shell);
    process
        .args([flag, command])
        .current_dir(&deployment.wanted.directory);
    if context.say.json {
        // Standard output is for objects.
        process.stdout(io::stderr());
    }
    match process.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let what = format!("the build step ended with {status}");
            Err(Failure::new(what, "nothing has been changed on any host"))
        }
        Err(error) => Err(Failure::new(
            format!("the build step can not be run: {error}"),
            "",
        )),
    }
}

/// What makes two plans the same.
fn shell_of(plan: &Plan) -> Vec<(&str, &str)> {
    plan.steps
        .iter()
        .map(|step| (step.id.as_str(), step.apply.as_str()))
        .collect()
}

/// The steps of one run.
pub(super) struct Work<'a> {
    context: &'a Context,
    journal: &'a Journal,
    /// What travels, if anything does.
    release: Option<&'a Release>,
    /// What is wished for: whose key travels, which names are looked at.
    wanted: Option<&'a Wanted>,
    said: Said,
    sent: u64,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        context: &'a Context,
        journal: &'a Journal,
        release: Option<&'a Release>,
    ) -> Self {
        Self {
            context,
            journal,
            release,
            wanted: None,
            said: Said::default(),
            sent: 0,
        }
    }

    /// Does all of it; `what` is the run's name for people.
    pub(super) fn run(
        &mut self,
        host: &mut dyn Host,
        plan: &Plan,
        what: &str,
    ) -> Result<(), Failure> {
        let what = format!("{what} {} on {}", plan.app, plan.host);
        let run = self.journal.begin(host, &plan.app, &what)?;
        self.context
            .say
            .event(&json!({"event": "run", "run": run.0}));
        for (at, step) in plan.steps.iter().enumerate() {
            let worked = self.step(host, &run, step, (at + 1, plan.steps.len()));
            if let Err(failure) = worked {
                return Err(self.give_up(host, &run, (step, plan), failure));
            }
        }
        Ok(self.journal.finish(host, &run, "done")?)
    }

    fn step(
        &mut self,
        host: &mut dyn Host,
        run: &Run,
        step: &Step,
        at: (usize, usize),
    ) -> Result<(), Failure> {
        let say = &self.context.say;
        say.begin(at, &step.id, &step.title);
        let begun = Instant::now();
        let said = &mut self.said;
        let mut last = VecDeque::new();
        let mut told = |line: &str| {
            if !said.hear(line) {
                say.host(line);
                if last.len() == limits::LAST_LINES {
                    last.pop_front();
                }
                last.push_back(line.to_owned());
            }
        };
        let ended = match (step.act, self.release) {
            (Act::Upload, Some(release)) => {
                let objects = lacking(host, release)?;
                let all = stream_bytes(&objects);
                self.sent += all;
                let mut percent = 0;
                let mut stream = Stream::new(objects, |sent| {
                    // Not for each piece: a terminal is slower than the line.
                    let now = sent.saturating_mul(100) / all.max(1);
                    if now > percent {
                        percent = now;
                        say.progress(at, &step.title, sent, all);
                    }
                });
                self.journal.step(host, run, step, &mut stream, &mut told)
            }
            (Act::Key, _) => {
                let mut key = key_of(self.wanted)?;
                self.journal.step(host, run, step, &mut key, &mut told)
            }
            _ => self
                .journal
                .step(host, run, step, &mut io::empty(), &mut told),
        };
        say.end(at, &step.id, &step.title, ended.is_ok(), begun.elapsed());
        if ended.is_err() {
            // What a service wrote before it ended is among them.
            say.last(&last);
        }
        ended?;
        match (step.act, self.wanted) {
            (Act::Reach, Some(wanted)) => certificate::reach::check(wanted).map_err(|refusal| {
                // Steps before this one have been done: it is no refusal any more.
                let what = format!("{} ({}); {}", refusal.cause, refusal.id, refusal.fix);
                Failure::new(what, "")
            }),
            _ => Ok(()),
        }
    }

    /// Ends a run in which a step failed, as far as the host can be reached. When a release is not
    /// healthy, what was prepared for it goes too: the one before served with what was there then.
    fn give_up(
        &self,
        host: &mut dyn Host,
        run: &Run,
        (step, plan): (&Step, &Plan),
        failure: Failure,
    ) -> Failure {
        let say = &self.context.say;
        let result = format!("failed at {}", step.id);
        let finished = self.journal.finish(host, run, &result);
        if let Err(error) = &finished {
            say.warn(&format!("the run is left unfinished on the host: {error}"));
        }
        let what = match failure {
            Failure::Failed { what, .. } => what,
            other => other.to_string(),
        };
        let what = format!("{}: {what}", step.title);
        let unhealthy = ["release/try", "release/switch", "release/restart"];
        let served = ["release/switch", "release/restart"];
        let mut steps = plan.steps.iter();
        let served =
            steps.any(|step| served.contains(&step.id.as_str()) && !step.current.is_empty());
        // A run that changed nothing has left nothing, and the last one is an earlier one.
        let is_last = |host: &mut dyn Host| {
            let history = read(host).ok();
            history
                .is_some_and(|history| history.runs.last().is_some_and(|last| last.name == run.0))
        };
        let taken_back = finished.is_ok() && served && unhealthy.contains(&step.id.as_str());
        if taken_back && is_last(host) {
            let mut told = |line: &str| say.host(line);
            return match self.journal.undo(host, Back::Last, &mut told) {
                Ok(()) => Failure::new(what, "the release before serves, as it did; mend this one"),
                Err(error) => {
                    let fix = format!("the release before serves; not all was taken back: {error}");
                    Failure::new(what, fix)
                }
            };
        }
        let fix = "mend it and deploy again, which goes on from here; or go back: \
                   aureon undo --last";
        Failure::new(what, fix)
    }

    /// The receipt: shown, behind `addresses`, and kept on the host beside the release.
    pub(super) fn end(&self, host: &mut dyn Host, app: &str, begun: Instant, addresses: &str) {
        let say = &self.context.say;
        let seconds = begun.elapsed().as_secs();
        let receipt = Receipt::new(app, host.name(), &self.said, self.sent, seconds);
        if !receipt.release.is_empty() {
            let kept = host.run(&receipt.keep(), &mut io::empty(), &mut |_| {});
            if !kept.is_ok_and(|answer| answer.code == 0) {
                say.warn("the receipt could not be kept on the host");
            }
        }
        if say.json {
            return say.event(&json!({"event": "receipt", "receipt": receipt}));
        }
        if !say.quiet {
            say.print(&format!("\n{addresses}{}", receipt.write_text()));
        }
    }
}

/// The private key that the user brings.
fn key_of(wanted: Option<&Wanted>) -> Result<File, Failure> {
    let Some((wanted, Certificate::Files { key, .. })) = wanted.map(|it| (it, &it.certificate))
    else {
        return Err(Failure::new("there is no key to be brought", ""));
    };
    let path = wanted.directory.join(key);
    File::open(&path).map_err(|error| Failure::new(format!("{}: {error}", path.display()), ""))
}
