//! The directory that is served, as it is now.
//!
//! Owns the open descriptor of the root and notices when its path leads to another directory:
//! a build that removes and remakes its output, or a `current` link switched to a new release.
//! Asked only when the cache cannot answer, and looks at most as often as files are revalidated.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::sys::dir::Dir;

#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    dir: RwLock<Arc<Dir>>,
    checked_ms: AtomicU64,
}

impl Root {
    /// Opens the root. Its path is made absolute, so that a later change of the working
    /// directory changes nothing, and its links are left as they are, so that they can be
    /// switched.
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        let path = std::path::absolute(path)?;
        let dir = RwLock::new(Arc::new(Dir::open(&path)?));
        Ok(Root {
            path,
            dir,
            checked_ms: AtomicU64::new(0),
        })
    }

    /// The directory the path leads to, as of at most `trust_ms` ago. While the path leads
    /// nowhere the last one is kept: it answers 404 for everything once it is removed.
    pub(super) fn dir(&self, now_ms: u64, trust_ms: u64) -> Arc<Dir> {
        let held = Arc::clone(&self.dir.read().unwrap_or_else(PoisonError::into_inner));
        let checked_ms = self.checked_ms.load(Ordering::Relaxed);
        if now_ms < checked_ms.saturating_add(trust_ms) {
            return held;
        }
        self.checked_ms.store(now_ms, Ordering::Relaxed);
        match Dir::open(&self.path) {
            Ok(dir) if !dir.is_same(&held) => {
                let dir = Arc::new(dir);
                *self.dir.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&dir);
                dir
            }
            _ => held,
        }
    }
}
