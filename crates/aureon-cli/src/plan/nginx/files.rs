//! Nginx's files, as text. Each line that is not obvious says why it is there, because people read
//! these files on their servers.
//!
//! Nginx is never the stricter of the two: bodies, heads and waits have the limits of aureond,
//! which knows why. `proxy_pass` names 127.0.0.1, because `localhost` is two addresses on most
//! systems and one of them has nobody behind it.

use std::ffi::OsString;

use aureon::limits::Limits;
use aureon_service::config::{self, Inputs};

use super::super::Refusal;
use super::super::certificate::Place;
use crate::facts::Facts;
use crate::wanted::{Serves, Wanted};

/// Where challenges lie. Not below /var/lib/aureon-…, where applications keep their things.
pub(crate) const ACME_ROOT: &str = "/var/www/aureon-acme";

/// The one file that all of Nginx reads.
pub(crate) const CONNECTION: &str = "/etc/nginx/conf.d/aureon.conf";

/// Included by our sites alone.
pub(crate) const PROXY: &str = "/etc/nginx/snippets/aureon-proxy.conf";
/// See [`PROXY`].
pub(crate) const TLS: &str = "/etc/nginx/snippets/aureon-tls.conf";
/// See [`PROXY`].
pub(crate) const CLOUDFLARE: &str = "/etc/nginx/snippets/aureon-cloudflare.conf";

/// The server for names that nobody has.
pub(crate) const DEFAULT: &str = "/etc/nginx/sites-available/aureon-default";

/// Seconds that Nginx waits longer than aureond for an answer: then it is aureond who says that it
/// does not come.
const MARGIN_S: u32 = 5;

/// Seconds between two pieces of a program's answer. An hour: an event stream and a WebSocket may
/// be silent for long, and what is too long is for the program to say.
const PROGRAM_SILENCE_S: u32 = 3_600;

pub(crate) const CONNECTION_TEXT: &str = include_str!("aureon.conf");

pub(crate) const PROXY_TEXT: &str = include_str!("aureon-proxy.conf");

/// Mozilla's intermediate configuration, version 5.7. Without the DHE suites, which need a file of
/// parameters, and for which there is no client that knows no other.
pub(crate) const TLS_TEXT: &str = include_str!("aureon-tls.conf");

/// Instead of a redirect that comes back.
const FLEXIBLE: &str =
    "        # Asked by HTTPS, Cloudflare asks here by HTTP: to lead it to HTTPS would never end.
        if ($http_cf_visitor ~ https) {
            return 500 \"Cloudflare is set to Flexible: it has to be Full (strict).\\n\";
        }
";

/// Whose word about the client's address Nginx believes, when Cloudflare stands in front.
pub(crate) fn cloudflare() -> String {
    let mut text = String::from(
        "# Written by `aureon`, for its sites alone: the client's address is what Cloudflare says\n\
         # it is, when it is Cloudflare who connects. https://www.cloudflare.com/ips\n",
    );
    for line in aureon_service::proxies::CLOUDFLARE.lines() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            text.push_str(&format!("set_real_ip_from {line};\n"));
        }
    }
    text.push_str("real_ip_header CF-Connecting-IP;\n");
    text
}

/// `listen` of one port, for both kinds of addresses where the host has both.
fn listen(facts: &Facts, port: u16, more: &str) -> String {
    let mut out = format!("    listen {port}{more};\n");
    if facts.ipv6 {
        out.push_str(&format!("    listen [::]:{port}{more};\n"));
    }
    out
}

/// The Nginx that is there, or that comes with the plan: what the package lists offer, and where a
/// fresh host has none yet, what its system brings. If it is another after all, the next plan sees.
fn nginx_version(facts: &Facts) -> (u32, u32) {
    let brings = match (facts.system.as_str(), facts.system_major()) {
        ("debian", 13..) | ("ubuntu", 25..) => (1, 26),
        _ => (1, 22),
    };
    let known = facts.nginx_version.or(facts.nginx_offered);
    known.unwrap_or(brings)
}

/// Port 443, with HTTP/2 as this Nginx spells it.
fn listen_tls(facts: &Facts) -> String {
    match nginx_version(facts) >= (1, 25) {
        true => listen(facts, 443, " ssl") + "    http2 on;\n",
        // Newer ones understand it too, and say that it is the old word.
        false => listen(facts, 443, " ssl http2"),
    }
}

/// For names that nobody has.
pub(crate) fn default_server(facts: &Facts) -> String {
    let http = listen(facts, 80, " default_server");
    let https = listen(facts, 443, " ssl default_server");
    format!(
        "# Written by `aureon`. Who asks for a name that this host does not have is told nothing:
# 444 closes the connection.
server {{
{http}    server_name _;
    return 444;
}}

server {{
{https}    server_name _;
    # No name, no certificate: a scanner does not learn whose host this is.
    ssl_reject_handshake on;
    include {TLS};
    return 444;
}}
"
    )
}

