//! Guest consoles: `xenconsoled` serves each domain's ring on a pty, [`client`] connects a user's terminal
//! to that pty.
//!
//! Pure: [`ring`] (the shared page), [`backlog`] (output nobody has read), [`budget`] (how much a domain may
//! print). I/O: [`console`] (one domain's ring and pty), [`log`] (files), [`platform`] (event channels,
//! mappings, who lives), [`daemon`] (the event loop).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod backlog;
pub mod budget;
pub mod client;
pub mod console;
pub mod daemon;
pub mod log;
pub mod platform;
pub mod ring;
