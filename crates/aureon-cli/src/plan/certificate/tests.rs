//! What is asked for, put, rehearsed; and each combination of names and Cloudflare that would end
//! badly. A refusal has a cause and something to do, always. The shell that comes out is compared
//! with golden files.

use std::net::IpAddr;
use std::path::PathBuf;

use super::super::samples;
use super::*;
use crate::facts::{File, HostCertificate, Resolved, Unit};

const CLOUDFLARE: &str = "104.16.1.1";

fn planned(change: impl Fn(&mut Wanted, &mut Facts)) -> Result<Plan, Refusal> {
    let (mut wanted, mut facts, mut plan) = (samples::wanted(), samples::facts(), samples::plan());
    change(&mut wanted, &mut facts);
    steps(&wanted, &facts, &mut plan).map(|()| plan)
}

fn leads(facts: &mut Facts, addresses: &[&str]) {
    for name in ["example.com", "www.example.com"] {
        let addresses: Vec<IpAddr> = addresses.iter().flat_map(|one| one.parse()).collect();
        facts.dns.push(Resolved {
            name: name.to_owned(),
            addresses,
        });
    }
}

fn refused(change: impl Fn(&mut Wanted, &mut Facts)) -> Refusal {
    let refusal = planned(change).err();
    let nothing = || Refusal {
        id: "not refused".into(),
        cause: "-".into(),
        fix: "-".into(),
    };
    let refusal = refusal.unwrap_or_else(nothing);
    assert!(!refusal.cause.is_empty() && !refusal.fix.is_empty());
    refusal
}

fn check_refusal(addresses: &[&str], cloudflare: bool, id: &str, says: &str) {
    let refusal = refused(|wanted, facts| {
        leads(facts, addresses);
        wanted.cloudflare = cloudflare;
    });
    assert_eq!(refusal.id, id, "{addresses:?}");
    assert!(refusal.cause.contains(says), "{}", refusal.cause);
}

#[test]
fn a_name_that_does_not_lead_here_is_refused() {
    check_refusal(&[], false, "certificate/no-address", "does not resolve");
    check_refusal(
        &["198.51.100.1"],
        false,
        "certificate/elsewhere",
        "198.51.100.1",
    );
    let both = ["203.0.113.7", "198.51.100.1"];
    check_refusal(&both, false, "certificate/elsewhere", "198.51.100.1");
}

#[test]
fn an_ipv6_address_of_somebody_else_is_refused() {
    let both = ["203.0.113.7", "2001:db8::1"];
    check_refusal(&both, false, "certificate/ipv6-elsewhere", "2001:db8::1");
}

#[test]
fn the_cloud_and_the_wish_go_together() {
    check_refusal(&[CLOUDFLARE], false, "cloudflare/orange", "orange");
    check_refusal(
        &["203.0.113.7"],
        true,
        "cloudflare/grey",
        "this host itself",
    );
    let plan = planned(|wanted, facts| {
        leads(facts, &[CLOUDFLARE]);
        wanted.cloudflare = true;
    });
    // Flexible can not be seen before there is an answer: it is said.
    let warnings = plan.unwrap().warnings;
    assert!(
        warnings.iter().any(|one| one.contains("Full (strict)")),
        "{warnings:?}"
    );
}

#[test]
fn behind_an_address_translation_the_look_from_outside_decides() {
    let plan = planned(|_, facts| {
        leads(facts, &["198.51.100.1"]);
        facts.addresses = vec!["10.0.0.5".parse().unwrap()];
    });
    assert!(plan.unwrap().warnings[0].contains("10.0.0.5"));
}

#[test]
fn who_brings_a_certificate_may_do_so_before_the_name_leads_here() {
    for addresses in [&[][..], &["198.51.100.1"], &["203.0.113.7", "2001:db8::1"]] {
        let plan = planned(|wanted, facts| {
            leads(facts, addresses);
            facts.time_s = 1_800_000_000;
            wanted.directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
            wanted.certificate = Certificate::Files {
                chain: "ec.pem".into(),
                key: "ec.key".into(),
            };
        });
        assert_eq!(plan.unwrap().warnings.len(), 2, "{addresses:?}");
    }
}

#[test]
fn a_wildcard_is_not_given_by_http() {
    let refusal = refused(|wanted, _| wanted.domains = vec!["*.example.com".into()]);
    assert_eq!(refusal.id, "certificate/wildcard");
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.as_str()).collect()
}

