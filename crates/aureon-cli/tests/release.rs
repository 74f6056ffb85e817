//! Releases, made here and put together by the host's own shell in a directory that plays its root.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aureon_cli::facts::{Questions, ReleaseRuns, parse_facts};
use aureon_cli::host::{Answer, Host, HostError};
use aureon_cli::journal::PRELUDE;
use aureon_cli::release::manifest::application_of;
use aureon_cli::release::upload::{Stream, lacking, objects, stream_bytes};
use aureon_cli::release::{Release, ReleaseError};
use aureon_cli::wanted::{Certificate, Serves, Socket, Wanted};

/// A directory that goes when the test is over.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Place(path.canonicalize().unwrap())
    }

    fn put(&self, name: &str, content: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn wanted(directory: &Path) -> Wanted {
    Wanted {
        app: "blog".to_owned(),
        domains: vec!["example.com".to_owned()],
        directory: directory.to_owned(),
        serves: Serves::Site {
            root: directory.join("public"),
            configuration: "message = \"x\"\n".to_owned(),
        },
        build: None,
        secrets: Vec::new(),
        certificate: Certificate::None,
        cloudflare: false,
        firewall: true,
        health_path: "/".to_owned(),
        health_timeout_s: 30,
        environment: Vec::new(),
        keep: 5,
        port: None,
    }
}

/// A site with a page and a program that stands for aureond.
fn site(name: &str) -> Place {
    let place = Place::new(name);
    place.put("public/index.html", "<p>one</p>");
    place.put("public/app.3f9a2b1c.js", "one");
    place.put("aureond", "\x7fELF aureond");
    place
}

fn read(place: &Place) -> Result<Release, ReleaseError> {
    Release::read(&wanted(&place.0), &place.0.join("aureond"))
}

/// A host whose root is a directory and which has no systemd.
struct Root {
    place: Place,
    /// Bytes of standard input after which the link breaks.
    breaks_after: Option<u64>,
}

impl Root {
    fn new(name: &str) -> Root {
        let place = Place::new(name);
        for directory in ["objects", "releases", "current", "previous"] {
            fs::create_dir_all(place.0.join("opt/aureon").join(directory)).unwrap();
        }
        for directory in ["undo", "kept"] {
            fs::create_dir_all(place.0.join("run").join(directory)).unwrap();
        }
        Root {
            place,
            breaks_after: None,
        }
    }

    /// Runs functions of the prelude as one step.
    fn step(&mut self, shell: &str, input: &mut dyn Read) -> Answer {
        let root = self.place.0.display();
        let script = format!(
            "AUREON_ROOT={root} AUREON_RUN={root}/run AUREON_STEP=x AUREON_WHO=test\n{PRELUDE}\n\
             systemctl() {{ :; }}\nbegin test test\n{shell}\nend\n"
        );
        self.run(&script, input, &mut |_| {}).unwrap()
    }

    fn upload(&mut self, release: &Release) -> Answer {
        let needed = self.lacks(release);
        let mut stream = Stream::new(needed, |_| {});
        self.step("release_receive", &mut stream)
    }

    fn lacks<'a>(&mut self, release: &'a Release) -> aureon_cli::release::upload::Objects<'a> {
        lacking(self, release).unwrap()
    }

    fn deploy(&mut self, release: &Release, second: u64) -> String {
        let id = release.id(second);
        let answer = self.upload(release);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let shell = format!(
            "release_assemble blog {id} {} port 9 \"/is it\"",
            release.manifest_sha256()
        );
        let answer = self.step(&shell, &mut std::io::empty());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        self.link("current", &id);
        id
    }

    fn link(&self, name: &str, id: &str) {
        let link = self.path(&format!("{name}/blog"));
        let _ = fs::remove_file(&link);
        symlink(format!("../releases/{id}"), link).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.0.join("opt/aureon").join(name)
    }

    fn object_files(&self) -> usize {
        let directories = fs::read_dir(self.path("objects")).unwrap();
        let of = |path: PathBuf| fs::read_dir(path).unwrap().count();
        directories.map(|entry| of(entry.unwrap().path())).sum()
    }
}

impl Host for Root {
    fn name(&self) -> &str {
        "root"
    }

