//! A simulated operating system in memory, for tests: the same door, a seed instead of luck.
//!
//! Everything a network may do and a test can't force happens here at a seeded moment: reads
//! and writes cut short, resets, clients that stop reading, descriptors that run out, a wall
//! clock that jumps. Time moves only in [`Driver::turn`]. The test holds a [`World`] beside the
//! driver and plays the clients.

use super::{Chunk, Completion, Driver, PeerAddress, SocketId, Wake};
use crate::limits::{BATCH, RECEIVE_BUFFER_BYTES};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The longest a turn sleeps. The contract lets a turn end early, as EINTR does, and a test can
/// so move the clients in between.
const NAP_MS_MAX: u64 = 50;

/// A small generator: SplitMix64 (Steele, Lea, Flood, 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (which is at least 1).
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// True in `percent` of a hundred.
    pub fn chance(&mut self, percent: u8) -> bool {
        self.bits() % 100 < u64::from(percent)
    }
}

/// How badly the world behaves, each in percent of the occasions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A receive gives less than is there.
    pub short_reads: u8,
    /// A send takes less than was given.
    pub short_writes: u8,
    /// A connection is reset.
    pub resets: u8,
    /// Accepting fails for want of a descriptor.
    pub accept_failures: u8,
    /// The wall clock jumps, back or forth.
    pub clock_jumps: u8,
}

/// A client of the simulated server.
#[derive(Debug)]
pub struct Client {
    peer: PeerAddress,
    socket: Option<SocketId>,
    to_server: VecDeque<u8>,
    /// Everything the server has sent.
    pub received: Vec<u8>,
    /// Bytes the client still takes before sends are cut short.
    pub window: usize,
    /// The client sends nothing more.
    shut: bool,
    /// The server has said that it sends nothing more.
    pub ended: bool,
    /// The server has closed its socket, or the connection was reset.
    pub closed: bool,
    /// The connection broke by a reset, of either side.
    pub reset: bool,
    end_said: bool,
}

#[derive(Debug)]
struct Socket {
    client: usize,
    paused: bool,
    wants_room: bool,
}

#[derive(Debug)]
struct State {
    random: Random,
    faults: Faults,
    clients: Vec<Client>,
    waiting: VecDeque<usize>,
    sockets: Vec<Option<Socket>>,
    free: Vec<u32>,
    accepting: bool,
    listening: bool,
    short: bool,
    now_ms: u64,
    unix_seconds: u64,
}

/// What the test holds: the clients' side of the simulated network.
#[derive(Clone, Debug)]
pub struct World(Rc<RefCell<State>>);

impl World {
    /// A world of a seed, and the driver that a worker runs on.
    pub fn new(seed: u64, faults: Faults) -> (World, Sim) {
        let state = State {
            random: Random::new(seed),
            faults,
            clients: Vec::new(),
            waiting: VecDeque::new(),
            sockets: Vec::new(),
            free: Vec::new(),
            accepting: true,
            listening: true,
            short: false,
            now_ms: 1_000,
            unix_seconds: 784_111_777,
        };
        let world = World(Rc::new(RefCell::new(state)));
        let sim = Sim {
            world: world.clone(),
            plan: VecDeque::new(),
            gathered: VecDeque::new(),
            now_ms: 1_000,
            unix_seconds: 784_111_777,
            woken: Arc::new(AtomicBool::new(false)),
        };
        (world, sim)
    }

    /// A new client connects; gives its number. It takes any number of bytes until told less.
    pub fn connect(&self) -> usize {
        self.connect_from(PeerAddress::Memory)
    }

    /// The same for one with an address.
    pub fn connect_from(&self, peer: PeerAddress) -> usize {
        let mut state = self.0.borrow_mut();
        let closed = !state.listening;
        state.clients.push(Client {
            peer,
            socket: None,
            to_server: VecDeque::new(),
            received: Vec::new(),
            window: usize::MAX,
            shut: false,
            ended: closed,
            closed,
            reset: closed,
            end_said: false,
        });
        let client = state.clients.len() - 1;
        if !closed {
            state.waiting.push_back(client);
        }
        client
    }

