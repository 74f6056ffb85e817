//! The whole plan: every part, in the order in which the host has to see them.
//!
//! What refuses comes before what changes: the host's system, the names and the certificate are
//! looked at when the plan is made, and a plan exists only if nothing speaks against all of it.

use super::nginx::Half;
use super::{
    Plan, Refusal, certificate, configuration, directories, firewall, nginx, packages, release,
    switch, units,
};
use crate::facts::Facts;
use crate::release::Release;
use crate::wanted::Wanted;

/// The oldest systemd on which the units have been run: Debian 12's.
const SYSTEMD_MIN: u32 = 252;

/// Files, units (`nginx.service`) and packages (`package:nginx`) that the parts look at.
#[must_use]
pub fn paths(wanted: &Wanted) -> Vec<String> {
    let mut paths = Vec::new();
    paths.extend(packages::paths(wanted));
    paths.extend(directories::paths(wanted));
    paths.extend(configuration::paths(wanted));
    paths.extend(units::paths(wanted));
    paths.extend(nginx::paths(wanted));
    paths.extend(certificate::paths(wanted));
    paths.extend(firewall::paths(wanted));
    paths.sort();
    paths.dedup();
    paths
}

/// What is to be done. Without a release everything else is planned.
///
/// # Errors
/// It would not work, or would break something.
pub fn plan(wanted: &Wanted, facts: &Facts, release: Option<&Release>) -> Result<Plan, Refusal> {
    check_system(facts)?;
    check_secrets(wanted, facts)?;
    let port = switch::port(wanted, facts, release);
    check_port(port, facts)?;
    let mut plan = Plan {
        app: wanted.app.clone(),
        ..Plan::default()
    };
    packages::steps(wanted, facts, &mut plan)?;
    directories::steps(wanted, facts, &mut plan)?;
    if let Some(release) = release {
        release::steps(wanted, facts, release, &mut plan)?;
    }
    configuration::steps(wanted, facts, &mut plan)?;
    units::steps(wanted, facts, port, &mut plan)?;
    if let Some(release) = release {
        switch::steps(wanted, facts, release, port, &mut plan)?;
    }
    units::boot_steps(wanted, facts, &mut plan);
    nginx::steps(wanted, facts, port, Half::Http, &mut plan)?;
    certificate::steps(wanted, facts, &mut plan)?;
    nginx::steps(wanted, facts, port, Half::Tls, &mut plan)?;
    firewall::steps(wanted, facts, &mut plan)?;
    certificate::look_at_the_end(wanted, &mut plan);
    Ok(plan)
}

/// Back to a release that the host has: the one that is named, else the one that served before.
///
/// # Errors
/// There is none, or it serves already.
pub fn rollback(
    wanted: &Wanted,
    facts: &Facts,
    named: Option<&str>,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    switch::rollback(wanted, facts, named, plan)
}

fn refuse(id: &str, cause: String, fix: &str) -> Refusal {
    Refusal {
        id: id.to_owned(),
        cause,
        fix: fix.to_owned(),
    }
}

/// Whether this is a system on which the steps have been tried.
fn check_system(facts: &Facts) -> Result<(), Refusal> {
    let version = facts.system_major();
    let known = match facts.system.as_str() {
        "debian" => version >= 12,
        "ubuntu" => version >= 24,
        _ => false,
    };
    if !known {
        let cause = format!("the host runs `{} {}`", facts.system, facts.system_version);
        let fix = "take a host with Debian 12 or newer, or Ubuntu 24.04 or newer";
        return Err(refuse("host/system", cause, fix));
    }
    if facts.systemd < SYSTEMD_MIN {
        let cause = match facts.systemd {
            0 => "systemd is not the host's first process".to_owned(),
            version => format!("the host has systemd {version}, older than {SYSTEMD_MIN}"),
        };
        let fix = "a whole machine is needed, real or virtual, and no container";
        return Err(refuse("host/systemd", cause, fix));
    }
    Ok(())
}

/// Secrets are put on the host before what needs them.
fn check_secrets(wanted: &Wanted, facts: &Facts) -> Result<(), Refusal> {
    let missing = wanted
        .secrets
        .iter()
        .filter(|name| !facts.secrets.contains(name));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let cause = format!("the host has no value for {}", missing.join(", "));
    let fix = format!("aureon env HOST set {}", missing.join(" "));
    Err(refuse("secrets/missing", cause, &fix))
}

/// Nobody else may have the application's port.
fn check_port(port: u16, facts: &Facts) -> Result<(), Refusal> {
    let other = facts.listeners.iter().find(|one| one.port == port);
    match other.filter(|_| facts.app_port != Some(port)) {
        None => Ok(()),
        Some(other) => {
            let cause = format!("port {port} is taken on the host by `{}`", other.program);
            Err(refuse(
                "port/taken",
                cause,
                "name another by --port, or none",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::facts::Listener;

    fn refused(change: impl Fn(&mut Facts)) -> String {
        let mut facts = samples::facts();
        change(&mut facts);
        let mut wanted = samples::wanted();
        wanted.secrets = vec!["KEY".into()];
        facts.secrets.push("KEY".into());
        plan(&wanted, &facts, None).map_or_else(|refusal| refusal.id, |_| String::new())
    }

    #[test]
    fn a_system_that_nobody_tried_is_refused_before_anything_else() {
        let system = |name: &'static str, version: &'static str| {
            refused(|facts| {
                name.clone_into(&mut facts.system);
                version.clone_into(&mut facts.system_version);
            })
        };
        for (name, version) in [
            ("debian", "11"),
            ("ubuntu", "22.04"),
            ("alpine", "3.20"),
            ("", ""),
        ] {
            assert_eq!(system(name, version), "host/system", "{name} {version}");
        }
        for (name, version) in [("debian", "12"), ("debian", "13"), ("ubuntu", "24.04")] {
            assert_eq!(system(name, version), "", "{name} {version}");
        }
        assert_eq!(refused(|facts| facts.systemd = 0), "host/systemd");
        assert_eq!(refused(|facts| facts.systemd = 251), "host/systemd");
    }

    #[test]
    fn a_secret_that_is_missing_is_asked_for() {
        let mut wanted = samples::wanted();
        wanted.secrets = vec!["A".into(), "B".into()];
        let refusal = plan(&wanted, &samples::facts(), None).unwrap_err();
        assert_eq!(refusal.id, "secrets/missing");
        assert!(refusal.fix.ends_with("set A B"), "{refusal:?}");
    }

    #[test]
    fn a_port_that_somebody_else_has_is_refused() {
        let mut wanted = samples::wanted();
        let mut facts = samples::facts();
        facts.listeners.push(Listener {
            address: "127.0.0.1".into(),
            port: 8080,
            program: "java".into(),
        });
        assert!(plan(&wanted, &facts, None).is_ok(), "the next one is free");
        wanted.port = Some(8080);
        assert_eq!(plan(&wanted, &facts, None).unwrap_err().id, "port/taken");
        facts.app_port = Some(8080);
        assert!(plan(&wanted, &facts, None).is_ok());
    }
}
