//! Guest consoles: `xenconsoled` serves each domain's ring on a pty, [`client`] connects a user's
//! terminal to that pty.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod client;