    /// The client sends bytes.
    pub fn send(&self, client: usize, bytes: &[u8]) {
        self.0.borrow_mut().clients[client].to_server.extend(bytes);
    }

    /// The client says that it sends nothing more.
    pub fn shut(&self, client: usize) {
        self.0.borrow_mut().clients[client].shut = true;
    }

    /// The client breaks the connection.
    pub fn reset(&self, client: usize) {
        self.0.borrow_mut().clients[client].reset = true;
    }

    /// Looks at or changes a client.
    pub fn client<T>(&self, client: usize, look: impl FnOnce(&mut Client) -> T) -> T {
        look(&mut self.0.borrow_mut().clients[client])
    }

    /// Lets time pass without a turn.
    pub fn pass(&self, ms: u64) {
        let mut state = self.0.borrow_mut();
        state.now_ms += ms;
        state.unix_seconds += ms / 1_000;
    }

    /// Milliseconds on the simulated clock.
    pub fn now_ms(&self) -> u64 {
        self.0.borrow().now_ms
    }

    /// Changes how badly the world behaves.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// Says that descriptors are short, or that there are enough.
    pub fn set_short(&self, short: bool) {
        self.0.borrow_mut().short = short;
    }

    /// Open sockets on the server's side.
    pub fn open_sockets(&self) -> usize {
        self.0.borrow().sockets.iter().flatten().count()
    }

    /// Whether the server would have anything to do in a turn.
    pub fn is_busy(&self) -> bool {
        let state = self.0.borrow();
        let waiting = state.accepting && !state.waiting.is_empty();
        let moving = |socket: &Socket| {
            let client = &state.clients[socket.client];
            let more = !client.to_server.is_empty() || client.shut && !client.end_said;
            client.reset && !client.end_said
                || !socket.paused && more
                || socket.wants_room && client.window > 0
        };
        waiting || state.sockets.iter().flatten().any(moving)
    }
}

/// What may happen in a turn.
#[derive(Clone, Copy, Debug)]
enum Chance {
    Accept,
    Receive(SocketId),
    Room(SocketId),
}

/// The driver over a [`World`].
#[derive(Debug)]
pub struct Sim {
    world: World,
    plan: VecDeque<Chance>,
    /// What has finished and is not handed out, with the number of the client that it is of.
    gathered: VecDeque<(Option<usize>, Completion)>,
    now_ms: u64,
    unix_seconds: u64,
    woken: Arc<AtomicBool>,
}

