//! Verbs about disks, interfaces and other devices of domains.
use super::Command;

/// The verbs.
pub const COMMANDS: &[Command] = &[];
