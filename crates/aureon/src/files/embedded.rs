//! Assets compiled into the program, answered like files.
//!
//! Owns their index by path, made when the first request comes: tags and field lines are
//! computed once, and bodies stay where the program has them. They have no date, so their
//! entity tag is their only validator.

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

/// By path, in order. `None` is a directory without its slash.
type Index = Vec<(String, Option<Arc<Resource>>)>;

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
        match get(index, path) {
            Some(Some(resource)) => Found::File {
                resource: Arc::clone(resource),
                is_held: false,
            },
            Some(None) => Found::Directory,
            None => Found::Nothing,
        }
    }

    fn make_index(&self, index_names: &[String], policy: &Policy) -> Index {
        let bytes_of = |path: &str| {
            let asset = self.assets.iter().find(|asset| asset.path == path);
            asset.map(|asset| asset.bytes)
        };
        let mut index = Index::new();
        for asset in self.assets {
            let made = Resource::embedded(asset.path, bytes_of, policy);
            put(&mut index, asset.path, made.map(Arc::new));
            for (at, _) in asset.path.match_indices('/') {
                let directory = &asset.path[..at];
                if get(&index, directory).is_none() {
                    put(&mut index, directory, None);
                }
            }
        }
        // Last name first, so that the first one of them overwrites.
        for name in index_names.iter().rev() {
            for asset in self.assets {
                let Some(directory) = asset.path.strip_suffix(name.as_str()) else {
                    continue;
                };
                if directory.is_empty() || directory.ends_with('/') {
                    let resource = get(&index, asset.path).cloned().flatten();
                    put(&mut index, directory, resource);
                }
            }
        }
        index
    }
}

fn position(index: &Index, path: &str) -> Result<usize, usize> {
    index.binary_search_by(|(held, _)| held.as_str().cmp(path))
}

fn get<'a>(index: &'a Index, path: &str) -> Option<&'a Option<Arc<Resource>>> {
    let at = position(index, path).ok()?;
    index.get(at).map(|(_, resource)| resource)
}

/// In place of what was there.
fn put(index: &mut Index, path: &str, resource: Option<Arc<Resource>>) {
    match position(index, path) {
        Ok(at) => index[at].1 = resource,
        Err(at) => index.insert(at, (path.to_owned(), resource)),
    }
}
