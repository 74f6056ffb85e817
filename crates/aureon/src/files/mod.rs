//! From a URL path to a file and its answer.
//!
//! [`Files`] serves the tree below a directory, or assets compiled into the program. Its order
//! of deciding: resolve the path, refuse what is hidden, find the resource (in the cache, which
//! is believed for a second, or on the disk beneath the root), choose a coding, evaluate
//! conditions and ranges. What is found nowhere is the single-page application's, the `404.html`
//! or a plain 404. In reading order: `resolve` turns a URL path into a path below a root; `mime`
//! knows types and how long they may be cached; `encoding` chooses among precompressed siblings;
//! `conditional` and `range` decide how much the client needs; `root`, `resource` and `cache`
//! hold what was found; `answer` and `listing` write; `asked` is the request, and notes.
//!
//! Errors by status: a malformed path is 400; one that leads nowhere, outside, or to anything
//! but a regular file is 404; a file the process may not read is 403, since an operator who
//! forgot a permission looks for that and a stranger learns nothing but a name they already
//! had; no descriptor or memory is 503; a failing disk is 500.

mod answer;
mod asked;
mod cache;
pub mod conditional;
mod embedded;
pub mod encoding;
mod listing;
pub mod mime;
pub mod range;
pub mod resolve;
mod resource;
mod root;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use asked::Asked;
use cache::Cache;
pub use embedded::Asset;
use embedded::Embedded;
use encoding::{Coding, accepts_html, choose_coding};
use resolve::{RelativePath, resolve};
use resource::{Policy, Representation, Resource};
use root::Root;

use crate::app::{Mount, Request, Response};
use crate::http::{Head, Method, Status};
use crate::limits;
use crate::sys::dir::{Dir, Entry, Fault};

/// A tree of files to be served. Built once, shared by all workers.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// let files = aureon::files::Files::new("dist")?.spa("index.html");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Files {
    source: Source,
    cache: Cache,
    policy: Policy,
    index: Vec<String>,
    spa: Option<String>,
    not_found: Option<String>,
    listing: bool,
    dotfiles: bool,
    trust_ms: u64,
    begun: Instant,
}

#[derive(Debug)]
enum Source {
    Directory(Root),
    Embedded(Embedded),
}

/// What a path leads to.
enum Found {
    File {
        resource: Arc<Resource>,
        /// Whether it comes from the cache, so that its open file may have changed since.
        is_held: bool,
    },
    /// A directory that was asked for without its slash.
    Directory,
    Listing(Vec<Entry>, bool),
    Nothing,
}

/// A resource with the chosen representation read.
enum Ready {
    File(Arc<Resource>, Coding),
    Directory,
    Listing(Vec<Entry>, bool),
    Nothing,
}

impl Files {
    /// Serves the tree below `root`. Symbolic links are followed while they stay inside, which
    /// excludes absolute ones. Fails when `root` is no directory that can be opened.
    pub fn new(root: impl AsRef<Path>) -> io::Result<Files> {
        Ok(Files::over(Source::Directory(Root::open(root.as_ref())?)))
    }

    /// Serves assets compiled into the program. An asset called `a.js.br`, `.zst` or `.gz` is
    /// also the compressed form of `a.js`.
    pub fn embedded(assets: &'static [Asset]) -> Files {
        Files::over(Source::Embedded(Embedded::new(assets)))
    }

    fn over(source: Source) -> Files {
        Files {
            source,
            cache: Cache::new(limits::FILE_CACHE_BYTES_MAX),
            policy: Policy {
                cache_control: None,
                precompressed: true,
            },
            index: vec![String::from("index.html")],
            spa: None,
            not_found: Some(String::from("404.html")),
            listing: false,
            dotfiles: false,
            trust_ms: limits::FILE_TRUST_MS,
            begun: Instant::now(),
        }
    }

    /// The names that stand for their directory, the first that exists. `index.html` by default.
    #[must_use]
    pub fn index(mut self, names: &[&str]) -> Files {
        self.index = names.iter().map(|name| String::from(*name)).collect();
        self
    }

    /// Answers navigation to paths that lead nowhere with this page: GET or HEAD, no extension
    /// in the last segment, and `text/html` named in `Accept`. Off by default.
    #[must_use]
    pub fn spa(mut self, page: &str) -> Files {
        self.spa = Some(String::from(page));
        self
    }

