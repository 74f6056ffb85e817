//! From a command line and a file to what is wanted: precedence, defaults, mistakes.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use aureon_cli::arguments::{Arguments, parse_arguments};
use aureon_cli::failure::Failure;
use aureon_cli::wanted::{Certificate, Deployment, Reader, Serves, Socket, Target};

/// A directory with an `aureon.toml`, and a site in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, text: &str) -> Place {
        let path =
            std::env::temp_dir().join(format!("aureon-wanted-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("public")).unwrap();
        for name in ["public/index.html", "chain.pem", "key.pem"] {
            fs::write(path.join(name), "x").unwrap();
        }
        fs::write(path.join("aureon.toml"), text).unwrap();
        Place(path)
    }

    fn arguments(&self, line: &str) -> Arguments {
        let mut words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        words.insert(1, "--config".into());
        words.insert(2, self.0.join("aureon.toml").into());
        parse_arguments(words).unwrap()
    }

    fn read(&self, line: &str) -> Result<(Target, Deployment), Failure> {
        let arguments = self.arguments(line);
        let mut reader = Reader::new(&arguments)?;
        let target = reader.target()?;
        let deployment = reader.deployment(&target)?;
        Ok((target, deployment))
    }

    /// The mistakes, without the directory.
    fn mistakes(&self, line: &str) -> String {
        let failure = self.read(line).map(drop).unwrap_err().to_string();
        let directory = [self.0.to_str().unwrap(), std::path::MAIN_SEPARATOR_STR].concat();
        failure.replace(&directory, "")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const WHOLE: &str = r#"root = "public"
idle_timeout = "30s"

[app]
name = "blog"
build = "make"
health = "/up"
health_timeout = "1500ms"
secrets = ["TOKEN"]
port = 9000

[app.environment]
MODE = "production"

[deploy]
hosts = ["root@a", "b"]
domains = ["Example.com", "www.example.com", "example.com"]
cloudflare = true
firewall = false
cert = "chain.pem"
key = "key.pem"
keep = 3
ssh_port = 2222
ssh_options = ["Compression=yes"]
"#;

#[test]
fn a_file_says_everything() {
    let place = Place::new("whole", WHOLE);
    let (target, Deployment { wanted, .. }) = place.read("deploy").unwrap();
    assert_eq!(target.hosts, ["root@a", "b"]);
    assert_eq!((target.app.as_str(), target.ssh.port), ("blog", Some(2222)));
    assert_eq!(target.ssh.options, ["Compression=yes"]);
    assert_eq!(wanted.domains, ["example.com", "www.example.com"]);
    assert_eq!(
        (wanted.health_path.as_str(), wanted.health_timeout_s),
        ("/up", 2)
    );
    assert_eq!(
        wanted.environment,
        [("MODE".to_owned(), "production".to_owned())]
    );
    assert_eq!((wanted.keep, wanted.port), (3, Some(9000)));
    assert_eq!((wanted.cloudflare, wanted.firewall), (true, false));
    assert_eq!(wanted.secrets, ["TOKEN"]);
    assert_eq!(wanted.build.as_deref(), Some("make"));
    let certificate = Certificate::Files {
        chain: place.0.join("chain.pem"),
        key: place.0.join("key.pem"),
    };
    assert_eq!(wanted.certificate, certificate);
    let Serves::Site {
        root,
        configuration,
    } = wanted.serves
    else {
        panic!("{:?}", wanted.serves);
    };
    assert_eq!(root, place.0.join("public"));
    assert_eq!(
        configuration,
        "root = \"public\"\nidle_timeout = \"30s\"\n\n"
    );
}

#[test]
fn flags_win_over_the_file() {
    let place = Place::new("flags", WHOLE);
    let line = "deploy me@c --domain other.org --app shop --port 9001 -p 22 --http-only \
                -o Compression=no";
    let (target, Deployment { wanted, .. }) = place.read(line).unwrap();
    assert_eq!(target.hosts, ["me@c"]);
    assert_eq!((target.app.as_str(), target.ssh.port), ("shop", Some(22)));
    assert_eq!(target.ssh.options, ["Compression=no", "Compression=yes"]);
    assert_eq!(wanted.domains, ["other.org"]);
    assert_eq!(
        (wanted.port, wanted.certificate),
        (Some(9001), Certificate::None)
    );
}

#[test]
fn a_program_is_a_command_and_its_files() {
    let text = "[app]\ncommand = [\"./server\", \"--x\"]\nsocket = \"inherited\"\n[deploy]\n\
                hosts = [\"h\"]\ndomains = [\"a.example.com\"]\nemail = \"me@example.com\"\n";
    let place = Place::new("program", text);
    let (target, Deployment { wanted, .. }) = place.read("plan").unwrap();
    assert_eq!(
        (target.app.as_str(), wanted.health_path.as_str()),
        ("a-example", "/")
    );
    let certificate = Certificate::Certbot {
        email: Some("me@example.com".into()),
        server: None,
    };
    assert_eq!(wanted.certificate, certificate);
    let Serves::Program {
        command,
        files,
        socket,
    } = wanted.serves
    else {
        panic!("{:?}", wanted.serves);
    };
    assert_eq!(command, ["./server", "--x"]);
    assert_eq!(files, [Path::new("./server")]);
    assert_eq!(socket, Socket::Inherited);
}

#[test]
fn the_first_word_is_a_host_or_not() {
    let place = Place::new("words", "[deploy]\nhosts = [\"h\"]\ndomains = [\"a.de\"]\n");
    let check = |line: &str, hosts: &[&str], others: &[&str]| {
        let arguments = place.arguments(line);
        let mut reader = Reader::new(&arguments).unwrap();
        assert_eq!(reader.target().unwrap().hosts, hosts, "{line}");
        assert_eq!(reader.other_words(), others, "{line}");
    };
    check("deploy ./public", &["h"], &["./public"]);
    check("deploy other ./public", &["other"], &["./public"]);
    check("deploy root@192.0.2.4", &["root@192.0.2.4"], &[]);
    let release = "a-20261125T132309Z-ab8f3a38e60a";
    check(&format!("rollback {release}"), &["h"], &[release]);
    check(&format!("rollback vps {release}"), &["vps"], &[release]);
    check("rollback vps", &["vps"], &[]);
    check("env list", &["h"], &["list"]);
    check("env set A B", &["h"], &["set", "A", "B"]);
    check("env vps set A", &["vps"], &["set", "A"]);
    check("run ls -l", &["h"], &[]);
    check("run vps -- ls -l", &["vps"], &[]);
    check("status vps", &["vps"], &[]);
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_place() {
    let text = r#"prot = 80
[app]
health = "up"
health_timeout = "soon"
secrets = ["1A"]
port = 80
[app.environment]
"A-B" = "x"
[deploy]
hosts = ["h"]
domains = ["a.de"]
keep = 0
cert = "chain.pem"
"#;
    let place = Place::new("mistakes", text);
    let found = place.mistakes(&format!("deploy {}", place.0.join("public").display()));
    let places: Vec<&str> = found
        .lines()
        .filter_map(|line| line.split(": ").next())
        .collect();
    let line = |line: u32| {
        places
            .iter()
            .filter(|at| at.contains(&format!(":{line}:")))
            .count()
    };
    for at in [1, 3, 4, 5, 6, 8, 12, 13] {
        assert_eq!(line(at), 1, "line {at}: {found}");
    }
    assert_eq!(places.len(), 8, "{found}");
    assert!(found.contains("aureon.toml:1:1: unknown key `prot`; did you mean `port`?"));
}
