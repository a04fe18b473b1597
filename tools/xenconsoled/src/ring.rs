//! [`Ring`]: a console's shared page (`struct xencons_interface`, `public/io/console.h`). Indices are what
//! the domain says they are, and are checked at every use.
use xendev::SharedMem;

/// Bytes in the ring towards the domain; it lies at offset 0.
const IN_SIZE: usize = 1024;
/// Bytes in the ring from the domain, and where it lies.
const OUT_SIZE: usize = 2048;
const OUT: usize = 1024;
/// Offsets of the indices, all u32.
const IN_CONS: usize = 3072;
const IN_PROD: usize = 3076;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;

/// The domain broke the rules of the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadIndex;

/// A mapped console page.
pub struct Ring {
    page: Box<dyn SharedMem>,
}

impl Ring {
    /// Take over a mapped page.
    pub fn new(page: Box<dyn SharedMem>) -> Ring {
        Ring { page }
    }

    /// Take what the domain printed; 0 if there is nothing.
    pub fn take(&self, out: &mut [u8]) -> Result<usize, BadIndex> {
        let (cons, prod) = (self.page.load_u32(OUT_CONS), self.page.load_u32(OUT_PROD));
        let n = filled(cons, prod, OUT_SIZE)?.min(out.len());
        let start = cons as usize % OUT_SIZE;
        let first = n.min(OUT_SIZE - start);
        self.page.read(OUT + start, &mut out[..first]);
        self.page.read(OUT, &mut out[first..n]);
        self.page.store_u32(OUT_CONS, cons.wrapping_add(n as u32));
        Ok(n)
    }

    /// Has the domain printed anything that was not taken?
    pub fn has_output(&self) -> bool {
        self.page.load_u32(OUT_CONS) != self.page.load_u32(OUT_PROD)
    }

    /// Bytes of input there is room for.
    pub fn room(&self) -> Result<usize, BadIndex> {
        let (cons, prod) = (self.page.load_u32(IN_CONS), self.page.load_u32(IN_PROD));
        filled(cons, prod, IN_SIZE).map(|n| IN_SIZE - n)
    }

    /// Put input; returns how many bytes there was room for.
    pub fn put(&self, data: &[u8]) -> Result<usize, BadIndex> {
        let n = self.room()?.min(data.len());
        let prod = self.page.load_u32(IN_PROD);
        let start = prod as usize % IN_SIZE;
        let first = n.min(IN_SIZE - start);
        self.page.write(start, &data[..first]);
        self.page.write(0, &data[first..n]);
        self.page.store_u32(IN_PROD, prod.wrapping_add(n as u32));
        Ok(n)
    }
}

fn filled(cons: u32, prod: u32, size: usize) -> Result<usize, BadIndex> {
    let n = prod.wrapping_sub(cons) as usize;
    if n > size { Err(BadIndex) } else { Ok(n) }
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
    fn output_wraps_around_the_page_and_the_counter() {
        let (r, mem) = ring();
        let start = u32::MAX - 2;
        mem.store_u32(OUT_CONS, start);
        for (i, b) in b"hello!".iter().enumerate() {
            mem.write(
                OUT + start.wrapping_add(i as u32) as usize % OUT_SIZE,
                &[*b],
            );
        }
        mem.store_u32(OUT_PROD, start.wrapping_add(6));
        assert!(r.has_output());
        let mut out = [0; 16];
        assert_eq!(r.take(&mut out), Ok(6));
        assert_eq!(&out[..6], b"hello!");
        assert!(!r.has_output());
    }

    #[test]
    fn input_stops_when_the_ring_is_full() {
        let (r, mem) = ring();
        assert_eq!(r.put(&[1; 1000]), Ok(1000));
        assert_eq!(r.put(&[2; 1000]), Ok(24));
        mem.store_u32(IN_CONS, 1000);
        assert_eq!(r.room(), Ok(1000));
    }

    #[test]
    fn lying_indices_are_refused() {
        let (r, mem) = ring();
        mem.store_u32(OUT_PROD, 2049);
        assert_eq!(r.take(&mut [0; 8]), Err(BadIndex));
        mem.store_u32(IN_CONS, 1);
        assert_eq!(r.put(&[0; 8]), Err(BadIndex));
    }
}
