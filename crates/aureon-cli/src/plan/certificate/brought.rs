//! A certificate that the user brings, looked at before anything is touched: does the key belong to
//! it, are all names in it, has it ended, does each certificate of the chain follow from the next,
//! and will a browser believe it.
//!
//! `x509-parser` reads it: pure Rust, so that it does so on Windows too, and it only reads. What
//! needs arithmetic (a key that does not say its public half) is left to openssl and to `nginx -t`
//! on the host, which look before anything is switched. Signatures are not verified here: who has
//! made a chain wrong on purpose harms himself alone.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::ber::BerObjectContent;
use x509_parser::der_parser::der::parse_der;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use super::super::{Plan, Refusal};
use crate::facts::Facts;
use crate::limits;
use crate::wanted::Wanted;

/// Days before its end from which on a warning is given: nobody renews this one by itself.
const ENDS_SOON_DAYS: i64 = 21;

const DAY_S: i64 = 86_400;

/// Certificates of a chain. 10: OpenSSL's own default for a depth, and five more than there are.
const CHAIN_MAX: usize = 10;

/// What was read: the chain as it travels, and the key's public half as far as it says it.
pub(super) struct Brought {
    /// PEM.
    pub(super) chain: String,
    /// DER, leaf first.
    certificates: Vec<Vec<u8>>,
    /// What the key says of its public half: RSA's modulus, or a curve's point.
    public: Option<Vec<u8>>,
}

