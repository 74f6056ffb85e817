//! What is never read: traversal in every spelling, links outside, devices, dotfiles.

use super::*;

#[test]
fn nothing_outside_the_root_is_ever_read() {
    let tree = Tree::with(&[("index.html", "home"), ("sub/x.txt", "x")]);
    let secret = tree.0.join("secret.txt");
    let absolute = secret.to_string_lossy().into_owned();
    let encoded = absolute.replace('/', "%2f");
    let mut corpus: Vec<String> = vec![
        absolute.clone(),
        format!("/{absolute}"),
        format!("//{absolute}"),
        encoded.clone(),
        format!("/{encoded}"),
        format!("/file:{absolute}"),
        format!("/C:{}", absolute.replace('/', "\\")),
        String::from("/\\\\localhost\\c$\\secret.txt"),
    ];
    let ups = [
        "..",
        "%2e%2e",
        ".%2e",
        "%2E.",
        "%252e%252e",
        "%25252e%25252e",
        "..;",
        "...",
        "....",
        "..%00",
        "%2e%2e%00",
        "..%20",
        "..%09",
        "%c0%ae%c0%ae",
        "%e0%80%ae%e0%80%ae",
        "‥",
        "．．",
        "%uff0e%uff0e",
        "..%ff",
        "..\u{0}",
    ];
    let separators = [
        "/", "//", "%2f", "%2F", "%252f", "\\", "%5c", "%255c", "%c0%af", "/./", "∕",
    ];
    for up in ups {
        for separator in separators {
            for start in ["/", "/sub/", "", "/sub/x.txt/", "/.well-known/"] {
                for depth in 1..4 {
                    let climb = format!("{up}{separator}").repeat(depth);
                    corpus.push(format!("{start}{climb}secret.txt"));
                }
            }
        }
    }
    let sites = [
        tree.site(),
        Site::new(tree.files().dotfiles(true).listing(true).spa("index.html")),
    ];
    for path in corpus {
        for site in &sites {
            let answer = site.ask_below("/", &path);
            assert!(
                matches!(answer.status, 400 | 404),
                "{path}: {}",
                answer.status
            );
            assert!(!answer.text().contains("SECRET"), "{path}");
        }
    }
}

#[test]
fn any_path_stays_beneath_the_root() {
    let tree = Tree::with(&[("a/b/c.txt", "inside"), ("index.html", "inside")]);
    #[cfg(unix)]
    symlink("../../secret.txt", tree.root().join("a/out")).unwrap();
    #[cfg(unix)]
    symlink("..", tree.root().join("a/up")).unwrap();
    let site = Site::new(tree.files().dotfiles(true));
    let pieces = [
        "a",
        "b",
        "c.txt",
        "/",
        "/",
        "/",
        "..",
        ".",
        "%2e",
        "%2f",
        "up",
        "out",
        "secret.txt",
        "%00",
        "\\",
        "%5c",
        "root",
        "index.html",
        "%",
        "ü",
    ];
    let mut seed: u64 = 0x5DEE_CE66_D1CE_4E5B;
    let mut found = 0;
    for _ in 0..5_000 {
        let mut path = String::new();
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut bits = seed >> 13;
        for _ in 0..1 + (seed >> 60) {
            path.push_str(pieces[(bits % pieces.len() as u64) as usize]);
            bits /= pieces.len() as u64;
        }
        let answer = site.ask_below("/", &path);
        assert!(
            matches!(answer.status, 200 | 308 | 400 | 404),
            "{path}: {}",
            answer.status
        );
        found += u32::from(answer.status == 200);
        assert!(answer.status != 200 || answer.text() == "inside", "{path}");
    }
    assert!(found > 0, "the generator also hits what exists");
}

#[test]
#[cfg(unix)]
fn links_are_followed_inside_and_never_out() {
    let tree = Tree::with(&[("real/file.txt", "inside"), ("real/index.html", "index")]);
    let link = |target: &Path, name: &str| symlink(target, tree.root().join(name)).unwrap();
    link(Path::new("real/file.txt"), "near");
    link(Path::new("real"), "directory");
    link(Path::new("../file.txt"), "real/../upward");
    link(Path::new("../secret.txt"), "out");
    link(Path::new(".."), "parent");
    link(&tree.0.join("secret.txt"), "absolute");
    link(&tree.root().join("real/file.txt"), "absolute-inside");
    link(Path::new("loop"), "loop");
    link(Path::new("/proc/self/cwd"), "magic");
    link(Path::new("/dev/zero"), "device");
    let site = tree.site();
    site.check("/near", 200, "inside");
    site.check("/directory/file.txt", 200, "inside");
    site.check("/directory/", 200, "index");
    for path in [
        "/out",
        "/upward",
        "/parent/secret.txt",
        "/parent/",
        "/absolute",
        "/absolute-inside",
        "/loop",
        "/magic/Cargo.toml",
        "/device",
    ] {
        assert_eq!(site.get(path).status, 404, "{path}");
    }
}

#[test]
#[cfg(unix)]
fn only_regular_files_are_served_and_a_fifo_does_not_block() {
    let tree = Tree::new();
    let fifo = tree.root().join("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let _socket = std::os::unix::net::UnixListener::bind(tree.root().join("socket")).unwrap();
    for path in ["/fifo", "/socket", "/fifo/", "/socket/"] {
        assert_eq!(tree.site().get(path).status, 404, "{path}");
    }
}

#[test]
fn dotfiles_are_hidden_but_for_well_known() {
    let tree = Tree::with(&[
        (".env", "KEY"),
        (".git/config", "KEY"),
        ("a/.htpasswd", "KEY"),
        (".well-known/acme-challenge/token", "token"),
        (".well-known/.hidden", "KEY"),
    ]);
    let site = tree.site();
    for path in [
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/a/.htpasswd",
        "/.well-known/.hidden",
    ] {
        assert_eq!(site.get(path).status, 404, "{path}");
    }
    site.check("/.well-known/acme-challenge/token", 200, "token");
    Site::new(tree.files().dotfiles(true)).check("/.env", 200, "KEY");
}

#[test]
fn a_malformed_path_is_the_clients_fault() {
    let tree = Tree::new();
    for path in ["/%", "/%zz", "/a%00b", "/%ff"] {
        assert_eq!(tree.site().get(path).status, 400, "{path}");
    }
}
