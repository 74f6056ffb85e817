//! Sends what was written: answers that share one send, and content too large for a buffer.
//!
//! Content goes out in slices, so that memory for one connection is bounded by a slice and one
//! fat download can not hold up the rest of the turn. Files are sent by the kernel. A pipe is
//! emptied as far as the peer takes it, and then its writer waits.

use super::connection::{Connection, Phase, Tail};
use super::exchange::Desk;
use super::observe::Ending;
use crate::app::{Fault, FileRange, Part, Pull, give_buffer, take_buffer};
use crate::http::{Delimiter, write};
use crate::limits::{SEND_SLICE_BYTES, STREAM_SLICE_BYTES};
use crate::sys::{Driver, SocketId};
use std::{io, mem};

/// Where a delivery stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// All that there is was sent.
    Done,
    /// The kernel has no room: `Sendable` goes on.
    Room,
    /// The stream has nothing now: a letter goes on.
    Source,
    /// The slice of this turn is used up: the next turn goes on.
    Turn,
    /// The connection or the content's source broke.
    Broken(Ending),
}

/// What the next piece of content is.
enum Piece {
    Bytes,
    File,
    Wait,
    End,
    Broken,
}

impl<D: Driver> Desk<D> {
    /// Sends what is waiting and the answers of this turn, in that order.
    #[inline]
    pub(super) fn flush(&mut self, connection: &mut Connection, id: SocketId) -> Delivery {
        if !connection.output.is_empty() {
            self.hold(connection);
            return self.flush_waiting(connection, id);
        }
        if self.out.is_empty() {
            return Delivery::Done;
        }
        let more = connection.phase == Phase::Sending && sends_file(connection);
        let before = self.out.len();
        let sent = self.driver.send(id, &mut self.out, more);
        self.block.sent_bytes.add((before - self.out.len()) as u64);
        match sent {
            Err(_) => {
                self.out.clear();
                Delivery::Broken(Ending::PeerGone)
            }
            Ok(()) if self.out.is_empty() => Delivery::Done,
            Ok(()) => {
                connection.output.append(&mut self.out);
                Delivery::Room
            }
        }
    }

    /// Makes the answers in hand wait, as if the peer had no room for them.
    pub(super) fn hold(&mut self, connection: &mut Connection) {
        if connection.output.is_empty() && !self.out.is_empty() {
            connection.output = mem::replace(&mut self.out, take_buffer());
        }
        connection.output.append(&mut self.out);
    }

    fn flush_waiting(&mut self, connection: &mut Connection, id: SocketId) -> Delivery {
        let before = connection.output.len();
        if self.driver.send(id, &mut connection.output, false).is_err() {
            return Delivery::Broken(Ending::PeerGone);
        }
        let taken = before - connection.output.len();
        self.block.sent_bytes.add(taken as u64);
        if taken > 0 {
            // The peer takes something: its time starts again.
            let timeout_ms = u64::from(self.shared.limits.write_timeout_ms);
            if matches!(connection.phase, Phase::Sending | Phase::Closing) {
                connection.deadline_ms = self.now_ms + timeout_ms;
            }
        }
        if !connection.output.is_empty() {
            return Delivery::Room;
        }
        // An idle connection owns no buffer.
        give_buffer(mem::take(&mut connection.output));
        Delivery::Done
    }

