//! The loop: one thread, one driver, its connections.
//!
//! A turn waits, then hands every completion to the connection it is for, then looks at the
//! letters of other threads and at the deadlines that have come. Answers go out in batches
//! (`held`). A connection is always in one phase:
//!
//! ```text
//!  (Proxy ─▶) Head ──▶ Body ──▶ Waiting ──▶ Sending ──▶ Head | Discard | Closing
//!               └─────────▶ Upload ─┘           Discard ──▶ Head | Closing
//!  any ── an error of the peer's ──▶ Closing ──▶ Linger ──▶ closed
//! ```
//!
//! The worker shares nothing mutable with another one but the orders it is given, the pool's queue
//! and the counts of connections by address (`peers`).

use super::body::{discard, upload};
use super::connection::{Connection, Connections, Phase};
use super::deliver::Delivery;
use super::exchange::Desk;
use super::held::Held;
use super::mailbox::{Letter, Mailbox};
use super::observe::Ending;
use super::orders::{DRAIN, HALT, Orders, PAUSE, RUN};
use super::report::{Outcome, Times};
use super::room;
use super::timer::Wheel;
use crate::app::Peer;
use crate::http::{Error, HeadEvent, Scratch};
use crate::limits::{
    ACCEPT_RETRY_MS, ACCEPT_TROUBLE_MS, DRAIN_IDLE_MS, DRAIN_TURNS_MAX, Limit, ROOM_LOOK_MS,
};
use crate::metrics::State;
use crate::sys::{Completion, Driver, PeerAddress, SocketId};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// A worker.
pub(crate) struct Worker<D: Driver> {
    desk: Desk<D>,
    connections: Connections,
    scratch: Scratch,
    wheel: Wheel,
    orders: Arc<Orders>,
    /// Number of the application that the desk has.
    version: u32,
    letters: Vec<Letter>,
    held: Held,
    /// Connections that go on in the next turn without a completion.
    again: Vec<SocketId>,
    /// Of the driver's listeners, which expect a PROXY header.
    proxied: Vec<bool>,
    /// Among how many workers the connections are shared out.
    workers: usize,
    /// Accepting is paused: at this time it is tried again.
    accept_retry_ms: Option<u64>,
    /// Before that, if somebody may go by this time.
    room_ms: Option<u64>,
    accept_full: bool,
    /// So many are to go at least: room is made at the end of the turn.
    crowded: usize,
    /// So many have gone in this turn, since it was crowded.
    gone: usize,
    /// When descriptors or memory were short last.
    accept_failed_ms: Option<u64>,
    /// Accepting was paused from outside.
    accept_held: bool,
    drain: Option<Drain>,
}

/// A drain under way.
struct Drain {
    deadline_ms: u64,
    /// Turns left in which connections that the kernel had accepted already are taken over.
    accepts_left: u32,
    accepted: bool,
    listening: bool,
}

impl<D: Driver> Worker<D> {
    pub(super) fn new(driver: D, index: usize, workers: usize, orders: Arc<Orders>) -> Worker<D> {
        let mailbox = Arc::new(Mailbox::new(driver.waker()));
        let desk = Desk::new(driver, orders.first(), index, mailbox);
        Worker {
            wheel: Wheel::new(desk.now_ms),
            desk,
            connections: Connections::default(),
            scratch: Scratch::new(),
            orders,
            version: 0,
            letters: Vec::new(),
            held: Held::default(),
            again: Vec::new(),
            proxied: Vec::new(),
            workers,
            accept_retry_ms: None,
            room_ms: None,
            accept_full: false,
            crowded: 0,
            gone: 0,
            accept_failed_ms: None,
            accept_held: false,
            drain: None,
        }
    }

    /// Has connections of these listeners begin with a PROXY header.
    pub(super) fn expect_proxy(mut self, listeners: Vec<bool>) -> Worker<D> {
        self.proxied = listeners;
        self
    }

