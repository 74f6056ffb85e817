//! Flags over `aureon.toml` over defaults → what is wanted, and of which hosts.
//!
//! All that can be known without a host is checked here, with the place of each mistake: names,
//! domains, what belongs together, and aureond's own part of the file by aureond's own reader.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aureon_service::config::{FILE_NAME, Inputs, load};
use aureon_service::problem::{Place, Problem};
use aureon_service::value::{Kind, Value};
use toml::Spanned;

use super::file::{CertificateWord, File, SocketWord};
use super::name::{app_of, app_problem, domain_problem, host_problem, variable_problem};
use super::{Certificate, Serves, Socket, Wanted};
use crate::arguments::Arguments;
use crate::arguments::table::{Command, Flag};
use crate::failure::Failure;
use crate::host::SshOptions;
use crate::limits;

/// Seconds that a release has to become healthy. 30: a program that fills its caches first.
const HEALTH_TIMEOUT_S: u32 = 30;

/// Releases that are kept, the present one among them.
const KEEP: usize = 5;

/// What a command works on.
#[derive(Debug, Clone)]
pub struct Target {
    /// The application's name.
    pub app: String,
    /// Names of the site, as far as they are told.
    pub domains: Vec<String>,
    /// As ssh knows them.
    pub hosts: Vec<String>,
    /// What ssh is told.
    pub ssh: SshOptions,
}

/// What a deployment works on beside what is wanted of the host.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// What is wanted.
    pub wanted: Wanted,
    /// The program that serves on the host, if it is named.
    pub aureond: Option<PathBuf>,
}

