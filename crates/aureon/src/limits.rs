//! Every bound of the engine, in one place: unit, reason, precedent.
//!
//! [`Limits`] holds what an operator may change; the constants below it are fixed because
//! changing them would change a data structure. Nothing here imports anything of ours, and no
//! other file decides a bound.

/// The bounds a server enforces. All are on by default; zero never means "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head, request line included; also of a trailer section.
    /// 16 KiB. nginx 4×8 KiB, Node 16 KiB, h11 16 KiB. More is answered 431.
    pub head_bytes_max: usize,
    /// Field lines in a head or a trailer section. 100. Apache 100, Go's hpack default 100.
    pub head_fields_max: usize,
    /// Bytes of a request target. 8,000: the least RFC 9110 §4.1 recommends. More is a 414.
    pub target_bytes_max: usize,
    /// Bytes of a body buffered for a handler. 1 MiB, as nginx. More is answered 413.
    pub body_bytes_max: u64,
    /// Bytes of a body streamed to an upload handler. 1 GiB.
    pub upload_bytes_max: u64,
    /// Bytes of chunk extensions in one body. 4 KiB: they are ignored, so only a flood has more
    /// (CVE-2023-39326 in Go was this flood).
    pub chunk_extension_bytes_max: usize,
    /// Milliseconds from a head's first byte to its last. 10 s. Apache 20–40 s, Node 60 s.
    pub head_timeout_ms: u32,
    /// Milliseconds a body may take before `body_rate_min` is demanded of it. 10 s.
    pub body_timeout_ms: u32,
    /// Bytes a second a body must average after `body_timeout_ms`. 500, as Apache's
    /// mod_reqtimeout; Kestrel has 240.
    pub body_rate_min: u32,
    /// Milliseconds a connection may stay without a request. 60 s. nginx 75 s.
    pub idle_timeout_ms: u32,
    /// Milliseconds a peer may take nothing of an answer. 30 s. nginx 60 s.
    pub write_timeout_ms: u32,
    /// Milliseconds in which a late or blocking answer must come. 60 s. nginx proxies wait 60 s.
    pub answer_timeout_ms: u32,
    /// Milliseconds of reading on after a refusal, so that the peer sees the answer and not a
    /// reset (RFC 9112 §9.6). 2 s. nginx lingers 5 s between reads, 30 s in all.
    pub linger_timeout_ms: u32,
    /// Bytes read and thrown away after a refusal, or of a body nobody wanted. 256 KiB, as Go.
    pub discard_bytes_max: u64,
    /// Connections of the whole server. 16,384. nginx has 512 a worker, HAProxy 1,024 and up. Who
    /// keeps it waiting longest is closed for one more.
    pub connections_max: usize,
    /// Connections of one client address over all workers, and requests under way of one client
    /// behind a trusted proxy; of IPv6 a /64 counts as one. 256: a browser has 6, a large office
    /// behind one address a hundred. HAProxy's examples have 10 to 100. Loopback is exempt.
    pub connections_per_address_max: usize,
    /// Requests on one connection, then `Connection: close`. 100,000; nginx has 1,000. It only
    /// bounds what a leak per connection could cost.
    pub requests_per_connection_max: u32,
    /// Bytes of answers held for one connection before reading pauses. 256 KiB.
    pub output_bytes_max: usize,
    /// Milliseconds running exchanges get after a stop was asked for. 30 s. systemd kills at 90.
    pub drain_timeout_ms: u32,
    /// Threads for blocking handlers and streams. 16; they are started on demand.
    pub pool_threads_max: usize,
    /// Jobs waiting for such a thread. 1,024; more are answered 503 with `Retry-After`.
    pub pool_queue_max: usize,
    /// Connections the kernel may hold ready for `accept`. 1,024; Linux clips it to somaxconn.
    pub backlog: u32,
}

