//! What is held in memory, and that changes are noticed.

use super::*;

#[test]
fn a_held_file_is_served_without_the_file_system_while_it_is_trusted() {
    let tree = Tree::with(&[("a.txt", "held"), ("index.html", "home")]);
    let site = Site::new(tree.files().trust(Duration::from_secs(3_600)));
    site.check("/a.txt", 200, "held");
    site.check("/", 200, "home");
    fs::remove_dir_all(tree.root()).unwrap();
    site.check("/a.txt", 200, "held");
    site.check("/", 200, "home");
    assert_eq!(site.get("/b.txt").status, 404);
}

#[test]
fn every_kind_of_change_is_noticed() {
    let tree = Tree::with(&[("a.txt", "one"), ("index.html", "home")]);
    let site = tree.site();
    site.check("/a.txt", 200, "one");
    tree.write("a.txt", "two");
    site.check("/a.txt", 200, "two");
    // Same length and the same modification time, as some tools leave behind.
    let modified = fs::metadata(tree.root().join("a.txt"))
        .unwrap()
        .modified()
        .unwrap();
    tree.write("a.txt", "ten");
    File::options()
        .append(true)
        .open(tree.root().join("a.txt"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    site.check("/a.txt", 200, "ten");
    tree.write("new", "renamed");
    fs::rename(tree.root().join("new"), tree.root().join("a.txt")).unwrap();
    site.check("/a.txt", 200, "renamed");
    fs::remove_file(tree.root().join("a.txt")).unwrap();
    assert_eq!(site.get("/a.txt").status, 404);
    tree.write("a.txt", "back");
    site.check("/a.txt", 200, "back");
    tree.write("a.txt.gz", "packed");
    assert_eq!(
        site.get_with("/a.txt", "Accept-Encoding", "gzip").text(),
        "packed"
    );
    fs::remove_file(tree.root().join("a.txt.gz")).unwrap();
    assert_eq!(
        site.get_with("/a.txt", "Accept-Encoding", "gzip").text(),
        "back"
    );
}

#[test]
fn a_large_file_that_is_written_to_is_noticed_even_while_it_is_trusted() {
    let tree = Tree::new();
    tree.write("log.txt", vec![b'a'; 100_000]);
    let site = Site::new(tree.files().trust(Duration::from_secs(3_600)));
    let first = site.get("/log.txt");
    let log = File::options()
        .append(true)
        .open(tree.root().join("log.txt"));
    log.unwrap().write_all(b"more").unwrap();
    let second = site.get("/log.txt");
    assert_eq!((first.body.len(), second.body.len()), (100_000, 100_004));
    assert_ne!(first.field("etag"), second.field("etag"));
}

#[test]
#[cfg(unix)]
fn a_root_that_is_replaced_is_noticed() {
    let tree = Tree::with(&[("index.html", "first")]);
    let (one, two) = (tree.0.join("release-1"), tree.0.join("release-2"));
    fs::create_dir_all(&one).unwrap();
    fs::create_dir_all(&two).unwrap();
    fs::write(one.join("index.html"), "one").unwrap();
    fs::write(two.join("index.html"), "two").unwrap();
    let current = tree.0.join("current");
    symlink("release-1", &current).unwrap();
    let site = Site::new(Files::new(&current).unwrap().trust(Duration::ZERO));
    site.check("/", 200, "one");
    fs::remove_file(&current).unwrap();
    symlink("release-2", &current).unwrap();
    site.check("/", 200, "two");
    // A build that removes its output and makes it anew.
    fs::remove_dir_all(&two).unwrap();
    assert_eq!(site.get("/").status, 404);
    fs::create_dir_all(&two).unwrap();
    fs::write(two.join("index.html"), "again").unwrap();
    site.check("/", 200, "again");
}

#[test]
fn without_a_cache_everything_is_read_anew() {
    let tree = Tree::with(&[("a.txt", "one")]);
    let site = Site::new(
        tree.files()
            .cache_bytes(0)
            .trust(Duration::from_secs(3_600)),
    );
    site.check("/a.txt", 200, "one");
    tree.write("a.txt", "two");
    site.check("/a.txt", 200, "two");
}

#[test]
fn a_tree_larger_than_the_cache_is_served_right() {
    let tree = Tree::new();
    for n in 0..200 {
        tree.write(&format!("{n}.txt"), format!("{n}").repeat(1_000));
    }
    let site = Site::new(
        tree.files()
            .cache_bytes(20_000)
            .trust(Duration::from_secs(3_600)),
    );
    for n in (0..200).chain(0..200).chain((0..200).rev()) {
        assert_eq!(
            site.get(&format!("/{n}.txt")).text(),
            format!("{n}").repeat(1_000)
        );
    }
}

/// Puts a file in another's place. Wine does not while somebody has that one open, for however
/// short a time; Windows and POSIX systems do at once.
fn replace(from: &Path, to: &Path) {
    let patience = Instant::now() + Duration::from_secs(20);
    while let Err(error) = fs::rename(from, to) {
        assert!(cfg!(windows) && Instant::now() < patience, "{error}");
        std::thread::yield_now();
    }
}

#[test]
fn workers_share_the_cache_while_files_change() {
    let tree = Tree::with(&[("a.txt", "0000")]);
    let site = tree.site();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let answer = site.get("/a.txt");
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.body.len(), 4, "never a half-written file");
                }
            });
        }
        for n in 0..100 {
            tree.write("next", format!("{n:04}"));
            replace(&tree.root().join("next"), &tree.root().join("a.txt"));
        }
    });
    site.check("/a.txt", 200, "0099");
}

#[test]
#[cfg(unix)] // A Windows process has no such limit.
fn running_out_of_descriptors_sheds_load_and_passes() {
    const CHILD: &str = "AUREON_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        // The limit is the whole process's, so the test runs itself once more with a small one.
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg("cache::running_out_of_descriptors_sheds_load_and_passes")
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let tree = Tree::with(&[
        ("held.txt", "held"),
        ("other.txt", "other"),
        ("third.txt", "3"),
    ]);
    for n in 0..20 {
        tree.write(&format!("{n}.bin"), vec![0; 100_000]);
    }
    let site = tree.site();
    site.check("/held.txt", 200, "held");
    for n in 0..20 {
        assert_eq!(site.get(&format!("/{n}.bin")).status, 200);
    }
    let exhaust = || {
        let opened = std::iter::from_fn(|| File::open("/dev/null").ok()).collect::<Vec<File>>();
        assert!(File::open("/dev/null").is_err());
        opened
    };
    let first = exhaust();
    // The cache gives up its own descriptors for a file it has not seen.
    site.check("/other.txt", 200, "other");
    let second = exhaust();
    assert!(
        second.len() >= 20,
        "all of the cache's came free: {}",
        second.len()
    );
    site.check("/held.txt", 200, "held");
    let refused = site.get("/third.txt");
    assert_eq!(
        (refused.status, refused.field("retry-after")),
        (503, Some("1"))
    );
    drop((first, second));
    site.check("/third.txt", 200, "3");
}
