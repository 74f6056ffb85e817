//! The firewall: ssh, 80 and 443 open, all else shut, and nobody locked out on the way.
//!
//! What is done, in which order, is `firewall/moves.rs`; that the order holds at every crash,
//! reboot and lost link is shown by `firewall/model.rs`, which walks the same list. Here it is
//! decided what is missing, and when to keep our hands off: another firewall, or rules of somebody
//! else's that say something about these ports.

#[cfg(test)]
mod model;
mod moves;
mod rules;

use super::shell;
use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::Facts;
use crate::wanted::Wanted;
use moves::{Move, PLACE, Stage};
use rules::Says;

/// What Nginx answers on.
const WEB_PORTS: [u16; 2] = [80, 443];

const DEFAULTS: &str = "/etc/default/ufw";

/// What the order depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Before {
    /// ufw is on.
    pub(crate) active: bool,
    /// Where ssh is reached.
    pub(crate) ssh_ports: Vec<u16>,
    /// Ports to be allowed, in this order: ssh first.
    pub(crate) missing: Vec<u16>,
    /// ufw would shut IPv6 out altogether.
    pub(crate) ipv6_off: bool,
}

/// What has to be known of the host.
pub(crate) fn paths(_: &Wanted) -> Vec<String> {
    let ours = |name: &str| format!("{PLACE}/{name}");
    vec![
        DEFAULTS.to_owned(),
        ours("armed"),
        ours("armed/active"),
        ours("restoring"),
        "package:ufw".to_owned(),
    ]
}

/// Opens what is missing and turns ufw on, if that is wanted and not so yet.
pub(crate) fn steps(wanted: &Wanted, facts: &Facts, plan: &mut Plan) -> Result<(), Refusal> {
    warn_of_docker(facts, plan);
    if !wanted.firewall {
        return Ok(());
    }
    let Some(before) = before(facts, plan)? else {
        return Ok(());
    };
    let current = shown(facts.firewall.active, &facts.firewall.rules);
    let mut rules = facts.firewall.rules.clone();
    rules.extend(
        before
            .missing
            .iter()
            .map(|port| format!("allow {port}/tcp")),
    );
    let desired = shown(true, &rules);
    for stage in moves::stages(&before) {
        let mut step = render(&stage, &before);
        if stage.moves.contains(&Move::Prove) {
            (step.current, step.desired) =
                (String::new(), "a new connection comes in\n".to_owned());
        } else if stage.moves.contains(&Move::Enable)
            || (before.active && stage.moves.contains(&Move::ArmTimer))
        {
            (step.current, step.desired) = (current.clone(), desired.clone());
        }
        plan.steps.push(step);
    }
    Ok(())
}

/// `ufw: on`, and a rule a line.
fn shown(on: bool, rules: &[String]) -> String {
    let mut out = format!("ufw: {}\n", if on { "on" } else { "off" });
    for rule in rules {
        out.push_str(rule.trim_start_matches("ufw "));
        out.push('\n');
    }
    out
}

/// A stage as the step that runs it.
fn render(stage: &Stage, before: &Before) -> Step {
    let mut apply = moves::opening();
    if stage.moves.contains(&Move::Keep) {
        apply = format!("make_dir {PLACE} 0700 root:root\n{apply}");
        let script = moves::restore_script();
        let path = format!("{PLACE}/restore");
        apply.push_str(&shell::put(&path, 0o700, "root:root", script.as_bytes()));
    }
    for step in &stage.moves {
        apply.push_str(&step.shell(before));
    }
    let anew = stage.moves.contains(&Move::Prove);
    if anew {
        apply = Move::Prove.shell(before);
    }
    Step {
        id: format!("firewall/{}", stage.name),
        title: stage.title.clone(),
        why: stage.why.to_owned(),
        current: String::new(),
        desired: String::new(),
        apply,
        undo: Undo::Kept,
        act: if anew { Act::Anew } else { Act::Host },
    }
}

