//! Nginx in front of the service: what the files are is in `nginx/files.rs`; here it is decided
//! which of them are written, and when it is better to leave the host alone.
//!
//! Nothing of somebody else's is broken: a name that another site has, a port that another program
//! has, and a default server that is there already are seen before anything is written. What all
//! sites share lies in snippets that only ours include. Each step ends with `nginx -t`, and a step
//! that fails is taken back before Nginx has heard of it.

mod files;

use super::shell;
use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::Facts;
use crate::wanted::{Certificate, Places, Wanted};
pub(crate) use files::ACME_ROOT;
use files::{CLOUDFLARE, CONNECTION, DEFAULT, PROXY, TLS};

/// Which half of the plan: before there is a certificate, or with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// Port 80, for the certificate's challenge; all of it when no certificate is wanted.
    Http,
    /// Port 443, and 80 leads there.
    Tls,
}

/// Debian's own site, as it comes with the package.
const STOCK: &str = "/etc/nginx/sites-enabled/default";

const CONFIGURATION: &str = "/etc/nginx/nginx.conf";

/// Where our default server is switched on.
const DEFAULT_LINK: &str = "/etc/nginx/sites-enabled/zz-aureon-default";

/// The oldest that can refuse a name before it shows a certificate.
const OLDEST: (u32, u32) = (1, 20);

