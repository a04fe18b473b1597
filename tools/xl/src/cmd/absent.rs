//! Verbs of xl that this release does not have: they say so, and what to do instead.
use crate::ctx::{Ctx, Failure, fail};
use crate::opts::Parsed;
use std::process::ExitCode;

type Outcome = Result<ExitCode, Failure>;

/// `vncviewer`.
pub fn no_display(_: &Ctx, _: &Parsed) -> Outcome {
    fail("this release gives guests no display; use xl console")
}

/// `pci-*`, `usb*`.
pub fn no_passthrough(_: &Ctx, _: &Parsed) -> Outcome {
    fail("this release does not pass devices through to guests")
}

/// The rest.
pub fn not_here(_: &Ctx, _: &Parsed) -> Outcome {
    fail("this release does not have this command")
}
