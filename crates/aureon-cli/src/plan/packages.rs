//! What of Debian's the host needs: nginx, and ufw and certbot where they are asked for.
//!
//! The prelude's `install_packages` writes down what comes anew, dependencies and all, before it
//! comes, so that an undo purges exactly that; it keeps Debian from starting what it installs,
//! since nothing is configured yet.

use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::Facts;
use crate::wanted::{Certificate, Wanted};

/// Each with what it is for.
fn needed(wanted: &Wanted) -> Vec<(&'static str, &'static str)> {
    let mut needed = vec![("nginx", "nginx stands in front and speaks TLS")];
    if wanted.firewall {
        needed.push(("ufw", "ufw is the firewall"));
    }
    if matches!(wanted.certificate, Certificate::Certbot { .. }) {
        needed.push(("certbot", "certbot gets the certificate and renews it"));
    }
    needed
}

/// What has to be known of the host.
pub(crate) fn paths(wanted: &Wanted) -> Vec<String> {
    let needed = needed(wanted).into_iter();
    needed.map(|(name, _)| format!("package:{name}")).collect()
}

/// Installs what is missing.
pub(crate) fn steps(wanted: &Wanted, facts: &Facts, plan: &mut Plan) -> Result<(), Refusal> {
    let needed = needed(wanted);
    let missing = needed.iter().filter(|(name, _)| !facts.has_package(name));
    let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let reasons: Vec<&str> = needed.iter().map(|(_, reason)| *reason).collect();
    let lines = |all: bool| {
        let shown = needed.iter().map(|(name, _)| *name);
        let shown = shown.filter(|name| all || !missing.contains(name));
        shown.map(|name| format!("{name}\n")).collect()
    };
    plan.steps.push(Step {
        id: "packages/install".to_owned(),
        title: format!("Packages {}", missing.join(", ")),
        why: format!(
            "{}. Nothing is started by the installation. Undo purges what came anew and is \
             needed by nothing else by then.",
            reasons.join("; ")
        ),
        current: lines(false),
        desired: lines(true),
        apply: format!("install_packages {}\n", missing.join(" ")),
        undo: Undo::Kept,
        act: Act::Host,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn apply(wanted: &Wanted, installed: &[&str]) -> String {
        let mut facts = samples::facts();
        facts.packages = installed.iter().map(|name| (*name).to_owned()).collect();
        let mut plan = samples::plan();
        steps(wanted, &facts, &mut plan).unwrap();
        plan.steps.into_iter().map(|step| step.apply).collect()
    }

    #[test]
    fn what_is_installed_is_not_installed_again() {
        let wanted = samples::wanted();
        assert_eq!(apply(&wanted, &[]), "install_packages nginx ufw certbot\n");
        assert_eq!(
            apply(&wanted, &["nginx", "ufw"]),
            "install_packages certbot\n"
        );
        assert_eq!(apply(&wanted, &["nginx", "ufw", "certbot"]), "");
    }

    #[test]
    fn what_is_not_asked_for_is_not_installed() {
        let mut wanted = samples::wanted();
        wanted.firewall = false;
        wanted.certificate = Certificate::None;
        assert_eq!(apply(&wanted, &[]), "install_packages nginx\n");
    }
}
