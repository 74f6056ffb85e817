//! The router against a reference that is too simple to be wrong.
//!
//! Random route sets, registered in a random order, are asked for random paths, escaped at
//! random. The reference tries every route and takes the most specific: fixed text before a
//! capture before a wildcard, from left to right. `SEED=… cargo test --test router` replays a
//! run; the seed is printed when one fails.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::app::{Client, IntoResponse};
use aureon::http::{Scratch, parse_head};
use aureon::limits::Limits;
use aureon::{App, Method, Request, Response, Router, Status};

/// A small generator (splitmix64), so that a seed means the same run everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Few words, so that routes and paths meet; two that need escapes.
const WORDS: [&str; 6] = ["a", "b", "ab", "ü", "a b", "users"];
const METHODS: [Method; 4] = [Method::Get, Method::Post, Method::Head, Method::Options];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    /// `None` is any.
    method: Option<Method>,
    segments: Vec<String>,
}

impl Route {
    fn random(random: &mut Random) -> Route {
        let mut segments = Vec::new();
        let length = 1 + random.below(4);
        for index in 0..length {
            segments.push(match random.below(8) {
                0 | 1 => format!("{{c{index}}}"),
                2 if index + 1 == length => format!("{{*w{index}}}"),
                3 if index + 1 == length => String::new(),
                _ => String::from(random.pick(&WORDS)),
            });
        }
        let method = [
            Some(Method::Get),
            Some(Method::Post),
            Some(Method::Head),
            None,
        ];
        Route {
            method: method[random.below(4)],
            segments,
        }
    }

    fn path(&self) -> String {
        self.segments
            .iter()
            .map(|segment| format!("/{segment}"))
            .collect()
    }

    /// The route without the names of its captures, and its method: what may not occur twice.
    fn shape(&self) -> (Option<Method>, Vec<String>) {
        let shape = |segment: &String| match rank(segment) {
            0 => segment.clone(),
            rank => format!("{{{rank}}}"),
        };
        (self.method, self.segments.iter().map(shape).collect())
    }
}

fn rank(segment: &str) -> u8 {
    match segment.as_bytes() {
        [b'{', b'*', ..] => 2,
        [b'{', ..] => 1,
        _ => 0,
    }
}

/// The captures, if the route's path matches these decoded segments.
fn captures(route: &Route, path: &[String]) -> Option<Vec<String>> {
    let mut taken = Vec::new();
    for (index, segment) in route.segments.iter().enumerate() {
        match rank(segment) {
            2 => {
                taken.push(path.get(index..)?.join("/"));
                return (index < path.len()).then_some(taken);
            }
            1 if path.get(index)?.is_empty() => return None,
            1 => taken.push(path.get(index)?.clone()),
            _ if path.get(index)? != segment => return None,
            _ => {}
        }
    }
    (path.len() == route.segments.len()).then_some(taken)
}

/// What the application should say.
fn expected(routes: &[Route], method: Method, path: &[String]) -> String {
    let matching: Vec<&Route> = routes
        .iter()
        .filter(|r| captures(r, path).is_some())
        .collect();
    let ranks = |route: &Route| route.segments.iter().map(|s| rank(s)).collect::<Vec<_>>();
    let Some(best) = matching.iter().map(|route| ranks(route)).min() else {
        return String::from("404");
    };
    // All routes of the most specific shape, which differ in their methods only.
    let best: Vec<&&Route> = matching
        .iter()
        .filter(|route| ranks(route) == best)
        .collect();
    let with = |method: Option<Method>| best.iter().find(|route| route.method == method);
    let own = with(Some(method))
        .or_else(|| with(Some(Method::Get)).filter(|_| method == Method::Head))
        .or_else(|| with(None));
    match own {
        Some(route) => {
            let taken = captures(route, path).unwrap_or_default();
            format!(
                "200 {} {} {taken:?}",
                route.method.map_or("any", Method::as_str),
                route.path()
            )
        }
        None if method == Method::Options => String::from("204"),
        None => String::from("405"),
    }
}

/// An application whose handlers say who they are and what they were given.
fn application(routes: &[Route]) -> App {
    let mut router = Router::new();
    for route in routes {
        let name = route.method.map_or("any", Method::as_str);
        let names: Vec<String> = route
            .segments
            .iter()
            .filter(|segment| rank(segment) > 0)
            .map(|segment| segment.trim_matches(['{', '}', '*']).to_owned())
            .collect();
        let handler = move |request: &Request<'_>| {
            let taken: Vec<_> = names
                .iter()
                .map(|n| request.param(n).unwrap_or("?"))
                .collect();
            format!("{name} {} {taken:?}", request.route())
        };
        match route.method {
            Some(method) => router.route(method, &route.path(), handler),
            None => router.any(&route.path(), handler),
        };
    }
    router.build().unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn ask(app: &App, method: Method, path: &str) -> String {
    let bytes = format!("{} {path} HTTP/1.1\r\nHost: a\r\n\r\n", method.as_str());
    let mut scratch = Scratch::new();
    let parsed = parse_head(bytes.as_bytes(), &mut scratch, &Limits::DEFAULT);
    let (head, _) = parsed.expect("a well-formed head").expect("a whole head");
    let found = app.find(&head);
    let request = Request::new(head, b"", aureon::app::Peer::Memory);
    let response = app.answer(&found, &request);
    match response.status() {
        Status::OK => {
            format!(
                "200 {}",
                String::from_utf8_lossy(response.body().as_bytes().unwrap_or(b"?"))
            )
        }
        other => other.code().to_string(),
    }
}

