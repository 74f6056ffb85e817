//! The service and its socket, as systemd knows them: written, and started at every boot.
//!
//! What is in them is `units/render.rs`. The socket comes first, since it is what holds the
//! address; neither is started here: a release is, when it has been tried.

mod render;

use super::shell;
use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::Facts;
use crate::wanted::{Places, Wanted};

const DIRECTORY: &str = "/etc/systemd/system";

/// What has to be known of the host.
pub(crate) fn paths(wanted: &Wanted) -> Vec<String> {
    let mut paths = Vec::new();
    for (name, _) in render::units(wanted, 0) {
        paths.push(format!("{DIRECTORY}/{name}"));
        // A template is enabled by the instance that serves.
        if !name.contains('@') {
            paths.push(name);
        }
    }
    paths
}

/// Writes the units.
pub(crate) fn steps(
    wanted: &Wanted,
    facts: &Facts,
    port: u16,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let mut written = render::units(wanted, port);
    let is_there = |path: &str, text: &str| {
        facts.file(path).is_some_and(|file| {
            file.content.as_deref() == Some(text.as_bytes())
                && (file.mode, file.owner.as_str()) == (0o644, "root:root")
        })
    };
    written.retain(|(name, text)| !is_there(&format!("{DIRECTORY}/{name}"), text));
    if !written.is_empty() {
        plan.steps.push(write(wanted, facts, &written));
    }
    Ok(())
}

/// Has them started at boot; behind the switch, so that there is something to start.
pub(crate) fn boot_steps(wanted: &Wanted, facts: &Facts, plan: &mut Plan) {
    let enabled = |name: &String| facts.unit(name).is_some_and(|unit| unit.enabled);
    let names = render::units(wanted, 0).into_iter().map(|(name, _)| name);
    let missing: Vec<String> = names
        .filter(|name| !name.contains('@') && !enabled(name))
        .collect();
    if !missing.is_empty() {
        plan.steps.push(enable(&missing));
    }
}

fn write(wanted: &Wanted, facts: &Facts, units: &[render::Rendered]) -> Step {
    let (mut current, mut desired, mut apply) = (String::new(), String::new(), String::new());
    for (name, text) in units {
        let path = format!("{DIRECTORY}/{name}");
        let there = facts.file(&path).and_then(|file| file.content.as_deref());
        current.push_str(&String::from_utf8_lossy(there.unwrap_or_default()));
        desired.push_str(text);
        apply.push_str(&shell::put(&path, 0o644, "root:root", text.as_bytes()));
    }
    apply.push_str("systemctl daemon-reload\n");
    apply.push_str(&move_socket(wanted, facts, units));
    let names: Vec<&str> = units.iter().map(|(name, _)| name.as_str()).collect();
    Step {
        id: "units/write".to_owned(),
        title: format!("Units {}", names.join(", ")),
        why: "The service runs as a user of its own that can do nothing but serve; every line of \
              the unit says why it is there. It is started again when it fails."
            .to_owned(),
        current,
        desired,
        apply,
        // Written first, so run last: when the files are as they were.
        undo: Undo::Shell(format!(
            "systemctl daemon-reload\nrelease_resume {}",
            wanted.app
        )),
        act: Act::Host,
    }
}

/// A socket that is open does not move by itself to another address.
fn move_socket(wanted: &Wanted, facts: &Facts, units: &[render::Rendered]) -> String {
    let places = Places::new(&wanted.app);
    let socket = places.socket();
    let Some((_, text)) = units.iter().find(|(name, _)| *name == socket) else {
        return String::new();
    };
    let address = |text: &str| {
        let mut lines = text.lines().map(str::to_owned);
        lines.find(|line| line.starts_with("ListenStream="))
    };
    let file = facts.file(&format!("{DIRECTORY}/{socket}"));
    let before = file.and_then(|file| file.content.as_deref());
    let before = address(&String::from_utf8_lossy(before.unwrap_or_default()));
    let open = facts.unit(&socket).is_some_and(|unit| unit.active);
    if !open || before == address(text) {
        return String::new();
    }
    let service = places.service();
    format!(
        "# An open socket keeps its address until it is closed; its service has to stop first.\n\
         systemctl stop {service} {socket}\nsystemctl start {socket} {service}\n"
    )
}

fn enable(names: &[String]) -> Step {
    let calls = names.iter().map(|name| format!("enable_unit {name}\n"));
    Step {
        id: "units/enable".to_owned(),
        title: "Start at boot".to_owned(),
        why: "After a reboot the socket is open before anything asks, and the service serves \
              without anybody."
            .to_owned(),
        current: String::new(),
        desired: names
            .iter()
            .map(|name| format!("{name} enabled\n"))
            .collect(),
        apply: calls.collect(),
        undo: Undo::Kept,
        act: Act::Host,
    }
}
