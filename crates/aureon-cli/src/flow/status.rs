//! `aureon status`: what is deployed on a host, how it is, and what was done there.
//!
//! It only reads. What is wrong is told with the rest; the exit code is 1 when the service does not
//! run, so that it can be asked by a script.

use std::io;

use serde_json::json;

use super::{Context, ask_facts, now_s, questions, sound};
use crate::facts::{Facts, quote};
use crate::failure::Failure;
use crate::host::{Host, Ssh};
use crate::journal::{history::History, read};
use crate::wanted::{Places, Target};

/// Of the service: names of `systemctl show`, and how they are told.
const PROPERTIES: &[(&str, &str)] = &[
    ("ActiveState", "state"),
    ("SubState", "substate"),
    ("ActiveEnterTimestamp", "since"),
    ("NRestarts", "restarts"),
    ("MemoryCurrent", "memory_bytes"),
];

/// Shows each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let target = context.target()?;
    let mut down = Vec::new();
    context.each_host(&target, |host| {
        if !status_of(context, host, &target)? {
            down.push(host.name().to_owned());
        }
        Ok(())
    })?;
    match down.is_empty() {
        true => Ok(()),
        false => {
            let what = format!("{} does not run on {}", target.app, down.join(", "));
            Err(Failure::new(what, "aureon logs shows what it wrote last"))
        }
    }
}

/// Whether the service runs.
fn status_of(context: &Context, host: &mut Ssh, target: &Target) -> Result<bool, Failure> {
    let mut questions = questions(&target.app, None);
    questions.certificate = Some(Places::new(&target.app).certbot_chain());
    let (facts, _) = ask_facts(host, &questions, &target.domains)?;
    let history = read(host)?;
    let service = ask_service(host, &target.app, facts.app_port)?;
    let value = |name: &str| {
        let found = service.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let runs = value("state") == "active";
    if context.say.json {
        let service: serde_json::Map<_, _> = service
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let certificate = facts.certificate.as_ref();
        context.say.event(
            &json!({"event": "status", "host": host.name(), "app": target.app,
            "runs": runs, "service": service, "port": facts.app_port, "current": facts.current,
            "previous": facts.previous, "releases": facts.releases, "secrets": facts.secrets,
            "certificate_ends_s": certificate.map(|one| one.ends_s),
            "firewall": facts.firewall.active, "unfinished": facts.unfinished,
            "journal": history}),
        );
        return Ok(runs);
    }
    let mut out = format!("{} on {}\n", target.app, host.name());
    let mut add = |name: &str, text: &str| out.push_str(&format!("{name:<12} {text}\n"));
    let state = format!(
        "{} ({}) since {}",
        value("state"),
        value("substate"),
        value("since")
    );
    add(
        "service",
        if facts.current.is_none() {
            "not deployed"
        } else {
            &state
        },
    );
    add("restarts", value("restarts"));
    describe(&facts, &history, &mut add);
    context.say.print(&out);
    Ok(runs)
}

fn describe(facts: &Facts, history: &History, add: &mut impl FnMut(&str, &str)) {
    if let Some(port) = facts.app_port {
        add("port", &format!("127.0.0.1:{port}"));
    }
    for release in &facts.releases {
        let mark = match Some(release) {
            current if current == facts.current.as_ref() => " <- serves",
            previous if previous == facts.previous.as_ref() => " <- before",
            _ => "",
        };
        add("release", &[release, mark].concat());
    }
    for secret in &facts.secrets {
        add("secret", secret);
    }
    for resolved in &facts.dns {
        add(
            "domain",
            &format!("{}: {}", resolved.name, facts.leads(&resolved.name)),
        );
    }
    match &facts.certificate {
        Some(certificate) => {
            let days = certificate.ends_s.saturating_sub(now_s()) / 86_400;
            add("certificate", &format!("{} days left", days));
        }
        None => add("certificate", "none of certbot's"),
    }
    add(
        "firewall",
        if facts.firewall.active {
            "ufw is on"
        } else {
            "ufw is off"
        },
    );
    if let Some(lock) = &history.lock {
        add(
            "lock",
            &format!(
                "{}, since {} s",
                lock.holder,
                now_s().saturating_sub(lock.since_s)
            ),
        );
    }
    for run in &history.runs {
        let state = if run.finished { "" } else { ", cut off" };
        add(
            "run",
            &format!("{}: {} by {}{state}", run.name, run.what, run.who),
        );
    }
}

/// What systemd knows of the service.
fn ask_service(
    host: &mut Ssh,
    app: &str,
    port: Option<u16>,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let names: Vec<&str> = PROPERTIES.iter().map(|(name, _)| *name).collect();
    let places = Places::new(app);
    // A program that opens its port itself is an instance of a template.
    let instance = port.map_or_else(String::new, |port| format!("aureon-{app}@{port}.service"));
    let script = format!(
        "unit={}\n\
         [ -z {instance} ] || ! systemctl is-active --quiet {instance} || unit={instance}\n\
         systemctl show --property={} \"$unit\"\n",
        quote(&places.service()),
        names.join(","),
        instance = quote(&instance),
    );
    let text = sound(host.run(&script, &mut io::empty(), &mut |_| {})?)?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let known = lines.filter_map(|(name, value)| {
        let (_, shown) = PROPERTIES.iter().find(|(known, _)| *known == name)?;
        Some((*shown, value.to_owned()))
    });
    Ok(known.collect())
}
