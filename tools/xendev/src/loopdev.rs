//! Loop devices (`linux/loop.h`): files as block devices. [`LoopDevice`] goes by itself with its last user.
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The device that hands out free ones.
pub const LOOP_CONTROL: &str = "/dev/loop-control";

const LOOP_CONFIGURE: u64 = 0x4c0a;
const LOOP_CTL_GET_FREE: u64 = 0x4c82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
/// How often a free device may be taken away by somebody else before we give up.
const ATTEMPTS: u32 = 32;

/// `struct loop_info64`, as far as it is used by name.
#[repr(C)]
struct Info64 {
    _numbers: [u64; 5],
    _number: u32,
    _crypt: [u32; 2],
    flags: u32,
    file_name: [u8; 64],
    _crypt_name: [u8; 64],
    _crypt_key: [u8; 32],
    _init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info64,
    _reserved: [u64; 8],
}
const _: () = assert!(size_of::<Info64>() == 232 && size_of::<Config>() == 304);

/// A loop device, held open. The kernel unbinds it from its file when the last who has it open closes it.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _file: File,
}

impl LoopDevice {
    /// Binds a free loop device to a file. `direct`: bypass the page cache where the file system can.
    pub fn bind(file: &Path, writable: bool, direct: bool) -> io::Result<LoopDevice> {
        let backing = OpenOptions::new().read(true).write(writable).open(file)?;
        let control = sys::open(LOOP_CONTROL, false)
            .map_err(|e| io::Error::new(e.kind(), format!("{LOOP_CONTROL}: {e}")))?;
        for _ in 0..ATTEMPTS {
            // SAFETY: the request reads no argument.
            let n = unsafe { sys::ioctl(&control, LOOP_CTL_GET_FREE, &mut 0u64)? };
            let path = PathBuf::from(format!("/dev/loop{n}"));
            let device = OpenOptions::new().read(true).write(writable).open(&path)?;
            match configure(&device, &backing, file, writable, direct) {
                Ok(()) => {
                    return Ok(LoopDevice {
                        path,
                        _file: device,
                    });
                }
                // Somebody else was faster.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
                Err(_) if direct => return LoopDevice::bind(file, writable, false),
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Its file in `/dev`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(
    device: &File,
    backing: &File,
    name: &Path,
    writable: bool,
    direct: bool,
) -> io::Result<()> {
    let mut file_name = [0; 64];
    // For listings only; the last byte stays zero.
    let shown = name.as_os_str().as_encoded_bytes();
    let len = shown.len().min(63);
    file_name[..len].copy_from_slice(&shown[..len]);
    let flag = |on: bool, bit: u32| if on { bit } else { 0 };
    let mut config = Config {
        fd: backing.as_raw_fd() as u32,
        block_size: 0,
        info: Info64 {
            _numbers: [0; 5],
            _number: 0,
            _crypt: [0; 2],
            flags: LO_FLAGS_AUTOCLEAR
                | flag(!writable, LO_FLAGS_READ_ONLY)
                | flag(direct, LO_FLAGS_DIRECT_IO),
            file_name,
            _crypt_name: [0; 64],
            _crypt_key: [0; 32],
            _init: [0; 2],
        },
        _reserved: [0; 8],
    };
    // SAFETY: the record is what the request expects, and holds a descriptor and no address.
    unsafe { sys::ioctl(device, LOOP_CONFIGURE, &mut config).map(drop) }
}
