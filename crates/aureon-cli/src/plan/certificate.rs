//! The certificate: certbot's by HTTP-01 through the webroot, or one that the user brings.
//!
//! What would end in a browser's warning, in Cloudflare's 521, 525, 526 or in a redirect that never
//! ends is refused with its reason before anything is touched (`certificate/names.rs` for names and
//! Cloudflare, `certificate/brought.rs` for files). Between writing the challenge and asking for a
//! certificate the path is looked at from outside (`certificate/reach.rs`). A renewal is tried at
//! once: what will not work in sixty days does not work now.

mod brought;
mod names;
pub(crate) mod reach;

use super::nginx::{RELOAD, RELOAD_BACK, TEST};
use super::shell::{self, word};
use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::Facts;
use crate::wanted::{Certificate, Places, Wanted};

/// Days before its end on which certbot has renewed long since: it begins 30 days before.
const RENEWED_DAYS: u64 = 21;

const DAY_S: u64 = 86_400;

/// Where a certificate and its key lie on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Leaf first, then intermediates.
    pub(crate) chain: String,
    /// The private key.
    pub(crate) key: String,
}

/// certbot's name for the certificate, which nothing else on the host has.
fn name(wanted: &Wanted) -> String {
    format!("aureon-{}", wanted.app)
}

/// Where a brought certificate is found: a link to a directory, so that certificate and key change
/// in one moment.
fn link(wanted: &Wanted) -> String {
    format!("{}/certificate", Places::new(&wanted.app).configuration())
}

/// Where it is, or will be; nothing when none is wanted.
pub(crate) fn place(wanted: &Wanted) -> Option<Place> {
    let chain = match wanted.certificate {
        Certificate::Certbot { .. } => Places::new(&wanted.app).certbot_chain(),
        Certificate::Files { .. } => format!("{}/fullchain.pem", link(wanted)),
        Certificate::None => return None,
    };
    let key = chain.replace("/fullchain.pem", "/privkey.pem");
    Some(Place { chain, key })
}

/// What has to be known of the host. Never a key.
pub(crate) fn paths(wanted: &Wanted) -> Vec<String> {
    let mut paths = vec!["certbot.timer".to_owned(), "package:certbot".to_owned()];
    match wanted.certificate {
        Certificate::Files { .. } => {
            paths.push(link(wanted));
            paths.extend(place(wanted).map(|place| place.chain));
        }
        Certificate::Certbot { .. } => paths.push(Places::new(&wanted.app).rehearsed()),
        Certificate::None => {}
    }
    paths
}

/// The file of which the facts say names and end ([`crate::facts::Questions::certificate`]).
#[must_use]
pub(crate) fn question(wanted: &Wanted) -> Option<String> {
    place(wanted).map(|place| place.chain)
}

/// Whether Nginx can serve with it already: it is there and has not ended. Names that are missing
/// come with the next one.
pub(crate) fn is_usable(wanted: &Wanted, facts: &Facts) -> bool {
    let there = facts.certificate.as_ref();
    wanted.certificate != Certificate::None && there.is_some_and(|it| it.ends_s > facts.time_s)
}

/// Whether certbot has nothing to do: all names are there, and it is being renewed.
fn is_fresh(wanted: &Wanted, facts: &Facts) -> bool {
    facts.certificate.as_ref().is_some_and(|it| {
        let has = |domain: &String| {
            it.names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(domain))
        };
        let exact = it.names.len() == wanted.domains.len();
        exact && wanted.domains.iter().all(has) && it.ends_s > facts.time_s + RENEWED_DAYS * DAY_S
    })
}

/// Asks for a certificate, or puts the brought one in its place.
pub(crate) fn steps(wanted: &Wanted, facts: &Facts, plan: &mut Plan) -> Result<(), Refusal> {
    names::check(wanted, facts, plan)?;
    match &wanted.certificate {
        Certificate::None => Ok(()),
        Certificate::Certbot { email, server } => {
            certbot(wanted, facts, email.as_deref(), server.as_deref(), plan);
            Ok(())
        }
        Certificate::Files { chain, key } => {
            let brought =
                brought::load(&wanted.directory.join(chain), &wanted.directory.join(key))?;
            brought::check(&brought, wanted, facts, plan)?;
            put_brought(wanted, facts, &brought, plan);
            Ok(())
        }
    }
}