impl Limits {
    /// The defaults, as a constant.
    pub const DEFAULT: Limits = Limits {
        head_bytes_max: 16 * 1024,
        head_fields_max: 100,
        target_bytes_max: 8_000,
        body_bytes_max: 1024 * 1024,
        upload_bytes_max: 1024 * 1024 * 1024,
        chunk_extension_bytes_max: 4 * 1024,
        head_timeout_ms: 10_000,
        body_timeout_ms: 10_000,
        body_rate_min: 500,
        idle_timeout_ms: 60_000,
        write_timeout_ms: 30_000,
        answer_timeout_ms: 60_000,
        linger_timeout_ms: 2_000,
        discard_bytes_max: 256 * 1024,
        connections_max: 16_384,
        connections_per_address_max: 256,
        requests_per_connection_max: 100_000,
        output_bytes_max: 256 * 1024,
        drain_timeout_ms: 30_000,
        pool_threads_max: 16,
        pool_queue_max: 1_024,
        backlog: 1_024,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

/// A limit that was reached, as it is counted. The names are those of [`Limits`], without `_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A request head or trailer section too large.
    HeadBytesMax,
    /// Too many field lines.
    HeadFieldsMax,
    /// A request target too long.
    TargetBytesMax,
    /// A body larger than its route takes: `body_bytes_max`, `upload_bytes_max` or its own.
    BodyBytesMax,
    /// Too many bytes of chunk extensions.
    ChunkExtensionBytesMax,
    /// A head that did not arrive in time.
    HeadTimeout,
    /// A body slower than `body_rate_min` after `body_timeout_ms`.
    BodyTimeout,
    /// A connection closed because no request came.
    IdleTimeout,
    /// A peer that took nothing of its answer.
    WriteTimeout,
    /// A late or blocking answer that did not come.
    AnswerTimeout,
    /// A refused peer that did not close.
    LingerTimeout,
    /// An unwanted body too large to be read to its end.
    DiscardBytesMax,
    /// A worker that holds its share closed who kept it waiting longest, or stopped accepting
    /// because nobody did.
    ConnectionsMax,
    /// A connection or request too many of one client address.
    ConnectionsPerAddressMax,
    /// A connection closed after so many requests.
    RequestsPerConnectionMax,
    /// Reading paused because too many answers wait to be taken.
    OutputBytesMax,
    /// A worker cut off what still ran when the drain's time was over.
    DrainTimeout,
    /// A job refused because too many waited for a thread.
    PoolQueueMax,
}

impl Limit {
    /// Every one, in the order of their declaration.
    pub const ALL: [Limit; 18] = [
        Limit::HeadBytesMax,
        Limit::HeadFieldsMax,
        Limit::TargetBytesMax,
        Limit::BodyBytesMax,
        Limit::ChunkExtensionBytesMax,
        Limit::HeadTimeout,
        Limit::BodyTimeout,
        Limit::IdleTimeout,
        Limit::WriteTimeout,
        Limit::AnswerTimeout,
        Limit::LingerTimeout,
        Limit::DiscardBytesMax,
        Limit::ConnectionsMax,
        Limit::ConnectionsPerAddressMax,
        Limit::RequestsPerConnectionMax,
        Limit::OutputBytesMax,
        Limit::DrainTimeout,
        Limit::PoolQueueMax,
    ];

    /// A stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::HeadBytesMax => "head_bytes_max",
            Limit::HeadFieldsMax => "head_fields_max",
            Limit::TargetBytesMax => "target_bytes_max",
            Limit::BodyBytesMax => "body_bytes_max",
            Limit::ChunkExtensionBytesMax => "chunk_extension_bytes_max",
            Limit::HeadTimeout => "head_timeout",
            Limit::BodyTimeout => "body_timeout",
            Limit::IdleTimeout => "idle_timeout",
            Limit::WriteTimeout => "write_timeout",
            Limit::AnswerTimeout => "answer_timeout",
            Limit::LingerTimeout => "linger_timeout",
            Limit::DiscardBytesMax => "discard_bytes_max",
            Limit::ConnectionsMax => "connections_max",
            Limit::ConnectionsPerAddressMax => "connections_per_address_max",
            Limit::RequestsPerConnectionMax => "requests_per_connection_max",
            Limit::OutputBytesMax => "output_bytes_max",
            Limit::DrainTimeout => "drain_timeout",
            Limit::PoolQueueMax => "pool_queue_max",
        }
    }
}