    fn run(
        &mut self,
        script: &str,
        input: &mut dyn Read,
        _told: &mut dyn FnMut(&str),
    ) -> Result<Answer, HostError> {
        let script = script.replace(" /opt/aureon", &format!(" {}", self.path("").display()));
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = shell.stdin.take().unwrap();
        let mut bytes = Vec::new();
        let _ = input.read_to_end(&mut bytes);
        if let Some(most) = self.breaks_after {
            bytes.truncate(most as usize);
        }
        let writer = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = shell.wait_with_output().unwrap();
        let _ = writer.join();
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn run_anew(&mut self, _script: &str) -> Result<Answer, HostError> {
        Err(HostError::Unreachable("there is no second way".to_owned()))
    }
}

#[test]
fn the_same_content_has_the_same_name_but_for_the_time() {
    let (first, second) = (site("same-1"), site("same-2"));
    let (first, second) = (read(&first).unwrap(), read(&second).unwrap());
    assert_eq!(first.manifest(), second.manifest());
    assert_eq!(
        first.id(1_795_610_800),
        format!("blog-20261125T124640Z-{}", first.mark())
    );
    assert!(second.is(&first.id(0)));
    assert_eq!(application_of(&first.id(0)), Some("blog"));
    assert_eq!(
        application_of("blog-two-20261125T124640Z-0123456789ab"),
        Some("blog-two")
    );
    assert_eq!(application_of("blog-20261125T124640Z-0123456789aX"), None);
    assert_eq!(application_of("blog-20261125-0123456789ab"), None);
}

#[test]
fn another_content_place_or_configuration_has_another_name() {
    let place = site("other");
    let mark = read(&place).unwrap().mark().to_owned();
    place.put("public/index.html", "<p>two</p>");
    let other = read(&place).unwrap().mark().to_owned();
    assert_ne!(mark, other);
    place.put("public/index.html", "<p>one</p>");
    assert_eq!(read(&place).unwrap().mark(), mark);
    place.put("public/more.html", "<p>one</p>");
    assert_ne!(read(&place).unwrap().mark(), mark);
    fs::remove_file(place.0.join("public/more.html")).unwrap();
    let mut with = wanted(&place.0);
    with.environment
        .push(("COLOUR".to_owned(), "red".to_owned()));
    let with = Release::read(&with, &place.0.join("aureond")).unwrap();
    assert_ne!(with.mark(), mark);
}

#[test]
fn what_is_hidden_or_belongs_to_a_build_stays_here() {
    let place = site("hidden");
    for name in [
        ".git/config",
        ".env",
        "node_modules/a.js",
        "sub/.hidden",
        ".well-known/x",
    ] {
        place.put(&format!("public/{name}"), "x");
    }
    std::os::unix::net::UnixListener::bind(place.0.join("public/socket")).unwrap();
    let release = read(&place).unwrap();
    let paths: Vec<&str> = release
        .entries()
        .iter()
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "aureon.toml",
            "bin/aureond",
            "site/.well-known/x",
            "site/app.3f9a2b1c.js",
            "site/index.html"
        ]
    );
    assert_eq!(release.left_out().len(), 5, "{:?}", release.left_out());
    let programs = release.entries().iter().filter(|entry| entry.executable);
    assert_eq!(
        programs
            .map(|entry| entry.path.as_str())
            .collect::<Vec<_>>(),
        ["bin/aureond"]
    );
}

#[test]
fn links_lead_inside_or_are_refused_by_name() {
    let place = site("links");
    symlink("index.html", place.0.join("public/start.html")).unwrap();
    let release = read(&place).unwrap();
    let start = release
        .entries()
        .iter()
        .find(|entry| entry.path == "site/start.html");
    let index = release
        .entries()
        .iter()
        .find(|entry| entry.path == "site/index.html");
    assert_eq!(start.unwrap().sha256, index.unwrap().sha256);
    for target in ["../aureond", "/etc/passwd", "nowhere"] {
        let link = place.0.join("public/out");
        symlink(target, &link).unwrap();
        let error = read(&place).unwrap_err();
        assert!(
            matches!(&error, ReleaseError::Outside(path) if *path == link),
            "{error}"
        );
        fs::remove_file(link).unwrap();
    }
    symlink("..", place.0.join("public/loop")).unwrap();
    assert!(matches!(read(&place), Err(ReleaseError::Outside(_))));
    fs::remove_file(place.0.join("public/loop")).unwrap();
    symlink(".", place.0.join("public/loop")).unwrap();
    assert!(matches!(read(&place), Err(ReleaseError::Name(..))));
}