/// What is in force in the service, as aureond's own reader reads it. A program's limits are not
/// known: then the largest that aureond has by itself.
pub(crate) fn limits(wanted: &Wanted) -> Result<Limits, Refusal> {
    let Serves::Site { configuration, .. } = &wanted.serves else {
        return Ok(Limits {
            body_bytes_max: Limits::DEFAULT.upload_bytes_max,
            ..Limits::DEFAULT
        });
    };
    let environment = wanted.environment.iter();
    let environment = environment.map(|(name, value)| (OsString::from(name), value.into()));
    let inputs = Inputs {
        file: Some(("aureon.toml".to_owned(), configuration.clone().into_bytes())),
        environment: environment.collect(),
        flags: Vec::new(),
    };
    config::load(&inputs)
        .map(|loaded| loaded.config.limits)
        .map_err(|problems| Refusal {
            id: "nginx/limits".to_owned(),
            cause: "aureon.toml does not say what the limits are: aureond would not read it"
                .to_owned(),
            fix: problems
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        })
}

/// Whole seconds, at least one.
fn seconds(milliseconds: u32) -> u32 {
    milliseconds.div_ceil(1_000).max(1)
}

/// The limits as Nginx says them.
fn limit_lines(wanted: &Wanted, limits: &Limits) -> String {
    let site = matches!(wanted.serves, Serves::Site { .. });
    let read_s = match site {
        true => seconds(limits.answer_timeout_ms) + MARGIN_S,
        false => PROGRAM_SILENCE_S.max(seconds(limits.answer_timeout_ms) + MARGIN_S),
    };
    // Zero would be no limit at all for Nginx; one byte is the least it can say.
    let body = limits.body_bytes_max.max(1);
    let head_kib = limits.head_bytes_max.div_ceil(1_024);
    let mut lines = format!(
        "    # The service's own limits (body_bytes_max, head_bytes_max, head_timeout, body_timeout,
    # idle_timeout, write_timeout, answer_timeout).
    client_max_body_size {body};
    large_client_header_buffers 4 {head_kib}k;
    client_header_timeout {}s;
    client_body_timeout {}s;
    keepalive_timeout {}s;
    send_timeout {}s;
    proxy_read_timeout {read_s}s;
    proxy_send_timeout {}s;
",
        seconds(limits.head_timeout_ms),
        seconds(limits.body_timeout_ms),
        seconds(limits.idle_timeout_ms),
        seconds(limits.write_timeout_ms),
        seconds(limits.body_timeout_ms) + MARGIN_S,
    );
    if !site {
        lines.push_str(
            "    # Bodies go on as they come: a large upload is not written to this disk first.
    proxy_request_buffering off;
",
        );
    }
    lines
}

/// The path of challenges, which is on port 80 of every site.
fn challenge() -> String {
    format!(
        "    # Certificates are asked for and renewed through this path, whatever else is here.
    location ^~ /.well-known/acme-challenge/ {{
        root {ACME_ROOT};
        default_type text/plain;
        try_files $uri =404;
    }}
"
    )
}

/// The site: on port 80 alone, or on 443 with 80 leading there.
pub(crate) fn site(
    wanted: &Wanted,
    facts: &Facts,
    port: u16,
    limits: &Limits,
    tls: Option<&Place>,
) -> String {
    let names = wanted.domains.join(" ");
    let text = format!(
        "# Written by `aureon deploy` for {}; the next deploy writes it anew.\n",
        wanted.app
    );
    let real_ip = match wanted.cloudflare {
        true => format!("    include {CLOUDFLARE};\n"),
        false => String::new(),
    };
    let challenge = challenge();
    let service = format!(
        "{}
    location / {{
        include {PROXY};
        proxy_pass http://127.0.0.1:{port};
    }}
",
        limit_lines(wanted, limits)
    );
    let http = listen(facts, 80, "");
    let named = format!("    server_name {names};\n    server_tokens off;\n{real_ip}\n");
    let Some(Place { chain, key }) = tls else {
        let server = format!("server {{\n{http}{named}{challenge}\n{service}}}\n");
        return text + &server;
    };
    let https = listen_tls(facts);
    let flexible = if wanted.cloudflare { FLEXIBLE } else { "" };
    let to_https = format!(
        "server {{
{http}{named}{challenge}
    location / {{
{flexible}        return 308 https://$host$request_uri;
    }}
}}
"
    );
    let server = format!(
        "
server {{
{https}{named}    ssl_certificate     {chain};
    ssl_certificate_key {key};
    include {TLS};

{challenge}
{service}}}
"
    );
    text + &to_https + &server
}