impl Brought {
    /// Eight hexadecimal digits: its directory's name.
    pub(super) fn id(&self) -> String {
        let digest = Sha256::digest(self.chain.as_bytes());
        digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn refuse(id: &str, cause: String, fix: &str) -> Refusal {
    Refusal {
        id: ["certificate/", id].concat(),
        cause,
        fix: fix.to_owned(),
    }
}

const EXPORT: &str =
    "a file in PEM: -----BEGIN CERTIFICATE-----, yours first, then the intermediates";

/// Reads both files.
pub(super) fn load(chain: &Path, key: &Path) -> Result<Brought, Refusal> {
    let read = |path: &Path| {
        let length = fs::metadata(path).map(|about| about.len());
        match length {
            Ok(length) if length > limits::PEM_BYTES_MAX => Err(refuse(
                "unreadable",
                format!("{} is longer than any certificate", path.display()),
                EXPORT,
            )),
            _ => fs::read(path).map_err(|error| {
                refuse(
                    "unreadable",
                    format!("{}: {error}", path.display()),
                    "name a file that is there",
                )
            }),
        }
    };
    parse(&read(chain)?, &read(key)?)
}

/// The same of bytes.
fn parse(chain: &[u8], key: &[u8]) -> Result<Brought, Refusal> {
    let text = String::from_utf8(chain.to_vec());
    let text =
        text.map_err(|_| refuse("no-pem", "the certificate is not in PEM".into(), EXPORT))?;
    let mut certificates = Vec::new();
    for pem in Pem::iter_from_buffer(chain) {
        let pem =
            pem.map_err(|error| refuse("no-pem", format!("the certificate: {error}"), EXPORT))?;
        if pem.label.contains("PRIVATE KEY") {
            let cause = "there is a private key in the file of the certificate".to_owned();
            return Err(refuse(
                "key-in-chain",
                cause,
                "keep it in a file of its own, 0600",
            ));
        }
        certificates.push(pem.contents);
    }
    if certificates.is_empty() || certificates.len() > CHAIN_MAX {
        let cause = format!("{} certificates are in the file", certificates.len());
        return Err(refuse("no-pem", cause, EXPORT));
    }
    Ok(Brought {
        // One form, whatever editor it went through.
        chain: text.replace("\r\n", "\n").trim_end().to_owned() + "\n",
        certificates,
        public: parse_key(key)?,
    })
}

/// What the key says of its public half.
fn parse_key(key: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let fix = "a file in PEM: -----BEGIN PRIVATE KEY-----";
    let none = || {
        refuse(
            "no-key",
            "there is no private key in the file".to_owned(),
            fix,
        )
    };
    for pem in Pem::iter_from_buffer(key) {
        let pem = pem.map_err(|_| none())?;
        match pem.label.as_str() {
            "ENCRYPTED PRIVATE KEY" => return Err(encrypted()),
            // Older files say it in a line of their own.
            "RSA PRIVATE KEY" if String::from_utf8_lossy(key).contains("ENCRYPTED") => {
                return Err(encrypted());
            }
            "RSA PRIVATE KEY" => return Ok(rsa_modulus(&pem.contents)),
            "EC PRIVATE KEY" => return Ok(curve_point(&pem.contents)),
            "PRIVATE KEY" => {
                let inner = octets(&pem.contents, 2).ok_or_else(none)?;
                return Ok(rsa_modulus(&inner).or_else(|| curve_point(&inner)));
            }
            // EC PARAMETERS comes before the key.
            _ => {}
        }
    }
    Err(none())
}

fn encrypted() -> Refusal {
    let cause =
        "the private key is locked by a passphrase, which nobody types at a boot".to_owned();
    refuse(
        "key-locked",
        cause,
        "openssl pkey -in locked.key -out open.key; chmod 600 open.key",
    )
}

/// The octet string at a place of a sequence (RFC 5958 §2: the key itself).
fn octets(der: &[u8], at: usize) -> Option<Vec<u8>> {
    let (_, sequence) = parse_der(der).ok()?;
    match &sequence.as_sequence().ok()?.get(at)?.content {
        BerObjectContent::OctetString(bytes) => Some(bytes.to_vec()),
        _ => None,
    }
}

/// RFC 8017 §A.1.2: version, modulus, … Nine numbers.
fn rsa_modulus(der: &[u8]) -> Option<Vec<u8>> {
    let (_, sequence) = parse_der(der).ok()?;
    let sequence = sequence.as_sequence().ok()?;
    match (sequence.len(), &sequence.get(1)?.content) {
        (9, BerObjectContent::Integer(bytes)) => Some(without_zeros(bytes)),
        _ => None,
    }
}

/// RFC 5915 §3: version, the secret, \[0\] the curve, \[1\] the public point.
fn curve_point(der: &[u8]) -> Option<Vec<u8>> {
    let (_, sequence) = parse_der(der).ok()?;
    let tagged = sequence
        .as_sequence()
        .ok()?
        .iter()
        .find(|one| one.header.raw_tag() == Some(&[0xa1]));
    let (_, point) = parse_der(tagged?.as_slice().ok()?).ok()?;
    match point.content {
        BerObjectContent::BitString(_, bits) => Some(bits.data.to_vec()),
        _ => None,
    }
}

fn without_zeros(bytes: &[u8]) -> Vec<u8> {
    let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
    bytes[from..].to_vec()
}

/// Everything that can be seen of it.
pub(super) fn check(
    brought: &Brought,
    wanted: &Wanted,
    facts: &Facts,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let parsed = brought
        .certificates
        .iter()
        .map(|der| x509_parser::parse_x509_certificate(der));
    let parsed: Result<Vec<_>, _> = parsed.map(|one| one.map(|(_, one)| one)).collect();
    let chain: Vec<X509Certificate<'_>> =
        parsed.map_err(|error| refuse("no-pem", format!("the certificate: {error}"), EXPORT))?;
    let leaf = &chain[0];
    check_key(brought, leaf)?;
    check_names(leaf, wanted)?;
    check_times(&chain, facts, plan)?;
    check_order(&chain)?;
    check_issuer(&chain, wanted, plan)
}

fn check_key(brought: &Brought, leaf: &X509Certificate<'_>) -> Result<(), Refusal> {
    let Some(public) = &brought.public else {
        // Ed25519 and others do not say it; the host's openssl looks.
        return Ok(());
    };
    let bits = &leaf.public_key().subject_public_key.data;
    // RFC 8017 §A.1.1: modulus, exponent. A curve's point is the bits themselves.
    let modulus = parse_der(bits).ok().and_then(|(_, sequence)| {
        match sequence.as_sequence().ok()?.first()?.content {
            BerObjectContent::Integer(bytes) => Some(without_zeros(bytes)),
            _ => None,
        }
    });
    if modulus.as_ref() == Some(public) || bits.as_ref() == public.as_slice() {
        return Ok(());
    }
    let cause = "the private key does not belong to the certificate that comes first".to_owned();
    let fix =
        "name the key with which the certificate was asked for; yours comes first in the file";
    Err(refuse("key-mismatch", cause, fix))
}

/// RFC 9525 §6.3: a wildcard stands for one whole label, the leftmost.
fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => name
            .split_once('.')
            .is_some_and(|(_, of)| of.eq_ignore_ascii_case(rest)),
        None => pattern.eq_ignore_ascii_case(name),
    }
}