impl State {
    fn socket_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.sockets.get_mut(id.index())?.as_mut()
    }

    fn accept(&mut self) -> Option<Completion> {
        if !self.accepting || self.waiting.is_empty() {
            return None;
        }
        if self.random.chance(self.faults.accept_failures) {
            return Some(Completion::AcceptFailed {
                error: io::Error::other("no descriptor left"),
                shed: 0,
            });
        }
        let client = self.waiting.pop_front()?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            (self.sockets.len() - 1) as u32
        });
        let id = SocketId(index);
        self.sockets[id.index()] = Some(Socket {
            client,
            paused: false,
            wants_room: false,
        });
        self.clients[client].socket = Some(id);
        Some(Completion::Accepted {
            id,
            peer: self.clients[client].peer,
            listener: 0,
        })
    }

    /// What finishes for a socket, with the number of its client.
    fn of_client(
        &mut self,
        id: SocketId,
        finish: fn(&mut State, SocketId) -> Option<Completion>,
    ) -> Option<(Option<usize>, Completion)> {
        let client = self.socket_mut(id)?.client;
        Some((Some(client), finish(self, id)?))
    }

    fn room(&mut self, id: SocketId) -> Option<Completion> {
        let wanted = std::mem::take(&mut self.socket_mut(id)?.wants_room);
        wanted.then_some(Completion::Sendable { id })
    }

    fn receive(&mut self, id: SocketId) -> Option<Completion> {
        let resets = self.faults.resets;
        let (index, paused) = self
            .socket_mut(id)
            .map(|socket| (socket.client, socket.paused))?;
        let breaks = self.random.chance(resets);
        let client = &mut self.clients[index];
        client.reset |= breaks;
        if client.end_said {
            return None;
        }
        if client.reset {
            client.end_said = true;
            client.closed = true;
            let error = io::ErrorKind::ConnectionReset.into();
            return Some(Completion::Failed { id, error });
        }
        if paused {
            return None;
        }
        let there = client.to_server.len();
        if there == 0 {
            client.end_said = client.shut;
            return client.shut.then_some(Completion::Closed { id });
        }
        let short = self.random.chance(self.faults.short_reads);
        let len = if short {
            1 + self.random.below(there)
        } else {
            there
        };
        let len = len.min(RECEIVE_BUFFER_BYTES);
        let bytes: Vec<u8> = self.clients[index].to_server.drain(..len).collect();
        Some(Completion::Received {
            id,
            chunk: Chunk::new(bytes, len),
        })
    }

    /// Bytes of `len` that a send takes now; the rest waits for room.
    fn taken(&mut self, id: SocketId, len: usize) -> io::Result<(usize, usize)> {
        let short = self.random.chance(self.faults.short_writes);
        let cut = if short {
            self.random.below(len + 1)
        } else {
            len
        };
        let index = self
            .socket_mut(id)
            .ok_or(io::ErrorKind::NotConnected)?
            .client;
        let client = &mut self.clients[index];
        if client.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = cut.min(client.window);
        client.window -= taken;
        if let Some(socket) = self.socket_mut(id) {
            socket.wants_room = taken < len;
        }
        Ok((index, taken))
    }
}

impl Driver for Sim {
    type Waker = Flag;

    fn waker(&self) -> Flag {
        Flag(Arc::clone(&self.woken))
    }

    fn turn(&mut self, timeout_ms: Option<u32>) -> io::Result<()> {
        let busy = self.world.is_busy();
        let mut state = self.world.0.borrow_mut();
        let passed = if busy || self.woken.load(Ordering::Acquire) {
            state.random.below(3) as u64
        } else {
            u64::from(timeout_ms.unwrap_or(0)).min(NAP_MS_MAX)
        };
        let before = state.now_ms / 1_000;
        state.now_ms += passed;
        let seconds = state.now_ms / 1_000 - before;
        state.unix_seconds += seconds;
        let jumps = state.faults.clock_jumps;
        if state.random.chance(jumps) {
            let jump = state.random.below(200_000) as u64;
            state.unix_seconds = (state.unix_seconds + jump).saturating_sub(100_000);
        }
        (self.now_ms, self.unix_seconds) = (state.now_ms, state.unix_seconds);
        // Each thing that may happen happens once, in an order of the seed's.
        let mut chances = vec![Chance::Accept; state.waiting.len()];
        for index in 0..state.sockets.len() {
            let id = SocketId(index as u32);
            let Some(socket) = &state.sockets[index] else {
                continue;
            };
            chances.push(Chance::Receive(id));
            if socket.wants_room && state.clients[socket.client].window > 0 {
                chances.push(Chance::Room(id));
            }
        }
        for at in (1..chances.len()).rev() {
            let other = state.random.below(at + 1);
            chances.swap(at, other);
        }
        self.plan = chances.into();
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        if self.woken.swap(false, Ordering::AcqRel) {
            return Some(Completion::Woken);
        }
        let mut state = self.world.0.borrow_mut();
        loop {
            while let Some((client, completion)) = self.gathered.pop_front() {
                // Of a socket that was closed meanwhile nobody wants to know.
                if client.is_none_or(|client| state.clients[client].socket.is_some()) {
                    return Some(completion);
                }
            }
            if self.plan.is_empty() {
                return None;
            }
            if self
                .plan
                .pop_front_if(|chance| matches!(chance, Chance::Accept))
                .is_some()
            {
                let accepted = state.accept();
                self.gathered
                    .extend(accepted.map(|completion| (None, completion)));
                continue;
            }
            // So many at once, as a driver does for speed: what is done about the first comes too
            // late for the last. Connections are accepted one by one.
            for _ in 0..1 + state.random.below(BATCH) {
                self.gathered.extend(match self.plan.front() {
                    Some(Chance::Receive(id)) => state.of_client(*id, State::receive),
                    Some(Chance::Room(id)) => state.of_client(*id, State::room),
                    Some(Chance::Accept) | None => break,
                });
                self.plan.pop_front();
            }
        }
    }