#[test]
fn certbot_is_asked_once_and_rehearsed() {
    let plan = planned(|wanted, _| {
        wanted.certificate = Certificate::Certbot {
            email: Some("a@example.com".into()),
            server: Some("https://acme.test/dir".into()),
        };
    });
    let plan = plan.unwrap();
    let order = ["reach", "issue", "renewal", "timer"];
    assert_eq!(ids(&plan), order.map(|name| format!("certificate/{name}")));
    assert_eq!(plan.steps[0].act, Act::Reach);
    samples::check_golden("certificate-certbot.sh", &samples::shell(&plan.steps));
}

fn on_host(facts: &mut Facts, names: &[&str], days: u64) {
    facts.certificate = Some(HostCertificate {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ends_s: facts.time_s + days * DAY_S,
    });
    facts.files.push(File {
        path: "/etc/aureon/blog/renewal-rehearsed".into(),
        content: Some(b"example.com\nwww.example.com\n".to_vec()),
        mode: 0o644,
        owner: "root:root".into(),
        link: None,
        directory: false,
    });
    facts.units.push(Unit {
        name: "certbot.timer".into(),
        enabled: true,
        active: true,
    });
}

#[test]
fn a_certificate_that_is_fine_is_left_alone() {
    let both = ["www.example.com", "example.com"];
    assert!(
        planned(|_, facts| on_host(facts, &both, 60))
            .unwrap()
            .steps
            .is_empty()
    );
    // One that should have been renewed, and one without a name.
    let late = planned(|_, facts| on_host(facts, &both, 20)).unwrap();
    let fewer = planned(|_, facts| on_host(facts, &["example.com"], 60)).unwrap();
    for plan in [late, fewer] {
        let ids = ids(&plan).join(" ");
        assert_eq!(
            ids,
            "certificate/reach certificate/issue certificate/renewal"
        );
    }
}

#[test]
fn a_renewal_that_nobody_has_rehearsed_is_rehearsed() {
    let both = ["www.example.com", "example.com"];
    // The client was killed while the certificate came; or the mark is of other names.
    for mark in [None, Some(&b"example.com\n"[..])] {
        let plan = planned(|_, facts| {
            on_host(facts, &both, 60);
            facts.files[0].content = mark.map(<[u8]>::to_vec);
        });
        let plan = plan.unwrap();
        assert_eq!(ids(&plan), ["certificate/renewal"], "{mark:?}");
        // The mark is left when it went well, and only then.
        let (rehearsal, mark) = plan.steps[0].apply.split_once('\n').unwrap();
        assert!(rehearsal.starts_with("certificate_rehearse aureon-blog"));
        let path = Places::new("blog").rehearsed();
        assert!(mark.starts_with(&format!("put {path} ")) && mark.contains("\nwww.example.com\n"));
        assert!(paths(&samples::wanted()).contains(&path));
    }
    // A certificate of one's own is not renewed by anybody.
    let mut wanted = samples::wanted();
    wanted.certificate = Certificate::None;
    assert!(!paths(&wanted).contains(&Places::new("blog").rehearsed()));
}

#[test]
fn a_brought_key_is_in_no_script() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    let key = std::fs::read_to_string(directory.join("ec.key")).unwrap();
    let plan = planned(|wanted, facts| {
        facts.time_s = 1_800_000_000;
        wanted.directory.clone_from(&directory);
        wanted.certificate = Certificate::Files {
            chain: "ec.pem".into(),
            key: "ec.key".into(),
        };
    });
    let plan = plan.unwrap();
    assert_eq!(ids(&plan), ["certificate/files"]);
    assert_eq!(plan.steps[0].act, Act::Key);
    let shell = samples::shell(&plan.steps);
    assert!(!shell.contains("PRIVATE KEY") && !shell.contains(key.lines().nth(1).unwrap()));
    assert!(shell.contains("/privkey.pem 0600 root:root\n"));
    samples::check_golden("certificate-files.sh", &shell);
}

#[test]
fn through_cloudflare_somebody_looks_in_the_end() {
    let mut wanted = samples::wanted();
    wanted.cloudflare = true;
    let mut plan = samples::plan();
    look_at_the_end(&wanted, &mut plan);
    assert!(plan.steps.is_empty(), "nothing has changed");
    plan.steps.push(timer_step());
    look_at_the_end(&wanted, &mut plan);
    let shell = &plan.steps[1].apply;
    assert!(shell.contains("521) fail") && shell.contains("https://example.com/healthz"));
}