fn check_names(leaf: &X509Certificate<'_>, wanted: &Wanted) -> Result<(), Refusal> {
    let extension = leaf.subject_alternative_name().ok().flatten();
    let mut names = Vec::new();
    for name in extension
        .iter()
        .flat_map(|extension| &extension.value.general_names)
    {
        if let GeneralName::DNSName(name) = name {
            names.push(*name);
        }
    }
    let missing = wanted
        .domains
        .iter()
        .find(|name| !names.iter().any(|of| covers(of, name)));
    let Some(missing) = missing else {
        return Ok(());
    };
    let has = match names.is_empty() {
        true => "no name at all (the old CN is not looked at by any browser)".to_owned(),
        false => names.join(", "),
    };
    let cause = format!("the certificate is not for {missing}: it has {has}");
    Err(refuse(
        "names",
        cause,
        "ask for one that has all names, or take the name out",
    ))
}

fn check_times(
    chain: &[X509Certificate<'_>],
    facts: &Facts,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let now = i64::try_from(facts.time_s).unwrap_or(i64::MAX);
    for one in chain {
        let validity = one.validity();
        let (begins, ends) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        if ends <= now {
            let cause = format!(
                "the certificate of {} ended on {}",
                one.subject(),
                validity.not_after
            );
            return Err(refuse("expired", cause, "bring one that has not"));
        }
        if begins > now {
            let cause = format!(
                "by the host's clock the certificate of {} begins on {}",
                one.subject(),
                validity.not_before
            );
            return Err(refuse("not-yet", cause, "set the host's clock, or wait"));
        }
    }
    let ends = chain[0].validity().not_after;
    if ends.timestamp() < now + ENDS_SOON_DAYS * DAY_S {
        plan.warnings.push(format!(
            "the certificate ends on {ends}, and nobody renews it by itself"
        ));
    }
    Ok(())
}

fn check_order(chain: &[X509Certificate<'_>]) -> Result<(), Refusal> {
    for pair in chain.windows(2) {
        if pair[0].issuer().as_raw() != pair[1].subject().as_raw() {
            let cause = format!(
                "the chain is out of order: {} was issued by {}, and {} follows",
                pair[0].subject(),
                pair[0].issuer(),
                pair[1].subject()
            );
            return Err(refuse("order", cause, EXPORT));
        }
    }
    Ok(())
}

fn check_issuer(
    chain: &[X509Certificate<'_>],
    wanted: &Wanted,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let leaf = &chain[0];
    let issuer = leaf.issuer().to_string();
    let origin = issuer.to_ascii_lowercase().contains("cloudflare origin");
    if origin && !wanted.cloudflare {
        return Err(Refusal {
            id: "cloudflare/origin-ca".to_owned(),
            cause:
                "the certificate is of Cloudflare's Origin CA, which Cloudflare believes and no \
                    browser does"
                    .to_owned(),
            fix: "turn the orange cloud on and write `cloudflare = true`, or let certbot ask for \
                  one (take cert and key out)"
                .to_owned(),
        });
    }
    if leaf.issuer().as_raw() == leaf.subject().as_raw() {
        let who = match wanted.cloudflare {
            true => "Cloudflare's Full (strict) answers 526 instead of the site",
            false => "every browser warns of it",
        };
        let cause = format!("the certificate is signed by itself: {who}");
        let fix = "let certbot ask for one, or take one of Cloudflare's Origin CA behind the \
                   orange cloud";
        return Err(refuse("self-signed", cause, fix));
    }
    if chain.len() == 1 && !origin {
        plan.warnings.push(format!(
            "no intermediate certificate is in the file: clients that do not know {issuer} will \
             not believe it"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
