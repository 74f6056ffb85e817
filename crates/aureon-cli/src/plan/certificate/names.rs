//! Where the names lead, and whether that goes together with what is wanted.
//!
//! What is refused here ends in a certificate that is not given, or in one of Cloudflare's pages:
//! 521 (nobody answers on the port that it asks), 525 and 526 (no certificate there, or one that it
//! does not believe), or in a redirect that leads to itself. What can only be seen later is said.

use std::net::IpAddr;

use super::super::{Plan, Refusal};
use crate::facts::{Facts, Leads};
use crate::wanted::{Certificate, Wanted};

/// Looks at every name.
pub(super) fn check(wanted: &Wanted, facts: &Facts, plan: &mut Plan) -> Result<(), Refusal> {
    if wanted.domains.is_empty() && wanted.certificate != Certificate::None {
        return Err(refuse(
            "certificate/no-name",
            "a certificate is for a name, and none is given".to_owned(),
            "name the domain: --domain example.com".to_owned(),
        ));
    }
    for name in &wanted.domains {
        match facts.leads(name) {
            Leads::Unknown => {}
            Leads::Here => here(wanted, name)?,
            Leads::Cloudflare => cloud(wanted, name)?,
            Leads::Nowhere => nowhere(wanted, facts, name, plan)?,
            Leads::Elsewhere(addresses) => elsewhere(wanted, facts, name, &addresses, plan)?,
        }
        if wanted.certificate != Certificate::None && name.starts_with("*.") {
            wildcard(wanted, name)?;
        }
    }
    if wanted.cloudflare {
        about_cloudflare(wanted, plan);
    }
    Ok(())
}

fn refuse(id: &str, cause: String, fix: String) -> Refusal {
    Refusal {
        id: id.to_owned(),
        cause,
        fix,
    }
}

fn is_certbot(wanted: &Wanted) -> bool {
    matches!(wanted.certificate, Certificate::Certbot { .. })
}

/// `203.0.113.7, 2001:db8::7`; what to write when there is none.
fn list(addresses: &[IpAddr]) -> String {
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    match shown.is_empty() {
        true => "the host's address".to_owned(),
        false => shown.join(", "),
    }
}

fn here(wanted: &Wanted, name: &str) -> Result<(), Refusal> {
    if !wanted.cloudflare {
        return Ok(());
    }
    Err(refuse(
        "cloudflare/grey",
        format!(
            "`cloudflare = true`, but {name} leads to this host itself: Nginx would believe what \
             nobody says about its clients"
        ),
        "turn the orange cloud on in Cloudflare's DNS, or take `cloudflare = true` out".to_owned(),
    ))
}

fn cloud(wanted: &Wanted, name: &str) -> Result<(), Refusal> {
    if wanted.cloudflare {
        return Ok(());
    }
    Err(refuse(
        "cloudflare/orange",
        format!(
            "{name} leads to Cloudflare (the orange cloud): every client would have one of \
             Cloudflare's addresses, and limits would be theirs"
        ),
        "write `cloudflare = true` below [deploy], or turn the cloud grey in Cloudflare's DNS"
            .to_owned(),
    ))
}

fn nowhere(wanted: &Wanted, facts: &Facts, name: &str, plan: &mut Plan) -> Result<(), Refusal> {
    let cause = format!("{name} does not resolve to any address");
    let fix = format!("let {name} lead to {}", list(&facts.addresses));
    if is_certbot(wanted) {
        return Err(refuse("certificate/no-address", cause, fix));
    }
    plan.warnings.push(format!("{cause}; {fix}"));
    Ok(())
}

fn elsewhere(
    wanted: &Wanted,
    facts: &Facts,
    name: &str,
    addresses: &[IpAddr],
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|one| one.is_ipv6());
    if !v6.is_empty() && v4.is_empty() {
        // The authority asks IPv6 first, and so do half of the browsers.
        let cause = format!(
            "{name} has the IPv6 address {}, which is not this host's",
            list(&v6)
        );
        let fix = "take that AAAA record out, or let it name this host".to_owned();
        if is_certbot(wanted) {
            return Err(refuse("certificate/ipv6-elsewhere", cause, fix));
        }
        plan.warnings.push(format!("{cause}; {fix}"));
        return Ok(());
    }
    let cause = format!(
        "{name} leads to {}, and this host has {}",
        list(addresses),
        list(&facts.addresses)
    );
    // Behind an address translation a host does not know the address by which it is reached. Then
    // the look from outside decides.
    if v6.is_empty()
        && facts
            .addresses
            .iter()
            .filter(|one| one.is_ipv4())
            .all(is_private)
    {
        plan.warnings.push(format!(
            "{cause}; that is fine if the one is translated to the other"
        ));
        return Ok(());
    }
    if is_certbot(wanted) {
        return Err(refuse(
            "certificate/elsewhere",
            cause,
            format!("let {name} lead to this host, and wait until the old answer is forgotten"),
        ));
    }
    plan.warnings.push(cause);
    Ok(())
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        // 100.64.0.0/10 is the carriers' (RFC 6598).
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(_) => false,
    }
}

fn wildcard(wanted: &Wanted, name: &str) -> Result<(), Refusal> {
    if !is_certbot(wanted) {
        return Ok(());
    }
    Err(refuse(
        "certificate/wildcard",
        format!("an authority gives no certificate for {name} by HTTP, only by DNS"),
        "name each domain, or bring a certificate (--cert, --key)".to_owned(),
    ))
}

/// What is set at Cloudflare can not be seen from here before there is an answer.
fn about_cloudflare(wanted: &Wanted, plan: &mut Plan) {
    let mode = match wanted.certificate {
        Certificate::None => {
            "without a certificate here Cloudflare has to be set to Flexible, and what it asks \
             this host goes over the network in the clear"
        }
        _ => {
            "Cloudflare has to be set to Full (strict). Flexible asks this host on port 80, which \
             leads to 443, which Cloudflare asks on port 80: a redirect without an end"
        }
    };
    plan.warnings.push(format!("SSL/TLS at Cloudflare: {mode}"));
}
