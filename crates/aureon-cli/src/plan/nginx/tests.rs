//! The files as golden files, what is planned on which host, and what is refused. That a real Nginx
//! takes the golden files, and does with requests what they are there for, is tested in
//! e2e/nginx/run.

use super::super::samples;
use super::*;
use crate::facts::{File, HostCertificate, Listener, Unit};
use crate::wanted::{Serves, Socket};
use aureon::limits::Limits;

fn planned(change: impl Fn(&mut Wanted, &mut Facts)) -> Result<Plan, Refusal> {
    let (mut wanted, mut facts, mut plan) = (samples::wanted(), samples::facts(), samples::plan());
    facts.ipv6 = true;
    change(&mut wanted, &mut facts);
    steps(&wanted, &facts, 8080, Half::Http, &mut plan)?;
    steps(&wanted, &facts, 8080, Half::Tls, &mut plan)?;
    Ok(plan)
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.as_str()).collect()
}

fn id(change: impl Fn(&mut Wanted, &mut Facts)) -> String {
    planned(change)
        .err()
        .map(|refusal| refusal.id)
        .unwrap_or_default()
}

fn text_of_site(plan: &Plan) -> &str {
    let site = plan.steps.iter().rfind(|step| step.id == "nginx/site");
    site.map_or("", |step| &step.desired)
}

fn site_of(change: impl Fn(&mut Wanted, &mut Facts)) -> String {
    let plan = planned(change).unwrap_or_default();
    text_of_site(&plan).to_owned()
}

#[test]
fn a_fresh_host_gets_port_80_first() {
    let plan = planned(|_, _| {}).unwrap();
    let order = ["shared", "default", "challenge", "site"];
    assert_eq!(ids(&plan), order.map(|name| format!("nginx/{name}")));
    samples::check_golden("nginx-steps.sh", &samples::shell(&plan.steps));
    for step in &plan.steps {
        let test = step.apply.find("nginx -t -q ||").unwrap();
        assert!(
            test < step.apply.find("\n  systemctl reload").unwrap(),
            "{}",
            step.id
        );
    }
}

#[test]
fn the_files_are_what_the_golden_files_say() {
    let (wanted, mut facts) = (samples::wanted(), samples::facts());
    facts.ipv6 = true;
    samples::check_golden("nginx/aureon-cloudflare.conf", &files::cloudflare());
    samples::check_golden("nginx/aureon-default", &files::default_server(&facts));
    let place = super::super::certificate::place(&wanted);
    let site = |wanted: &Wanted, facts: &Facts, tls| {
        let limits = files::limits(wanted)
            .map_err(|refusal| refusal.fix)
            .unwrap();
        files::site(wanted, facts, 8080, &limits, tls)
    };
    samples::check_golden("nginx/site-http", &site(&wanted, &facts, None));
    samples::check_golden("nginx/site", &site(&wanted, &facts, place.as_ref()));
    let mut other = wanted.clone();
    other.cloudflare = true;
    other.serves = Serves::Program {
        command: vec!["bin/server".into()],
        files: Vec::new(),
        socket: Socket::Port,
    };
    facts.nginx_version = Some((1, 26));
    samples::check_golden(
        "nginx/site-cloudflare",
        &site(&other, &facts, place.as_ref()),
    );
}

#[test]
fn limits_are_the_services() {
    let site = site_of(|_, _| {});
    let limits = Limits::DEFAULT;
    for line in [
        format!("client_max_body_size {};", limits.body_bytes_max),
        format!(
            "large_client_header_buffers 4 {}k;",
            limits.head_bytes_max / 1024
        ),
        format!("client_header_timeout {}s;", limits.head_timeout_ms / 1000),
        format!("client_body_timeout {}s;", limits.body_timeout_ms / 1000),
        format!("keepalive_timeout {}s;", limits.idle_timeout_ms / 1000),
        format!("send_timeout {}s;", limits.write_timeout_ms / 1000),
        format!(
            "proxy_read_timeout {}s;",
            limits.answer_timeout_ms / 1000 + 5
        ),
    ] {
        assert!(site.contains(&line), "{line} is not in\n{site}");
    }
    let own = site_of(|wanted, _| {
        wanted.serves = Serves::Site {
            root: "public".into(),
            configuration: "body_bytes_max = \"3MiB\"\nanswer_timeout = \"90s\"\n".to_owned(),
        };
        wanted.environment = vec![("AUREON_IDLE_TIMEOUT".into(), "7s".into())];
    });
    for line in [
        "client_max_body_size 3145728;",
        "proxy_read_timeout 95s;",
        "keepalive_timeout 7s;",
    ] {
        assert!(own.contains(line), "{line} is not in\n{own}");
    }
    let wrong = id(|wanted, _| {
        wanted.serves = Serves::Site {
            root: "public".into(),
            configuration: "body_bytes_maxx = 1\n".to_owned(),
        };
    });
    assert_eq!(wrong, "nginx/limits");
}