    /// The page that goes with a 404, if it exists. `404.html` by default; `None` for none.
    #[must_use]
    pub fn not_found(mut self, page: Option<&str>) -> Files {
        self.not_found = page.map(String::from);
        self
    }

    /// Lists directories that have no index. Off by default.
    #[must_use]
    pub fn listing(mut self, on: bool) -> Files {
        self.listing = on;
        self
    }

    /// Serves names that begin with a dot. Off by default, but for `/.well-known/`.
    #[must_use]
    pub fn dotfiles(mut self, on: bool) -> Files {
        self.dotfiles = on;
        self
    }

    /// Sends `app.js.br`, `.zst` or `.gz` for `app.js` to clients that take them, when they are
    /// not older than the original. On by default.
    #[must_use]
    pub fn precompressed(mut self, on: bool) -> Files {
        self.policy.precompressed = on;
        self
    }

    /// The same `Cache-Control` for every file, in place of the choice by type and name that
    /// [`mime::cache_control`] makes. An error when it could not stand in a field.
    pub fn cache_control(mut self, value: &str) -> io::Result<Files> {
        if !value
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            let message = "a Cache-Control value is made of visible ASCII and spaces";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.policy.cache_control = Some(String::from(value));
        Ok(self)
    }

    /// Bytes of files held in memory. 8 MiB by default; 0 holds nothing, not even descriptors.
    #[must_use]
    pub fn cache_bytes(mut self, bytes_max: usize) -> Files {
        self.cache = Cache::new(bytes_max);
        self
    }