fn certbot(
    wanted: &Wanted,
    facts: &Facts,
    email: Option<&str>,
    server: Option<&str>,
    plan: &mut Plan,
) {
    if !is_fresh(wanted, facts) {
        plan.steps.push(probe(wanted));
        plan.steps.push(issue(wanted, facts, email, server));
    }
    // A run may have been cut off between the two, or may have come from an older operator.
    if !is_fresh(wanted, facts) || !is_rehearsed(wanted, facts) {
        plan.steps.push(renewal(wanted, server));
    }
    let timer = facts.unit("certbot.timer");
    if !timer.is_some_and(|unit| unit.enabled && unit.active) {
        plan.steps.push(timer_step());
    }
}

fn probe(wanted: &Wanted) -> Step {
    let (file, text) = (reach::file(wanted), reach::text(wanted));
    Step {
        id: "certificate/reach".to_owned(),
        title: format!(
            "Look from outside whether {} leads here",
            wanted.domains.join(", ")
        ),
        why: "The authority will ask for a file on port 80 by name. The same is tried from this \
              machine first: an attempt that fails there counts against a weekly limit."
            .to_owned(),
        current: String::new(),
        desired: wanted
            .domains
            .iter()
            .map(|name| reach::url(wanted, name) + "\n")
            .collect(),
        apply: format!("certificate_token {file} {}\n", word(text.trim_end())),
        undo: Undo::Kept,
        act: Act::Reach,
    }
}

/// `--server URL`, in front of it a blank.
fn server_words(server: Option<&str>) -> String {
    server.map_or_else(String::new, |url| format!(" --server {}", word(url)))
}

fn issue(wanted: &Wanted, facts: &Facts, email: Option<&str>, server: Option<&str>) -> Step {
    let account = match email {
        Some(email) => format!(" --no-eff-email -m {}", word(email)),
        None => " --register-unsafely-without-email".to_owned(),
    };
    let names: String = wanted
        .domains
        .iter()
        .map(|name| format!(" -d {}", word(name)))
        .collect();
    let there = facts.certificate.as_ref();
    Step {
        id: "certificate/issue".to_owned(),
        title: format!("Certificate for {}", wanted.domains.join(", ")),
        why: "certbot puts a file into the webroot, the authority fetches it, and the certificate \
              comes back. After each renewal Nginx reads it, if it likes its files."
            .to_owned(),
        current: there.map_or_else(String::new, |it| it.names.join("\n") + "\n"),
        desired: wanted.domains.join("\n") + "\n",
        apply: format!(
            "certificate_token_away {}\nremove {}\ncertificate_issue {}{}{account}{names}\n",
            reach::file(wanted),
            // What was rehearsed was the renewal of another one.
            Places::new(&wanted.app).rehearsed(),
            name(wanted),
            server_words(server),
        ),
        undo: Undo::Kept,
        act: Act::Host,
    }
}

/// What the host keeps when a rehearsal went well: the names it was for.
fn rehearsal(wanted: &Wanted) -> String {
    wanted.domains.join("\n") + "\n"
}

fn is_rehearsed(wanted: &Wanted, facts: &Facts) -> bool {
    let there = facts.file(&Places::new(&wanted.app).rehearsed());
    there.and_then(|file| file.content.as_deref()) == Some(rehearsal(wanted).as_bytes())
}

fn renewal(wanted: &Wanted, server: Option<&str>) -> Step {
    let mark = Places::new(&wanted.app).rehearsed();
    let mut apply = format!(
        "certificate_rehearse {}{}\n",
        name(wanted),
        server_words(server)
    );
    apply.push_str(&shell::put(
        &mark,
        0o644,
        "root:root",
        rehearsal(wanted).as_bytes(),
    ));
    Step {
        id: "certificate/renewal".to_owned(),
        title: "Try a renewal".to_owned(),
        why: "A rehearsal with the authority, by the same path. A renewal that can not work is an \
              error now, and not in sixty days."
            .to_owned(),
        current: String::new(),
        desired: "certbot renew --dry-run: fine\n".to_owned(),
        apply,
        undo: Undo::Kept,
        act: Act::Host,
    }
}

