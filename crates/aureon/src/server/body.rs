//! A body on its way: into the pipe of an upload handler, or nowhere.
//!
//! Owns no state: the session knows what is a body's, the connection what its phase has received.
//! Called by the worker with the bytes behind a head, for as long as the phase lasts; a body that
//! is collected for a handler is the desk's (`exchange`).

use super::connection::{Connection, Phase};
use super::exchange::Desk;
use crate::app::Push;
use crate::http::{BodyEvent, Error};
use crate::limits::Limit;
use crate::sys::Driver;

/// Passes a body on to the pipe of an upload, as far as the pipe has room.
pub(super) fn upload<D: Driver>(
    desk: &mut Desk<D>,
    connection: &mut Connection,
    data: &[u8],
) -> usize {
    let mut at = 0;
    loop {
        let Some(suspended) = &mut connection.exchange else {
            return at;
        };
        let Some(writer) = &mut suspended.upload else {
            return at;
        };
        let room = match writer.await_room() {
            Push::Full => return at,
            Push::Closed => usize::MAX,
            Push::Taken(room) => room,
        };
        let rest = &data[at..];
        let limits = &desk.shared.limits;
        let mut event = connection
            .session
            .receive_body(&rest[..rest.len().min(room)], limits);
        if event == Ok(BodyEvent::NeedMore { consumed: 0 }) && room < rest.len() {
            // Only a trailer section is not consumed as it comes.
            event = connection.session.receive_body(rest, limits);
        }
        match event {
            Ok(BodyEvent::NeedMore { consumed: 0 }) => return at,
            Ok(BodyEvent::NeedMore { consumed } | BodyEvent::End { consumed }) => at += consumed,
            Ok(BodyEvent::Data { bytes, consumed }) => {
                at += consumed;
                suspended.body_bytes += bytes.len() as u64;
                if suspended.body_bytes > suspended.body_max {
                    desk.refuse(connection, Error::BodyTooLarge);
                    return at;
                }
                // The room was asked for, and nobody else writes; a reader that is gone
                // leaves the bytes to be dropped.
                let _ = writer.push(bytes);
            }
            Err(error) => {
                desk.refuse(connection, error);
                return at;
            }
        }
        if !connection.session.wants_body() {
            if let Some(mut writer) = connection.exchange.as_mut().and_then(|e| e.upload.take()) {
                writer.finish();
            }
            desk.enter(connection, Phase::Waiting);
            return at;
        }
    }
}

/// Reads the rest of a body that nobody wants.
pub(super) fn discard<D: Driver>(
    desk: &mut Desk<D>,
    connection: &mut Connection,
    data: &[u8],
) -> usize {
    let mut at = 0;
    if connection.phase_bytes > desk.shared.limits.discard_bytes_max {
        desk.block.hit(Limit::DiscardBytesMax);
        desk.enter(connection, Phase::Closing);
        return at;
    }
    while connection.session.wants_body() {
        match connection
            .session
            .receive_body(&data[at..], &desk.shared.limits)
        {
            Ok(BodyEvent::NeedMore { consumed }) => return at + consumed,
            Ok(BodyEvent::End { consumed } | BodyEvent::Data { consumed, .. }) => at += consumed,
            // The answer is out: nothing can be said any more.
            Err(_) => {
                desk.enter(connection, Phase::Closing);
                return at;
            }
        }
    }
    desk.settle(connection);
    at
}
