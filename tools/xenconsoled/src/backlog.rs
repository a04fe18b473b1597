//! [`Backlog`]: output that nobody has taken yet. Bounded: the oldest bytes give way.
use std::collections::VecDeque;

/// A queue of bytes with a limit.
#[derive(Debug)]
pub struct Backlog {
    bytes: VecDeque<u8>,
    limit: usize,
}

impl Backlog {
    /// At most `limit` bytes.
    pub fn new(limit: usize) -> Backlog {
        Backlog {
            bytes: VecDeque::new(),
            limit,
        }
    }

    /// Add bytes, dropping the oldest ones beyond the limit.
    pub fn push(&mut self, data: &[u8]) {
        let data = &data[data.len().saturating_sub(self.limit)..];
        let excess = (self.bytes.len() + data.len()).saturating_sub(self.limit);
        self.bytes.drain(..excess);
        self.bytes.extend(data);
    }

    /// Some bytes from the front, without taking them.
    pub fn front(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// Take `n` bytes off the front.
    pub fn consume(&mut self, n: usize) {
        self.bytes.drain(..n.min(self.bytes.len()));
    }

    /// Nothing waits?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_bytes_give_way() {
        let mut b = Backlog::new(4);
        b.push(b"abc");
        b.push(b"def");
        let mut all: Vec<u8> = Vec::new();
        while !b.is_empty() {
            all.extend(b.front());
            b.consume(b.front().len());
        }
        assert_eq!(all, b"cdef");
        b.push(b"0123456789");
        assert_eq!(b.bytes, b"6789");
    }
}
