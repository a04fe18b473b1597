//! The request and response ring of split drivers (`io/ring.h`): a 64-byte header, then a power of two of entries.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Head of the shared page. Indices run freely; the entry is at the index modulo the ring's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Header {
    pub req_prod: u32,
    /// Wake the back end when `req_prod` reaches this.
    pub req_event: u32,
    pub rsp_prod: u32,
    /// Wake the front end when `rsp_prod` reaches this.
    pub rsp_event: u32,
    pub pvt: [u8; 4],
    pub _pad: [u8; 44],
}
const _: () = assert!(size_of::<Header>() == 64);

impl Header {
    /// A fresh ring.
    pub const INIT: Header = Header {
        req_prod: 0,
        req_event: 1,
        rsp_prod: 0,
        rsp_event: 1,
        pvt: [0; 4],
        _pad: [0; 44],
    };
}

/// Entries of `entry` bytes in a ring of `bytes`: the greatest power of two that fits, zero if none does.
pub const fn size(bytes: usize, entry: usize) -> usize {
    match bytes.checked_sub(size_of::<Header>()) {
        Some(room) if entry != 0 && room >= entry => 1 << (room / entry).ilog2(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_the_known_ones() {
        assert_eq!(size(4096, 112), 32); // blkif
        assert_eq!(size(4096, 12), 256); // netif transmit
        assert_eq!(size(4096, 8), 256); // netif receive
        assert_eq!(size(63, 8), 0);
        assert_eq!(size(4096, 0), 0);
    }
}