    fn recycle(&mut self, _: Chunk) {}

    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn turn_us(&self) -> u64 {
        self.now_ms * 1_000
    }

    fn now_us(&self) -> u64 {
        self.now_ms * 1_000
    }

    fn unix_us(&self) -> u64 {
        self.unix_seconds * 1_000_000
    }

    fn accept_pause(&mut self) {
        self.world.0.borrow_mut().accepting = false;
    }

    fn accept_resume(&mut self) {
        let mut state = self.world.0.borrow_mut();
        state.accepting = state.listening;
    }

    fn close_listeners(&mut self) {
        let mut state = self.world.0.borrow_mut();
        (state.accepting, state.listening) = (false, false);
        while let Some(client) = state.waiting.pop_front() {
            let client = &mut state.clients[client];
            (client.ended, client.closed, client.reset) = (true, true, true);
        }
    }

    fn receive_pause(&mut self, id: SocketId) {
        if let Some(socket) = self.world.0.borrow_mut().socket_mut(id) {
            socket.paused = true;
        }
    }

    fn receive_resume(&mut self, id: SocketId) {
        if let Some(socket) = self.world.0.borrow_mut().socket_mut(id) {
            socket.paused = false;
        }
    }

    fn send(&mut self, id: SocketId, bytes: &mut Vec<u8>, _more: bool) -> io::Result<()> {
        let mut state = self.world.0.borrow_mut();
        let (client, taken) = state.taken(id, bytes.len())?;
        state.clients[client].received.extend(bytes.drain(..taken));
        Ok(())
    }

    fn send_file(
        &mut self,
        id: SocketId,
        mut file: &File,
        offset: &mut u64,
        remaining: &mut u64,
    ) -> io::Result<()> {
        let len = (*remaining).min(crate::limits::SEND_SLICE_BYTES as u64) as usize;
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(*offset))?;
        file.read_exact(&mut bytes)?;
        let mut state = self.world.0.borrow_mut();
        let (client, taken) = state.taken(id, len)?;
        state.clients[client].received.extend(&bytes[..taken]);
        *offset += taken as u64;
        *remaining -= taken as u64;
        if let Some(socket) = state.socket_mut(id) {
            socket.wants_room = *remaining > 0;
        }
        Ok(())
    }

    fn shortage(&self) -> Option<(usize, io::Error)> {
        let short = self.world.0.borrow().short;
        short.then(|| (1, io::Error::other("few descriptors left")))
    }

    fn has_input(&self, id: SocketId) -> bool {
        let mut state = self.world.0.borrow_mut();
        let client = state.socket_mut(id).map(|socket| socket.client);
        client.is_some_and(|client| !state.clients[client].to_server.is_empty())
    }

    fn shutdown_send(&mut self, id: SocketId) {
        let mut state = self.world.0.borrow_mut();
        if let Some(client) = state.socket_mut(id).map(|socket| socket.client) {
            state.clients[client].ended = true;
        }
    }

    fn close(&mut self, id: SocketId, reset: bool) {
        let mut state = self.world.0.borrow_mut();
        let Some(socket) = state.sockets.get_mut(id.index()).and_then(Option::take) else {
            return;
        };
        state.free.push(id.0);
        let client = &mut state.clients[socket.client];
        // Closing with bytes unread is a reset (RFC 1122 §4.2.2.13), as the kernel does it.
        client.reset |= reset || !client.to_server.is_empty();
        (client.ended, client.closed, client.socket) = (true, true, None);
    }
}

/// Wakes a simulated driver.
#[derive(Clone, Debug)]
pub struct Flag(Arc<AtomicBool>);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}
