//! The console ring: the last so many bytes printed.

/// Size before memory can be allocated.
const EARLY_SIZE: usize = 16 * 1024;

static mut EARLY: [u8; EARLY_SIZE] = [0; EARLY_SIZE];

/// The ring. Positions count all bytes ever printed; the ring holds the last of them.
pub struct Ring {
    /// Power of two in length; `None` means the static buffer.
    storage: Option<&'static mut [u8]>,
    start: u64,
    end: u64,
}

impl Ring {
    /// An empty ring over the static buffer; there is one.
    pub(super) const fn new() -> Self {
        Self {
            storage: None,
            start: 0,
            end: 0,
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        match &mut self.storage {
            Some(storage) => storage,
            // SAFETY: the one Ring, borrowed exclusively, is the only user of EARLY.
            None => unsafe { &mut *core::ptr::addr_of_mut!(EARLY) },
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut end = self.end;
        let buffer = self.buffer();
        let mask = buffer.len() as u64 - 1;
        for byte in bytes {
            buffer[(end & mask) as usize] = *byte;
            end += 1;
        }
        let oldest = end.saturating_sub(mask + 1);
        self.end = end;
        self.start = self.start.max(oldest);
    }

    /// `readconsole`: copies from position `index` when `incremental`, else from the oldest byte; positions are the low 32
    /// bits. Returns the bytes copied and the next position; `clear` then forgets everything.
    pub fn read_from(
        &mut self,
        to: &mut [u8],
        index: u32,
        incremental: bool,
        clear: bool,
    ) -> (usize, u32) {
        let behind = (self.end as u32).wrapping_sub(index);
        let from = if incremental {
            self.end.saturating_sub(u64::from(behind))
        } else {
            self.start
        };
        let (count, next) = self.read(from, to);
        if clear {
            self.clear();
        }
        (count, next as u32)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start = self.end;
    }

    /// Copies from position `from` (or the oldest byte, if that is gone) into `to`; the number of bytes and the position after them.
    pub fn read(&mut self, from: u64, to: &mut [u8]) -> (usize, u64) {
        let mut at = from.clamp(self.start, self.end);
        let end = self.end;
        let buffer = self.buffer();
        let mask = buffer.len() as u64 - 1;
        let mut count = 0;
        for slot in to.iter_mut() {
            if at == end {
                break;
            }
            *slot = buffer[(at & mask) as usize];
            at += 1;
            count += 1;
        }
        (count, at)
    }

    pub(super) fn for_each(&mut self, mut f: impl FnMut(u8)) {
        let (mut at, mut byte) = (self.start, [0]);
        while let (1, next) = self.read(at, &mut byte) {
            f(byte[0]);
            at = next;
        }
    }

    /// Moves to a larger buffer, whose length is a power of two.
    pub(super) fn replace(&mut self, storage: &'static mut [u8]) {
        let mut new = Self {
            storage: Some(storage),
            start: self.start,
            end: self.start,
        };
        self.for_each(|byte| new.push(&[byte]));
        *self = new;
    }
}
