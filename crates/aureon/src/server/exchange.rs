//! One exchange, from a whole head to its answer.
//!
//! The usual request begins and ends in [`Desk::begin`]: route, handler, head and content are
//! appended to the worker's output and nothing is allocated. Everything slower is suspended on
//! its connection: a body still to come, a pool thread, a late answer, content larger than a
//! buffer (`deliver` sends that). This file decides phases; it never waits.

use super::connection::{Connection, Memory, Phase, Suspended, Tail};
use super::mailbox::{Letter, Mailbox};
use super::observe::{Ending, Observer};
use super::peers::Peers;
use super::pool::Pool;
use super::report::{Outcome, Times};
use crate::app::{
    App, Body, BodyReader, LaterSlot, Match, Notify, Pipe, PipeReader, Request, RequestOwned,
    Response, Work, run_producer,
};
use crate::http::write::Preamble;
use crate::http::{
    BodyEvent, Delimiter, Error, Framing, Head, Method, Outcome as Next, Reply, Status,
};
use crate::limits::{INLINE_CONTENT_BYTES, Limit, Limits};
use crate::metrics::{Block, Metrics};
use crate::sys::{Driver, Wake};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// What all workers share.
pub(super) struct Shared {
    pub(super) app: App,
    pub(super) limits: Limits,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pool: Pool,
    pub(super) peers: Arc<Peers>,
}

/// Counted twice: a request borrows the application while the desk is changed, and the outer
/// count is no other worker's, so that taking it costs an addition.
#[allow(clippy::redundant_allocation)]
pub(super) type Lent = Rc<Arc<Shared>>;

