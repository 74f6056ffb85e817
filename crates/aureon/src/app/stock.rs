//! Buffers that a thread keeps for reuse, so that a worker in its stride does not allocate.
//!
//! They are for the lines of a response, for its content, and for answers that are held until they
//! are sent. All are of one kind: what the one has given back is still in the processor's cache
//! when the next takes it.

use std::cell::RefCell;

use crate::limits::{STOCK_BUFFER_BYTES_MAX, STOCK_BUFFERS_MAX};

thread_local! {
    static STOCK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, of the stock if there is one.
pub(crate) fn take_buffer() -> Vec<u8> {
    let stocked = STOCK
        .try_with(|stock| stock.try_borrow_mut().ok()?.pop())
        .ok()
        .flatten();
    stocked.unwrap_or_default()
}

/// Puts a buffer into the stock, unless it is large or there are enough.
pub(crate) fn give_buffer(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > STOCK_BUFFER_BYTES_MAX {
        return;
    }
    // Fails only while the thread ends; then the buffer is freed as usual.
    let _ = STOCK.try_with(|stock| {
        if let Ok(mut stock) = stock.try_borrow_mut()
            && stock.len() < STOCK_BUFFERS_MAX
        {
            buffer.clear();
            stock.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_up_to_the_bounds() {
        STOCK.with(|stock| stock.borrow_mut().clear());
        give_buffer(Vec::with_capacity(STOCK_BUFFER_BYTES_MAX + 1));
        assert_eq!(take_buffer().capacity(), 0);
        for _ in 0..STOCK_BUFFERS_MAX + 3 {
            give_buffer(vec![1; STOCK_BUFFER_BYTES_MAX]);
        }
        assert_eq!(STOCK.with(|stock| stock.borrow().len()), STOCK_BUFFERS_MAX);
        let again = take_buffer();
        assert!(again.is_empty() && again.capacity() == STOCK_BUFFER_BYTES_MAX);
        let left = STOCK.with(|stock| stock.borrow().len());
        assert_eq!(left, STOCK_BUFFERS_MAX - 1);
    }
}