#[test]
fn http2_is_spelled_as_this_nginx_does() {
    let of = |version| site_of(move |_, facts| facts.nginx_version = version);
    for old in [None, Some((1, 22)), Some((1, 24))] {
        let site = of(old);
        assert!(site.contains("listen 443 ssl http2;") && !site.contains("http2 on;"));
    }
    let new = |site: &str| site.contains("listen 443 ssl;\n") && site.contains("\n    http2 on;\n");
    assert!(new(&of(Some((1, 26)))));
    // Before there is one: what comes decides, else the second plan would not be empty.
    let coming = |offered, version: &str| {
        let version = version.to_owned();
        site_of(move |_, facts| {
            facts.nginx_version = None;
            facts.nginx_offered = offered;
            facts.system_version.clone_from(&version);
        })
    };
    assert!(new(&coming(Some((1, 26)), "12")) && new(&coming(None, "13")));
    assert!(!new(&coming(Some((1, 22)), "13")) && !new(&coming(None, "12")));
}

#[test]
fn it_is_never_localhost() {
    let site = site_of(|_, _| {});
    assert!(site.contains("proxy_pass http://127.0.0.1:8080;") && !site.contains("localhost"));
}

#[test]
fn without_ipv6_there_is_no_listening_on_it() {
    let plan = planned(|_, facts| facts.ipv6 = false).unwrap();
    assert!(!samples::shell(&plan.steps).contains("[::]"));
}

#[test]
fn without_a_certificate_80_is_all() {
    let plan = planned(|wanted, _| wanted.certificate = Certificate::None).unwrap();
    assert_eq!(ids(&plan), ["nginx/shared", "nginx/default", "nginx/site"]);
    let site = &plan.steps[2].desired;
    assert!(!site.contains("listen 443") && site.contains("proxy_pass"));
}

#[test]
fn with_a_certificate_80_is_never_all_again() {
    let plan = planned(|_, facts| {
        facts.certificate = Some(HostCertificate {
            names: vec!["example.com".into()],
            ends_s: facts.time_s + 1,
        });
    });
    assert!(!ids(&plan.unwrap()).contains(&"nginx/challenge"));
}

/// The host after this plan.
fn done(plan: &Plan, wanted: &Wanted, facts: &mut Facts) {
    let file = |path: &str, text: Option<&str>, link: Option<&str>| File {
        path: path.to_owned(),
        content: text.map(|text| text.as_bytes().to_vec()),
        mode: 0o644,
        owner: "root:root".into(),
        link: link.map(str::to_owned),
        directory: text.is_none() && link.is_none(),
    };
    let site = Places::new(&wanted.app).nginx_site();
    let text = text_of_site(plan).split("/etc/nginx/sites-enabled").next();
    facts.files = vec![
        file(CONNECTION, Some(files::CONNECTION_TEXT), None),
        file(PROXY, Some(files::PROXY_TEXT), None),
        file(TLS, Some(files::TLS_TEXT), None),
        file(DEFAULT, Some(&files::default_server(facts)), None),
        file(DEFAULT_LINK, None, Some(DEFAULT)),
        file(&link(wanted), None, Some(&site)),
        file(&site, text, None),
        file(ACME_ROOT, None, None),
    ];
    facts.nginx_version = Some((1, 22));
    facts.units.push(Unit {
        name: "nginx.service".into(),
        enabled: true,
        active: true,
    });
    facts.nginx_names.push(("example.com".into(), link(wanted)));
    facts.nginx_defaults.push(DEFAULT_LINK.into());
    facts.certificate = Some(HostCertificate {
        names: wanted.domains.clone(),
        ends_s: facts.time_s + 90 * 86_400,
    });
}