#[test]
fn names_that_a_line_can_not_hold_are_refused() {
    for name in ["a\nb", "tab\tb", "end ", "a\\b"] {
        let place = site("names");
        place.put(&format!("public/{name}"), "x");
        assert!(
            matches!(read(&place), Err(ReleaseError::Name(..))),
            "{name:?}"
        );
    }
    let place = site("names");
    place.put("public/ it's  \"quoted\" $(id) ü.html", "x");
    let release = read(&place).unwrap();
    let mut root = Root::new("names-root");
    let id = root.deploy(&release, 0);
    assert!(
        root.path(&format!(
            "releases/{id}/site/ it's  \"quoted\" $(id) ü.html"
        ))
        .is_file()
    );
}

#[test]
fn a_program_must_be_among_its_files() {
    let place = Place::new("program");
    place.put("bin/server", "\x7fELF");
    place.put("bin/text", "x");
    let release = |command: &str| {
        let mut wanted = wanted(&place.0);
        wanted.serves = Serves::Program {
            command: vec![command.to_owned(), "--fast".to_owned()],
            files: vec![PathBuf::from("bin")],
            socket: Socket::Inherited,
        };
        Release::read(&wanted, Path::new("/nothing"))
    };
    assert_eq!(release("./bin/server").unwrap().entries().len(), 2);
    assert!(matches!(
        release("bin/other"),
        Err(ReleaseError::Command(..))
    ));
    assert!(matches!(
        release("bin/text"),
        Err(ReleaseError::Command(..))
    ));
}

#[test]
fn only_what_the_host_lacks_travels() {
    let place = site("lacks");
    let mut root = Root::new("lacks-root");
    let first = read(&place).unwrap();
    assert_eq!(root.lacks(&first).len(), objects(&first).len());
    root.deploy(&first, 0);
    assert!(root.lacks(&first).is_empty());
    place.put("public/index.html", "<p>two</p>");
    let second = read(&place).unwrap();
    let needed = root.lacks(&second);
    // The page and the manifest.
    assert_eq!(needed.len(), 2);
    let mut sent = Vec::new();
    let mut heard = 0;
    let bytes = stream_bytes(&needed);
    Stream::new(needed, |sum| heard = sum)
        .read_to_end(&mut sent)
        .unwrap();
    assert_eq!((sent.len() as u64, heard), (bytes, bytes));
}

#[test]
fn a_release_is_links_to_contents_with_their_modes() {
    let place = site("links-of");
    let mut root = Root::new("links-of-root");
    let id = root.deploy(&read(&place).unwrap(), 0);
    let release = root.path("releases").join(id);
    for (name, mode) in [
        ("site/index.html", 0o644),
        ("bin/aureond", 0o755),
        ("aureon.toml", 0o644),
    ] {
        let meta = fs::metadata(release.join(name)).unwrap();
        assert_eq!(
            (meta.permissions().mode() & 0o7777, meta.nlink()),
            (mode, 2),
            "{name}"
        );
    }
    let directory = fs::metadata(release.join("site")).unwrap();
    assert_eq!(directory.permissions().mode() & 0o7777, 0o755);
}

#[test]
fn how_a_release_is_run_is_kept_with_it_and_told() {
    let place = site("runs-of");
    let mut root = Root::new("runs-of-root");
    let id = root.deploy(&read(&place).unwrap(), 0);
    let older = "blog-20200101T000000Z-0123456789ab";
    fs::create_dir(root.path("releases").join(older)).unwrap();
    let questions = Questions {
        app: "blog".to_owned(),
        ..Questions::default()
    };
    // Of the script only what it asks about the application is of this host.
    let releases = root.path("releases").display().to_string();
    let script = questions
        .script()
        .replace("/opt/aureon/releases", &releases);
    let answer = root
        .run(&script, &mut std::io::empty(), &mut |_| {})
        .unwrap();
    let facts = parse_facts(&answer.stdout).unwrap();
    assert_eq!(facts.releases, [&id, older]);
    let runs = ReleaseRuns {
        id,
        socket: Some(Socket::Port),
        health_path: "/is it".to_owned(),
        health_timeout_s: 9,
    };
    assert_eq!(facts.release_runs, [runs]);
}

/// Lines as a Nginx writes them: a page, a request of nobody's kind, quotes in what a client sends,
/// an answer that failed.
const NGINX_LINES: &str = include_str!("hosts/nginx-access.log");