fn timer_step() -> Step {
    Step {
        id: "certificate/timer".to_owned(),
        title: "certbot looks twice a day".to_owned(),
        why: "The timer comes with Debian's package; here it is made sure that it runs.".to_owned(),
        current: String::new(),
        desired: "certbot.timer: enabled, active\n".to_owned(),
        apply: "enable_unit certbot.timer\nstart_unit certbot.timer\n".to_owned(),
        undo: Undo::Kept,
        act: Act::Host,
    }
}

/// Behind Cloudflare, when anything between it and the service has changed: what its users see.
pub(crate) fn look_at_the_end(wanted: &Wanted, plan: &mut Plan) {
    let parts = ["nginx/", "certificate/", "firewall/"];
    let mut steps = plan.steps.iter();
    let changed = steps.any(|step| parts.iter().any(|part| step.id.starts_with(part)));
    let Some(name) = wanted.domains.first() else {
        return;
    };
    if !wanted.cloudflare || wanted.certificate == Certificate::None || !changed {
        return;
    }
    let url = format!("https://{name}{}", wanted.health_path);
    plan.steps.push(Step {
        id: "certificate/public".to_owned(),
        title: format!("Ask {url} through Cloudflare"),
        why: "521, 525, 526 and a redirect without an end are seen by whoever comes through \
              Cloudflare, and by nobody else."
            .to_owned(),
        current: String::new(),
        desired: format!("{url} is answered by this host\n"),
        apply: format!(
            "certificate_public {}\ncase $status in\n{}  *) ;;\nesac\n",
            word(&url),
            reach::pages_shell()
        ),
        undo: Undo::Kept,
        act: Act::Host,
    });
}

/// A directory named after the certificate, then the link to it: there is no moment at which
/// certificate and key do not belong together. The key comes on standard input.
fn put_brought(wanted: &Wanted, facts: &Facts, brought: &brought::Brought, plan: &mut Plan) {
    let link = link(wanted);
    let directory = format!("{link}-{}", brought.id());
    let there = facts.file(&link).and_then(|file| file.link.as_deref());
    let chain = facts.file(&format!("{link}/fullchain.pem"));
    let same = chain.and_then(|file| file.content.as_deref()) == Some(brought.chain.as_bytes());
    if there == Some(&directory) && same {
        return;
    }
    let mut apply = RELOAD_BACK.to_owned();
    apply.push_str(&format!("make_dir {directory} 0700 root:root\n"));
    apply.push_str(&format!("put {directory}/privkey.pem 0600 root:root\n"));
    let path = format!("{directory}/fullchain.pem");
    apply.push_str(&shell::put(
        &path,
        0o644,
        "root:root",
        brought.chain.as_bytes(),
    ));
    apply.push_str(&format!(
        "certificate_fits {directory}\nput_link {link} {directory}\n"
    ));
    // The site may be there already and have the link in it.
    apply.push_str(TEST);
    apply.push_str(RELOAD);
    // An old key is of no use to anybody who should have it.
    if let Some(old) = there.filter(|old| *old != directory && old.starts_with(&link)) {
        apply.push_str(&format!("remove {old}\n"));
    }
    plan.steps.push(Step {
        id: "certificate/files".to_owned(),
        title: format!("Your certificate for {}", wanted.domains.join(", ")),
        why:
            "Certificate and key go into a directory of their own, then one link is switched. The \
              key is no part of this script: it comes on standard input."
                .to_owned(),
        current: there.map_or_else(String::new, |old| format!("{link} -> {old}\n")),
        desired: format!("{link} -> {directory}\n"),
        apply,
        undo: Undo::Kept,
        act: Act::Key,
    });
}

#[cfg(test)]
mod tests;