impl Shared {
    /// The same around another application.
    pub(super) fn with_app(&self, mut app: App, limits: Limits) -> Shared {
        self.metrics.admit(&mut app);
        Shared {
            app,
            limits,
            observer: self.observer.clone(),
            metrics: Arc::clone(&self.metrics),
            pool: self.pool.clone(),
            peers: Arc::clone(&self.peers),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A request whose handler is called on the pool, and where its answer goes.
struct Call<W: Wake> {
    key: u64,
    shared: Arc<Shared>,
    request: Box<RequestOwned>,
    matched: Match,
    mailbox: Arc<Mailbox<W>>,
}

impl<W: Wake> Call<W> {
    #[inline(never)]
    fn answered(self, response: Response) {
        self.mailbox.post(Letter::Answer {
            key: self.key,
            shared: self.shared,
            request: self.request,
            matched: self.matched,
            response: Box::new(response),
        });
    }
}

/// Where a worker's exchanges are worked on.
pub(super) struct Desk<D: Driver> {
    pub(super) driver: D,
    pub(super) shared: Lent,
    pub(super) worker: usize,
    pub(super) mailbox: Arc<Mailbox<D::Waker>>,
    /// Answers of the connection in hand; they share one send.
    pub(super) out: Vec<u8>,
    /// Content on its way from a pipe to a chunk.
    pub(super) slice: Vec<u8>,
    pub(super) preamble: Preamble,
    date_seconds: u64,
    pub(super) now_ms: u64,
    pub(super) now_us: u64,
    /// The clock as it was read last in this turn.
    pub(super) latest_us: u64,
    pub(super) draining: bool,
    /// What this worker counts.
    pub(super) block: Arc<Block>,
    /// Whether anybody wants to know of each exchange.
    watched: bool,
}

impl<D: Driver> Desk<D> {
    pub(super) fn new(
        driver: D,
        shared: Arc<Shared>,
        worker: usize,
        mailbox: Arc<Mailbox<D::Waker>>,
    ) -> Desk<D> {
        let block = shared.metrics.block(worker);
        let watched = block.timed || shared.observer.is_some();
        let mut desk = Desk {
            driver,
            shared: Rc::new(shared),
            worker,
            mailbox,
            out: Vec::new(),
            slice: Vec::new(),
            preamble: Preamble::new(0),
            date_seconds: 0,
            now_ms: 0,
            now_us: 0,
            latest_us: 0,
            draining: false,
            block,
            watched,
        };
        desk.read_clock();
        desk
    }

    /// Takes the turn's time over; renders the Date field once a second.
    pub(super) fn read_clock(&mut self) {
        self.now_ms = self.driver.now_ms();
        self.now_us = self.driver.turn_us();
        self.latest_us = self.now_us;
        let unix_seconds = self.driver.unix_us() / 1_000_000;
        if unix_seconds != self.date_seconds {
            self.date_seconds = unix_seconds;
            self.preamble = Preamble::new(unix_seconds);
        }
    }

    /// When the answer in hand was made: who is told of exchanges has read the clock for that.
    #[inline]
    pub(super) fn read_us(&mut self) -> u64 {
        if !self.watched {
            self.latest_us = self.driver.now_us();
        }
        self.latest_us
    }

    /// Enters a phase with its deadline.
    pub(super) fn enter(&self, connection: &mut Connection, phase: Phase) {
        let limits = &self.shared.limits;
        let timeout_ms = match phase {
            Phase::Free => 0,
            Phase::Head => return self.enter_head(connection),
            Phase::Proxy => limits.head_timeout_ms,
            Phase::Body | Phase::Upload | Phase::Discard => limits.body_timeout_ms,
            Phase::Waiting => limits.answer_timeout_ms,
            Phase::Sending | Phase::Closing => limits.write_timeout_ms,
            Phase::Linger => limits.linger_timeout_ms,
        };
        connection.phase = phase;
        connection.since_ms = self.now_ms;
        connection.phase_bytes = 0;
        connection.deadline_ms = self.now_ms + u64::from(timeout_ms);
    }

    /// Waits for the next request. Written out because it happens for every one.
    #[inline(always)]
    fn enter_head(&self, connection: &mut Connection) {
        connection.phase = Phase::Head;
        connection.since_ms = self.now_ms;
        connection.deadline_ms = self.now_ms + u64::from(self.shared.limits.idle_timeout_ms);
    }

    /// A head is whole, and `rest` was received behind it: begins its exchange and gives the
    /// bytes of `rest` that were its body.
    #[inline]
    pub(super) fn begin(
        &mut self,
        connection: &mut Connection,
        key: u64,
        head: Head<'_>,
        rest: &[u8],
    ) -> usize {
        if self.draining {
            connection.session.close_after();
        }
        if connection.proxied && !self.admit_client(connection, &head) {
            return 0;
        }
        let consumed = self.begin_admitted(connection, key, head, rest);
        if connection.proxied && connection.exchange.is_none() {
            connection.ticket = None;
        }
        consumed
    }

    #[inline]
    fn begin_admitted(
        &mut self,
        connection: &mut Connection,
        key: u64,
        head: Head<'_>,
        rest: &[u8],
    ) -> usize {
        let matched = self.shared.app.find(&head);
        if self.shared.app.length_required(&matched)
            && head.content_length().is_none()
            && head.method().takes_content()
        {
            self.refuse(connection, Error::LengthRequired);
            return 0;
        }
        let work = self.shared.app.work(&matched);
        if work == Work::Upload {
            self.begin_upload(connection, key, head, &matched);
            return 0;
        }
        if !connection.session.wants_body() {
            self.answer(connection, key, head, &matched, work, &[]);
            return 0;
        }
        self.begin_body(connection, key, head, &matched, rest)
    }

    /// A request with a body: refuses it, ignores it, takes it at once or collects it.
    fn begin_body(
        &mut self,
        connection: &mut Connection,
        key: u64,
        head: Head<'_>,
        matched: &Match,
        rest: &[u8],
    ) -> usize {
        let work = self.shared.app.work(matched);
        let Some(body_max) = self.shared.app.body_wanted(matched) else {
            self.answer(connection, key, head, matched, work, &[]);
            return 0;
        };
        if self.lacks_length(connection, head, matched) {
            return 0;
        }
        let mut room = 0;
        if let Framing::Length(length) = head.framing() {
            if length > body_max {
                self.refuse(connection, Error::BodyTooLarge);
                return 0;
            }
            // The whole body is here: the handler reads it where it lies.
            if rest.len() as u64 >= length {
                let limits = &self.shared.limits;
                if let Ok(BodyEvent::Data { bytes, consumed }) =
                    connection.session.receive_body(rest, limits)
                {
                    self.answer(connection, key, head, matched, work, bytes);
                    return consumed;
                }
            }
            room = length.min(64 * 1024) as usize;
        }
        if rest.is_empty() {
            connection.session.send_continue(&mut self.out);
        }
        let request = self.request(connection, head, &[]).to_owned();
        if connection.began_us == 0 {
            connection.began_us = self.now_us;
        }
        let mut suspended = self.suspend(request, matched, self.now_us);
        suspended.body = Vec::with_capacity(room);
        suspended.body_max = body_max;
        connection.exchange = Some(suspended);
        self.enter(connection, Phase::Body);
        0
    }

    /// Refuses a body of unstated length where the route wants it stated (RFC 9110 §15.5.12).
    fn lacks_length(
        &mut self,
        connection: &mut Connection,
        head: Head<'_>,
        matched: &Match,
    ) -> bool {
        let chunked = head.framing() == Framing::Chunked;
        let lacks = chunked && self.shared.app.length_required(matched);
        if lacks {
            self.refuse(connection, Error::LengthRequired);
        }
        lacks
    }

    /// Collects a body; gives the bytes consumed. Answers when it is whole.
    pub(super) fn collect(&mut self, connection: &mut Connection, key: u64, data: &[u8]) -> usize {
        let mut at = 0;
        while connection.session.wants_body() {
            match connection
                .session
                .receive_body(&data[at..], &self.shared.limits)
            {
                Ok(BodyEvent::NeedMore { consumed }) => return at + consumed,
                Ok(BodyEvent::End { consumed }) => at += consumed,
                Ok(BodyEvent::Data { bytes, consumed }) => {
                    at += consumed;
                    let Some(suspended) = &mut connection.exchange else {
                        return at;
                    };
                    if suspended.body.len() as u64 + bytes.len() as u64 > suspended.body_max {
                        self.refuse(connection, Error::BodyTooLarge);
                        return at;
                    }
                    suspended.body.extend_from_slice(bytes);
                }
                Err(error) => {
                    self.refuse(connection, error);
                    return at;
                }
            }
        }
        if let Some(suspended) = connection.exchange.take() {
            let Suspended {
                request,
                shared,
                matched,
                body,
                ..
            } = *suspended;
            self.with_shared(shared, |desk| {
                let head = *request.borrow().head();
                let work = desk.shared.app.work(&matched);
                desk.answer(connection, key, head, &matched, work, &body);
            });
        }
        at
    }

    #[inline(always)]
    fn request<'a>(&self, connection: &Connection, head: Head<'a>, body: &'a [u8]) -> Request<'a> {
        Request::taken_at(self.driver.unix_us(), head, body, connection.peer)
    }

    /// Runs the handler, here or on the pool.
    #[inline]
    fn answer(
        &mut self,
        connection: &mut Connection,
        key: u64,
        head: Head<'_>,
        matched: &Match,
        work: Work,
        body: &[u8],
    ) {
        let shared = Rc::clone(&self.shared);
        let request = self.request(connection, head, body);
        if work == Work::Inline {
            let response = shared.app.answer(matched, &request);
            self.respond_at_once(connection, key, &request, matched, response, self.now_us);
        } else {
            self.answer_on_pool(connection, key, &request, matched);
        }
    }

    fn answer_on_pool(
        &mut self,
        connection: &mut Connection,
        key: u64,
        request: &Request<'_>,
        matched: &Match,
    ) {
        let suspended = self.suspend(request.to_owned_bare(), matched, self.now_us);
        let call = self.call(key, request, matched);
        let job = Box::new(move || {
            let app = &call.shared.app;
            let response = app.answer(&call.matched, &call.request.borrow());
            call.answered(response);
        });
        match self.shared.pool.run(job) {
            Ok(()) => self.wait(connection, suspended),
            Err(_) => self.overloaded(connection, key, &suspended),
        }
    }

    fn call(&self, key: u64, request: &Request<'_>, matched: &Match) -> Call<D::Waker> {
        Call {
            key,
            shared: Arc::clone(&*self.shared),
            request: Box::new(request.to_owned()),
            matched: matched.clone(),
            mailbox: Arc::clone(&self.mailbox),
        }
    }

    /// Starts an upload handler on the pool; its body goes through a pipe.
    fn begin_upload(
        &mut self,
        connection: &mut Connection,
        key: u64,
        head: Head<'_>,
        matched: &Match,
    ) {
        let upload_max = self
            .shared
            .app
            .body_wanted(matched)
            .unwrap_or(self.shared.limits.upload_bytes_max);
        if head
            .content_length()
            .is_some_and(|length| length > upload_max)
        {
            return self.refuse(connection, Error::BodyTooLarge);
        }
        if self.lacks_length(connection, head, matched) {
            return;
        }
        let (mut writer, reader) = Pipe::with_usual_capacity();
        writer.bind(Arc::clone(&self.mailbox) as Arc<dyn Notify>, key);
        let request = self.request(connection, head, &[]);
        let mut suspended = self.suspend(request.to_owned(), matched, self.now_us);
        let call = self.call(key, &request, matched);
        let job = Box::new(move || {
            let mut body = BodyReader::new(reader);
            let app = &call.shared.app;
            let response = app.answer_upload(&call.matched, &call.request.borrow(), &mut body);
            drop(body);
            call.answered(response);
        });
        if self.shared.pool.run(job).is_err() {
            return self.overloaded(connection, key, &suspended);
        }
        suspended.body_max = upload_max;
        if !connection.session.wants_body() {
            writer.finish();
            return self.wait(connection, suspended);
        }
        connection.session.send_continue(&mut self.out);
        suspended.upload = Some(writer);
        connection.exchange = Some(suspended);
        self.enter(connection, Phase::Upload);
    }

    /// An exchange that can not end where it began.
    fn suspend(&self, request: RequestOwned, matched: &Match, started_us: u64) -> Box<Suspended> {
        let shared = Rc::clone(&self.shared);
        Box::new(Suspended::new(request, shared, matched.clone(), started_us))
    }

    /// Works with what a suspended exchange began with: a match means nothing to another
    /// application.
    pub(super) fn with_shared(&mut self, shared: Lent, work: impl FnOnce(&mut Self)) {
        let in_force = std::mem::replace(&mut self.shared, shared);
        work(self);
        self.shared = in_force;
    }

    fn wait(&self, connection: &mut Connection, suspended: Box<Suspended>) {
        connection.exchange = Some(suspended);
        self.enter(connection, Phase::Waiting);
    }

    /// The pool's queue is full: the one answer that says "later" (RFC 9110 §15.6.4).
    fn overloaded(&mut self, connection: &mut Connection, key: u64, suspended: &Suspended) {
        self.block.hit(Limit::PoolQueueMax);
        let why = "no thread is free and too many wait for one: pool_queue_max";
        self.answer_for(connection, key, suspended, why);
    }

    /// Answers 503 in the place of a handler.
    fn answer_for(
        &mut self,
        connection: &mut Connection,
        key: u64,
        suspended: &Suspended,
        why: &'static str,
    ) {
        let mut response = Response::failed(Status::SERVICE_UNAVAILABLE, why);
        let app = &suspended.shared.app;
        app.finish_unhandled(
            &suspended.matched,
            &suspended.request.borrow(),
            &mut response,
        );
        self.respond_to(connection, key, suspended, response);
    }

    /// Writes the answer of an exchange that was suspended.
    fn respond_to(
        &mut self,
        connection: &mut Connection,
        key: u64,
        suspended: &Suspended,
        response: Response,
    ) {
        let (request, matched) = (suspended.request.borrow(), &suspended.matched);
        self.with_shared(Rc::clone(&suspended.shared), |desk| {
            let started_us = suspended.started_us;
            desk.respond(connection, key, &request, matched, response, started_us);
        });
    }

    /// A thread has answered.
    pub(super) fn on_answer(
        &mut self,
        connection: &mut Connection,
        key: u64,
        request: &RequestOwned,
        matched: &Match,
        response: Response,
    ) {
        let Some(suspended) = connection.exchange.take() else {
            return;
        };
        let (shared, started_us) = (suspended.shared, suspended.started_us);
        let request = request.borrow();
        self.with_shared(shared, |desk| {
            desk.respond(connection, key, &request, matched, response, started_us);
        });
    }

    /// A late answer may be there.
    pub(super) fn on_later(&mut self, connection: &mut Connection, key: u64) {
        let Some(suspended) = &mut connection.exchange else {
            return;
        };
        let Some(mut response) = suspended.later.as_mut().and_then(LaterSlot::take) else {
            return;
        };
        let Some(suspended) = connection.exchange.take() else {
            return;
        };
        let app = &suspended.shared.app;
        app.finish(
            &suspended.matched,
            &suspended.request.borrow(),
            &mut response,
        );
        self.respond_to(connection, key, &suspended, response);
    }

    /// Writes the answer of an exchange that did not end where it began.
    #[inline(never)]
    fn respond(
        &mut self,
        connection: &mut Connection,
        key: u64,
        request: &Request<'_>,
        matched: &Match,
        response: Response,
        started_us: u64,
    ) {
        self.respond_at_once(connection, key, request, matched, response, started_us);
    }

    /// Writes the answer: here when its content is small and in memory, which is nearly always.
    #[inline(always)]
    fn respond_at_once(
        &mut self,
        connection: &mut Connection,
        key: u64,
        request: &Request<'_>,
        matched: &Match,
        mut response: Response,
        started_us: u64,
    ) {
        match response.body().as_bytes() {
            Some(bytes) if bytes.len() <= INLINE_CONTENT_BYTES => {
                let delimiter = self.send_head(connection, &response, Some(bytes.len() as u64));
                if delimiter != Delimiter::Nothing {
                    self.out.extend_from_slice(bytes);
                }
                let sent = if delimiter == Delimiter::Nothing {
                    0
                } else {
                    bytes.len()
                };
                self.end(connection, request, matched, &response, sent, started_us);
                response.recycle();
            }
            _ => self.respond_at_length(connection, key, request, matched, response, started_us),
        }
    }

    /// Writes the head of an answer whose content follows, or of none yet.
    fn respond_at_length(
        &mut self,
        connection: &mut Connection,
        key: u64,
        request: &Request<'_>,
        matched: &Match,
        mut response: Response,
        started_us: u64,
    ) {
        let mut body = response.take_body();
        if let Body::Later(mut later) = body {
            later.bind(Arc::clone(&self.mailbox) as Arc<dyn Notify>, key);
            let mut suspended = self.suspend(request.to_owned(), matched, started_us);
            suspended.later = Some(later);
            return self.wait(connection, suspended);
        }
        if let (Body::Run(_), true) = (&body, request.method() != Method::Head) {
            body = match self.start_producer(body) {
                Some(reader) => Body::Stream(reader),
                None => {
                    let suspended = self.suspend(request.to_owned(), matched, started_us);
                    return self.overloaded(connection, key, &suspended);
                }
            };
        }
        let delimiter = self.send_head(connection, &response, body.len());
        if delimiter == Delimiter::Nothing {
            return self.end(connection, request, matched, &response, 0, started_us);
        }
        let mut suspended = self.suspend(request.to_owned(), matched, started_us);
        if self.watched {
            suspended.answered_us = self.driver.now_us();
        }
        suspended.status = response.status();
        suspended.fault = response.fault().cloned().map(Box::new);
        suspended.delimiter = delimiter;
        suspended.tail = self.tail(body, key);
        connection.exchange = Some(suspended);
        self.enter(connection, Phase::Sending);
    }

    #[inline(always)]
    fn send_head(
        &mut self,
        connection: &mut Connection,
        response: &Response,
        length: Option<u64>,
    ) -> Delimiter {
        let (prepared, fields) = response.field_lines();
        let reply = Reply {
            status: response.status(),
            preamble: &self.preamble,
            prepared,
            fields,
            length,
        };
        connection
            .session
            .send_head(&mut self.out, &reply, &self.shared.limits)
    }

    /// The whole answer is in the output.
    #[inline(always)]
    fn end(
        &mut self,
        connection: &mut Connection,
        request: &Request<'_>,
        matched: &Match,
        response: &Response,
        sent: usize,
        started_us: u64,
    ) {
        connection.session.send_end(&mut self.out);
        if self.watched {
            let times = Times {
                began_us: std::mem::take(&mut connection.began_us),
                started_us,
                answered_us: 0,
            };
            let outcome = Outcome {
                status: response.status(),
                bytes: sent as u64,
                fault: response.fault(),
                ending: Ending::Complete,
            };
            self.report(request, matched, times, outcome);
        }
        self.settle(connection);
    }

    /// Starts the producer of a stream on the pool.
    fn start_producer(&self, body: Body) -> Option<PipeReader> {
        let Body::Run(producer) = body else {
            return None;
        };
        let (writer, reader) = Pipe::with_usual_capacity();
        let job = Box::new(move || run_producer(producer, writer));
        self.shared.pool.run(job).ok().map(|()| reader)
    }

    fn tail(&self, body: Body, key: u64) -> Tail {
        match body {
            Body::Static(bytes) => Tail::Memory {
                bytes: Memory::Static(bytes),
                at: 0,
            },
            Body::Bytes(bytes) => Tail::Memory {
                bytes: Memory::Owned(bytes),
                at: 0,
            },
            Body::Shared(bytes) => Tail::Memory {
                bytes: Memory::Shared(bytes),
                at: 0,
            },
            Body::File(range) => Tail::File(range),
            Body::Parts(parts) => Tail::Parts(parts.into_iter(), None),
            Body::Stream(mut reader) => {
                reader.bind(Arc::clone(&self.mailbox) as Arc<dyn Notify>, key);
                Tail::Stream(reader)
            }
            Body::Empty | Body::Run(_) | Body::Later(_) => Tail::Nothing,
        }
    }

    /// The answer is written: what follows is the session's word.
    #[inline(always)]
    pub(super) fn settle(&self, connection: &mut Connection) {
        match connection.session.finish() {
            Next::Next => self.enter_head(connection),
            Next::Discard => self.enter(connection, Phase::Discard),
            Next::Close => {
                let max = self.shared.limits.requests_per_connection_max;
                if connection.session.requests() >= max {
                    self.block.hit(Limit::RequestsPerConnectionMax);
                }
                self.enter(connection, Phase::Closing);
            }
        }
    }

    /// Answers an error of the peer's and closes.
    pub(super) fn refuse(&mut self, connection: &mut Connection, error: Error) {
        connection.exchange = None;
        connection
            .session
            .refuse(&mut self.out, error, &self.preamble);
        connection.began_us = 0;
        self.block.refuse(error);
        if let Some(observer) = &self.shared.observer {
            observer.on_refusal(self.worker, connection.peer, error);
        }
        self.enter(connection, Phase::Closing);
    }

    /// An answer that did not come in time: 503, and the connection closes.
    pub(super) fn give_up(&mut self, connection: &mut Connection, key: u64) {
        let Some(suspended) = connection.exchange.take() else {
            return;
        };
        connection.session.close_after();
        self.block.hit(Limit::AnswerTimeout);
        let why = "the handler gave no answer in time: answer_timeout";
        self.answer_for(connection, key, &suspended, why);
    }

    /// The connection ends in the middle of an exchange.
    pub(super) fn abandon(&mut self, connection: &mut Connection, ending: Ending) {
        let Some(suspended) = connection.exchange.take() else {
            return;
        };
        let times = Times {
            began_us: std::mem::take(&mut connection.began_us),
            started_us: suspended.started_us,
            answered_us: suspended.answered_us,
        };
        let outcome = Outcome {
            status: suspended.status,
            bytes: suspended.bytes_sent,
            fault: suspended.fault.as_deref(),
            ending,
        };
        let (request, matched) = (suspended.request.borrow(), &suspended.matched);
        self.with_shared(Rc::clone(&suspended.shared), |desk| {
            desk.report(&request, matched, times, outcome);
        });
    }
}