#[test]
fn what_nginx_wrote_during_a_switch_is_counted_or_it_is_said_why_not() {
    let mut root = Root::new("nginx-log");
    for directory in ["etc/nginx", "var/log/nginx"] {
        fs::create_dir_all(root.place.0.join(directory)).unwrap();
    }
    let log = root.place.0.join("var/log/nginx/access.log");
    root.place.put("more", NGINX_LINES);
    let mut counts = |access_log: &str, before: &str, meanwhile: &str| {
        let conf = format!("http {{\n\taccess_log {access_log};\n}}\n");
        root.place.put("etc/nginx/nginx.conf", &conf);
        match before {
            "none" => drop(fs::remove_file(&log)),
            text => fs::write(&log, text).unwrap(),
        }
        let (log, more) = (log.display(), root.place.0.join("more"));
        let meanwhile = meanwhile.replace("LOG", &log.to_string());
        let meanwhile = meanwhile.replace("MORE", &more.display().to_string());
        let shell = format!("release_log_begin\n{meanwhile}\nrelease_log_count");
        let answer = root.step(&shell, &mut std::io::empty());
        assert_eq!(answer.code, 0, "{meanwhile}: {}", answer.stderr);
        let mut lines = answer.stdout.lines();
        let line = lines.find_map(|line| line.strip_prefix("receipt "));
        line.unwrap_or("nothing").to_owned()
    };
    let usual = "/var/log/nginx/access.log";
    assert_eq!(
        counts(usual, NGINX_LINES, "cat MORE >>LOG"),
        "nginx 4 1 259"
    );
    assert_eq!(counts(usual, NGINX_LINES, ":"), "nginx 0 0 0");
    for (access_log, before, meanwhile, why) in [
        (usual, "none", "cat MORE >LOG", "Nginx has no"),
        (usual, NGINX_LINES, "rm LOG", "Nginx has no"),
        (
            usual,
            NGINX_LINES,
            "mv LOG LOG.1; cat MORE MORE >LOG",
            "rotated",
        ),
        (usual, NGINX_LINES, "head -n 1 MORE >LOG", "rotated"),
        (usual, "", "cut -c 2-80 MORE >>LOG", "another form"),
        (
            usual,
            "",
            "release_log_bytes_max=9; cat MORE >>LOG",
            "more than 9 bytes",
        ),
        ("off", "", "cat MORE >>LOG", "another access_log"),
        (
            "/var/log/nginx/access.log mine",
            "",
            "cat MORE >>LOG",
            "another access_log",
        ),
    ] {
        let said = counts(access_log, before, meanwhile);
        let not = said.strip_prefix("nginx_not ").unwrap_or_default();
        assert!(not.contains(why), "{meanwhile}: {said}");
    }
}

#[test]
fn an_upload_that_breaks_anywhere_leaves_nothing_half() {
    let place = site("broken");
    place.put("public/large", &"x".repeat(5_000));
    let release = read(&place).unwrap();
    let bytes = stream_bytes(&objects(&release));
    let mut kept_some = 0;
    for at in (0..bytes - 1024).step_by(768) {
        let mut root = Root::new("broken-root");
        root.breaks_after = Some(at);
        assert_ne!(root.upload(&release).code, 0, "at {at}");
        assert!(!root.path("objects/.incoming").exists());
        let whole = root.object_files();
        root.breaks_after = None;
        let needed = root.lacks(&release).len();
        assert_eq!(needed + whole, objects(&release).len(), "at {at}");
        kept_some += usize::from(whole > 0);
        root.deploy(&release, 0);
    }
    assert!(kept_some > 2);
}

#[test]
fn a_content_that_is_another_than_its_name_says_does_not_get_in() {
    let place = site("changed");
    let release = read(&place).unwrap();
    // As long as before, so that the stream is whole.
    place.put("public/index.html", "<p>two</p>");
    let mut root = Root::new("changed-root");
    let answer = root.upload(&release);
    assert_ne!(answer.code, 0);
    assert!(
        answer.stderr.contains("the upload is not whole"),
        "{}",
        answer.stderr
    );
    assert_eq!(root.lacks(&release).len(), 1);
    // And one that became shorter ends the stream.
    place.put("public/index.html", "<p>");
    let mut stream = Stream::new(objects(&release), |_| {});
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(
        error.to_string().contains("index.html has become shorter"),
        "{error}"
    );
}

#[test]
fn a_damaged_object_travels_again() {
    let place = site("damaged");
    let release = read(&place).unwrap();
    let mut root = Root::new("damaged-root");
    root.deploy(&release, 0);
    let name = release.entries()[3].object();
    fs::write(root.path("objects").join(&name), "").unwrap();
    assert_eq!(root.lacks(&release).keys().collect::<Vec<_>>(), [&name]);
}

