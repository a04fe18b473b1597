//! [`LoadError`]: why an image cannot be loaded, worded for the person who supplied it.
use crate::PayloadKind;
use alloc::string::String;
use core::fmt;

/// Why a kernel image or a layout was refused. `Display` is one line without a trailing full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// Neither ELF, nor bzImage, nor a compressed ELF.
    NotAKernel,
    /// The file ends before the thing named.
    Truncated {
        /// What was being read.
        what: &'static str,
        /// First byte offset that would be needed.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// A well-formed image of a kind that is not supported.
    Unsupported(&'static str),
    /// A field contradicts itself or another.
    Corrupt(&'static str),
    /// The compressed payload does not decompress.
    Decompress {
        /// Its format.
        kind: PayloadKind,
        /// What the decompressor said.
        why: String,
    },
    /// More output than the caller or the image's own header allows.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes, as far as known.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The allocator refused this many bytes.
    OutOfMemory(u64),
    /// The image carries no notes for Xen.
    NoXenNotes,
    /// The image has no entry point for PVH guests.
    NoPvhEntry,
    /// The kernel requires a feature that is not offered.
    RequiredFeature(String),
    /// The kernel has to lie where the machine has no free memory.
    Occupied {
        /// Its first byte.
        start: u64,
        /// Behind its last.
        end: u64,
    },
    /// The domain has too little memory for its own boot layout.
    TooFewPages {
        /// Pages the layout takes.
        need: u64,
        /// Pages the domain has.
        have: u64,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::NotAKernel => f.write_str("not a kernel: neither an ELF image nor a bzImage"),
            LoadError::Truncated { what, need, have } => {
                write!(f, "truncated image: {what} needs {need} bytes, the file has {have}")
            }
            LoadError::Unsupported(what) => write!(f, "unsupported image: {what}"),
            LoadError::Corrupt(what) => write!(f, "corrupt image: {what}"),
            LoadError::Decompress { kind, why } => write!(f, "cannot decompress the {kind} payload: {why}"),
            LoadError::TooLarge { what, size, limit } => {
                write!(f, "{what} takes {size} bytes, more than the limit of {limit}")
            }
            LoadError::OutOfMemory(n) => write!(f, "out of memory: cannot allocate {n} bytes"),
            LoadError::NoXenNotes => {
                f.write_str("the kernel has no Xen notes: it was built without support for running as a Xen PV guest")
            }
            LoadError::NoPvhEntry => f.write_str(
                "the kernel has no PVH entry point: it was built without support for running as a Xen PVH guest",
            ),
            LoadError::RequiredFeature(name) => {
                write!(f, "the kernel requires the feature \"{name}\", which is not offered")
            }
            LoadError::Occupied { start, end } => write!(
                f,
                "the kernel has to lie at {start:#x} to {end:#x}, where the machine has no free memory"
            ),
            LoadError::TooFewPages { need, have } => write!(
                f,
                "too little memory: kernel, initrd and tables take {} KiB, the domain has {} KiB",
                need.saturating_mul(4),
                have.saturating_mul(4)
            ),
        }
    }
}

impl core::error::Error for LoadError {}