    /// Serves until told to stop and everything is finished.
    pub(super) fn run(&mut self) -> io::Result<()> {
        while self.turn()? {}
        Ok(())
    }

    /// One turn of the loop; false when the worker is done.
    pub(super) fn turn(&mut self) -> io::Result<bool> {
        let timeout_ms = self.timeout_ms();
        let block = &self.desk.block;
        block.turns.add(1);
        if block.timed {
            let now_us = self.desk.driver.now_us();
            block.busy_us.add(now_us.saturating_sub(self.desk.now_us));
        }
        self.desk.driver.turn(timeout_ms)?;
        self.desk.read_clock();
        self.held.begin(self.desk.now_us);
        self.orders.count_turn(self.desk.worker);
        self.take_over();
        self.gone = 0;
        let again = std::mem::take(&mut self.again);
        while let Some(completion) = self.desk.driver.next() {
            self.on_completion(completion);
        }
        for id in &again {
            self.go_on(*id);
        }
        self.read_letters();
        self.send_held();
        while let Some(entry) = self.wheel.take_due(self.desk.now_ms) {
            self.on_due(SocketId(entry));
        }
        self.accept_again();
        let goes_on = self.keep_order();
        if let Some(observer) = &self.desk.shared.observer {
            observer.on_turn_end(self.desk.worker);
        }
        goes_on
    }

    /// Goes on with another application when there is one.
    #[inline]
    fn take_over(&mut self) {
        if self.orders.version() != self.version {
            let (shared, version) = self.orders.take();
            self.version = version;
            self.desk.shared = Rc::new(shared);
        }
    }

    /// This worker's share of the connections, rounded up: the kernel spreads them evenly.
    fn connections_max(&self) -> usize {
        let all = self.desk.shared.limits.connections_max;
        all.div_ceil(self.workers).max(1)
    }

