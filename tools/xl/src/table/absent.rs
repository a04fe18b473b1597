//! Verbs of xl that this release does not have. They are known, so that they are not mistaken for typing errors.
use super::{Command, Effect};
use crate::cmd;
use crate::ctx::{Ctx, Failure};
use crate::opts::Parsed;
use std::process::ExitCode;

const fn absent(
    name: &'static str,
    run: fn(&Ctx, &Parsed) -> Result<ExitCode, Failure>,
) -> Command {
    Command {
        name,
        args: "",
        help: "",
        min_args: 0,
        // Nothing is done with or without -N, and why is the better answer.
        effect: Effect::Rehearses,
        flags: &[],
        run,
    }
}

/// The verbs.
pub const COMMANDS: &[Command] = &[
    absent("remus", cmd::not_here),
    absent("vncviewer", cmd::no_display),
    absent("vkb-attach", cmd::no_display),
    absent("vkb-list", cmd::no_display),
    absent("vkb-detach", cmd::no_display),
    absent("pci-attach", cmd::no_passthrough),
    absent("pci-detach", cmd::no_passthrough),
    absent("pci-list", cmd::no_passthrough),
    absent("pci-assignable-add", cmd::no_passthrough),
    absent("pci-assignable-remove", cmd::no_passthrough),
    absent("pci-assignable-list", cmd::no_passthrough),
    absent("usbctrl-attach", cmd::no_passthrough),
    absent("usbctrl-detach", cmd::no_passthrough),
    absent("usbdev-attach", cmd::no_passthrough),
    absent("usbdev-detach", cmd::no_passthrough),
    absent("usb-list", cmd::no_passthrough),
    absent("devd", cmd::not_here),
    absent("qemu-monitor-command", cmd::not_here),
    absent("sched-rtds", cmd::not_here),
];