#[test]
fn a_second_plan_is_empty() {
    let (wanted, mut facts) = (samples::wanted(), samples::facts());
    let mut plan = samples::plan();
    for half in [Half::Http, Half::Tls] {
        steps(&wanted, &facts, 8080, half, &mut plan).unwrap();
    }
    done(&plan, &wanted, &mut facts);
    let mut second = samples::plan();
    for half in [Half::Http, Half::Tls] {
        steps(&wanted, &facts, 8080, half, &mut second).unwrap();
    }
    assert!(second.steps.is_empty(), "{:?}", ids(&second));
    assert!(second.warnings.is_empty());
}

#[test]
fn somebodys_default_server_is_left_alone() {
    let theirs = "/etc/nginx/sites-enabled/shop";
    let plan = planned(|_, facts| {
        facts.nginx_version = Some((1, 22));
        facts.nginx_defaults.push(theirs.into());
    });
    let plan = plan.unwrap();
    assert!(!ids(&plan).contains(&"nginx/default"));
    assert!(plan.warnings[0].contains(theirs));
    // The same where the first site answers for unknown names without having been told to.
    let plan = planned(|_, facts| {
        facts.nginx_version = Some((1, 22));
        facts
            .nginx_names
            .push(("shop.example".into(), theirs.into()));
    });
    assert!(!ids(&plan.unwrap()).contains(&"nginx/default"));
}

#[test]
fn debians_sample_site_is_switched_off_only_if_nobody_has_touched_it() {
    let host = |stock: bool| {
        planned(move |_, facts| {
            facts.nginx_version = Some((1, 22));
            facts.nginx_names.push(("_".into(), STOCK.into()));
            facts.nginx_defaults.push(STOCK.into());
            facts.nginx_stock_default = stock;
            facts.files.push(File {
                path: STOCK.into(),
                content: None,
                mode: 0o777,
                owner: "root:root".into(),
                link: Some("/etc/nginx/sites-available/default".into()),
                directory: false,
            });
        })
    };
    let shell = samples::shell(&host(true).unwrap().steps);
    assert!(shell.contains("remove /etc/nginx/sites-enabled/default\n"));
    let touched = host(false).unwrap();
    let shell = samples::shell(&touched.steps);
    assert!(!shell.contains("remove /etc/nginx/sites-enabled/default\n"));
    assert!(touched.warnings[0].contains(STOCK));
}

#[test]
fn a_name_that_another_site_has_is_refused_with_its_file() {
    let refusal = planned(|_, facts| {
        facts.nginx_names.push((
            "WWW.example.com".into(),
            "/etc/nginx/conf.d/old.conf".into(),
        ));
    });
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.id, "nginx/name-taken");
    assert!(refusal.cause.contains("/etc/nginx/conf.d/old.conf"));
}

#[test]
fn a_host_that_is_not_ours_to_change_is_refused() {
    let listener = |program: &'static str, address: &'static str| Listener {
        address: address.to_owned(),
        port: 443,
        program: program.to_owned(),
    };
    let taken = |program: &'static str| {
        id(move |_, facts| facts.listeners.push(listener(program, "0.0.0.0")))
    };
    assert_eq!(taken("apache2"), "nginx/port-taken");
    assert_eq!(taken("docker-proxy"), "nginx/port-taken");
    let local = planned(|_, facts| facts.listeners.push(listener("vault", "127.0.0.1")));
    assert!(local.is_ok());
    let own = planned(|_, facts| facts.listeners.push(listener("nginx", "0.0.0.0")));
    assert!(own.is_ok());
    assert_eq!(
        id(|_, facts| facts.nginx_version = Some((1, 18))),
        "nginx/too-old"
    );
    assert_eq!(id(|wanted, _| wanted.domains.clear()), "nginx/no-name");
    let sites = id(|_, facts| {
        facts.files.push(File {
            path: CONFIGURATION.into(),
            content: Some(b"http { include conf.d/*.conf; }".to_vec()),
            mode: 0o644,
            owner: "root:root".into(),
            link: None,
            directory: false,
        });
    });
    assert_eq!(sites, "nginx/sites");
}