    fn timeout_ms(&self) -> Option<u32> {
        if !self.again.is_empty() {
            return Some(0);
        }
        let now_ms = self.desk.now_ms;
        let until = |at: u64| u32::try_from(at.saturating_sub(now_ms)).unwrap_or(u32::MAX);
        let drain = self.drain.as_ref().map(|drain| match drain.listening {
            true => 0,
            // Idle connections are looked at again: see `close_idle`.
            false => until(drain.deadline_ms).min(DRAIN_IDLE_MS as u32),
        });
        [
            self.wheel.next_ms(now_ms),
            self.accept_retry_ms.map(until),
            self.room_ms.map(until),
            drain,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_completion(&mut self, completion: Completion) {
        if let Completion::Received { id, chunk } = completion {
            self.on_received(id, &chunk);
            return self.desk.driver.recycle(chunk);
        }
        self.send_held();
        match completion {
            Completion::Accepted { id, peer, listener } => self.on_accepted(id, peer, listener),
            Completion::Sendable { id } => self.go_on(id),
            Completion::Closed { id } => self.on_closed(id),
            Completion::Failed { id, .. } => self.close(id, Ending::PeerGone, false),
            Completion::AcceptFailed { error, shed } => self.on_accept_failed(&error, shed),
            Completion::Received { .. } | Completion::Woken => {}
        }
    }

    fn on_accepted(&mut self, id: SocketId, address: PeerAddress, listener: usize) {
        let peer = match address {
            PeerAddress::Ip(address) => Peer::Ip(address),
            PeerAddress::Unix => Peer::Unix,
            PeerAddress::Memory => Peer::Memory,
        };
        if let Some(drain) = &mut self.drain {
            drain.accepted = true;
        }
        self.desk.block.accepted.add(1);
        let connection = self.connections.open(id, peer);
        let proxied = self.proxied.get(listener) == Some(&true);
        let (admitted, phase) = match proxied {
            true => (self.desk.admit_proxy(connection), Phase::Proxy),
            false => (self.desk.admit(connection), Phase::Head),
        };
        if !admitted {
            // By a reset: nothing of it stays, neither here nor in the kernel.
            self.desk.block.closed.add(1);
            self.connections.close(id);
            return self.desk.driver.close(id, true);
        }
        self.desk.block.enter(connection.counted);
        self.desk.enter(connection, phase);
        self.wheel.set(id.0, connection.deadline_ms);
        let full = self.connections.len() >= self.connections_max();
        let shortage = self.desk.driver.shortage();
        let excess = shortage.as_ref().map_or(0, |shortage| shortage.0);
        if let Some((_, error)) = &shortage {
            self.tell_trouble(error);
        }
        if full {
            self.desk.block.hit(Limit::ConnectionsMax);
        }
        if full || excess > 0 {
            // Places that came free before this one was taken are in the count already.
            (self.crowded, self.gone) = (excess.max(1), 0);
            self.desk.driver.accept_pause();
        }
    }

    /// Closes those that keep it waiting longest; when nobody does, the time to ask again.
    fn make_room(&mut self, least: usize) -> Result<(), u64> {
        let (limits, now_ms) = (self.desk.shared.limits, self.desk.now_ms);
        let choice = room::choose(&self.connections, &limits, now_ms, least);
        // A shortage of descriptors was told as the trouble that it is.
        let full = self.connections.len() >= self.connections_max();
        let soonest_ms = now_ms + ROOM_LOOK_MS;
        let mut next_ms = choice.next_ms.unwrap_or(u64::MAX).max(soonest_ms);
        let mut made = false;
        for id in choice.ids {
            let Some(connection) = self.connections.get(id) else {
                continue;
            };
            let idle = connection.state() == State::Idle;
            if idle && self.desk.driver.has_input(id) {
                // Its request has come since this turn began; it is answered in the next.
                next_ms = soonest_ms;
                continue;
            }
            if let (true, false, Some(observer)) = (full, made, &self.desk.shared.observer) {
                observer.on_limit(self.desk.worker, connection.peer, Limit::ConnectionsMax);
            }
            // What others have not taken is worth the kernel's memory.
            self.close(id, Ending::CutOff, !idle);
            made = true;
        }
        if made { Ok(()) } else { Err(next_ms) }
    }

    /// No descriptor or no memory: nothing is accepted for a moment, what is open is served.
    fn on_accept_failed(&mut self, error: &io::Error, shed: u32) {
        self.desk.block.shed.add(u64::from(shed));
        self.tell_trouble(error);
        self.crowded = 1;
        self.pause_accept(None);
    }

    /// Tells the observer once, and again when there was enough for a while.
    fn tell_trouble(&mut self, error: &io::Error) {
        let now_ms = self.desk.now_ms;
        let last_ms = self.accept_failed_ms.replace(now_ms);
        let first = last_ms.is_none_or(|at| at + ACCEPT_TROUBLE_MS <= now_ms);
        if let (true, Some(observer)) = (first, &self.desk.shared.observer) {
            observer.on_trouble(self.desk.worker, "accept", error);
        }
    }

    /// The kernel's backlog holds who comes meanwhile. Room is looked for at `room_ms`, or not.
    fn pause_accept(&mut self, room_ms: Option<u64>) {
        self.desk.driver.accept_pause();
        self.accept_retry_ms = Some(self.desk.now_ms + ACCEPT_RETRY_MS);
        self.room_ms = room_ms;
    }

    /// At the end of a turn: who asked for something in it is not idle.
    fn accept_again(&mut self) {
        let (max, now_ms, gone) = (self.connections_max(), self.desk.now_ms, self.gone);
        // Whoever has gone has left room for one.
        let retry = self
            .accept_retry_ms
            .is_some_and(|at| at <= now_ms || gone > 0);
        let crowded = std::mem::take(&mut self.crowded);
        if crowded > 0 {
            let failed = self.accept_retry_ms.is_some();
            let made = match gone < crowded {
                true => self.make_room(crowded),
                false => Ok(()),
            };
            if failed {
                // Others on this machine may take what was freed: that is no reason to hurry.
                return;
            }
            self.accept_full = made.is_ok() || self.connections.len() >= max;
            if let Err(at) = made {
                return self.pause_accept(Some(at));
            }
        }
        let full = self.connections.len() >= max;
        if self.room_ms.is_some_and(|at| at <= now_ms) || retry && self.accept_full && full {
            // Somebody may have kept it waiting for long enough by now.
            match self.make_room(1) {
                Ok(()) => self.accept_full = true,
                Err(at) if full => return self.pause_accept(Some(at)),
                Err(at) => self.room_ms = Some(at),
            }
        }
        if self.connections.len() >= max || !(retry || self.accept_full) {
            return;
        }
        self.accept_full = false;
        (self.accept_retry_ms, self.room_ms) = (None, None);
        if !self.accept_held {
            self.desk.driver.accept_resume();
        }
    }

    #[inline]
    fn on_received(&mut self, id: SocketId, chunk: &[u8]) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        connection.phase_bytes += chunk.len() as u64;
        self.desk.block.received_bytes.add(chunk.len() as u64);
        if connection.input.is_empty() {
            let consumed = advance(&mut self.desk, &mut self.scratch, connection, id, chunk);
            if let Some(rest) = chunk.get(consumed..).filter(|rest| !rest.is_empty()) {
                connection.input.extend_from_slice(rest);
            }
        } else {
            let mut input = std::mem::take(&mut connection.input);
            input.extend_from_slice(chunk);
            let consumed = advance(&mut self.desk, &mut self.scratch, connection, id, &input);
            input.drain(..consumed);
            if !input.is_empty() {
                connection.input = input;
            }
        }
        let answered = !self.desk.out.is_empty() && connection.output.is_empty();
        if !answered || connection.phase != Phase::Head {
            return self.deliver(id);
        }
        self.desk.hold(connection);
        self.held.push(id);
        if self.held.is_due(self.desk.read_us()) {
            self.send_held();
        }
    }

    /// Sends the answers that were made for several connections.
    fn send_held(&mut self) {
        debug_assert!(
            self.desk.out.is_empty(),
            "it would be sent to somebody else"
        );
        let mut at = 0;
        while let Some(id) = self.held.get(at) {
            self.deliver_alone(id);
            at += 1;
        }
        if at > 0 {
            self.held.begin(self.desk.driver.now_us());
        }
    }

    /// The peer sends nothing more; what it asked for is still answered.
    fn on_closed(&mut self, id: SocketId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        connection.peer_shut = true;
        connection.session.close_after();
        match connection.phase {
            Phase::Waiting | Phase::Sending | Phase::Closing => {}
            // Requests that came whole before are still held while their answers wait for room.
            Phase::Head if !connection.output.is_empty() || self.again.contains(&id) => {}
            // A request whose end will not come (RFC 9112 §8), or none at all.
            _ => self.close(id, Ending::PeerGone, false),
        }
    }

    /// Takes a connection up again: room to send, a letter, or the next turn.
    fn go_on(&mut self, id: SocketId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if connection.phase == Phase::Sending || !connection.output.is_empty() {
            self.deliver(id);
        } else {
            // The way is free: what was held back is read on.
            self.on_received(id, &[]);
        }
    }

    /// Sends what a turn has made, but after what was made before for others.
    #[inline]
    fn deliver(&mut self, id: SocketId) {
        if !self.held.is_empty() {
            if let Some(connection) = self.connections.get(id) {
                self.desk.hold(connection);
            }
            self.held.push(id);
            return self.send_held();
        }
        self.deliver_alone(id);
    }

    /// Sends what a turn has made, then settles what the connection waits for.
    #[inline]
    fn deliver_alone(&mut self, id: SocketId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let delivery = self.desk.deliver(connection, id);
        debug_assert!(
            !connection.output.is_empty() || connection.output.capacity() == 0,
            "an idle connection owns no buffer"
        );
        self.desk.count(connection);
        match delivery {
            Delivery::Done | Delivery::Room => {}
            Delivery::Source => connection.deadline_ms = u64::MAX,
            Delivery::Turn => self.again.push(id),
            Delivery::Broken(ending) => return self.close(id, ending, true),
        }
        if connection.phase == Phase::Closing && connection.output.is_empty() {
            return self.finish(id);
        }
        if connection.phase == Phase::Head && connection.output.is_empty() {
            if !connection.input.is_empty() && connection.session.is_idle() {
                // Requests wait behind an answer that has just ended.
                self.again.push(id);
            } else if connection.peer_shut {
                return self.close(id, Ending::PeerGone, false);
            }
        }
        let reads = match connection.phase {
            Phase::Head => connection.output.is_empty(),
            Phase::Proxy | Phase::Body | Phase::Discard | Phase::Linger => true,
            Phase::Upload => connection.input.is_empty(),
            // Armed while nothing is held, so that a peer that goes away is noticed.
            Phase::Waiting | Phase::Sending | Phase::Closing => connection.input.is_empty(),
            Phase::Free => false,
        };
        if reads == connection.paused {
            connection.paused = !reads;
            match reads {
                true => self.desk.driver.receive_resume(id),
                false => self.desk.driver.receive_pause(id),
            }
        }
        self.wheel.set(id.0, connection.deadline_ms);
    }

    /// Everything is sent and the connection has to end.
    fn finish(&mut self, id: SocketId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let clean = connection.session.peer_closes() && connection.input.is_empty();
        if clean || connection.peer_shut {
            return self.close(id, Ending::Complete, false);
        }
        // Closing with bytes unread would reset the connection and could take the answer away
        // from the peer (RFC 9112 §9.6): say that we are done, and read on for a moment.
        connection.input = Vec::new();
        self.desk.enter(connection, Phase::Linger);
        self.desk.count(connection);
        self.wheel.set(id.0, connection.deadline_ms);
        self.desk.driver.shutdown_send(id);
        if std::mem::take(&mut connection.paused) {
            self.desk.driver.receive_resume(id);
        }
    }

    fn close(&mut self, id: SocketId, ending: Ending, reset: bool) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        self.desk.out.clear();
        self.desk.abandon(connection, ending);
        self.desk.block.leave(connection.counted);
        self.desk.block.closed.add(1);
        self.connections.close(id);
        self.wheel.clear(id.0);
        self.gone += 1;
        self.desk.driver.close(id, reset);
    }