/// What has to be known of the host.
pub(crate) fn paths(wanted: &Wanted) -> Vec<String> {
    let site = Places::new(&wanted.app).nginx_site();
    [
        CONFIGURATION,
        CONNECTION,
        PROXY,
        TLS,
        CLOUDFLARE,
        DEFAULT,
        DEFAULT_LINK,
        STOCK,
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([site, link(wanted)])
    .chain([ACME_ROOT, "package:nginx", "nginx.service"].map(str::to_owned))
    .collect()
}

/// The site's link. Nginx reads files in the order of their names and, where nobody is named the
/// default, lets the first one answer for unknown names: ours come last, so that whoever did so
/// before still does.
fn link(wanted: &Wanted) -> String {
    format!("/etc/nginx/sites-enabled/zz-aureon-{}", wanted.app)
}

/// What does not depend on a half, checked once.
pub(crate) fn check(wanted: &Wanted, facts: &Facts) -> Result<(), Refusal> {
    if wanted.domains.is_empty() {
        return Err(Refusal {
            id: "nginx/no-name".to_owned(),
            cause: "Nginx has to know by which name the site is asked for".to_owned(),
            fix: "name the domain: --domain example.com".to_owned(),
        });
    }
    refuse_taken_ports(facts)?;
    refuse_taken_names(wanted, facts)?;
    if facts.nginx_version.is_some_and(|version| version < OLDEST) {
        return Err(Refusal {
            id: "nginx/too-old".to_owned(),
            cause: "the host's Nginx is older than 1.20 and shows a certificate to any name"
                .to_owned(),
            fix: "take the one of Debian 12 or Ubuntu 24.04".to_owned(),
        });
    }
    let configuration = facts
        .file(CONFIGURATION)
        .and_then(|file| file.content.as_deref());
    let includes = |text: &[u8]| String::from_utf8_lossy(text).contains("sites-enabled");
    if configuration.is_some_and(|text| !includes(text)) {
        return Err(Refusal {
            id: "nginx/sites".to_owned(),
            cause: format!("{CONFIGURATION} does not include sites-enabled, as Debian's does"),
            fix: "write `include /etc/nginx/sites-enabled/*;` in its http block".to_owned(),
        });
    }
    Ok(())
}

/// The files of one half, as steps. `tls` is where the certificate and its key lie.
pub(crate) fn steps(
    wanted: &Wanted,
    facts: &Facts,
    port: u16,
    half: Half,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let limits = files::limits(wanted)?;
    let tls = super::certificate::place(wanted);
    let has_certificate = super::certificate::is_usable(wanted, facts);
    let site = |tls| files::site(wanted, facts, port, &limits, tls);
    match half {
        Half::Http => {
            check(wanted, facts)?;
            common(wanted, facts, plan);
            match (&wanted.certificate, &tls) {
                (Certificate::None, _) | (_, None) => site_step(wanted, facts, &site(None), plan),
                // The certificate has to answer the challenge before it is there.
                (Certificate::Certbot { .. }, _) if !has_certificate => {
                    site_step(wanted, facts, &site(None), plan);
                }
                _ => {}
            }
        }
        Half::Tls => {
            if let Some(tls) = &tls {
                site_step(wanted, facts, &site(Some(tls)), plan);
            }
        }
    }
    Ok(())
}

/// The files that all of our sites share, and the default server if nobody has one.
fn common(wanted: &Wanted, facts: &Facts, plan: &mut Plan) {
    let mut shared = vec![
        (CONNECTION, files::CONNECTION_TEXT.to_owned()),
        (PROXY, files::PROXY_TEXT.to_owned()),
        (TLS, files::TLS_TEXT.to_owned()),
    ];
    if wanted.cloudflare {
        shared.push((CLOUDFLARE, files::cloudflare()));
    }
    let mut step = Draft::new("nginx/shared", "What AUREON's sites share in Nginx");
    if !is_directory(facts, ACME_ROOT) {
        step.apply
            .push_str(&format!("make_dir {ACME_ROOT} 0755 root:root\n"));
        step.desired.push_str(&format!("{ACME_ROOT}/\n"));
    }
    for (path, text) in &shared {
        step.put(facts, path, text);
    }
    step.finish(
        "Snippets, which nobody includes but our sites, and one map. Nothing else changes by them.",
        facts,
        plan,
    );
    default_server(facts, plan);
}

/// A request for a name that nobody has is told nothing. Where somebody has a default server, or
/// other sites, of which the first answers for unknown names, that stays so.
fn default_server(facts: &Facts, plan: &mut Plan) {
    let ours = |file: &String| file.contains("/zz-aureon-") || file.contains("/aureon-");
    let stock = facts.nginx_stock_default || facts.nginx_version.is_none();
    let theirs = facts.nginx_defaults.iter().filter(|file| !ours(file));
    let theirs: Vec<&String> = theirs.filter(|file| !(stock && *file == STOCK)).collect();
    let names = facts.nginx_names.iter().filter(|(_, file)| !ours(file));
    let other = names
        .map(|(_, file)| file)
        .find(|file| !(stock && *file == STOCK));
    if let Some(file) = theirs.first().copied().or(other) {
        let warning = format!(
            "requests for names that this host does not know are answered as before ({file}); \
             AUREON's own default server, which answers nothing, is left out"
        );
        plan.warnings.push(warning);
        return;
    }
    let mut step = Draft::new("nginx/default", "A default server that answers nothing");
    step.put(facts, DEFAULT, &files::default_server(facts));
    step.link(facts, DEFAULT_LINK, DEFAULT);
    let fresh = facts.nginx_version.is_none();
    if fresh || facts.file(STOCK).is_some_and(crate::facts::File::exists) {
        step.apply.push_str(&format!("remove {STOCK}\n"));
        step.current
            .push_str(&format!("{STOCK}, as it came with the package\n"));
    }
    step.finish(
        "Scanners ask for addresses, not for names: 444 ends such a connection without a word, and \
         on 443 no certificate is shown. Debian's sample site has that place and is switched off.",
        facts,
        plan,
    );
}

fn site_step(wanted: &Wanted, facts: &Facts, text: &str, plan: &mut Plan) {
    let site = Places::new(&wanted.app).nginx_site();
    let name = wanted
        .domains
        .first()
        .map_or(wanted.app.as_str(), String::as_str);
    let tls = text.contains("listen 443");
    let (id, title) = match tls || wanted.certificate == Certificate::None {
        true => ("nginx/site", format!("Nginx site {name}")),
        false => (
            "nginx/challenge",
            format!("Nginx site {name}, on port 80 for now"),
        ),
    };
    let mut step = Draft::new(id, &title);
    step.put(facts, &site, text);
    step.link(facts, &link(wanted), &site);
    // An earlier step of this plan has written it in another form.
    if plan.steps.iter().any(|step| step.id == "nginx/challenge") && step.apply.is_empty() {
        return;
    }
    step.finish(
        "Nginx tests all of its files before it is told to read them again; if it does not like \
         them, the old ones are put back and it has not noticed.",
        facts,
        plan,
    );
}

/// A step that is being put together: files that are as they should be are left out.
struct Draft {
    id: String,
    title: String,
    current: String,
    desired: String,
    apply: String,
}

impl Draft {
    fn new(id: &str, title: &str) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            current: String::new(),
            desired: String::new(),
            apply: String::new(),
        }
    }

    fn put(&mut self, facts: &Facts, path: &str, text: &str) {
        let there = facts.file(path).filter(|file| file.exists());
        let content = there.and_then(|file| file.content.as_deref());
        let is_plain = there.is_some_and(|file| file.mode == 0o644 && file.owner == "root:root");
        if content == Some(text.as_bytes()) && is_plain {
            return;
        }
        if let Some(content) = content {
            self.current.push_str(&String::from_utf8_lossy(content));
        }
        self.desired.push_str(text);
        self.apply
            .push_str(&shell::put(path, 0o644, "root:root", text.as_bytes()));
    }

    fn link(&mut self, facts: &Facts, path: &str, target: &str) {
        let there = facts.file(path).and_then(|file| file.link.as_deref());
        if there == Some(target) {
            return;
        }
        if let Some(there) = there {
            self.current.push_str(&format!("{path} -> {there}\n"));
        }
        self.desired.push_str(&format!("{path} -> {target}\n"));
        self.apply.push_str(&format!("put_link {path} {target}\n"));
    }

    /// Adds the step to the plan, if there is anything in it.
    fn finish(self, why: &str, facts: &Facts, plan: &mut Plan) {
        if self.apply.is_empty() {
            return;
        }
        let running = facts.unit("nginx.service");
        let enabled = running.is_some_and(|unit| unit.enabled);
        let mut apply = RELOAD_BACK.to_owned();
        apply.push_str(&self.apply);
        apply.push_str(TEST);
        if !enabled {
            apply.push_str("enable_unit nginx.service\n");
        }
        apply.push_str(RELOAD);
        plan.steps.push(Step {
            id: self.id,
            title: self.title,
            why: why.to_owned(),
            current: self.current,
            desired: self.desired,
            apply,
            undo: Undo::Kept,
            act: Act::Host,
        });
    }
}