    /// Flushes, then sends the content that waits behind it.
    pub(super) fn deliver(&mut self, connection: &mut Connection, id: SocketId) -> Delivery {
        let mut budget = SEND_SLICE_BYTES;
        loop {
            let flushed = self.flush(connection, id);
            if flushed != Delivery::Done || connection.phase != Phase::Sending {
                return flushed;
            }
            match self.next_piece(connection) {
                Piece::Bytes if budget == 0 => return Delivery::Turn,
                Piece::Bytes => budget = budget.saturating_sub(connection.output.len()),
                Piece::Wait => return Delivery::Source,
                Piece::Broken => return Delivery::Broken(Ending::SourceFailed),
                Piece::File => match self.send_file(connection, id) {
                    Ok(true) => {}
                    Ok(false) => return Delivery::Room,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        if let Some(suspended) = &mut connection.exchange {
                            let why = "a file became shorter while it was sent";
                            suspended.fault = Some(Box::new(Fault::error(why)));
                        }
                        return Delivery::Broken(Ending::SourceFailed);
                    }
                    Err(_) => return Delivery::Broken(Ending::PeerGone),
                },
                Piece::End => self.complete(connection),
            }
        }
    }

    /// Makes the next piece of content ready: into the connection's output, or as a file.
    fn next_piece(&mut self, connection: &mut Connection) -> Piece {
        let Connection {
            exchange, output, ..
        } = connection;
        let Some(suspended) = exchange else {
            return Piece::End;
        };
        match &mut suspended.tail {
            Tail::Nothing => Piece::End,
            Tail::Memory { bytes, at } => {
                let rest = &bytes.bytes()[*at..];
                let slice = &rest[..rest.len().min(STREAM_SLICE_BYTES)];
                output.extend_from_slice(slice);
                *at += slice.len();
                suspended.bytes_sent += slice.len() as u64;
                if slice.is_empty() {
                    Piece::End
                } else {
                    Piece::Bytes
                }
            }
            Tail::File(range) if range.len == 0 => Piece::End,
            Tail::File(_) => Piece::File,
            Tail::Parts(parts, current) => {
                if current.as_ref().is_some_and(|range| range.len > 0) {
                    return Piece::File;
                }
                match parts.next() {
                    None => Piece::End,
                    Some(Part::File(range)) => {
                        *current = Some(range);
                        Piece::File
                    }
                    Some(Part::Bytes(bytes)) => {
                        suspended.bytes_sent += bytes.len() as u64;
                        *output = bytes;
                        Piece::Bytes
                    }
                }
            }
            Tail::Stream(reader) => {
                self.slice.clear();
                match reader.pull(&mut self.slice, STREAM_SLICE_BYTES) {
                    Pull::Pending => return Piece::Wait,
                    Pull::End => return Piece::End,
                    Pull::Failed => {
                        suspended.fault = reader.take_fault();
                        return Piece::Broken;
                    }
                    Pull::Some(_) => {}
                }
                suspended.bytes_sent += self.slice.len() as u64;
                let chunked = suspended.delimiter == Delimiter::Chunks;
                if chunked {
                    write::write_chunk_head(output, self.slice.len());
                }
                output.extend_from_slice(&self.slice);
                if chunked {
                    output.extend_from_slice(write::CHUNK_END);
                }
                Piece::Bytes
            }
        }
    }

    /// Sends a slice of the file in hand; true when all of it was sent.
    fn send_file(&mut self, connection: &mut Connection, id: SocketId) -> io::Result<bool> {
        let Some(suspended) = &mut connection.exchange else {
            return Ok(true);
        };
        let (Tail::File(range) | Tail::Parts(_, Some(range))) = &mut suspended.tail else {
            return Ok(true);
        };
        let FileRange { file, start, len } = range;
        let before = *len;
        if before == 0 {
            return Ok(true);
        }
        self.driver.send_file(id, file, start, len)?;
        suspended.bytes_sent += before - *len;
        self.block.sent_bytes.add(before - *len);
        let done = *len == 0;
        if *len < before {
            connection.deadline_ms = self.now_ms + u64::from(self.shared.limits.write_timeout_ms);
        }
        Ok(done)
    }

    /// The last byte of the content is on its way.
    fn complete(&mut self, connection: &mut Connection) {
        connection.session.send_end(&mut self.out);
        self.abandon(connection, Ending::Complete);
        self.settle(connection);
    }
}

fn sends_file(connection: &Connection) -> bool {
    connection
        .exchange
        .as_ref()
        .is_some_and(|exchange| match &exchange.tail {
            Tail::File(range) => range.len > 0,
            _ => false,
        })
}
