//! Whose word about the client is believed: the settings as the engine's [`Trust`].
//!
//! Read at the start and again with each reload, the file of ranges included, so that a newer
//! copy of it comes into force without a restart.

use aureon::app::{NamedBy, Network, Trust};

use crate::config::Loaded;
use crate::machine::place_of;
use crate::problem::{Exit, Place, Problem};
use crate::service::Failure;
use crate::settings::Config;
use crate::small_file::read_text;

/// The ranges that were current when this version was made.
pub const CLOUDFLARE: &str = include_str!("cloudflare.txt");

/// The field in which Cloudflare names the client.
const CLOUDFLARE_FIELD: &str = "cf-connecting-ip";

/// Whom a configuration trusts.
///
/// # Errors
///
/// The file of ranges can not be read, or a line of it is no network.
pub fn trust(config: &Config) -> Result<Trust, Failure> {
    let mut trust = Trust::new();
    for word in &config.trusted_proxies {
        trust.add(word);
    }
    if config.client_address_from == "forwarded" {
        trust.name_by(NamedBy::Forwarded);
    }
    if config.behind == "cloudflare" {
        let networks = match config.cloudflare_ranges.as_str() {
            "" => parse_ranges(CLOUDFLARE),
            path => read_text(path)
                .map_err(|error| error.to_string())
                .and_then(|text| parse_ranges(&text)),
        };
        let networks = networks.map_err(|what| {
            let line = [
                "cloudflare_ranges: ",
                &config.cloudflare_ranges,
                ": ",
                &what,
            ];
            Failure::new(Exit::Config, line.concat())
        })?;
        trust.set_cdn(CLOUDFLARE_FIELD, networks);
    }
    Ok(trust)
}

/// Cloudflare's networks, as they were when this version was made.
pub fn cloudflare() -> Vec<Network> {
    parse_ranges(CLOUDFLARE).unwrap_or_default()
}

/// One network a line; lines that begin with `#` and empty ones are left out.
fn parse_ranges(text: &str) -> Result<Vec<Network>, String> {
    let mut networks = Vec::new();
    for line in text.split('\n').map(str::trim_ascii) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match Network::parse(line) {
            Some(network) => networks.push(network),
            None => return Err(["`", line, "` is no network"].concat()),
        }
    }
    match networks.is_empty() {
        true => Err("there is no network in it".to_owned()),
        false => Ok(networks),
    }
}

/// What is wrong with the file of ranges.
pub fn ranges_problem(loaded: &Loaded) -> Option<Problem> {
    let failure = trust(&loaded.config).err()?;
    let what = failure.lines.concat();
    let fix = "one network a line, as Cloudflare lists them";
    let place = place_of(loaded, "cloudflare_ranges");
    Some(Problem::of(place, &[&what], &[fix]))
}

/// What is wrong with `trusted_proxies`, for the loader of the configuration.
pub fn find_problems(config: &Config, place: &Place, problems: &mut Vec<Problem>) {
    for word in &config.trusted_proxies {
        if !Trust::new().add(word) {
            let what = ["`", word, "` is no proxy"];
            let fix = "write an address, a network such as 10.0.0.0/8, loopback, private or unix";
            problems.push(Problem::of(place.clone(), &what, &[fix]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_ranges_are_networks() {
        let networks = parse_ranges(CLOUDFLARE).unwrap();
        assert_eq!(networks.len(), 22);
        let within = |ip: &str| networks.iter().any(|n| n.contains(ip.parse().unwrap()));
        assert!(within("104.16.1.1") && within("2606:4700::1"));
        assert!(!within("104.28.0.1") && !within("127.0.0.1"));
    }

    #[test]
    fn a_file_with_anything_else_in_it_is_refused() {
        assert!(parse_ranges("# none\n").unwrap_err().contains("no network"));
        assert!(
            parse_ranges("10.0.0.0/8\n<html>\n")
                .unwrap_err()
                .contains("<html>")
        );
    }
}
