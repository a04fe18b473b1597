//! Thin wrappers over the system calls that the device files need.
use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Opens a device file for reading and writing, not inherited across exec.
pub fn open(path: &str, nonblock: bool) -> io::Result<File> {
    let flags = if nonblock { libc::O_NONBLOCK } else { 0 };
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags | libc::O_CLOEXEC)
        .open(path)
}

/// Number of an ioctl without direction bits, as all Xen device files use: `_IOC(_IOC_NONE, kind, nr, size)`.
pub const fn ioc(kind: u8, nr: u64, size: usize) -> u64 {
    ((size as u64) << 16) | ((kind as u64) << 8) | nr
}

/// Issues an ioctl whose argument is the record `arg`, and returns the kernel's whole result.
///
/// # Safety
/// `arg` must have the type that request `nr` of this device expects, and every address inside it must stay valid
/// for the access that the request makes there.
pub unsafe fn ioctl<T>(file: &File, nr: u64, arg: &mut T) -> io::Result<i64> {
    let ptr: *mut T = arg;
    // The raw system call rather than libc's wrapper: that one cuts the result to an int.
    // SAFETY: the caller vouches for the record; the descriptor is open for as long as `file` is borrowed.
    let r = unsafe { libc::syscall(libc::SYS_ioctl, file.as_raw_fd(), nr, ptr) };
    if r < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(r)
    }
}

/// A private owner of an `mmap`ed range.
pub struct Map {
    pub ptr: *mut u8,
    pub len: usize,
}

// SAFETY: the range is owned by the value; accesses through it are raw copies that tolerate concurrent writers.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes of `file` at `offset`, or anonymous memory without a file.
    pub fn new(file: Option<&File>, len: usize, write: bool, offset: u64) -> io::Result<Map> {
        let prot = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        let (fd, flags): (RawFd, i32) = match file {
            Some(f) => (f.as_raw_fd(), libc::MAP_SHARED),
            None => (-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
        };
        let offset = libc::off_t::try_from(offset)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: a fresh range of the kernel's choice; nothing existing is replaced.
        let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, offset) };
        if p == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Map { ptr: p.cast(), len })
    }

    /// Pins the pages and keeps them out of child processes (where copy-on-write would move ours).
    pub fn lock(&self) -> io::Result<()> {
        let p: *mut c_void = self.ptr.cast();
        // SAFETY: the range is ours; neither call touches its contents.
        let r =
            unsafe { libc::madvise(p, self.len, libc::MADV_DONTFORK) | libc::mlock(p, self.len) };
        if r != 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and nobody borrows from it: accesses are copies.
        unsafe { libc::munmap(self.ptr.cast(), self.len) };
    }
}