/// Written first, so that it is the last of the step's ways back: when the files are the old ones.
pub(super) const RELOAD_BACK: &str = r#"undo_by 'if systemctl is-active --quiet nginx.service; then
  if nginx -t -q; then systemctl reload nginx.service; else say "Nginx does not like its files"; fi
fi'
"#;

pub(super) const TEST: &str = "nginx -t -q || fail 'Nginx does not accept its configuration'\n";

pub(super) const RELOAD: &str = "if systemctl is-active --quiet nginx.service; then
  systemctl reload nginx.service
else
  start_unit nginx.service
fi
";

fn is_directory(facts: &Facts, path: &str) -> bool {
    facts.file(path).is_some_and(|file| file.directory)
}

fn refuse_taken_ports(facts: &Facts) -> Result<(), Refusal> {
    let web = facts
        .listeners
        .iter()
        .filter(|one| [80, 443].contains(&one.port) && one.is_public());
    let mut others = web.filter(|one| {
        // Without a name it may be Nginx itself.
        !one.program.starts_with("nginx")
            && (!one.program.is_empty() || facts.nginx_version.is_none())
    });
    let Some(other) = others.next() else {
        return Ok(());
    };
    let name = match other.program.as_str() {
        "" => "another program",
        name => name,
    };
    Err(Refusal {
        id: "nginx/port-taken".to_owned(),
        cause: format!(
            "{name} answers on port {} of the host, which Nginx needs",
            other.port
        ),
        fix: match name {
            "docker-proxy" => "publish the container on 127.0.0.1:8080 or another port".to_owned(),
            name => format!("stop it for good (for a service: systemctl disable --now {name})"),
        },
    })
}

fn refuse_taken_names(wanted: &Wanted, facts: &Facts) -> Result<(), Refusal> {
    let own = [link(wanted), Places::new(&wanted.app).nginx_site()];
    let mut others = facts
        .nginx_names
        .iter()
        .filter(|(_, file)| !own.contains(file));
    match others.find(|(name, _)| wanted.domains.iter().any(|d| d.eq_ignore_ascii_case(name))) {
        None => Ok(()),
        Some((name, file)) => Err(Refusal {
            id: "nginx/name-taken".to_owned(),
            cause: format!("another site on the host answers for {name}: {file}"),
            fix: format!("take the name out of that file, or switch the site off: rm {file}"),
        }),
    }
}

#[cfg(test)]
mod tests;
