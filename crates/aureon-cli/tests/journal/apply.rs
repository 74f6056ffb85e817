//! A plan over real files: run step by step, and as the printed script; both give the same host. A
//! second plan of that host is empty, and an undo leaves what there was.

use crate::machine::debian;
use crate::scratch::Scratch;
use crate::{alice, ignore, step};
use aureon_cli::facts::{Facts, File, Unit};
use aureon_cli::host::Host as _;
use aureon_cli::journal::{self, Back, JournalError};
use aureon_cli::plan::{Plan, paths, plan, script, shell};
use aureon_cli::wanted::{Certificate, Serves, Socket, Wanted};
use std::fs;
use std::io::empty;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A site; a program that is given a socket; one that opens a port itself.
fn wishes() -> Vec<Wanted> {
    let site = Wanted {
        app: "blog".to_owned(),
        domains: vec!["example.com".to_owned()],
        directory: PathBuf::from("/home/alice/blog"),
        serves: Serves::Site {
            root: PathBuf::from("public"),
            configuration: String::new(),
        },
        build: None,
        certificate: Certificate::None,
        cloudflare: false,
        // Another test has it, on a machine of its own.
        firewall: false,
        health_path: "/healthz".to_owned(),
        health_timeout_s: 30,
        environment: Vec::new(),
        secrets: Vec::new(),
        keep: 5,
        port: None,
    };
    let program = |app: &str, socket| Wanted {
        app: app.to_owned(),
        serves: Serves::Program {
            command: ["bin/server", "it's", "100% $HOME"]
                .map(str::to_owned)
                .to_vec(),
            files: vec![PathBuf::from("bin")],
            socket,
        },
        environment: vec![
            (
                "GREETING".to_owned(),
                "it's \"100%\" of $HOME, `so` \\ END".to_owned(),
            ),
            ("LINES".to_owned(), "END\nEND1\r\n\u{e9}".to_owned()),
        ],
        port: Some(9_000),
        ..site.clone()
    };
    vec![
        site.clone(),
        program("api", Socket::Inherited),
        program("go", Socket::Port),
    ]
}

/// What the script of facts would say of this host about these paths.
fn facts(host: &Scratch, wanted: &Wanted) -> Facts {
    let mut facts = Facts {
        system: "debian".to_owned(),
        system_version: "12".to_owned(),
        systemd: 252,
        architecture: "x86_64".to_owned(),
        ssh_ports: vec![22],
        disk_free_bytes: 1 << 30,
        ..Facts::default()
    };
    if host.path("/etc/nginx/nginx.conf").exists() {
        facts.nginx_version = Some((1, 22));
    }
    let wants = host.path("/etc/systemd/system/multi-user.target.wants");
    for about in paths(wanted) {
        if let Some(name) = about.strip_prefix("package:") {
            if host.directory.join("packages").join(name).exists() {
                facts.packages.push(name.to_owned());
            }
        } else if about.starts_with('/') {
            facts.files.push(file(host, &about));
        } else {
            facts.units.push(Unit {
                enabled: fs::symlink_metadata(wants.join(&about)).is_ok(),
                active: host.directory.join("running").join(&about).exists(),
                name: about,
            });
        }
    }
    facts
}

fn file(host: &Scratch, path: &str) -> File {
    let at = host.path(path);
    let mut file = File {
        path: path.to_owned(),
        content: None,
        mode: 0,
        owner: String::new(),
        link: None,
        directory: false,
    };
    if let Ok(data) = fs::symlink_metadata(&at) {
        file.mode = data.mode() & 0o7777;
        "root:root".clone_into(&mut file.owner);
        file.directory = data.is_dir();
        if data.is_symlink() {
            file.link = Some(fs::read_link(&at).unwrap().display().to_string());
        } else if data.is_file() {
            file.content = Some(fs::read(&at).unwrap());
        }
    }
    file
}