/// Bytes of a PROXY header, its fields included. 4,096, as nginx; HAProxy's document keeps to 536,
/// the fields of a certificate take more.
pub const PROXY_HEADER_BYTES_MAX: usize = 4_096;

/// Bytes of such a header in the form of a line, its CRLF included. 107: the longest that §2.1 of
/// HAProxy's document lets a sender write.
pub const PROXY_LINE_BYTES_MAX: usize = 107;

/// Locks among which client addresses are shared out. 16: two workers seldom meet.
pub const PEER_SHARDS: usize = 16;

/// Series of the duration histogram that a worker has room for, at least and at most; between
/// them eight for each route. 256 and 4,096: 140 bytes each, but only for those that occur.
pub const SERIES_MIN: usize = 256;
/// See [`SERIES_MIN`].
pub const SERIES_MAX: usize = 4_096;

/// Places looked at for a series before an exchange is counted without one. 16.
pub const SERIES_PROBES_MAX: usize = 16;

/// Route templates that are told apart over the life of a server, reloads included. 65,536.
pub const SERIES_ROUTES_MAX: usize = 1 << 16;

/// Largest `head_bytes_max` that may be set: offsets into a head are 16 bits wide, so that a
/// field costs eight bytes in the table.
pub const HEAD_BYTES_CEILING: usize = 65_535;

/// Bytes of the receive buffer a worker has. 64 KiB: sixteen pipelined browser requests or one
/// generous head; more is read in the next turn.
pub const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of that buffer that must be free for another receive of a batch. Half of them: what fills
/// the room that it is given is read on in the next turn.
pub const RECEIVE_ROOM_MIN: usize = RECEIVE_BUFFER_BYTES / 2;

/// Sockets that are received from before the first is answered, and answers that are made before
/// the first is sent. 16: from there on the processor gains nothing more from doing one thing many
/// times in a row; Netty has 256, Redis all that are ready.
pub const BATCH: usize = 16;

/// Microseconds that the answers of a batch may take before they are sent, however few they are.
/// 100: less than a way through a data center takes.
pub const HELD_US_MAX: u64 = 100;

/// Empty lines ignored before a request line. One: RFC 9112 §2.2 says "at least one".
pub const EMPTY_LINES_MAX: u8 = 1;

/// Hexadecimal digits of a chunk size. 16: the width of `u64`.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

/// Bytes in a streaming pipe between a worker and a thread. 64 KiB, as a Linux pipe.
pub const PIPE_BYTES: usize = 64 * 1024;

/// Captures in one route. 16: more is a design fault, refused when the router is built.
pub const CAPTURES_MAX: usize = 16;

/// Bytes of one body handed to the kernel per connection and turn, so that a fat download
/// cannot hold up the rest. 256 KiB.
pub const SEND_SLICE_BYTES: usize = 256 * 1024;

/// Connections accepted from a listener in one turn, so that a flood cannot hold up the rest. 64.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Sockets that a worker has done with and gives back later, because their peers have gone and
/// wait for nothing. 2,048; of all workers together an eighth of the descriptors at most.
pub const CLOSING_MAX: usize = 2_048;

/// In a turn one of so many is given back. 64: it keeps turns short in which thousands go, and
/// holds nobody for longer than some milliseconds.
pub const CLOSING_TURNS: usize = 64;

/// Of few, so many in each turn. 4: about as long as it takes to answer as many.
pub const CLOSINGS_PER_TURN_MIN: usize = 4;

/// Connections that one worker has asked Windows for on each of its listeners (`AcceptEx`). 8:
/// what comes faster waits in the backlog for the length of a turn.
pub const ACCEPTS_POSTED: usize = 8;

/// Bytes of one connection that Windows holds for a peer who takes them slowly (`WSASend`).
/// 64 KiB; the rest stays with the connection, whose deadlines watch it.
pub const SEND_HELD_BYTES: usize = 64 * 1024;