/// The file and the flags.
#[derive(Debug)]
pub struct Reader<'a> {
    arguments: &'a Arguments,
    file: Option<File>,
    /// Of the file: what is relative is beside it.
    beside: PathBuf,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Reads the file: the one named, else `aureon.toml` if it is here.
    ///
    /// # Errors
    /// It can not be read, or a table of it is wrong.
    pub fn new(arguments: &'a Arguments) -> Result<Self, Failure> {
        let named = arguments.path(Flag::Config);
        let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE_NAME));
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        let beside = parent.unwrap_or(Path::new(".")).to_owned();
        let file = match read_text(&path) {
            Ok(text) => {
                let file = File::parse(&path, &text);
                Some(file.map_err(|problem| Failure::Configuration(vec![problem]))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => None,
            Err(error) => {
                let place = match &named {
                    Some(_) => Place::Flag("--config".to_owned()),
                    None => Place::Flag(path.display().to_string()),
                };
                let what = format!("{} can not be read: {error}", path.display());
                let problem = Problem::new(place, what, "create it, or name another by --config");
                return Err(Failure::Configuration(vec![problem]));
            }
        };
        Ok(Self {
            arguments,
            file,
            beside,
            problems: Vec::new(),
        })
    }

    /// The application and its hosts.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn target(&mut self) -> Result<Target, Failure> {
        let domains = self.domains();
        let app = self.app(&domains);
        let hosts = self.hosts();
        let target = Target {
            app,
            domains,
            hosts,
            ssh: self.ssh(),
        };
        self.checked(target)
    }

    /// Which hosts alone, for what is done to all applications of one.
    ///
    /// # Errors
    /// No host, or a wrong one.
    pub fn hosts_alone(&mut self) -> Result<Target, Failure> {
        let target = Target {
            app: String::new(),
            domains: Vec::new(),
            hosts: self.hosts(),
            ssh: self.ssh(),
        };
        self.checked(target)
    }

    /// All that is wanted.
    ///
    /// # Errors
    /// Every mistake.
    pub fn deployment(&mut self, target: &Target) -> Result<Deployment, Failure> {
        let serves = self.serves();
        self.deployment_of(target, serves)
    }

    fn deployment_of(
        &mut self,
        target: &Target,
        serves: Option<Serves>,
    ) -> Result<Deployment, Failure> {
        let (certificate, file) = (self.certificate(), self.file.as_ref());
        let deploy = file.map(|file| &file.deploy);
        let app = file.map(|file| &file.app);
        let program = matches!(serves, Some(Serves::Program { .. }));
        let health = app.and_then(|app| app.health.as_ref());
        let default_health = if program { "/" } else { "/readyz" };
        let health_path = health.map_or(default_health, |health| health.get_ref().as_str());
        let wanted = Wanted {
            app: target.app.clone(),
            domains: target.domains.clone(),
            directory: self.directory(),
            build: app.and_then(|app| app.build.clone()),
            certificate,
            cloudflare: self.arguments.has(Flag::Cloudflare)
                || deploy.and_then(|deploy| deploy.cloudflare).unwrap_or(false),
            firewall: !self.arguments.has(Flag::NoFirewall)
                && deploy.and_then(|deploy| deploy.firewall).unwrap_or(true),
            health_path: health_path.to_owned(),
            health_timeout_s: HEALTH_TIMEOUT_S,
            environment: Vec::new(),
            secrets: Vec::new(),
            keep: KEEP,
            port: self.arguments.number(Flag::Port),
            // What stands for nothing is not used: there is a problem then.
            serves: serves.unwrap_or(Serves::Program {
                command: Vec::new(),
                files: Vec::new(),
                socket: Socket::Port,
            }),
        };
        let aureond = deploy.and_then(|deploy| deploy.aureond.as_ref());
        let aureond = aureond.map(|path| self.beside.join(path));
        let deployment = Deployment {
            wanted,
            aureond: self.arguments.path(Flag::Aureond).or(aureond),
        };
        let deployment = self.complete(deployment);
        self.check_configuration();
        self.checked(deployment)
    }

    /// What is known of a deployment without what it is made from: enough to go back to a release.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn deployed(&mut self, target: &Target) -> Result<Wanted, Failure> {
        let deployment = self.unserved(target)?;
        Ok(deployment.wanted)
    }

    /// A deployment whose site is not looked for.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn unserved(&mut self, target: &Target) -> Result<Deployment, Failure> {
        self.problems.clear();
        let app = self.file.as_ref().map(|file| &file.app);
        let serves = match app.is_some_and(|app| app.command.is_some()) {
            true => self.serves(),
            false => Some(Serves::Site {
                root: self.beside.clone(),
                configuration: String::new(),
            }),
        };
        self.deployment_of(target, serves)
    }

    fn checked<T>(&mut self, value: T) -> Result<T, Failure> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        let problems = std::mem::take(&mut self.problems);
        let usage = problems
            .iter()
            .any(|problem| matches!(problem.place, Place::Flag(_)));
        match usage {
            true => Err(Failure::Usage(problems)),
            false => Err(Failure::Configuration(problems)),
        }
    }

    fn report(&mut self, flag: &str, what: impl Into<String>, fix: impl Into<String>) {
        let place = Place::Flag(flag.to_owned());
        self.problems.push(Problem::new(place, what, fix));
    }

    /// A list of words, of the command line if it has any, else of the file: each checked.
    fn words(
        &mut self,
        flag: &str,
        given: Vec<String>,
        list: impl Fn(&File) -> &[Spanned<String>],
        check: impl Fn(&str) -> Option<(String, String)>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        let words = match &self.file {
            Some(file) if given.is_empty() => {
                for word in list(file) {
                    if let Some((what, fix)) = check(word.get_ref()) {
                        problems.push(file.problem(word.span().start, what, fix));
                    }
                }
                list(file)
                    .iter()
                    .map(|word| word.get_ref().clone())
                    .collect()
            }
            _ => {
                for word in &given {
                    if let Some((what, fix)) = check(word) {
                        problems.push(Problem::new(Place::Flag(flag.to_owned()), what, fix));
                    }
                }
                given
            }
        };
        self.problems.extend(problems);
        words
    }

    fn domains(&mut self) -> Vec<String> {
        let given = self.arguments.texts(Flag::Domain);
        let words = self.words(
            "--domain",
            given,
            |file| &file.deploy.domains,
            domain_problem,
        );
        let mut domains: Vec<String> = Vec::new();
        for word in words {
            let word = word.to_ascii_lowercase();
            if !domains.contains(&word) {
                domains.push(word);
            }
        }
        if domains.len() > limits::DOMAINS_MAX {
            let what = format!("more than {} names", limits::DOMAINS_MAX);
            self.report("--domain", what, "");
        }
        domains
    }

    fn app(&mut self, domains: &[String]) -> String {
        if let Some(name) = self.arguments.text(Flag::App) {
            if let Some((what, fix)) = app_problem(name) {
                self.report("--app", what, fix);
            }
            return name.to_owned();
        }
        let file = self.file.as_ref();
        if let Some((file, name)) = file.and_then(|file| Some((file, file.app.name.as_ref()?))) {
            if let Some((what, fix)) = app_problem(name.get_ref()) {
                let problem = file.problem(name.span().start, what, fix);
                self.problems.push(problem);
                return String::new();
            }
            return name.get_ref().clone();
        }
        match domains.first() {
            Some(domain) => app_of(domain),
            None => {
                let fix = "write --domain NAME, or domains in [deploy] of aureon.toml";
                self.report("--domain", "which site?", fix);
                String::new()
            }
        }
    }

    /// Whether a command's first word is a host.
    fn host_word(&self) -> Option<&String> {
        let first = self.arguments.words.first()?;
        let named = first.contains('@') || self.arguments.words.len() > 1;
        let of_file = self
            .file
            .as_ref()
            .is_some_and(|file| !file.deploy.hosts.is_empty());
        let other = match self.arguments.command {
            Command::Deploy | Command::Plan | Command::Check => is_directory(first),
            Command::Rollback => crate::release::manifest::application_of(first).is_some(),
            Command::Env => ["list", "set", "unset"].contains(&first.as_str()),
            _ => false,
        };
        let other = other && (!named || self.arguments.command == Command::Env || of_file);
        (!other).then_some(first)
    }

    /// Words of the command behind its host.
    #[must_use]
    pub fn other_words(&self) -> &[String] {
        let skipped = usize::from(self.host_word().is_some());
        self.arguments.words.get(skipped..).unwrap_or_default()
    }

    fn hosts(&mut self) -> Vec<String> {
        let mut given = self.arguments.texts(Flag::Host);
        given.extend(self.host_word().cloned());
        let hosts = self.words("USER@HOST", given, |file| &file.deploy.hosts, host_problem);
        if hosts.is_empty() && self.arguments.has(Flag::Facts) {
            return vec!["recorded".to_owned()];
        }
        if hosts.is_empty() {
            let row = self.arguments.command.row();
            let fix = format!(
                "write aureon {} root@ADDRESS, or hosts in [deploy]",
                row.name
            );
            self.report("USER@HOST", "which host?", fix);
        }
        if hosts.len() > limits::HOSTS_MAX {
            let what = format!("more than {} hosts", limits::HOSTS_MAX);
            self.report("USER@HOST", what, "");
        }
        hosts
    }

    fn ssh(&self) -> SshOptions {
        let deploy = self.file.as_ref().map(|file| &file.deploy);
        let mut options = self.arguments.texts(Flag::SshOption);
        options.extend(deploy.iter().flat_map(|deploy| deploy.ssh_options.clone()));
        let identity = deploy.and_then(|deploy| deploy.identity.as_ref());
        let identity = identity.map(|path| self.beside.join(path));
        let program = std::env::var_os("AUREON_SSH").filter(|program| !program.is_empty());
        SshOptions {
            port: self
                .arguments
                .number(Flag::SshPort)
                .or(deploy.and_then(|deploy| deploy.ssh_port)),
            identity: self.arguments.path(Flag::Identity).or(identity),
            options,
            program: program.map(PathBuf::from),
        }
    }

    fn directory(&self) -> PathBuf {
        match (&self.file, self.other_words().first()) {
            (None, Some(directory)) => PathBuf::from(directory),
            _ => self.beside.clone(),
        }
    }

    fn serves(&mut self) -> Option<Serves> {
        let app = self.file.as_ref().map(|file| &file.app);
        let Some(command) = app.and_then(|app| app.command.as_ref()) else {
            return self.site();
        };
        let app = app?;
        let first = command.get_ref().first().cloned().unwrap_or_default();
        if first.is_empty() {
            let file = self.file.as_ref()?;
            let fix = "write the program's file and its arguments, such as [\"./server\"]";
            let problem = file.problem(command.span().start, "there is no command", fix);
            self.problems.push(problem);
            return None;
        }
        let files = app.files.clone().unwrap_or_else(|| vec![first]);
        Some(Serves::Program {
            command: command.get_ref().clone(),
            files: files.into_iter().map(PathBuf::from).collect(),
            socket: match app.socket {
                Some(SocketWord::Inherited) => Socket::Inherited,
                Some(SocketWord::Port) | None => Socket::Port,
            },
        })
    }

    fn site(&mut self) -> Option<Serves> {
        let configuration = self
            .file
            .as_ref()
            .map(File::configuration)
            .unwrap_or_default();
        let root = match self.other_words().first() {
            Some(directory) => Some(PathBuf::from(directory)),
            None => self.configured_root(),
        };
        let page = |directory: &Path| directory.join("index.html").is_file();
        let found = root.or_else(|| page(&self.beside).then(|| self.beside.clone()));
        if found.as_deref().is_some_and(Path::is_dir) {
            return found.map(|root| Serves::Site {
                root,
                configuration,
            });
        }
        let usual = ["public", "dist", "build", "out", "_site", "site", "www"];
        let usual = usual.iter().find(|name| page(&self.beside.join(name)));
        let fix = match usual {
            Some(name) => format!("write root = \"{name}\" in aureon.toml, or ./{name} as a word"),
            None => "write root = \"DIRECTORY\" in aureon.toml, or the directory as a word".into(),
        };
        let what = match found {
            Some(root) => format!("{} is no directory", root.display()),
            None => "what is to be served? There is no root and no index.html here".to_owned(),
        };
        self.report("DIR", what, fix);
        None
    }

    /// aureond's `root`, which its reader has put beside the file.
    fn configured_root(&self) -> Option<PathBuf> {
        let loaded = self.load().ok()??;
        loaded.config.root
    }

    /// By aureond's own reader, without this machine's environment.
    fn load(&self) -> Result<Option<aureon_service::config::Loaded>, Vec<Problem>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let inputs = Inputs {
            file: Some((file.path.clone(), file.whole().as_bytes().to_vec())),
            ..Inputs::default()
        };
        load(&inputs).map(|loaded| Some(*loaded))
    }

    fn check_configuration(&mut self) {
        if let Err(problems) = self.load() {
            self.problems.extend(problems);
        }
    }

    fn certificate(&mut self) -> Certificate {
        let arguments = self.arguments;
        if let (Some(chain), Some(key)) = (arguments.path(Flag::Cert), arguments.path(Flag::Key)) {
            return self.files("--cert", chain, key);
        }
        let Some(deploy) = self.file.as_ref().map(|file| &file.deploy) else {
            return self.certbot(None, None);
        };
        let (email, server) = (deploy.email.clone(), deploy.acme_server.clone());
        if arguments.has(Flag::HttpOnly) {
            return Certificate::None;
        }
        let own = (deploy.cert.clone(), deploy.key.clone());
        let at = own
            .0
            .as_ref()
            .or(own.1.as_ref())
            .map_or(0, |path| path.span().start);
        let word = deploy.certificate;
        match (word, own) {
            (Some(CertificateWord::None), _) => Certificate::None,
            (Some(CertificateWord::Certbot), _) | (None, (None, None)) => {
                self.certbot(email, server)
            }
            (_, (Some(chain), Some(key))) => {
                let path = |path: Spanned<String>| self.beside.join(path.into_inner());
                let (chain, key) = (path(chain), path(key));
                self.files("cert", chain, key)
            }
            _ => {
                let what = "a certificate and its key come together";
                let fix = "write cert = \"FILE\" and key = \"FILE\"";
                let problem = self.file.as_ref().map(|file| file.problem(at, what, fix));
                self.problems.extend(problem);
                Certificate::None
            }
        }
    }

    fn certbot(&self, email: Option<String>, server: Option<String>) -> Certificate {
        if self.arguments.has(Flag::HttpOnly) {
            return Certificate::None;
        }
        let text = |flag| self.arguments.text(flag).map(str::to_owned);
        Certificate::Certbot {
            email: text(Flag::Email).or(email),
            server: text(Flag::AcmeServer).or(server),
        }
    }

    fn files(&mut self, place: &str, chain: PathBuf, key: PathBuf) -> Certificate {
        // They are read later, when nobody thinks of the directory that they were meant from.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let (chain, key) = (absolute(chain), absolute(key));
        for path in [&chain, &key] {
            if let Err(error) = fs::File::open(path) {
                let what = format!("{} can not be read: {error}", path.display());
                self.report(place, what, "name a PEM file that you may read");
            }
        }
        Certificate::Files { chain, key }
    }

    /// What of `[app]` needs a look at each value.
    fn complete(&mut self, mut deployment: Deployment) -> Deployment {
        let Some(file) = &self.file else {
            return deployment;
        };
        let mut problems = Vec::new();
        let wanted = &mut deployment.wanted;
        let (app, deploy) = (&file.app, &file.deploy);
        if let Some(health) = app
            .health
            .as_ref()
            .filter(|path| !is_target(path.get_ref()))
        {
            let fix = "write a path such as \"/healthz\"";
            problems.push(file.problem(health.span().start, "this is no path", fix));
        }
        if let Some(timeout) = &app.health_timeout {
            match Kind::Duration(1000, 3_600_000).parse_value(timeout.get_ref()) {
                Ok(Value::Number(ms)) => {
                    wanted.health_timeout_s = u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX);
                }
                Ok(_) => {}
                Err(expected) => {
                    let fix = format!("expected {expected}");
                    problems.push(file.problem(timeout.span().start, "no such time", fix));
                }
            }
        }
        for (name, value) in &app.environment {
            if let Some((what, fix)) = variable_problem(name.get_ref(), value.get_ref()) {
                problems.push(file.problem(name.span().start, what, fix));
            }
            let pair = (name.get_ref().clone(), value.get_ref().clone());
            wanted.environment.push(pair);
        }
        for name in &app.secrets {
            if let Some((what, fix)) = variable_problem(name.get_ref(), "") {
                problems.push(file.problem(name.span().start, what, fix));
            }
            wanted.secrets.push(name.get_ref().clone());
        }
        if let Some(keep) = &deploy.keep {
            if !(1..=100).contains(keep.get_ref()) {
                let what = "this many releases are not kept";
                problems.push(file.problem(keep.span().start, what, "write 1 to 100"));
            }
            wanted.keep = *keep.get_ref();
        }
        if let (Some(port), None) = (&app.port, wanted.port) {
            if *port.get_ref() < 1024 {
                let fix = "write one from 1024 on: Nginx has 80 and 443";
                problems.push(file.problem(port.span().start, "no port for a service", fix));
            }
            wanted.port = Some(*port.get_ref());
        }
        self.problems.extend(problems);
        deployment
    }
}

/// Something that a request may ask for, and a line of a script may hold.
fn is_target(path: &str) -> bool {
    path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\'')
}

/// What is meant as a directory and not as a host.
fn is_directory(word: &str) -> bool {
    word.starts_with('.') || word.contains(['/', '\\']) && !word.contains("://")
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(limits::CONFIGURATION_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > limits::CONFIGURATION_BYTES_MAX {
        return Err(io::Error::other("larger than 64KiB"));
    }
    Ok(text)
}
