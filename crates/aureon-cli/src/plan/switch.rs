//! The steps by which a release begins to serve, or does not: tried beside the one that serves,
//! switched to through the socket that systemd holds, and back if it is not healthy there.
//!
//! Going back to a release that was kept passes the same gate. What the host does is `release.sh`.

use std::path::PathBuf;

use super::release::name_on_host;
use super::shell::word;
use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::{Facts, ReleaseRuns};
use crate::release::Release;
use crate::wanted::{Serves, Socket, Wanted};

/// First of the ports that are given to applications. 8080: aureond's own default.
const FIRST_PORT: u16 = 8_080;

/// The port on 127.0.0.1 where the application is reached when all steps are done: the one it has,
/// the one that is wanted, or the first that is free. A program that opens its port itself gets
/// another one with each release, since both run for a moment.
pub(crate) fn port(wanted: &Wanted, facts: &Facts, release: Option<&Release>) -> u16 {
    let serves = |release: &Release| facts.current.as_deref().is_some_and(|id| release.is(id));
    port_of(wanted, facts, release.is_none_or(serves))
}

/// `stays`: the release that serves is the one that will.
fn port_of(wanted: &Wanted, facts: &Facts, stays: bool) -> u16 {
    let moves = !stays && opens_its_port(wanted);
    match (facts.app_port, wanted.port) {
        // Two ports, of which the wanted one is the first.
        (Some(port), _) if opens_its_port(wanted) && !moves => port,
        (Some(_), _) if moves => first_free(wanted, facts),
        (_, Some(port)) | (Some(port), None) => port,
        (None, None) => first_free(wanted, facts),
    }
}

fn opens_its_port(wanted: &Wanted) -> bool {
    matches!(
        wanted.serves,
        Serves::Program {
            socket: Socket::Port,
            ..
        }
    )
}

fn first_free(wanted: &Wanted, facts: &Facts) -> u16 {
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
    let runs = |id: &str| facts.release_runs.iter().find(|runs| runs.id == id);
    let current = facts.current.as_deref().and_then(runs);
    if let (Some(to), Some(from)) = (runs(id), current) {
        // The units on the host are of what serves.
        if to.socket != from.socket {
            let cause = format!("{id} is run in another way than what serves, by other units");
            return Err(Refusal {
                id: "rollback/kind".to_owned(),
                cause,
                fix: "deploy what it was made from, or take runs back: aureon undo --last".into(),
            });
        }
    }
    let kept = runs(id).map(|runs| as_kept(wanted, runs));
    let wanted = kept.as_ref().unwrap_or(wanted);
    let site = matches!(wanted.serves, Serves::Site { .. });
    let how = if site { "upgrade" } else { "restart" };
    let port = port_of(wanted, facts, false);
    plan.steps.push(attempt(wanted, id));
    plan.steps.push(switch(wanted, facts, id, how, port));
    Ok(())
}