fn planned(host: &Scratch, wanted: &Wanted) -> Plan {
    let mut plan = plan(wanted, &facts(host, wanted), None).unwrap();
    plan.host = "root@scratch".to_owned();
    plan
}

fn deploy(host: &mut Scratch, plan: &Plan) {
    let alice = alice();
    alice.lock(host, false, &mut ignore).unwrap();
    let run = alice.begin(host, &plan.app, "a test").unwrap();
    for step in &plan.steps {
        let stepped = alice.step(host, &run, step, &mut empty(), &mut ignore);
        stepped.unwrap_or_else(|error| panic!("{}: {error}", step.id));
    }
    alice.finish(host, &run, "done").unwrap();
    alice.unlock(host).unwrap();
}

fn undo(host: &mut Scratch) -> String {
    crate::undo(host, Back::All).unwrap()
}

#[test]
fn a_second_plan_is_empty_and_an_undo_leaves_what_there_was() {
    for wanted in wishes() {
        let mut host = debian();
        let before = host.tree().timeless();
        let plan = planned(&host, &wanted);
        assert!(plan.steps.len() >= 4, "{plan:?}");
        deploy(&mut host, &plan);
        let again = planned(&host, &wanted);
        assert!(again.steps.is_empty(), "{}: {again:?}", wanted.app);
        let said = undo(&mut host);
        assert!(!said.contains("left:"), "{said}");
        assert_eq!(host.tree().timeless().difference(&before), "", "{said}");
    }
}

#[test]
fn the_printed_script_does_what_a_deploy_does() {
    for wanted in wishes() {
        let (mut deployed, mut by_hand) = (debian(), debian());
        let plan = planned(&deployed, &wanted);
        deploy(&mut deployed, &plan);
        let text = script::render(&plan);
        let answer = by_hand.run(&text, &mut empty(), &mut ignore).unwrap();
        assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
        let difference = by_hand
            .tree()
            .timeless()
            .difference(&deployed.tree().timeless());
        assert_eq!(difference, "", "{}", wanted.app);
        // It is a run like any other.
        let runs = journal::read(&mut by_hand).unwrap().runs;
        assert!(runs.len() == 1 && runs[0].finished, "{runs:?}");
        assert_eq!(runs[0].steps.len(), plan.steps.len());
    }
}

#[test]
fn a_script_that_fails_by_hand_is_taken_back_as_far_as_the_step() {
    let mut host = debian();
    let mut plan = planned(&host, &wishes()[0]);
    plan.steps.truncate(2);
    let mut bad = plan.steps[1].clone();
    bad.id = "bad/step".to_owned();
    bad.apply = "put /etc/bad 0644 root:root <<'END'\nEND\nfalse\n".to_owned();
    plan.steps.push(bad);
    let answer = host
        .run(&script::render(&plan), &mut empty(), &mut ignore)
        .unwrap();
    assert_eq!(answer.code, 1);
    assert!(host.path("/opt/aureon").exists() && !host.path("/etc/bad").exists());
}

/// Runs one step in a run of its own.
fn one_step(host: &mut Scratch, apply: &str) -> Result<(), JournalError> {
    alice().lock(host, false, &mut ignore)?;
    let run = alice().begin(host, "blog", "a test")?;
    let step = step("a/step", apply);
    let stepped = alice().step(host, &run, &step, &mut empty(), &mut ignore);
    alice().finish(host, &run, "done")?;
    alice().unlock(host)?;
    stepped
}