/// Writes a segment for the wire: what must be escaped always, the rest at random.
fn escaped(random: &mut Random, segment: &str) -> String {
    let mut out = String::new();
    for byte in segment.bytes() {
        if !byte.is_ascii_alphanumeric() || random.below(6) == 0 {
            out.push_str(&format!("%{byte:02X}"));
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

fn random_path(random: &mut Random) -> Vec<String> {
    (0..1 + random.below(5))
        .map(|_| match random.below(12) {
            0 => String::new(),
            1 => String::from("a/b"),
            2 => String::from("other"),
            _ => String::from(random.pick(&WORDS)),
        })
        .collect()
}

#[test]
fn every_request_goes_where_the_reference_says() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let mut random = Random(seed);
    for round in 0..400 {
        let mut routes: Vec<Route> = Vec::new();
        for _ in 0..1 + random.below(14) {
            let route = Route::random(&mut random);
            if routes.iter().all(|other| other.shape() != route.shape()) {
                routes.push(route);
            }
        }
        let app = application(&routes);
        for _ in 0..60 {
            let path = random_path(&mut random);
            let method = METHODS[random.below(METHODS.len())];
            let raw: String = path
                .iter()
                .map(|s| format!("/{}", escaped(&mut random, s)))
                .collect();
            let wanted = expected(&routes, method, &path);
            let got = ask(&app, method, &raw);
            assert_eq!(
                got, wanted,
                "SEED={seed} round {round}: {method:?} {raw}\n{routes:#?}"
            );
        }
    }
}

#[test]
fn equal_shapes_are_refused_and_nothing_else_is() {
    let mut random = Random(7);
    let mut refused = 0;
    for _ in 0..2_000 {
        let first = Route::random(&mut random);
        let mut second = Route::random(&mut random);
        if random.below(4) == 0 {
            // The same route with other names for its captures.
            second = first.clone();
            for segment in &mut second.segments {
                *segment = segment.replace(['c', 'w'], "x");
            }
        }
        let mut router = Router::new();
        for route in [&first, &second] {
            match route.method {
                Some(method) => router.route(method, &route.path(), |_| ()),
                None => router.any(&route.path(), |_| ()),
            };
        }
        let same = first.shape() == second.shape();
        match router.build() {
            Ok(_) => assert!(!same, "{first:?} {second:?}"),
            Err(errors) => {
                assert!(same, "{errors:?}");
                let text = errors[0].to_string();
                assert!(
                    text.contains(&first.path()) && text.contains(&second.path()),
                    "{text}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 300, "the generator makes equal shapes");
}

/// Any bytes as a path: the answer is 200, 400 or 404, and never a panic.
#[test]
fn any_path_is_answered() {
    let routes = ["/", "/a/{x}", "/a/{x}/b", "/{*rest}", "/ü/{y}"];
    let mut router = Router::new();
    for route in &routes[..3] {
        router.get(route, |request: &Request<'_>| {
            request.param("x").map(String::from)
        });
    }
    router.get(routes[4], |_| ());
    let app = router.build().expect("no conflict");
    let mut random = Random(11);
    for _ in 0..20_000 {
        let length = random.below(12);
        let alphabet = [
            "/", "a", "b", "%", "2", "F", "0", "C3", "%BC", "%2f", ".", "é", "*", "\0",
        ];
        let path: String = (0..length).map(|_| random.pick(&alphabet)).collect();
        let found = app.find_path(METHODS[random.below(4)], &path);
        assert!(
            routes.contains(&app.route_template(&found)) || app.route_template(&found).is_empty()
        );
    }
}

/// A value of one's own that is a response.
struct Teapot;

impl IntoResponse for Teapot {
    fn into_response(self) -> Response {
        Response::text("short and stout").with_status(Status::IM_A_TEAPOT)
    }
}

#[test]
fn ten_thousand_routes_are_told_apart() {
    let mut router = Router::new();
    for number in 0..10_000u32 {
        router.get(&format!("/static/{number}"), |_| Teapot);
        router.get(
            &format!("/items/{number}/{{id}}"),
            move |request: &Request<'_>| format!("{number} {}", request.param("id").unwrap_or("?")),
        );
    }
    let client = Client::new(router.build().expect("no conflict"));
    for number in [0, 1, 4_999, 9_999] {
        assert_eq!(
            client.get(&format!("/static/{number}")).status(),
            Status::IM_A_TEAPOT
        );
        assert_eq!(
            client.get(&format!("/items/{number}/x%2Fy")).text(),
            format!("{number} x/y")
        );
    }
    assert_eq!(client.get("/static/10000").status(), Status::NOT_FOUND);
}
