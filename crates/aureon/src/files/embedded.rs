//! Assets compiled into the program, answered like files.
//!
//! Owns their index by path, made when the first request comes: tags and field lines are
//! computed once, and bodies stay where the program has them. They have no date, so their
//! entity tag is their only validator.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::Found;
use super::resource::{Policy, Resource};

/// A file compiled into the program.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its path below the mount point, without a leading slash: `css/site.css`.
    pub path: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

#[derive(Debug)]
pub(super) struct Embedded {
    assets: &'static [Asset],
    index: OnceLock<Index>,
}

/// `None` is a directory without its slash.
type Index = HashMap<String, Option<Arc<Resource>>>;

impl Embedded {
    pub(super) fn new(assets: &'static [Asset]) -> Embedded {
        Embedded {
            assets,
            index: OnceLock::new(),
        }
    }

    pub(super) fn find(&self, path: &str, index_names: &[String], policy: &Policy) -> Found {
        let index = self
            .index
            .get_or_init(|| self.make_index(index_names, policy));
        match index.get(path) {
            Some(Some(resource)) => Found::File {
                resource: Arc::clone(resource),
                is_held: false,
            },
            Some(None) => Found::Directory,
            None => Found::Nothing,
        }
    }

    fn make_index(&self, index_names: &[String], policy: &Policy) -> Index {
        let bytes_of: HashMap<&str, &'static [u8]> = self
            .assets
            .iter()
            .map(|asset| (asset.path, asset.bytes))
            .collect();
        let mut index = Index::new();
        for asset in self.assets {
            let made = Resource::embedded(asset.path, |path| bytes_of.get(path).copied(), policy);
            index.insert(asset.path.to_owned(), made.map(Arc::new));
            for (at, _) in asset.path.match_indices('/') {
                index.entry(asset.path[..at].to_owned()).or_insert(None);
            }
        }
        // Last name first, so that the first one of them overwrites.
        for name in index_names.iter().rev() {
            for asset in self.assets {
                let Some(directory) = asset.path.strip_suffix(name.as_str()) else {
                    continue;
                };
                if directory.is_empty() || directory.ends_with('/') {
                    let resource = index.get(asset.path).cloned().flatten();
                    index.insert(directory.to_owned(), resource);
                }
            }
        }
        index
    }
}
