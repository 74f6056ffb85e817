//! Certificates of `tests/certificates`, made by openssl for these tests and of no worth to
//! anybody: they last a hundred years, so that no test has to be mended when one ends. The time
//! that counts is the host's, and is a number here.

use std::path::PathBuf;

use super::super::super::samples;
use super::*;

/// January 2027: after the fixtures begin.
const NOW_S: u64 = 1_800_000_000;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/certificates")
        .join(name)
}

/// The warnings, or the refusal's id.
fn look(
    chain: &str,
    key: &str,
    change: impl Fn(&mut Wanted, &mut Facts),
) -> Result<Vec<String>, String> {
    let (mut wanted, mut facts, mut plan) = (samples::wanted(), samples::facts(), samples::plan());
    facts.time_s = NOW_S;
    change(&mut wanted, &mut facts);
    let brought = load(&path(chain), &path(key)).map_err(|refusal| refusal.id)?;
    check(&brought, &wanted, &facts, &mut plan).map_err(|refusal| {
        assert!(!refusal.cause.is_empty() && !refusal.fix.is_empty());
        refusal.id
    })?;
    Ok(plan.warnings)
}

fn fine(chain: &str, key: &str) {
    assert_eq!(look(chain, key, |_, _| {}), Ok(Vec::new()), "{chain} {key}");
}

fn refused(chain: &str, key: &str, id: &str) {
    assert_eq!(
        look(chain, key, |_, _| {}),
        Err(id.to_owned()),
        "{chain} {key}"
    );
}

#[test]
fn a_whole_chain_with_its_key_is_fine_in_every_form() {
    fine("ec.pem", "ec.key");
    fine("ec.pem", "ec1.key");
    fine("rsa.pem", "rsa.key");
    fine("rsa.pem", "rsa1.key");
    // Does not say its public half: the host's openssl looks.
    fine("ed.pem", "ed.key");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    refused("ec.pem", "rsa.key", "certificate/key-mismatch");
    refused("ec.pem", "self.key", "certificate/key-mismatch");
    refused("rsa.pem", "cf.key", "certificate/key-mismatch");
}

#[test]
fn what_is_no_key_or_no_certificate_is_refused() {
    refused("ec.pem", "ec.pem", "certificate/no-key");
    refused("ec.key", "ec.key", "certificate/key-in-chain");
    refused("ec.pem", "locked.key", "certificate/key-locked");
    refused("nothing.pem", "ec.key", "certificate/unreadable");
    let parsed = parse(b"hello", b"hello").map_err(|refusal| refusal.id);
    assert_eq!(parsed.err().as_deref(), Some("certificate/no-pem"));
    let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = fs::read(path("ec.key")).unwrap();
    let brought = parse(garbage, &key).map_err(|refusal| refusal.id).unwrap();
    let (wanted, facts) = (samples::wanted(), samples::facts());
    let refusal = check(&brought, &wanted, &facts, &mut samples::plan()).unwrap_err();
    assert_eq!(refusal.id, "certificate/no-pem");
}

#[test]
fn names_that_are_not_in_it_are_named() {
    let other = look("other.pem", "ec.key", |_, _| {});
    assert_eq!(other, Err("certificate/key-mismatch".to_owned()));
    let missing = look("ec.pem", "ec.key", |wanted, _| {
        wanted.domains.push("a.b.example.com".into());
    });
    assert_eq!(missing, Err("certificate/names".to_owned()));
    assert!(covers("*.example.com", "www.example.com") && covers("Example.com", "example.COM"));
    assert!(!covers("*.example.com", "example.com") && !covers("*.example.com", "a.b.example.com"));
}

#[test]
fn its_time_is_the_hosts() {
    let at = |time_s: u64| look("ec.pem", "ec.key", move |_, facts| facts.time_s = time_s);
    assert_eq!(at(1_700_000_000), Err("certificate/not-yet".to_owned()));
    assert_eq!(at(5_000_000_000), Err("certificate/expired".to_owned()));
    // Ten days before its end, in 2126.
    let soon = at(4_949_044_000).unwrap();
    assert!(soon.len() == 1 && soon[0].contains("ends on"), "{soon:?}");
}

#[test]
fn a_chain_in_another_order_or_with_a_gap_is_refused() {
    refused("order.pem", "ec.key", "certificate/key-mismatch");
    refused("gap.pem", "ec.key", "certificate/order");
}

#[test]
fn the_origin_ca_is_for_cloudflare_alone() {
    refused("cf.pem", "cf.key", "cloudflare/origin-ca");
    let behind = look("cf.pem", "cf.key", |wanted, _| wanted.cloudflare = true);
    assert_eq!(behind, Ok(Vec::new()));
}

#[test]
fn one_that_is_signed_by_itself_is_526_or_a_warning_in_every_browser() {
    refused("self.pem", "self.key", "certificate/self-signed");
    let behind = look("self.pem", "self.key", |wanted, _| wanted.cloudflare = true);
    assert_eq!(behind, Err("certificate/self-signed".to_owned()));
}

#[test]
fn carriage_returns_do_not_matter() {
    let text = fs::read_to_string(path("ec.pem")).unwrap();
    let key = fs::read(path("ec.key")).unwrap();
    let plain = parse(text.as_bytes(), &key)
        .map_err(|refusal| refusal.id)
        .unwrap();
    let windows = parse(text.replace('\n', "\r\n").as_bytes(), &key);
    let windows = windows.map_err(|refusal| refusal.id).unwrap();
    assert_eq!(plain.chain, windows.chain);
    assert_eq!(plain.id(), windows.id());
}
