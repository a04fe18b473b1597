//! [`Ring`]: a domain's shared page as two byte streams. Indices are what the domain says they are: every
//! use checks them, and a lie ends the service of that domain only.
use xendev::SharedMem;
use xenstore::wire::ring as at;

/// The domain broke the rules of the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadIndex;

/// A mapped `xenstore_domain_interface`.
pub struct Ring {
    page: Box<dyn SharedMem>,
}

impl Ring {
    /// Take over a mapped page: announce features, and end a connection attempt that waits for us.
    pub fn new(page: Box<dyn SharedMem>) -> Ring {
        let ring = Ring { page };
        ring.page.store_u32(
            at::SERVER_FEATURES,
            at::FEATURE_RECONNECTION | at::FEATURE_ERROR,
        );
        ring.page.store_u32(at::ERROR, at::ERROR_NONE);
        ring.page.store_u32(at::CONNECTION, at::CONNECTED);
        ring
    }

    fn index(&self, field: usize) -> u32 {
        self.page.load_u32(field)
    }

    /// Take request bytes; 0 when there are none.
    pub fn read(&self, out: &mut [u8]) -> Result<usize, BadIndex> {
        let (cons, prod) = (self.index(at::REQ_CONS), self.index(at::REQ_PROD));
        let n = filled(cons, prod)?.min(out.len());
        let start = cons as usize % at::SIZE;
        let first = n.min(at::SIZE - start);
        self.page.read(at::REQ + start, &mut out[..first]);
        self.page.read(at::REQ, &mut out[first..n]);
        // At most SIZE, so the cast is exact.
        self.page
            .store_u32(at::REQ_CONS, cons.wrapping_add(n as u32));
        Ok(n)
    }

    /// Put response bytes; returns how many there was room for.
    pub fn write(&self, data: &[u8]) -> Result<usize, BadIndex> {
        let (cons, prod) = (self.index(at::RSP_CONS), self.index(at::RSP_PROD));
        let n = (at::SIZE - filled(cons, prod)?).min(data.len());
        let start = prod as usize % at::SIZE;
        let first = n.min(at::SIZE - start);
        self.page.write(at::RSP + start, &data[..first]);
        self.page.write(at::RSP, &data[first..n]);
        self.page
            .store_u32(at::RSP_PROD, prod.wrapping_add(n as u32));
        Ok(n)
    }

    /// Has the domain asked to start over?
    pub fn wants_reconnect(&self) -> bool {
        self.index(at::CONNECTION) == at::RECONNECT
    }

    /// Empty both rings and report the connection as made.
    pub fn reconnect(&self) {
        for field in [at::REQ_CONS, at::REQ_PROD, at::RSP_CONS, at::RSP_PROD] {
            self.page.store_u32(field, 0);
        }
        self.page.store_u32(at::ERROR, at::ERROR_NONE);
        self.page.store_u32(at::CONNECTION, at::CONNECTED);
    }

    /// Tell the domain why it is no longer served (`ERROR_*`).
    pub fn set_error(&self, error: u32) {
        self.page.store_u32(at::ERROR, error);
    }
}

fn filled(cons: u32, prod: u32) -> Result<usize, BadIndex> {
    let n = prod.wrapping_sub(cons) as usize;
    if n > at::SIZE { Err(BadIndex) } else { Ok(n) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use xendev::HeapMem;

    fn ring() -> (Ring, Arc<HeapMem>) {
        let mem = Arc::new(HeapMem::new(0, 4096));
        (Ring::new(Box::new(mem.clone())), mem)
    }

    #[test]
    fn bytes_wrap_around_both_the_page_and_the_counter() {
        let (r, mem) = ring();
        let start = u32::MAX - 4;
        for field in [at::REQ_CONS, at::RSP_CONS, at::RSP_PROD] {
            mem.store_u32(field, start);
        }
        let data: Vec<u8> = (0..10).collect();
        for (i, b) in data.iter().enumerate() {
            mem.write(
                at::REQ + start.wrapping_add(i as u32) as usize % at::SIZE,
                &[*b],
            );
        }
        mem.store_u32(at::REQ_PROD, start.wrapping_add(10));
        let mut out = [0; 32];
        assert_eq!(r.read(&mut out), Ok(10));
        assert_eq!(out[..10], data);
        assert_eq!(r.read(&mut out), Ok(0));
        assert_eq!(r.write(&[7; 2000]), Ok(1024));
        assert_eq!(r.write(&[7; 1]), Ok(0));
    }

    #[test]
    fn lying_indices_are_refused() {
        let (r, mem) = ring();
        mem.store_u32(at::REQ_PROD, 1025);
        assert_eq!(r.read(&mut [0; 8]), Err(BadIndex));
        mem.store_u32(at::RSP_CONS, 1);
        assert_eq!(r.write(&[0; 8]), Err(BadIndex));
    }
}
