//! The steps that bring a release to the host, without any effect on what serves.
//!
//! A release that is there already, because it serves or because it is kept, does not travel.

use super::shell::word;
use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::Facts;
use crate::limits;
use crate::release::Release;
use crate::wanted::{Serves, Socket, Wanted};

/// The name that the release has on the host, or gets.
#[must_use]
pub(crate) fn name_on_host(facts: &Facts, release: &Release) -> String {
    let current = facts.current.iter();
    let found = current
        .chain(facts.releases.iter().rev())
        .find(|id| release.is(id));
    found.cloned().unwrap_or_else(|| release.id(facts.time_s))
}

/// How it is run, in the word that is kept with it.
fn kind(wanted: &Wanted) -> &'static str {
    match wanted.serves {
        Serves::Site { .. } => "site",
        Serves::Program {
            socket: Socket::Inherited,
            ..
        } => "inherited",
        Serves::Program {
            socket: Socket::Port,
            ..
        } => "port",
    }
}

/// Sends and puts together.
pub(crate) fn steps(
    wanted: &Wanted,
    facts: &Facts,
    release: &Release,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let id = name_on_host(facts, release);
    if facts.releases.contains(&id) {
        return Ok(());
    }
    if release.bytes() + limits::DISK_SPARE_BYTES > facts.disk_free_bytes {
        return Err(Refusal {
            id: "release/disk".to_owned(),
            cause: format!(
                "the release has {} bytes and the host has {} left",
                release.bytes(),
                facts.disk_free_bytes
            ),
            fix: "make room on the host, or deploy less".to_owned(),
        });
    }
    let (files, bytes) = (release.entries().len(), release.bytes());
    plan.steps.push(Step {
        id: "release/upload".to_owned(),
        title: "Contents of the release".to_owned(),
        why: "Only contents that the host lacks travel. Each is compared with its SHA-256 there \
              before it has a name that a release can use."
            .to_owned(),
        current: String::new(),
        desired: format!("{files} files, {bytes} bytes\n"),
        apply: "release_receive\n".to_owned(),
        undo: Undo::Kept,
        act: Act::Upload,
    });
    plan.steps.push(Step {
        id: "release/assemble".to_owned(),
        title: format!("Release {id}"),
        why: "A directory of links to the contents, put together aside and renamed when it is \
              whole. Files with a hash in their names that releases before it had stay reachable."
            .to_owned(),
        current: facts.releases.iter().map(|id| format!("{id}\n")).collect(),
        desired: facts
            .releases
            .iter()
            .chain([&id])
            .map(|id| format!("{id}\n"))
            .collect(),
        apply: format!(
            "release_assemble {} {id} {} {} {} {}\n",
            wanted.app,
            release.manifest_sha256(),
            kind(wanted),
            wanted.health_timeout_s,
            word(&wanted.health_path)
        ),
        undo: Undo::Kept,
        act: Act::Host,
    });
    Ok(())
}