    fn read_letters(&mut self) {
        let mut letters = std::mem::take(&mut self.letters);
        self.desk.mailbox.take(&mut letters);
        for letter in letters.drain(..) {
            self.on_letter(letter);
        }
        self.letters = letters;
    }

    fn on_letter(&mut self, letter: Letter) {
        let (Letter::Answer { key, .. } | Letter::Notice { key }) = letter;
        let id = self.connections.find(key);
        let waiting = id.and_then(|id| Some((id, self.connections.get(id)?)));
        let Some((id, connection)) = waiting else {
            return self.on_stale(letter);
        };
        match (letter, connection.phase) {
            (
                Letter::Answer {
                    request,
                    matched,
                    response,
                    ..
                },
                Phase::Waiting | Phase::Upload,
            ) => {
                self.desk
                    .on_answer(connection, key, &request, &matched, *response);
            }
            (Letter::Notice { .. }, Phase::Waiting) => self.desk.on_later(connection, key),
            (Letter::Notice { .. }, Phase::Sending) => {
                let timeout_ms = u64::from(self.desk.shared.limits.write_timeout_ms);
                connection.deadline_ms = self.desk.now_ms + timeout_ms;
            }
            // An upload's pipe has room: the input that waits is read below.
            (Letter::Notice { .. }, Phase::Upload) => {}
            (letter, _) => return self.on_stale(letter),
        }
        self.go_on(id);
    }

