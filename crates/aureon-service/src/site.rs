//! The page built into the binary, served when no directory is named.
//!
//! Its files stand in `site/` beside `src/` and are compiled in, packed by `build.rs`, so a binary
//! alone shows that it works. It loads nothing from elsewhere, which [`CONTENT_POLICY`] makes a
//! promise.

use std::sync::OnceLock;

use aureon::files::Asset;

use crate::unpack::unpack;

/// What the page may load: its own files and its own API.
pub const CONTENT_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The files' names and lengths, in the order of their content.
const FILES: &[(&str, usize)] = include!(concat!(env!("OUT_DIR"), "/site.rs"));

/// Their content, one after the other.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/site.packed"));

/// The files, by path. They are unpacked once, and kept as long as the process lives.
pub fn assets() -> &'static [Asset] {
    static ASSETS: OnceLock<Vec<Asset>> = OnceLock::new();
    ASSETS.get_or_init(|| {
        let mut rest: &[u8] = unpack(PACKED).unwrap_or_default().leak();
        FILES
            .iter()
            .map(|(path, length)| {
                let (bytes, after) = rest.split_at(*length);
                rest = after;
                Asset { path, bytes }
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_site_is_built_in_as_it_is() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/site");
        let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort_unstable();
        let built_in: Vec<(String, Vec<u8>)> = assets()
            .iter()
            .map(|asset| (asset.path.to_owned(), asset.bytes.to_vec()))
            .collect();
        assert_eq!(files, built_in);
    }
}
