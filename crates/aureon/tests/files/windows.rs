//! What only Windows takes for another file than the one that was asked for.

use super::*;

/// A site whose root holds a secret beside what is served.
fn site() -> (Tree, Site) {
    let tree = Tree::with(&[
        ("Page.html", "page"),
        ("Sub/LongFileName.html", "long"),
        (".git/config", "SECRET"),
        (".env", "SECRET"),
    ]);
    let site = tree.site();
    (tree, site)
}

fn refuses(paths: &[&str]) {
    let (_tree, site) = site();
    for path in paths {
        let answer = site.ask_below("/", path);
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.text().contains("SECRET"), "{path}");
    }
}

#[test]
fn backslashes_drives_and_shares_lead_nowhere() {
    refuses(&[
        "/..\\secret.txt",
        "/%5c..%5csecret.txt",
        "/Sub\\LongFileName.html",
        "/Sub%5cLongFileName.html",
        "/C:/windows/win.ini",
        "/c:%5cwindows%5cwin.ini",
        "/C:Page.html",
        "//localhost/c$/windows/win.ini",
        "/%5c%5clocalhost%5cc$",
        "/%5c%5c%3f%5cC:%5cwindows%5cwin.ini",
        "/%5c%5c.%5cNUL",
    ]);
}

#[test]
fn streams_lead_nowhere() {
    refuses(&[
        "/Page.html::$DATA",
        "/Page.html:$DATA",
        "/Page.html:hidden",
        "/Page.html%3a%3a$DATA",
        "/Sub::$INDEX_ALLOCATION/LongFileName.html",
        "/.env::$DATA",
    ]);
}

#[test]
fn devices_lead_nowhere() {
    for device in [
        "CON",
        "con",
        "NUL",
        "nul",
        "PRN",
        "AUX",
        "COM1",
        "com9",
        "LPT1",
        "CONIN$",
        "CONOUT$",
        "COM%C2%B9",
    ] {
        let with = |end: &str| format!("/{device}{end}");
        let paths = [with(""), with(".txt"), with("/"), with("%20.html")];
        let below = format!("/Sub/{device}");
        refuses(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        refuses(&[&below]);
    }
}

#[test]
fn names_that_windows_would_mend_lead_nowhere() {
    refuses(&[
        "/Page.html.",
        "/Page.html%20",
        "/Page.html.%20.",
        "/Page.html...",
        "/Sub./LongFileName.html",
        "/Sub%20/LongFileName.html",
        "/.env.",
        "/.git%20/config",
        "/Page.htm%3f",
        "/Page.*",
        "/Page%3chtml",
    ]);
}

#[test]
fn short_names_lead_nowhere() {
    refuses(&["/Sub/LONGFI~1.HTM", "/GIT~1/config", "/ENV~1", "/GIT~1"]);
}

#[test]
fn a_name_is_found_in_its_own_case_only() {
    let (_tree, site) = site();
    site.check("/Page.html", 200, "page");
    site.check("/Sub/LongFileName.html", 200, "long");
    for path in [
        "/page.html",
        "/PAGE.HTML",
        "/sub/LongFileName.html",
        "/Sub/longfilename.html",
    ] {
        assert_eq!(site.get(path).status, 404, "{path}");
    }
    for path in ["/.ENV", "/.Git/config", "/.GIT/CONFIG"] {
        assert_eq!(site.get(path).status, 404, "{path}");
    }
}