    /// A letter for an exchange that is over and was told: what went wrong in the handler since is
    /// told too.
    fn on_stale(&mut self, letter: Letter) {
        let Letter::Answer {
            shared,
            request,
            matched,
            response,
            ..
        } = letter
        else {
            return;
        };
        if response.fault().is_none() {
            return;
        }
        let times = Times {
            began_us: 0,
            started_us: 0,
            answered_us: 0,
        };
        let outcome = Outcome {
            status: response.status(),
            bytes: 0,
            fault: response.fault(),
            ending: Ending::AnswerLate,
        };
        self.desk.with_shared(Rc::new(shared), |desk| {
            desk.report(&request.borrow(), &matched, times, outcome);
        });
    }

    /// A tick of the wheel has come: look at the true deadline.
    fn on_due(&mut self, id: SocketId) {
        let now_ms = self.desk.now_ms;
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if connection.deadline_ms > now_ms {
            return self.wheel.set(id.0, connection.deadline_ms);
        }
        match connection.phase {
            Phase::Head if connection.session.is_idle() && connection.output.is_empty() => {
                self.desk.block.hit(Limit::IdleTimeout);
                return self.close(id, Ending::Complete, false);
            }
            Phase::Head if connection.output.is_empty() => {
                self.desk.refuse(connection, Error::HeadTimeout);
            }
            Phase::Body | Phase::Upload | Phase::Discard => {
                if let Some(next_ms) = connection.rate_deadline(&self.desk.shared.limits, now_ms) {
                    connection.deadline_ms = next_ms;
                    return self.wheel.set(id.0, next_ms);
                }
                self.desk.refuse(connection, Error::BodyTimeout);
            }
            Phase::Waiting => self.desk.give_up(connection, connection.key(id)),
            Phase::Proxy => self.desk.refuse_proxy(connection, Error::HeadTimeout),
            Phase::Head | Phase::Sending | Phase::Closing => {
                self.desk.block.hit(Limit::WriteTimeout);
                return self.close(id, Ending::WriteStalled, true);
            }
            Phase::Linger | Phase::Free => {
                self.desk.block.hit(Limit::LingerTimeout);
                return self.close(id, Ending::Complete, true);
            }
        }
        self.deliver(id);
    }

