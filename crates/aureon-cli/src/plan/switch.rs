//! The steps by which a release begins to serve, or does not: tried beside the one that serves,
//! switched to through the socket that systemd holds, and back if it is not healthy there.

use super::release::name_on_host;
use super::shell::word;
use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::Facts;
use crate::release::Release;
use crate::wanted::{Serves, Socket, Wanted};

/// First of the ports that are given to applications. 8080: aureond's own default.
const FIRST_PORT: u16 = 8_080;

/// The port on 127.0.0.1 where the application is reached when all steps are done: the one it has,
/// the one that is wanted, or the first that is free. A program that opens its port itself gets
/// another one with each release, since both run for a moment.
pub(crate) fn port(wanted: &Wanted, facts: &Facts, release: Option<&Release>) -> u16 {
    let moves = matches!(
        wanted.serves,
        Serves::Program {
            socket: Socket::Port,
            ..
        }
    );
    let serves = |release: &Release| facts.current.as_deref().is_some_and(|id| release.is(id));
    let stays = !moves || release.is_none_or(serves);
    match (facts.app_port, wanted.port) {
        (Some(port), None) if stays => return port,
        (None, Some(port)) => return port,
        (Some(_), Some(port)) if !moves => return port,
        (Some(port), Some(_)) if stays => return port,
        _ => {}
    }
    let first = wanted.port.unwrap_or(FIRST_PORT);
    let taken = |port: &u16| {
        facts.app_port == Some(*port) || facts.listeners.iter().any(|other| other.port == *port)
    };
    (first..=u16::MAX)
        .find(|port| !taken(port))
        .unwrap_or(first)
}

/// Tries the release and switches to it; restarts the one that serves if only its configuration
/// has changed. `port` is where the application is reached.
pub(crate) fn steps(
    wanted: &Wanted,
    facts: &Facts,
    release: &Release,
    port: u16,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let id = name_on_host(facts, release);
    let begins = ["configuration/", "units/"];
    let mut earlier = plan.steps.iter();
    let reconfigured = earlier.any(|step| begins.iter().any(|with| step.id.starts_with(with)));
    if facts.current.as_ref() == Some(&id) {
        if reconfigured {
            plan.steps.push(restart(wanted, port));
        }
        return Ok(());
    }
    let site = matches!(wanted.serves, Serves::Site { .. });
    // An upgrade hands the old process's environment and sandbox on.
    let how = if site && !reconfigured && facts.current.is_some() {
        "upgrade"
    } else {
        "restart"
    };
    plan.steps.push(attempt(wanted, &id));
    plan.steps.push(switch(wanted, facts, &id, how, port));
    if facts.releases.len() + usize::from(!facts.releases.contains(&id)) > wanted.keep.max(2) {
        plan.steps.push(prune(wanted));
    }
    Ok(())
}

/// Back to a release that the host has: the one that is named, else the one that served before.
/// By the same gate as a new one.
///
/// # Errors
/// There is none, it is another application's, or it serves already.
pub(crate) fn rollback(
    wanted: &Wanted,
    facts: &Facts,
    named: Option<&str>,
    port: u16,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let refuse = |id: &str, cause: String| {
        let releases = facts.releases.join("\n  ");
        Err(Refusal {
            id: id.to_owned(),
            cause,
            fix: format!("name one of these: aureon rollback ID\n  {releases}"),
        })
    };
    let Some(id) = named.or(facts.previous.as_deref()) else {
        return refuse(
            "rollback/none",
            "no release served before this one".to_owned(),
        );
    };
    if !facts.releases.iter().any(|release| release == id) {
        return refuse("rollback/unknown", format!("the host has no release {id}"));
    }
    if facts.current.as_deref() == Some(id) {
        return refuse("rollback/current", format!("{id} serves already"));
    }
    let site = matches!(wanted.serves, Serves::Site { .. });
    let how = if site { "upgrade" } else { "restart" };
    plan.steps.push(attempt(wanted, id));
    plan.steps.push(switch(wanted, facts, id, how, port));
    Ok(())
}

/// The health path, and how many seconds there are.
fn health(wanted: &Wanted) -> String {
    format!("{} {}", word(&wanted.health_path), wanted.health_timeout_s)
}

fn attempt(wanted: &Wanted, id: &str) -> Step {
    Step {
        id: "release/try".to_owned(),
        title: format!("Try {id}"),
        why: "The release is started beside the one that serves, by the same unit but for the \
              port, and asked for its health path. What fails here has reached nobody."
            .to_owned(),
        current: String::new(),
        desired: format!("GET {} answers 200\n", wanted.health_path),
        apply: format!("release_try {} {id} {}\n", wanted.app, health(wanted)),
        undo: Undo::Kept,
        act: Act::Host,
    }
}

fn switch(wanted: &Wanted, facts: &Facts, id: &str, how: &str, port: u16) -> Step {
    let call = match wanted.serves {
        Serves::Program {
            socket: Socket::Port,
            ..
        } => format!("release_switch_port {}", wanted.app),
        _ => format!("release_switch {} {how}", wanted.app),
    };
    Step {
        id: "release/switch".to_owned(),
        title: format!("Switch to {id}"),
        why: "One link is renamed and the service goes over to it, while systemd holds the socket \
              and clients wait rather than fail. If the health path does not answer 200 in time, \
              the link goes back and the release before it serves."
            .to_owned(),
        current: facts.current.iter().map(|id| format!("{id}\n")).collect(),
        desired: format!("{id}\n"),
        apply: format!("{call} {id} {port} {}\n", health(wanted)),
        undo: Undo::Kept,
        act: Act::Host,
    }
}

fn restart(wanted: &Wanted, port: u16) -> Step {
    Step {
        id: "release/restart".to_owned(),
        title: "Restart with the new configuration".to_owned(),
        why: "A process keeps the environment it was started with. Clients wait at the socket \
              meanwhile."
            .to_owned(),
        current: "the old configuration\n".to_owned(),
        desired: format!("GET {} answers 200\n", wanted.health_path),
        apply: format!("release_again {} {port} {}\n", wanted.app, health(wanted)),
        undo: Undo::Kept,
        act: Act::Host,
    }
}

fn prune(wanted: &Wanted) -> Step {
    Step {
        id: "release/prune".to_owned(),
        title: format!("Keep {} releases", wanted.keep),
        why: "Older ones go, never the one that serves nor the one before it; then contents that \
              no release has."
            .to_owned(),
        current: String::new(),
        desired: format!("at most {} releases\n", wanted.keep),
        apply: format!("release_prune {} {}\n", wanted.app, wanted.keep),
        undo: Undo::Not("a release that was cleared away is deployed again".to_owned()),
        act: Act::Host,
    }
}