fn installed(host: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(host.directory.join("packages")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn packages_that_came_anew_are_purged_and_no_others() {
    let mut host = debian();
    // It was there before; so was what it needs.
    host.prepare("mkdir -p ../packages usr/share/libcommon; touch ../packages/libcommon");
    one_step(&mut host, "install_packages nginx certbot\n").unwrap();
    assert_eq!(
        installed(&host),
        [
            "certbot",
            "libcommon",
            "nginx",
            "nginx-common",
            "python3-certbot"
        ]
    );
    assert!(!host.directory.join("started-by-surprise").exists());
    assert!(!host.path("/usr/sbin/policy-rc.d").exists());
    let log = fs::read_to_string(host.directory.join("apt.log")).unwrap();
    assert_eq!(
        log.matches("update").count(),
        1,
        "lists are fetched where there are none: {log}"
    );
    // Somebody installs what needs a part of ours.
    host.prepare("touch ../packages/vim");
    let said = undo(&mut host);
    assert!(
        said.contains("left: the package python3-certbot stays: needed by vim"),
        "{said}"
    );
    assert_eq!(installed(&host), ["libcommon", "python3-certbot", "vim"]);
}

#[test]
fn an_installation_that_fails_leaves_nothing() {
    let mut host = debian();
    host.prepare(
        "touch ../lists
printf '#!/bin/sh\\nexit 0\\n' >usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d",
    );
    let before = host.tree().timeless();
    host.program("dpkg", "#!/bin/sh\nexit 1\n");
    let one =
        "printf '#!/bin/sh\\ntouch \"$SCRATCH/apt.fails\"\\n' >/dev/null\ninstall_packages nginx\n";
    // It fails twice: with these lists, and with newer ones.
    host.prepare("touch ../apt.fails");
    host.program("sleep", "#!/bin/sh\n");
    one_step(&mut host, one).unwrap();
    assert_eq!(
        installed(&host),
        ["libcommon", "nginx", "nginx-common"],
        "the second attempt"
    );
    undo(&mut host);
    assert_eq!(host.tree().timeless().difference(&before), "");
    let failed = one_step(&mut host, "install_packages nginx\nfalse\n");
    assert!(failed.is_err());
    assert_eq!(host.tree().timeless().difference(&before), "");
    assert_eq!(installed(&host), [""; 0]);
}

#[test]
fn whatever_a_file_holds_the_shell_writes_that() {
    let mut host = debian();
    let mut seed = u64::from(std::process::id());
    println!("seed {seed}");
    let pieces: [&[u8]; 14] = [
        b"END",
        b"\n",
        b"END1\n",
        b"$HOME `id` $(id)",
        b"'",
        b"\"",
        b"\\",
        b"\r\n",
        b"\0",
        b"\xff",
        "\u{e9}\u{2028}".as_bytes(),
        b" \t",
        b"<<'END'",
        b"#",
    ];
    let mut contents: Vec<Vec<u8>> = Vec::new();
    for _ in 0..30 {
        let mut content = Vec::new();
        loop {
            // Knuth's MMIX, as in `crashes`.
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            match pieces.get((seed >> 33) as usize % (pieces.len() + 1)) {
                Some(piece) => content.extend_from_slice(piece),
                None => break,
            }
        }
        contents.push(content);
    }
    let puts = contents.iter().enumerate();
    let puts = puts.map(|(at, content)| shell::put(&format!("/etc/f{at}"), 0o644, "0:0", content));
    one_step(&mut host, &puts.collect::<String>()).unwrap();
    for (at, content) in contents.iter().enumerate() {
        let written = fs::read(host.path(&format!("/etc/f{at}"))).unwrap();
        assert!(
            written == *content,
            "{:?}",
            String::from_utf8_lossy(content)
        );
    }
    // And words: a link may lead to any name.
    let words = [
        "it's", "a b", "$HOME", "\\", "*", "~", "-n", "a;b", "\u{e9}", "=x", "!", "#",
    ];
    let links = words.iter().enumerate();
    let links = links.map(|(at, name)| format!("put_link /etc/l{at} {}\n", shell::word(name)));
    one_step(&mut host, &links.collect::<String>()).unwrap();
    for (at, name) in words.iter().enumerate() {
        let target = fs::read_link(host.path(&format!("/etc/l{at}"))).unwrap();
        assert_eq!(target, PathBuf::from(name));
    }
    let said = undo(&mut host);
    assert!(!said.contains("left:"), "{said}");
}