#[test]
fn assets_with_a_hash_in_their_names_live_as_long_as_their_releases() {
    let place = site("assets");
    let mut root = Root::new("assets-root");
    root.deploy(&read(&place).unwrap(), 0);
    fs::remove_file(place.0.join("public/app.3f9a2b1c.js")).unwrap();
    place.put("public/sub/app.9b1c3f2a.js", "two");
    place.put("public/plain.js", "two");
    let second = root.deploy(&read(&place).unwrap(), 1);
    fs::remove_dir_all(place.0.join("public/sub")).unwrap();
    fs::remove_file(place.0.join("public/plain.js")).unwrap();
    let third = root.deploy(&read(&place).unwrap(), 2);
    let has = |root: &Root, id: &str, name: &str| {
        root.path(&format!("releases/{id}/site/{name}")).exists()
    };
    assert!(has(&root, &second, "app.3f9a2b1c.js"));
    assert!(has(&root, &third, "app.3f9a2b1c.js") && has(&root, &third, "sub/app.9b1c3f2a.js"));
    assert!(!has(&root, &third, "plain.js"));
    // Two are kept, so the first one goes, and with it its asset, from the next release on.
    root.link("previous", &second);
    assert_eq!(
        root.step("release_prune blog 2", &mut std::io::empty())
            .code,
        0
    );
    place.put("public/index.html", "<p>four</p>");
    let fourth = root.deploy(&read(&place).unwrap(), 3);
    assert!(!has(&root, &fourth, "app.3f9a2b1c.js") && has(&root, &fourth, "sub/app.9b1c3f2a.js"));
}

#[test]
fn pruning_spares_the_current_and_the_previous_release_and_other_applications() {
    let place = site("prune");
    let mut root = Root::new("prune-root");
    let mut ids = Vec::new();
    for at in 0..6 {
        place.put("public/index.html", &format!("<p>{at}</p>"));
        ids.push(root.deploy(&read(&place).unwrap(), at));
    }
    let other = "blog-two-20261125T124640Z-0123456789ab";
    fs::create_dir(root.path("releases").join(other)).unwrap();
    root.link("current", &ids[1]);
    root.link("previous", &ids[0]);
    let before = root.object_files();
    assert_eq!(
        root.step("release_prune blog 3", &mut std::io::empty())
            .code,
        0
    );
    let mut left: Vec<String> = fs::read_dir(root.path("releases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut kept = vec![other.to_owned()];
    for id in [&ids[0], &ids[1], &ids[5]] {
        kept.extend([id.clone(), format!("{id}.runs")]);
    }
    kept.sort();
    assert_eq!(left, kept);
    // A page and a manifest each.
    assert_eq!(root.object_files(), before - 6);
}

#[test]
fn a_name_that_leads_to_another_content_gets_a_new_time_and_no_other_does() {
    let place = site("renew");
    place.put("public/same.css", "same");
    let mut root = Root::new("renew-root");
    let first = root.deploy(&read(&place).unwrap(), 0);
    place.put("public/index.html", "<p>two</p>");
    let second = root.deploy(&read(&place).unwrap(), 1);
    let path = |id: &str, name: &str| root.path(&format!("releases/{id}/site/{name}"));
    let time = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    for name in ["index.html", "same.css"] {
        fs::File::open(path(&first, name))
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    let (index, same) = (path(&first, "index.html"), path(&first, "same.css"));
    let newer = time(path(&second, "index.html"));
    let shell = format!("release_renew {second} {first}");
    assert_eq!(root.step(&shell, &mut std::io::empty()).code, 0);
    assert!(time(index) >= newer);
    assert_eq!(time(same), long_ago);
}

#[test]
fn what_was_made_can_be_taken_back_to_nothing() {
    let place = site("unmake");
    let mut root = Root::new("unmake-root");
    root.deploy(&read(&place).unwrap(), 0);
    let root_path = root.place.0.display().to_string();
    let script = format!(
        "AUREON_ROOT={root_path} AUREON_RUN={root_path}/run AUREON_STEP=x\n{PRELUDE}\ntake_back 0\n"
    );
    let answer = root
        .run(&script, &mut std::io::empty(), &mut |_| {})
        .unwrap();
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(fs::read_dir(root.path("releases")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(root.path("objects")).unwrap().count(), 0);
}
