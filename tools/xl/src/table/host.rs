//! Verbs about the host, its CPU pools and its hypervisor; verbs that are not for people.
use super::{Command, on};
use crate::cmd;

/// The verbs.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "info",
        args: "[-n]",
        help: "Get information about Xen host",
        min_args: 0,
        flags: &[on('n', "numa", "List host NUMA topology information.")],
        run: cmd::info,
    },
    Command {
        name: "dmesg",
        args: "[-c]",
        help: "Read and/or clear dmesg buffer",
        min_args: 0,
        flags: &[on(
            'c',
            "clear",
            "Clear dmesg buffer as well as printing it.",
        )],
        run: cmd::dmesg,
    },
    Command {
        name: "debug-keys",
        args: "<Keys>",
        help: "Send debug keys to Xen",
        min_args: 1,
        flags: &[],
        run: cmd::debug_keys,
    },
    Command {
        name: "help",
        args: "[Command]",
        help: "Print help for all commands or one",
        min_args: 0,
        flags: &[],
        run: cmd::help,
    },
    Command {
        name: "docs",
        args: "man|cfg|completion",
        help: "",
        min_args: 1,
        flags: &[],
        run: cmd::docs,
    },
    Command {
        name: "init-dom0",
        args: "",
        help: "",
        min_args: 0,
        flags: &[],
        run: cmd::init_dom0,
    },
    Command {
        name: "supervise",
        args: "<Domain>",
        help: "",
        min_args: 1,
        flags: &[],
        run: cmd::supervise,
    },
];