    /// How long a file that is held is believed before the file system is asked whether it has
    /// changed. A second by default; zero asks for each request.
    #[must_use]
    pub fn trust(mut self, time: Duration) -> Files {
        self.trust_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Answers a request for `below`: the path below the mount point, still percent-encoded,
    /// with or without its leading slash.
    pub fn answer(&self, request: &Request<'_>, below: &str) -> Response {
        self.answer_asked(Asked::of(request), below)
    }

    /// The same for a head alone; a body never matters here.
    pub fn answer_head(&self, head: &Head<'_>, below: &str) -> Response {
        self.answer_asked(Asked::new(head), below)
    }

    fn answer_asked(&self, asked: Asked<'_>, below: &str) -> Response {
        if !matches!(asked.head.method(), Method::Get | Method::Head) {
            return Response::from(Status::METHOD_NOT_ALLOWED).with_field("Allow", "GET, HEAD");
        }
        let path = match resolve(below) {
            Ok(path) => path,
            Err(refusal) => {
                asked.note("path", below, &["refused: ", refusal.reason()]);
                return match refusal.is_malformed() {
                    true => Response::from(Status::BAD_REQUEST),
                    false => self.nothing(asked),
                };
            }
        };
        if path.is_hidden() && !self.dotfiles {
            asked.note(
                "path",
                path.as_str(),
                &["refused: a name begins with a dot"],
            );
            return self.nothing(asked);
        }
        match self.ready(asked, path.as_str()) {
            Ok(Ready::File(resource, coding)) => self
                .represent(asked, &resource, coding)
                .unwrap_or_else(|| self.nothing(asked)),
            Ok(Ready::Directory) => to_directory(asked.head),
            Ok(Ready::Listing(entries, is_cut)) => {
                let page = listing::write_listing(path.as_str(), entries, is_cut, self.dotfiles);
                asked.note("caching", "no-cache", &["what is in it changes"]);
                Response::html(page)
                    .with_field("Cache-Control", "no-cache")
                    .with_field("Content-Security-Policy", listing::POLICY)
            }
            Ok(Ready::Nothing) => self
                .application(asked, &path)
                .unwrap_or_else(|| self.nothing(asked)),
            Err(fault) => failed(fault),
        }
    }

    /// Finds the resource and reads what the client should get of it.
    fn ready(&self, asked: Asked<'_>, path: &str) -> Result<Ready, Fault> {
        let head = asked.head;
        for _ in 0..limits::FILE_ATTEMPTS_MAX {
            let (resource, is_held) = match self.find(asked, path)? {
                Found::File { resource, is_held } => (resource, is_held),
                Found::Directory => return Ok(Ready::Directory),
                Found::Listing(entries, is_cut) => return Ok(Ready::Listing(entries, is_cut)),
                Found::Nothing => return Ok(Ready::Nothing),
            };
            let coding = match resource.varies() {
                true => choose_coding(head.field_all("accept-encoding"), |c| resource.has(c)),
                false => Coding::Identity,
            };
            for coding in [coding, Coding::Identity] {
                match self.load(&resource, coding) {
                    // Written to since it was opened: what we know of it is no longer true.
                    Ok(made) if is_held && made.has_changed() => break,
                    Ok(_) => {
                        asked.note_coding(&resource, coding);
                        return Ok(Ready::File(resource, coding));
                    }
                    // Gone since it was found.
                    Err(Fault::Missing) => break,
                    // A sibling that may not be read is no reason not to send the original.
                    Err(Fault::Denied) if coding != Coding::Identity => {}
                    Err(fault) => {
                        asked.note_file("file", resource.path(), Some(fault));
                        return Err(fault);
                    }
                }
            }
            self.cache.remove(path, &resource);
        }
        Err(Fault::Exhausted)
    }

    fn load<'r>(
        &self,
        resource: &'r Resource,
        coding: Coding,
    ) -> Result<&'r Representation, Fault> {
        if let (None, Source::Directory(root)) = (resource.loaded(coding), &self.source) {
            let dir = root.dir(self.now_ms(), self.trust_ms);
            self.sparing(|| resource.load(&dir, coding, &self.policy))?;
        }
        resource.loaded(coding).ok_or(Fault::Missing)
    }

    fn find(&self, asked: Asked<'_>, path: &str) -> Result<Found, Fault> {
        let root = match &self.source {
            Source::Directory(root) => root,
            Source::Embedded(assets) => {
                let found = assets.find(path, &self.index, &self.policy);
                match &found {
                    Found::File { resource, .. } => asked.note_file("file", resource.path(), None),
                    Found::Directory => asked.note("directory", path, &[WITHOUT_SLASH]),
                    _ => asked.note_file("file", path, Some(Fault::Missing)),
                }
                return Ok(found);
            }
        };
        let now_ms = self.now_ms();
        if let Some(resource) = self.cache.get(path) {
            resource.touch(now_ms);
            if !resource.is_due(now_ms, self.trust_ms)
                || self.still_leads_to(&root.dir(now_ms, self.trust_ms), path, &resource)
            {
                return Ok(Found::File {
                    resource,
                    is_held: true,
                });
            }
            self.cache.remove(path, &resource);
        }
        let dir = root.dir(now_ms, self.trust_ms);
        let found = match self.sparing(|| self.find_in(asked, &dir, path)) {
            Err(fault) => {
                asked.note_file("file", path, Some(fault));
                match fault {
                    Fault::Missing => Found::Nothing,
                    fault => return Err(fault),
                }
            }
            Ok(found) => found,
        };
        if let Found::File { resource, .. } = &found {
            resource.touch(now_ms);
            resource.mark_checked(now_ms);
            self.cache.insert(path, resource);
        }
        Ok(found)
    }

    fn still_leads_to(&self, dir: &Dir, path: &str, resource: &Resource) -> bool {
        // An index that comes before the one in use may have appeared.
        let is_first = match is_directory(path) {
            true => self.index.iter().map(|name| format!("{path}{name}")),
            false => return resource.still_holds(dir, &self.policy),
        }
        .take_while(|name| name != resource.path())
        .all(|name| dir.facts(&name).is_err());
        is_first && resource.still_holds(dir, &self.policy)
    }

    fn find_in(&self, asked: Asked<'_>, dir: &Dir, path: &str) -> io::Result<Found> {
        if !is_directory(path) {
            return Ok(match Resource::find(dir, path, &self.policy)? {
                Some(resource) => {
                    asked.note_file("file", path, None);
                    Found::File {
                        resource: Arc::new(resource),
                        is_held: false,
                    }
                }
                None if dir.facts(path)?.is_directory() => {
                    asked.note("directory", path, &[WITHOUT_SLASH]);
                    Found::Directory
                }
                None => {
                    asked.note_file("file", path, Some(Fault::Missing));
                    Found::Nothing
                }
            });
        }
        for name in &self.index {
            let name = format!("{path}{name}");
            match Resource::find(dir, &name, &self.policy) {
                Ok(Some(resource)) => {
                    asked.note_file("index", &name, None);
                    return Ok(Found::File {
                        resource: Arc::new(resource),
                        is_held: false,
                    });
                }
                Ok(None) => {}
                Err(error) if Fault::of(&error) == Fault::Missing => {}
                Err(error) => return Err(error),
            }
            asked.note_file("index", &name, Some(Fault::Missing));
        }
        if !self.listing {
            asked.note("listing", path, &["off"]);
            return Ok(Found::Nothing);
        }
        let (entries, is_cut) = dir.list(path, limits::LISTING_ENTRIES_MAX)?;
        asked.note(
            "listing",
            path,
            &["on: the directory's names are the answer"],
        );
        Ok(Found::Listing(entries, is_cut))
    }

    /// Tries again without the cache's own descriptors when the process has run out of them.
    fn sparing<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> Result<T, Fault> {
        let first = attempt().map_err(|error| Fault::of(&error));
        if !matches!(first, Err(Fault::Exhausted)) {
            return first;
        }
        self.cache.remove_descriptors();
        attempt().map_err(|error| Fault::of(&error))
    }

    /// The single-page application's page, when this is a navigation into it.
    fn application(&self, asked: Asked<'_>, path: &RelativePath<'_>) -> Option<Response> {
        let Some(page) = self.spa.as_deref() else {
            asked.note("spa", "", &["off"]);
            return None;
        };
        if mime::extension(path.name()).is_some() {
            asked.note("spa", page, &["no: a name with an extension is no page"]);
            return None;
        }
        if !accepts_html(asked.head.field_all("accept")) {
            asked.note("spa", page, &["no: Accept does not name text/html"]);
            return None;
        }
        asked.note("spa", page, &["answers pages that are not there"]);
        let Ok(Ready::File(resource, coding)) = self.ready(asked, page) else {
            return None;
        };
        let mut response = self.represent(asked, &resource, coding)?;
        response.add_vary("Accept");
        Some(response)
    }

    /// The answer for a representation that was read.
    fn represent(&self, asked: Asked<'_>, resource: &Resource, coding: Coding) -> Option<Response> {
        let made = resource.loaded(coding)?;
        asked.note_caching(resource.path(), made, &self.policy);
        Some(answer::answer(asked, made))
    }

    /// 404, with its page if there is one. Conditions and ranges do not apply (RFC 9110 §13.2.1).
    fn nothing(&self, asked: Asked<'_>) -> Response {
        let page = self.not_found.as_deref().map(|page| {
            asked.note("not found", page, &["goes with a 404, if it is there"]);
            self.ready(asked, page)
        });
        let Some(Ok(Ready::File(resource, coding))) = page else {
            return Response::from(Status::NOT_FOUND);
        };
        let Some(made) = resource.loaded(coding) else {
            return Response::from(Status::NOT_FOUND);
        };
        asked.note("caching", "no-cache", &["what is missing may come"]);
        let mut response = Response::bytes(made.content_type(), made.body())
            .with_status(Status::NOT_FOUND)
            .with_field("Cache-Control", "no-cache");
        if coding != Coding::Identity {
            response.set_field("Content-Encoding", coding.name());
        }
        if resource.varies() {
            response.add_vary("Accept-Encoding");
        }
        response
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Mount for Files {
    fn answer(&self, request: &Request<'_>, rest: &str) -> Response {
        // The mount has taken the slash before `rest`; a second one makes an empty segment.
        if rest.starts_with('/') {
            let asked = Asked::of(request);
            let reason = resolve::Refusal::EmptySegment.reason();
            asked.note("path", request.path(), &["refused: ", reason]);
            return self.nothing(asked);
        }
        self.answer_asked(Asked::of(request), rest)
    }

    fn only_reads(&self) -> bool {
        true
    }
}

const WITHOUT_SLASH: &str = "a directory, asked for without its slash: 308";

fn is_directory(path: &str) -> bool {
    path.is_empty() || path.ends_with('/')
}

/// 308 to the same path with a slash. Leading slashes become one, or `//host` would lead to
/// another host.
fn to_directory(head: &Head<'_>) -> Response {
    let path = head.path().trim_start_matches(['/', '\\']);
    let (mark, query) = head.query().map_or(("", ""), |query| ("?", query));
    Response::redirect(
        Status::PERMANENT_REDIRECT,
        &format!("/{path}/{mark}{query}"),
    )
}

fn failed(fault: Fault) -> Response {
    match fault {
        Fault::Missing => Response::from(Status::NOT_FOUND),
        Fault::Denied => Response::from(Status::FORBIDDEN),
        Fault::Exhausted => Response::failed(
            Status::SERVICE_UNAVAILABLE,
            "no descriptor or memory is left for a file, or it does not stop changing",
        ),
        Fault::Broken => Response::failed(
            Status::INTERNAL_SERVER_ERROR,
            "the file system failed to read a file",
        ),
    }
}
