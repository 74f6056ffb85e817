//! The page built into the binary, served when no directory is named.
//!
//! Its files stand in `site/` beside `src/` and are compiled in, so a binary alone shows that
//! it works. It loads nothing from elsewhere, which [`CONTENT_POLICY`] makes a promise.

use aureon::files::Asset;

/// What the page may load: its own files and its own API.
pub const CONTENT_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

macro_rules! asset {
    ($path:literal) => {
        Asset {
            path: $path,
            bytes: include_bytes!(concat!("../site/", $path)),
        }
    };
}

/// The files, by path.
pub static ASSETS: &[Asset] = &[
    asset!("index.html"),
    asset!("404.html"),
    asset!("app.js"),
    asset!("favicon.svg"),
    asset!("robots.txt"),
    asset!("style.css"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_site_is_built_in() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/site");
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut built_in: Vec<&str> = ASSETS.iter().map(|asset| asset.path).collect();
        names.sort_unstable();
        built_in.sort_unstable();
        assert_eq!(names, built_in);
    }
}
