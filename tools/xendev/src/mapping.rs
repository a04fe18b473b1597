//! Memory mapped from a device file, behind the copying interface.
use crate::SharedMem;
use crate::sys::Map;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// A mapped range, with something that is to run when it goes (after the unmapping).
pub struct Mapped {
    map: Option<Map>,
    writable: bool,
    after: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Mapped {
    /// Wraps a range.
    pub fn new(map: Map, writable: bool) -> Self {
        Mapped {
            map: Some(map),
            writable,
            after: None,
        }
    }

    /// Runs `after` once the range has been unmapped.
    pub fn and_then(mut self, after: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.after = Some(Box::new(after));
        self
    }

    /// The range itself.
    pub fn raw(&self) -> &Map {
        self.map.as_ref().expect("present until drop")
    }

    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        let map = self.raw();
        let end = offset.checked_add(len).expect("offset overflows");
        assert!(
            end <= map.len,
            "access of {len} bytes at {offset} in a mapping of {}",
            map.len
        );
        // SAFETY: offset <= map.len, so the result stays within (or one past) the mapped range.
        unsafe { map.ptr.add(offset) }
    }
}

impl SharedMem for Mapped {
    fn addr(&self) -> u64 {
        self.at(0, 0) as u64
    }

    fn len(&self) -> usize {
        self.map.as_ref().map_or(0, |m| m.len)
    }

    fn read(&self, offset: usize, out: &mut [u8]) {
        let src = self.at(offset, out.len());
        // SAFETY: `at` checked the range; `out` is our own memory and cannot overlap a mapping that is never
        // borrowed. A concurrent writer outside this process may give a mix of old and new bytes, all valid `u8`s.
        unsafe { std::ptr::copy_nonoverlapping(src, out.as_mut_ptr(), out.len()) };
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    fn write(&self, offset: usize, data: &[u8]) {
        assert!(self.writable, "write to a read-only mapping");
        let dst = self.at(offset, data.len());
        std::sync::atomic::fence(Ordering::SeqCst);
        // SAFETY: `at` checked the range, the mapping is writable, and `data` cannot overlap it (see `read`).
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), dst, data.len()) };
    }

    fn read_from(&self, offset: usize, len: usize, file: &File, position: u64) -> io::Result<()> {
        assert!(self.writable, "write to a read-only mapping");
        self.at(offset, len);
        let mut done = 0;
        while done < len {
            let dst = self.at(offset + done, len - done);
            let at = i64::try_from(position + done as u64)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            // SAFETY: `at` checked the range, the mapping is writable; the kernel writes at most that many bytes there.
            let n = unsafe { libc::pread(file.as_raw_fd(), dst.cast(), len - done, at) };
            match n {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                1.. => done += n as usize,
                _ => {
                    let e = io::Error::last_os_error();
                    if e.kind() != io::ErrorKind::Interrupted {
                        return Err(e);
                    }
                }
            }
        }
        Ok(())
    }

    fn load_u32(&self, offset: usize) -> u32 {
        let p = self.at(offset, 4).cast::<u32>();
        assert!(p.is_aligned(), "unaligned load at {offset}");
        // SAFETY: in range, aligned, and only accessed by atomics and raw copies while the mapping lives.
        unsafe { AtomicU32::from_ptr(p) }.load(Ordering::SeqCst)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        assert!(self.writable, "store to a read-only mapping");
        let p = self.at(offset, 4).cast::<u32>();
        assert!(p.is_aligned(), "unaligned store at {offset}");
        // SAFETY: as in `load_u32`, and writable.
        unsafe { AtomicU32::from_ptr(p) }.store(value, Ordering::SeqCst)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.map = None;
        if let Some(f) = self.after.take() {
            f();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharedMemExt;

    #[test]
    fn anonymous_mapping_behaves_like_memory() {
        let m = Mapped::new(Map::new(None, 8192, true, 0).unwrap(), true);
        m.write_slice(4090, &[1u8, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(m.read_vec::<u8>(4092, 4), [3, 4, 5, 6]);
        m.store_u32(8188, 0xdead_beef);
        assert_eq!(m.load_u32(8188), 0xdead_beef);
    }

    #[test]
    fn a_file_is_read_into_the_mapping() {
        let m = Mapped::new(Map::new(None, 8192, true, 0).unwrap(), true);
        let path = std::env::temp_dir().join(format!("xendev-{}", std::process::id()));
        std::fs::write(&path, b"a file's own words").unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        m.read_from(4094, 6, &file, 2).unwrap();
        assert_eq!(m.read_vec::<u8>(4093, 8), *b"\0file's\0");
        let short = m.read_from(0, 100, &file, 0).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    #[should_panic(expected = "read-only")]
    fn read_only_mappings_refuse_writes() {
        Mapped::new(Map::new(None, 4096, false, 0).unwrap(), false).write(0, &[1]);
    }

    #[test]
    fn the_afterthought_runs_once_unmapped() {
        use std::sync::{Arc, atomic::AtomicBool};
        let done = Arc::new(AtomicBool::new(false));
        let flag = done.clone();
        drop(
            Mapped::new(Map::new(None, 4096, true, 0).unwrap(), true)
                .and_then(move || flag.store(true, Ordering::SeqCst)),
        );
        assert!(done.load(Ordering::SeqCst));
    }
}
