//! The resources that were found lately, by path.
//!
//! Owns the map and its three bounds: bytes, entries, descriptors. It knows nothing of freshness
//! (a resource does) and never touches a file. This is the one mutable thing workers share
//! besides counters: a hit takes the lock for reading, and what it yields is counted, so nothing
//! is copied and nothing allocated. Only resources that exist get in, so requests for names that
//! do not exist cannot push anything out.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::resource::Resource;
use crate::limits;

#[derive(Debug)]
pub(super) struct Cache {
    bytes_max: usize,
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By path, in order: at most 1,024, and far more often looked up than changed.
    by_path: Vec<(Box<str>, Arc<Resource>)>,
    bytes: usize,
    descriptors: usize,
}

impl Cache {
    /// A cache of at most so many bytes; of none when `bytes_max` is 0.
    pub(super) fn new(bytes_max: usize) -> Cache {
        Cache {
            bytes_max,
            entries: RwLock::default(),
        }
    }

    /// The resource last found for a path.
    pub(super) fn get(&self, path: &str) -> Option<Arc<Resource>> {
        let entries = self.read();
        let at = entries.position(path).ok()?;
        entries.by_path.get(at).map(|(_, held)| Arc::clone(held))
    }

    /// Keeps a resource, in place of those that were unused the longest.
    pub(super) fn insert(&self, path: &str, resource: &Arc<Resource>) {
        if !resource.is_keepable() || resource.cost_bytes() > self.bytes_max {
            return;
        }
        let mut entries = self.write();
        if let Ok(at) = entries.position(path) {
            entries.remove_at(at);
        }
        while entries.by_path.len() >= limits::FILE_CACHE_ENTRIES_MAX
            || entries.bytes + resource.cost_bytes() > self.bytes_max
        {
            if !entries.remove_oldest(|_| true) {
                return;
            }
        }
        while entries.descriptors + resource.cost_descriptors() > limits::FILE_CACHE_DESCRIPTORS_MAX
        {
            if !entries.remove_oldest(|old| old.cost_descriptors() > 0) {
                return;
            }
        }
        entries.bytes += resource.cost_bytes();
        entries.descriptors += resource.cost_descriptors();
        if let Err(at) = entries.position(path) {
            entries
                .by_path
                .insert(at, (path.into(), Arc::clone(resource)));
        }
    }

    /// Forgets a resource, unless another has taken its place.
    pub(super) fn remove(&self, path: &str, resource: &Arc<Resource>) {
        let mut entries = self.write();
        if let Ok(at) = entries.position(path)
            && entries
                .by_path
                .get(at)
                .is_some_and(|(_, held)| Arc::ptr_eq(held, resource))
        {
            entries.remove_at(at);
        }
    }

    /// Gives back every descriptor: the process has run out of them.
    pub(super) fn remove_descriptors(&self) {
        let mut entries = self.write();
        while entries.remove_oldest(|held| held.cost_descriptors() > 0) {}
    }

    // A panic while the lock is held cannot leave a half-made entry: counts are the worst.
    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Where a path is, or where it would be.
    fn position(&self, path: &str) -> Result<usize, usize> {
        self.by_path
            .binary_search_by(|(held, _)| (**held).cmp(path))
    }

    fn remove_at(&mut self, at: usize) {
        let (_, resource) = self.by_path.remove(at);
        self.bytes = self.bytes.saturating_sub(resource.cost_bytes());
        self.descriptors = self.descriptors.saturating_sub(resource.cost_descriptors());
    }

    /// O(n); n is at most 1,024, and whoever gets here has just read a file.
    fn remove_oldest(&mut self, may_go: impl Fn(&Resource) -> bool) -> bool {
        let held = self.by_path.iter().enumerate();
        let candidates = held.filter(|(_, (_, held))| may_go(held));
        let oldest = candidates.min_by_key(|(_, (_, held))| held.used_s());
        let Some((at, _)) = oldest else {
            return false;
        };
        self.remove_at(at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::resource::Policy;

    const POLICY: Policy = Policy {
        cache_control: None,
        precompressed: true,
    };

    fn resource(path: &str, used_s: u64) -> Arc<Resource> {
        let made = Resource::embedded(path, |wanted| (wanted == path).then_some(b"x"), &POLICY);
        let made = made.expect("it is there");
        made.touch(used_s * 1_000);
        Arc::new(made)
    }

    #[test]
    fn yields_what_was_put_in() {
        let cache = Cache::new(10_000);
        let a = resource("a", 1);
        cache.insert("a", &a);
        assert!(cache.get("a").is_some_and(|held| Arc::ptr_eq(&held, &a)));
        assert!(cache.get("b").is_none());
        cache.remove("a", &resource("a", 1));
        assert!(
            cache.get("a").is_some(),
            "another resource of that path is not ours to remove"
        );
        cache.remove("a", &a);
        assert!(cache.get("a").is_none());
        assert_eq!(cache.read().bytes, 0);
    }

    #[test]
    fn the_longest_unused_makes_room() {
        let cost = resource("a", 1).cost_bytes();
        let cache = Cache::new(2 * cost);
        cache.insert("a", &resource("a", 2));
        cache.insert("b", &resource("b", 1));
        cache.insert("c", &resource("c", 3));
        assert!(cache.get("b").is_none());
        assert!(cache.get("a").is_some() && cache.get("c").is_some());
        assert_eq!(cache.read().bytes, 2 * cost);
    }

    #[test]
    fn entries_are_bounded() {
        let cache = Cache::new(usize::MAX);
        for count in 0..limits::FILE_CACHE_ENTRIES_MAX + 10 {
            cache.insert(&count.to_string(), &resource("a", count as u64));
        }
        assert_eq!(cache.read().by_path.len(), limits::FILE_CACHE_ENTRIES_MAX);
        assert!(cache.get("9").is_none() && cache.get("10").is_some());
    }

    #[test]
    fn a_cache_without_bytes_keeps_nothing() {
        let cache = Cache::new(0);
        cache.insert("a", &resource("a", 1));
        assert!(cache.get("a").is_none());
    }
}