/// Milliseconds that such bytes may still take after their connection was closed. 10 s; Linux
/// goes on by itself, for longer.
pub const CLOSE_FLUSH_MS: u64 = 10_000;

/// Console events of Windows that nobody has waited for yet. 16: a person types them; a second
/// Ctrl-C means something, a seventeenth does not.
pub const SIGNALS_WAITING_MAX: usize = 16;

/// Bytes of stack of a thread that waits for Windows and passes on what it hears. 64 KiB.
pub const WAITING_STACK_BYTES: usize = 64 * 1024;

/// Milliseconds within which the manager of services of Windows is told that a start or an end
/// goes on. It is told every second; 10 s leave room for a machine that is busy.
pub const SERVICE_HINT_MS: u32 = 10_000;

/// Milliseconds between two such words. 1 s.
pub const SERVICE_REPORT_MS: u64 = 1_000;

/// Milliseconds after which it starts a service again that crashed: the first time, the second, and
/// from the third on. At once as systemd, then slowly: what crashes each time must not fill disks.
pub const SERVICE_RESTARTS_MS: [u32; 3] = [1_000, 10_000, 60_000];

/// Events taken from the kernel in one turn. 256.
pub const EVENTS_PER_TURN: usize = 256;

/// Bytes of a decoded file path below a root. 4,095: Linux's PATH_MAX without its NUL.
pub const FILE_PATH_BYTES_MAX: usize = 4_095;

/// Bytes of one name in a file path. 255: NAME_MAX of every common file system.
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// Directories entered and links followed for one path where the kernel does not resolve it by
/// itself. 64 and 40; Linux follows 40 links.
pub const FILE_DEPTH_MAX: usize = 64;
/// See [`FILE_DEPTH_MAX`].
pub const FILE_LINKS_MAX: usize = 40;

/// Elements of a `Range` field; with more it is ignored and the whole is sent. 16. A PDF reader
/// asks for a handful; CVE-2011-3192 in Apache was a flood of them.
pub const RANGES_MAX: usize = 16;

/// Bytes between two wanted ranges that are sent along rather than starting another part.
/// 80: less than a part's own head.
pub const RANGE_GAP_BYTES: u64 = 80;

/// Bytes up to which a file is held in memory; larger ones are sent by the kernel from their
/// descriptor. 64 KiB: below it one copy into the output buffer costs less than the extra
/// system calls of sendfile.
pub const SMALL_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Bytes of file bodies and prepared fields held in memory. 8 MiB: a site's pages, styles and
/// scripts, on a host with 512 MiB.
pub const FILE_CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Paths the file cache knows. 1,024. nginx's documentation shows 1,000.
pub const FILE_CACHE_ENTRIES_MAX: usize = 1_024;

/// Open descriptors the file cache keeps for files too large to hold. 64, of a usual 1,024.
pub const FILE_CACHE_DESCRIPTORS_MAX: usize = 64;

/// Bytes up to which such a descriptor is kept. 16 MiB: a deleted file's space is not given
/// back before its descriptor is closed, so the largest are opened for each answer.
pub const KEPT_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Milliseconds for which a cached file is believed without asking the file system. 1 s.
pub const FILE_TRUST_MS: u64 = 1_000;

/// Entries in a directory listing; of a larger directory the first ones read are shown, which
/// the page says. 2,000: about 300 KB of HTML.
pub const LISTING_ENTRIES_MAX: usize = 2_000;

/// Times an answer is begun anew because its file changed meanwhile, then 503. 3.
pub const FILE_ATTEMPTS_MAX: usize = 3;

/// Content up to this many bytes is copied behind its head, so that both go in one send. 16 KiB:
/// up to about there a copy costs less than a system call.
pub const INLINE_CONTENT_BYTES: usize = 16 * 1024;

/// Bytes that the kernel holds for a peer beyond what is on its way to him. 128 KiB, as Cloudflare
/// and Apple have it: what a fast peer takes in a millisecond, while the worker is elsewhere.
pub const UNSENT_BYTES_MAX: i32 = 128 * 1024;