    /// Obeys the stop flag; false when the worker is done.
    fn keep_order(&mut self) -> io::Result<bool> {
        let order = self.orders.order();
        match order {
            RUN | PAUSE => {
                self.hold_accept(order == PAUSE);
                return Ok(true);
            }
            HALT => {
                self.close_all(Ending::CutOff);
                return Ok(false);
            }
            _ => {}
        }
        let now_ms = self.desk.now_ms;
        let deadline_ms = now_ms + u64::from(self.desk.shared.limits.drain_timeout_ms);
        if self.drain.is_none() && order == DRAIN {
            self.hold_accept(false);
        }
        let drain = self.drain.get_or_insert(Drain {
            deadline_ms,
            // A queue that somebody else accepts from is left to him.
            accepts_left: if order == DRAIN { DRAIN_TURNS_MAX } else { 0 },
            accepted: true,
            listening: true,
        });
        if drain.listening {
            // What the kernel has accepted for us already would be reset by closing the
            // listener: it is taken over first, until a turn brings nothing new.
            drain.listening = std::mem::take(&mut drain.accepted) && drain.accepts_left > 0;
            drain.accepts_left = drain.accepts_left.saturating_sub(1);
            if !drain.listening {
                self.desk.driver.close_listeners();
            }
        }
        let cut_off = drain.deadline_ms <= now_ms;
        self.desk.draining = true;
        if cut_off {
            if self.connections.len() > 0 {
                self.desk.block.hit(Limit::DrainTimeout);
            }
            self.close_all(Ending::CutOff);
        } else {
            self.close_idle();
        }
        let listening = self.drain.as_ref().is_some_and(|drain| drain.listening);
        Ok(listening || self.connections.len() > 0)
    }

