//! Verbs about what domains have: vcpus, memory, shares of the CPUs.
use super::{Command, on};
use crate::cmd;

/// The verbs.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "vcpu-list",
        args: "[Domain, ...]",
        help: "List the VCPUs for all/some domains",
        min_args: 0,
        flags: &[],
        run: cmd::vcpu_list,
    },
    Command {
        name: "vcpu-set",
        args: "[option] <Domain> <vCPUs>",
        help: "Set the number of active VCPUs allowed for the domain",
        min_args: 2,
        flags: &[on(
            'i',
            "ignore-host",
            "Don't limit the number of vcpus to the host's CPUs.",
        )],
        run: cmd::vcpu_set,
    },
    Command {
        name: "mem-max",
        args: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
        help: "Set the maximum amount reservation for a domain",
        min_args: 2,
        flags: &[],
        run: cmd::mem_max,
    },
    Command {
        name: "mem-set",
        args: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
        help: "Set the current memory usage for a domain",
        min_args: 2,
        flags: &[],
        run: cmd::mem_set,
    },
];