/// The same, run and asked as the host has kept it with the release: what a file here says is of
/// the next release, and there may be none.
fn as_kept(wanted: &Wanted, runs: &ReleaseRuns) -> Wanted {
    let serves = match runs.socket {
        None => Serves::Site {
            root: PathBuf::new(),
            configuration: String::new(),
        },
        Some(socket) => Serves::Program {
            command: Vec::new(),
            files: Vec::new(),
            socket,
        },
    };
    Wanted {
        serves,
        health_path: runs.health_path.clone(),
        health_timeout_s: runs.health_timeout_s,
        ..wanted.clone()
    }
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

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::facts::Listener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A release of one page, and its name on a host at a time.
    fn release(content: &str) -> Release {
        // Tests run side by side, and some have releases of the same content.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("aureon-switch-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(name);
        std::fs::create_dir_all(place.join("site")).unwrap();
        std::fs::write(place.join("site/index.html"), content).unwrap();
        std::fs::write(place.join("aureond"), "\x7fELF").unwrap();
        let mut wanted = samples::wanted();
        wanted.serves = Serves::Site {
            root: place.join("site"),
            configuration: String::new(),
        };
        let release = Release::read(&wanted, &place.join("aureond")).unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        release
    }

    fn port_program() -> Wanted {
        Wanted {
            serves: Serves::Program {
                command: vec!["server".into()],
                files: vec!["server".into()],
                socket: Socket::Port,
            },
            ..samples::wanted()
        }
    }

    fn ids(wanted: &Wanted, facts: &Facts, release: &Release, before: &[&str]) -> Vec<String> {
        let mut plan = Plan::default();
        for id in before {
            let mut step = restart(wanted, 1);
            step.id = (*id).to_owned();
            plan.steps.push(step);
        }
        steps(wanted, facts, release, 8080, &mut plan).unwrap();
        let added = plan.steps.into_iter().skip(before.len());
        added
            .map(|step| format!("{} {}", step.id, step.apply.trim()))
            .collect()
    }

    #[test]
    fn a_new_release_is_tried_and_switched_to_by_upgrade_or_by_restart() {
        let (first, second) = (release("first"), release("second"));
        let (mut facts, wanted) = (samples::facts(), samples::wanted());
        let app = &wanted.app;
        let health = health(&wanted);
        let id = first.id(facts.time_s);
        let fresh = ids(&wanted, &facts, &first, &["units/write"]);
        assert_eq!(
            fresh,
            [
                format!("release/try release_try {app} {id} {health}"),
                format!("release/switch release_switch {app} restart {id} 8080 {health}")
            ]
        );
        facts.releases = vec![id.clone()];
        facts.current = Some(id.clone());
        assert!(ids(&wanted, &facts, &first, &[]).is_empty());
        let again = ids(&wanted, &facts, &first, &["configuration/environment"]);
        assert_eq!(
            again,
            [format!("release/restart release_again {app} 8080 {health}")]
        );
        assert!(ids(&wanted, &facts, &second, &[])[1].contains(" upgrade "));
        assert!(ids(&wanted, &facts, &second, &["units/write"])[1].contains(" restart "));
        facts.current = Some(second.id(facts.time_s + 9));
        facts.releases.extend(facts.current.clone());
        let back = ids(&wanted, &facts, &first, &[]);
        assert!(
            back[1].contains(&id),
            "a release that is kept does not travel: {back:?}"
        );
    }

    #[test]
    fn one_release_too_many_is_cleared_away() {
        let (facts, mut wanted) = (samples::facts(), samples::wanted());
        let mut facts = facts;
        wanted.keep = 2;
        let release = release("many");
        facts.releases = vec![release.id(1).replace(release.mark(), "000000000000")];
        facts.current = facts.releases.last().cloned();
        assert_eq!(ids(&wanted, &facts, &release, &[]).len(), 2);
        facts
            .releases
            .push(release.id(2).replace(release.mark(), "000000000001"));
        assert!(ids(&wanted, &facts, &release, &[])[2].starts_with("release/prune"));
    }

    #[test]
    fn a_way_back_leads_to_a_release_that_is_there_and_does_not_serve() {
        let (mut facts, wanted) = (samples::facts(), samples::wanted());
        let (one, two) = (
            "x-20260101T000000Z-000000000001",
            "x-20260101T000000Z-000000000002",
        );
        facts.releases = vec![one.to_owned(), two.to_owned()];
        facts.current = Some(two.to_owned());
        let go = |facts: &Facts, named| {
            let mut plan = Plan::default();
            rollback(&wanted, facts, named, &mut plan)
                .map(|()| plan.steps[1].desired.clone())
                .map_err(|refusal| refusal.id)
        };
        assert_eq!(go(&facts, None), Err("rollback/none".to_owned()));
        assert_eq!(go(&facts, Some("x")), Err("rollback/unknown".to_owned()));
        assert_eq!(go(&facts, Some(two)), Err("rollback/current".to_owned()));
        assert_eq!(go(&facts, Some(one)), Ok(format!("{one}\n")));
        facts.previous = Some(one.to_owned());
        assert_eq!(go(&facts, None), Ok(format!("{one}\n")));
    }

    #[test]
    fn a_way_back_asks_as_the_release_was_asked_whatever_is_known_here() {
        // Nothing is known here: it is taken for a site.
        let (mut facts, wanted) = (samples::facts(), samples::wanted());
        let id = |second| format!("x-20260101T00000{second}Z-00000000000{second}");
        facts.releases = vec![id(1), id(2)];
        (facts.current, facts.app_port) = (Some(id(2)), Some(8080));
        let runs = |second, socket, path: &str| ReleaseRuns {
            id: id(second),
            socket,
            health_path: path.to_owned(),
            health_timeout_s: 7,
        };
        let go = |facts: &Facts| {
            let mut plan = Plan::default();
            rollback(&wanted, facts, Some(&id(1)), &mut plan)
                .map(|()| plan.steps[1].apply.trim().to_owned())
                .map_err(|refusal| refusal.id)
        };
        for (socket, end) in [
            (None, "release_switch blog upgrade ID 8080 /up 7"),
            (
                Some(Socket::Inherited),
                "release_switch blog restart ID 8080 /up 7",
            ),
            (Some(Socket::Port), "release_switch_port blog ID 8081 /up 7"),
        ] {
            facts.release_runs = vec![runs(1, socket, "/up"), runs(2, socket, "/other")];
            assert_eq!(go(&facts), Ok(end.replace("ID", &id(1))), "{socket:?}");
        }
        facts.release_runs[1].socket = None;
        assert_eq!(go(&facts), Err("rollback/kind".to_owned()));
        facts.release_runs.clear();
        assert!(go(&facts).unwrap().ends_with(" 8080 /healthz 30"));
    }

    #[test]
    fn a_program_that_opens_its_port_gets_another_one_with_each_release() {
        let (mut facts, wanted) = (samples::facts(), port_program());
        facts.listeners.clear();
        facts.app_port = None;
        let new = release("port");
        assert_eq!(port(&wanted, &facts, Some(&new)), 8080);
        facts.app_port = Some(8080);
        let listens = |port| Listener {
            address: "127.0.0.1".into(),
            port,
            program: "server".into(),
        };
        facts.listeners = vec![listens(8080)];
        assert_eq!(port(&wanted, &facts, Some(&new)), 8081);
        assert_eq!(port(&wanted, &facts, None), 8080);
        facts.current = Some(new.id(1));
        assert_eq!(port(&wanted, &facts, Some(&new)), 8080);
        let site = samples::wanted();
        assert_eq!(port(&site, &facts, Some(&release("site"))), 8080);
        facts.current = None;
        (facts.app_port, facts.listeners) = (Some(8081), vec![listens(8081)]);
        assert_eq!(port(&wanted, &facts, Some(&new)), 8080);
    }
}