/// Bytes of content in memory, or of a stream, that are handed to the kernel at once. 64 KiB.
pub const STREAM_SLICE_BYTES: usize = 64 * 1024;

/// Milliseconds without accepting after the machine had no descriptor or memory left, unless a
/// connection is closed before. 100: soon enough for a person, rare enough for a loop.
pub const ACCEPT_RETRY_MS: u64 = 100;

/// Milliseconds without such a shortage after which the next one is told as another. 10,000: room
/// that is made one by one would otherwise be a line each time.
pub const ACCEPT_TROUBLE_MS: u64 = 10_000;

/// Milliseconds without a request after which a connection may be closed to make room for another.
/// 200: its next request may be on the way. nginx closes keep-alive connections at once.
pub const ROOM_IDLE_MS: u64 = 200;

/// The same for one that has never said anything, when nobody else can go. 20: who wants something
/// asks right behind his handshake. It is what makes room for who comes faster than a table of
/// connections divided by `ROOM_IDLE_MS`: of 192 one thousand a second.
pub const ROOM_NEW_MS: u64 = 20;

/// The same for one in the middle of a head, a body or an answer that does not move. 1,000: a lost
/// segment is sent again within that (RFC 6298 §2.1).
pub const ROOM_SLOW_MS: u64 = 1_000;

/// Milliseconds between two looks for somebody who may go, when nobody could. 5: a look at 16,384
/// connections takes a tenth of a millisecond.
pub const ROOM_LOOK_MS: u64 = 5;

/// Connections that are closed at once to make room. 64, as many as a turn accepts: all are looked
/// at to find them.
pub const ROOM_PER_TURN: usize = ACCEPTS_PER_TURN;

/// Of so many connections one is closed. 16, as nginx: what is found by looking at all of them has
/// to last for a while.
pub const ROOM_SHARE: usize = 16;

/// Descriptors that connections leave to files, the log and whatever else a program opens; of few
/// a quarter. 256: 64 that the file cache keeps, and as many threads with a few each.
pub const DESCRIPTORS_KEPT: u64 = 256;

/// Turns in which a draining worker still takes over connections that the kernel has accepted.
/// 16 turns of `ACCEPTS_PER_TURN` are a whole backlog.
pub const DRAIN_TURNS_MAX: u32 = 16;

/// Milliseconds that a connection must have been idle to be closed when the server drains: its
/// next request may be on the way. 500: a busy client is told by its next answer instead.
pub const DRAIN_IDLE_MS: u64 = 500;

/// Milliseconds that a reload waits for the workers to take the new application over. 1,000: a
/// worker does between two turns, unless a handler holds it.
pub const RELOAD_WAIT_MS: u64 = 1_000;

/// Segments of one route. 32: the walk over a path recurses as deep as the deepest route.
pub const ROUTE_SEGMENTS_MAX: usize = 32;

/// Buffers that a thread keeps for reuse. 24: a batch of answers that are held, and the few that an
/// exchange works with.
pub const STOCK_BUFFERS_MAX: usize = 24;

/// Bytes of the largest such buffer that is kept. 32 KiB: content that is copied behind its head,
/// and a generous head; what is larger is given back.
pub const STOCK_BUFFER_BYTES_MAX: usize = 32 * 1024;

/// Bytes of a request id taken over from a client. 64: a UUID has 36, an AWS trace id 35.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Parts of a multipart body. 256: a form with more fields is a flood.
pub const MULTIPART_PARTS_MAX: usize = 256;

/// Bytes of a part's head. 4 KiB: three fields, one of them with a file's name.
pub const MULTIPART_HEAD_BYTES_MAX: usize = 4 * 1024;

/// Bytes of the smallest body that is compressed on the fly. 1 KiB: below it the answer fits one
/// packet either way.
pub const GZIP_BYTES_MIN: usize = 1024;

/// Bytes of the largest such body. 256 KiB: about 5 ms of the worker's time.
pub const GZIP_BYTES_MAX: usize = 256 * 1024;

/// Milliseconds that the in-process test client waits for an answer. 10 s.
pub const CLIENT_TIMEOUT_MS: u64 = 10_000;