    /// Pauses accepting from outside, or ends that.
    fn hold_accept(&mut self, hold: bool) {
        if self.accept_held == hold {
            return;
        }
        self.accept_held = hold;
        if hold {
            self.desk.driver.accept_pause();
        } else if !self.accept_full && self.accept_retry_ms.is_none() {
            self.desk.driver.accept_resume();
        }
    }

    fn close_idle(&mut self) {
        for id in self.connections.ids() {
            let Some(connection) = self.connections.get(id) else {
                continue;
            };
            connection.session.close_after();
            connection.ask_stream_to_end();
            let idle = match connection.phase {
                Phase::Proxy => connection.input.is_empty(),
                phase => phase == Phase::Head && connection.session.is_idle(),
            };
            // Its next request may be on the way, and would be lost: the next answer tells a
            // client that speaks often to come back on another connection.
            let waited = connection.since_ms + DRAIN_IDLE_MS <= self.desk.now_ms;
            if idle && connection.output.is_empty() && waited {
                self.close(id, Ending::Complete, false);
            }
        }
    }

    fn close_all(&mut self, ending: Ending) {
        self.desk.driver.close_listeners();
        for id in self.connections.ids() {
            self.close(id, ending, true);
        }
    }

    /// Connections it holds, for tests over the simulated system.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether the next turn has work that no completion announces, likewise.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn goes_on(&self) -> bool {
        !self.again.is_empty()
    }
}

/// Reads on in the bytes of a connection as far as its phases allow; gives what was consumed.
#[inline]
fn advance<D: Driver>(
    desk: &mut Desk<D>,
    scratch: &mut Scratch,
    connection: &mut Connection,
    id: SocketId,
    data: &[u8],
) -> usize {
    let mut at = 0;
    loop {
        match connection.phase {
            Phase::Head => {
                if at == data.len() || !connection.output.is_empty() {
                    return at;
                }
                if desk.out.len() >= desk.shared.limits.output_bytes_max {
                    desk.block.hit(Limit::OutputBytesMax);
                    return at;
                }
                let limits = &desk.shared.limits;
                let first = connection.session.is_idle();
                let session = &mut connection.session;
                match session.receive_head(&data[at..], scratch, limits) {
                    Ok(HeadEvent::Request { head, consumed }) => {
                        let key = connection.key(id);
                        at += consumed;
                        at += desk.begin(connection, key, head, &data[at..]);
                    }
                    Ok(HeadEvent::NeedMore) => {
                        if first {
                            connection.began_us = desk.now_us;
                            connection.deadline_ms =
                                desk.now_ms + u64::from(desk.shared.limits.head_timeout_ms);
                        }
                        return at;
                    }
                    Err(error) => desk.refuse(connection, error),
                }
            }
            Phase::Proxy => match desk.receive_proxy(connection, &data[at..]) {
                0 => return at,
                consumed => at += consumed,
            },
            Phase::Body => {
                at += desk.collect(connection, connection.key(id), &data[at..]);
                if connection.phase == Phase::Body {
                    return at;
                }
            }
            Phase::Upload => {
                at += upload(desk, connection, &data[at..]);
                return at;
            }
            Phase::Discard => {
                at += discard(desk, connection, &data[at..]);
                if connection.phase == Phase::Discard {
                    return at;
                }
            }
            Phase::Linger => {
                // Bounded by the deadline and by what a reset would have cost anyway.
                if connection.phase_bytes > desk.shared.limits.discard_bytes_max {
                    connection.deadline_ms = desk.now_ms;
                }
                return data.len();
            }
            Phase::Waiting | Phase::Sending | Phase::Closing | Phase::Free => return at,
        }
    }
}