/// What is there and what is missing; nothing when nothing is.
fn before(facts: &Facts, plan: &mut Plan) -> Result<Option<Before>, Refusal> {
    let firewall = &facts.firewall;
    refuse_what_is_under_way(facts)?;
    if let Some(other) = &firewall.other {
        return Err(Refusal {
            id: "firewall/other".to_owned(),
            cause: format!(
                "{other} looks after this host's firewall, and two of them shut each other's doors"
            ),
            fix: "write `firewall = false` below [deploy], and let TCP 80 and 443 in by the one \
                  that is there"
                .to_owned(),
        });
    }
    if facts.ssh_ports.is_empty() {
        return Err(Refusal {
            id: "firewall/ssh-port".to_owned(),
            cause: "it is not known on which port ssh is reached, and a firewall would shut it"
                .to_owned(),
            fix: "write `firewall = false` below [deploy]".to_owned(),
        });
    }
    // A run before this one was cut off before the proof. The first step puts the firewall back,
    // and what is there now says little about what is there then.
    let armed = is_there(facts, "armed");
    let active = match armed {
        true => is_there(facts, "armed/active"),
        false => firewall.active,
    };
    let mut missing = Vec::new();
    // Where ufw is on, ssh gets through already, by whatever rule: it is not ours to widen that.
    let ssh_ports: &[u16] = if active { &[] } else { &facts.ssh_ports };
    for port in ssh_ports.iter().chain(&WEB_PORTS) {
        if missing.contains(port) {
            continue;
        }
        match rules::say(&firewall.rules, *port) {
            Says::Shut(rule) => return Err(shut(*port, &rule, ssh_ports.contains(port))),
            Says::Open if active && !armed => {}
            Says::Partly(rule) if active => plan.warnings.push(format!(
                "ufw lets only some in on TCP {port} (`{rule}`): it is left so"
            )),
            Says::Partly(rule) => {
                plan.warnings.push(format!(
                    "ufw, which is off, has `{rule}`; TCP {port} will be open to everybody"
                ));
                missing.push(*port);
            }
            Says::Open | Says::Nothing => missing.push(*port),
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    Ok(Some(Before {
        active,
        ssh_ports: facts.ssh_ports.clone(),
        missing,
        ipv6_off: !active && is_ipv6_off(facts),
    }))
}

fn is_ipv6_off(facts: &Facts) -> bool {
    let content = facts
        .file(DEFAULTS)
        .and_then(|file| file.content.as_deref());
    let Some(content) = content else {
        return false;
    };
    let text = String::from_utf8_lossy(content);
    let mut lines = text
        .lines()
        .rev()
        .map(|line| line.trim().to_ascii_lowercase());
    let set = lines.find_map(|line| line.strip_prefix("ipv6=").map(str::to_owned));
    set.is_none_or(|value| value.trim_matches('"') != "yes")
}

/// Whether there is something in our place on the host.
fn is_there(facts: &Facts, name: &str) -> bool {
    let path = format!("{PLACE}/{name}");
    facts.file(&path).is_some_and(crate::facts::File::exists)
}

fn refuse_what_is_under_way(facts: &Facts) -> Result<(), Refusal> {
    if is_there(facts, "restoring") {
        return Err(Refusal {
            id: "firewall/restoring".to_owned(),
            cause: "the host could not put its firewall back as it was".to_owned(),
            fix: format!("run `sh {PLACE}/restore` on the host and see what it says"),
        });
    }
    Ok(())
}

fn shut(port: u16, rule: &str, ssh: bool) -> Refusal {
    let (id, what) = match ssh {
        true => ("firewall/shuts-ssh", "ssh"),
        false => ("firewall/shuts-web", "the site"),
    };
    Refusal {
        id: id.to_owned(),
        cause: format!(
            "ufw has the rule `{rule}`, by which {what} can not be reached on TCP {port}"
        ),
        fix: format!("on the host: ufw delete {rule}"),
    }
}

fn warn_of_docker(facts: &Facts, plan: &mut Plan) {
    if facts.docker_ports.is_empty() {
        return;
    }
    let shown = facts.docker_ports.iter().map(|port| {
        let name = facts.docker_names.iter().find(|(of, _)| of == port);
        name.map_or_else(|| port.to_string(), |(_, name)| format!("{port} ({name})"))
    });
    let ports: Vec<String> = shown.collect();
    plan.warnings.push(format!(
        "Docker publishes TCP {} to everybody; no rule of ufw's changes that. Publish on 127.0.0.1 \
         (`-p 127.0.0.1:8080:80`) what is not for the world",
        ports.join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::File;
    use crate::plan::samples;

    fn planned(change: impl Fn(&mut Facts)) -> Result<Plan, Refusal> {
        let (wanted, mut facts, mut plan) = (samples::wanted(), samples::facts(), samples::plan());
        change(&mut facts);
        steps(&wanted, &facts, &mut plan).map(|()| plan)
    }

    fn refused(change: impl Fn(&mut Facts)) -> String {
        planned(change).unwrap_err().id
    }

    fn ids(plan: &Plan) -> Vec<&str> {
        plan.steps.iter().map(|step| step.id.as_str()).collect()
    }

    fn file(path: &str, content: Option<&str>, link: Option<&str>) -> File {
        File {
            path: path.to_owned(),
            content: content.map(|text| text.as_bytes().to_vec()),
            mode: 0o644,
            owner: "root:root".to_owned(),
            link: link.map(str::to_owned),
            directory: false,
        }
    }

    #[test]
    fn a_fresh_host_gets_the_whole_order() {
        let plan = planned(|facts| facts.ssh_ports = vec![2222, 22]).unwrap();
        let order = ["keep", "allow", "arm", "enable", "prove", "disarm"];
        assert_eq!(ids(&plan), order.map(|name| format!("firewall/{name}")));
        samples::check_golden("firewall-fresh.sh", &samples::shell(&plan.steps));
        let anew: Vec<bool> = plan
            .steps
            .iter()
            .map(|step| step.act == Act::Anew)
            .collect();
        assert_eq!(anew, [false, false, false, false, true, false]);
    }

    #[test]
    fn where_ufw_is_on_only_what_is_missing_is_added() {
        let plan = planned(|facts| {
            facts.firewall.active = true;
            facts.firewall.rules = vec!["allow 2222/tcp".into(), "allow 80/tcp".into()];
        });
        let shell = samples::shell(&plan.unwrap().steps);
        assert!(!shell.contains("allow 22/tcp") && !shell.contains("allow 80/tcp"));
        samples::check_golden("firewall-active.sh", &shell);
        let nothing = planned(|facts| {
            facts.firewall.active = true;
            facts.firewall.rules = vec!["allow 'Nginx Full'".into()];
        });
        assert!(nothing.unwrap().steps.is_empty());
    }

    #[test]
    fn rules_for_some_are_left_as_they_are() {
        let rule = "allow from 173.245.48.0/20 to any port 80,443 proto tcp";
        let plan = planned(|facts| {
            facts.firewall.active = true;
            facts.firewall.rules = vec![rule.into()];
        });
        let plan = plan.unwrap();
        assert!(plan.steps.is_empty() && plan.warnings.len() == 2);
        assert!(plan.warnings[0].contains(rule));
    }

    #[test]
    fn hands_are_kept_off_in_these_cases() {
        let other = refused(|facts| facts.firewall.other = Some("firewalld".into()));
        assert_eq!(other, "firewall/other");
        assert_eq!(
            refused(|facts| facts.ssh_ports.clear()),
            "firewall/ssh-port"
        );
        let rule =
            |rule: &'static str| refused(move |facts| facts.firewall.rules = vec![rule.into()]);
        assert_eq!(rule("deny 22"), "firewall/shuts-ssh");
        assert_eq!(rule("reject 'Nginx Full'"), "firewall/shuts-web");
        let left = |name: &'static str| {
            refused(move |facts| {
                let path = format!("{PLACE}/{name}");
                facts.files.push(file(&path, None, Some("kept-1")));
            })
        };
        assert_eq!(left("restoring"), "firewall/restoring");
    }

    #[test]
    fn a_run_that_was_cut_off_before_the_proof_is_begun_anew() {
        let left = |was_on: bool| {
            let plan = planned(move |facts| {
                facts.firewall.active = true;
                let rules = ["allow 22/tcp", "allow 80/tcp", "allow 443/tcp"];
                facts.firewall.rules = rules.map(str::to_owned).to_vec();
                let armed = format!("{PLACE}/armed");
                facts.files.push(file(&armed, None, Some("kept-1")));
                let active = format!("{armed}/active");
                let content = was_on.then_some("");
                facts.files.push(file(&active, content, None));
            });
            samples::shell(&plan.unwrap().steps)
        };
        let (off, on) = (left(false), left(true));
        assert!(off.contains("ufw allow 22/tcp") && off.contains("ufw --force enable"));
        assert!(!on.contains("ufw allow 22/tcp") && !on.contains("ufw --force enable"));
        for shell in [off, on] {
            let back = shell.find("sh \"$firewall/restore\"").unwrap();
            assert!(back < shell.find("mkdir -m 0700").unwrap());
            assert!(shell.contains("guarded ufw") && shell.contains("ufw allow 80/tcp"));
        }
    }

    #[test]
    fn ufw_looks_after_ipv6_too() {
        for (text, wanted) in [("IPV6=no\n", true), ("IPV6=yes\n", false), ("", true)] {
            let plan = planned(|facts| facts.files.push(file(DEFAULTS, Some(text), None)));
            let shell = samples::shell(&plan.unwrap().steps);
            assert_eq!(shell.contains("IPV6=yes"), wanted, "{text:?}");
        }
    }

    #[test]
    fn who_does_not_want_it_is_told_of_docker_all_the_same() {
        let (mut wanted, mut facts, mut plan) =
            (samples::wanted(), samples::facts(), samples::plan());
        wanted.firewall = false;
        facts.firewall.other = Some("firewalld".into());
        facts.docker_ports = vec![5432, 9000];
        facts.docker_names = vec![(5432, "db".into())];
        steps(&wanted, &facts, &mut plan).unwrap();
        assert!(plan.steps.is_empty());
        assert!(plan.warnings[0].contains("TCP 5432 (db), 9000 to"));
    }

    #[test]
    fn ninety_seconds_hold() {
        // The timer, what a command of ufw may still take then, and the restore's own work.
        let restore_s = 4;
        assert!(moves::DEADMAN_S + 1 + moves::LOCK_S + restore_s <= 90);
        let command_s = moves::COMMAND_S + 5;
        assert!(command_s < moves::LOCK_S, "{command_s}");
    }
}
