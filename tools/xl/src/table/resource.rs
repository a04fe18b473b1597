//! Verbs about what domains have: vcpus, memory, shares of the CPUs.
use super::Effect::{Changes, Looks, Rehearses};
use super::{Command, on, val};
use crate::cmd;

/// The verbs.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "vcpu-list",
        args: "[Domain, ...]",
        help: "List the VCPUs for all/some domains",
        min_args: 0,
        effect: Looks,
        flags: &[],
        run: cmd::vcpu_list,
    },
    Command {
        name: "vcpu-set",
        args: "[option] <Domain> <vCPUs>",
        help: "Set the number of active VCPUs allowed for the domain",
        min_args: 2,
        effect: Changes,
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
        effect: Changes,
        flags: &[],
        run: cmd::mem_max,
    },
    Command {
        name: "mem-set",
        args: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
        help: "Set the current memory usage for a domain",
        min_args: 2,
        effect: Changes,
        flags: &[],
        run: cmd::mem_set,
    },
    Command {
        name: "vcpu-pin",
        args: "[option] <Domain> <VCPU|all> <Hard affinity|-|all> [Soft affinity|-|all]",
        help: "Set which CPUs a VCPU can use",
        min_args: 3,
        effect: Rehearses,
        flags: &[
            on('f', "force", "Undo an override pinning done by the kernel."),
            on(
                'i',
                "ignore-global-affinity-masks",
                "Ignore global masks in xl.conf.",
            ),
        ],
        run: cmd::vcpu_pin,
    },
    Command {
        name: "sched-credit",
        args: "[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]] [-s [-t TSLICE] [-r RATELIMIT] [-m DELAY]] [-p CPUPOOL]",
        help: "Get/set credit scheduler parameters",
        min_args: 0,
        effect: Changes,
        flags: &[
            val('d', Some("domain"), "DOMAIN", "Domain to show or change."),
            val(
                'w',
                Some("weight"),
                "WEIGHT",
                "Weight, 1 to 65535; 256 is usual.",
            ),
            val(
                'c',
                Some("cap"),
                "CAP",
                "Cap in percent of one CPU; 0 is none.",
            ),
            on(
                's',
                "schedparam",
                "Show or change the scheduler's own parameters.",
            ),
            val(
                't',
                Some("tslice_ms"),
                "TSLICE",
                "Time slice in milliseconds.",
            ),
            val(
                'r',
                Some("ratelimit_us"),
                "RLIMIT",
                "Rate limit in microseconds; 0 is none.",
            ),
            val(
                'm',
                Some("migration_delay_us"),
                "DLY",
                "Microseconds that a vcpu stays where it ran last.",
            ),
            val(
                'p',
                Some("cpupool"),
                "CPUPOOL",
                "Restrict the output to this CPU pool.",
            ),
        ],
        run: cmd::sched_credit,
    },
    Command {
        name: "sched-credit2",
        args: "[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]] [-s [-r RATELIMIT]] [-p CPUPOOL]",
        help: "Get/set credit2 scheduler parameters",
        min_args: 0,
        effect: Changes,
        flags: &[
            val('d', Some("domain"), "DOMAIN", "Domain to show or change."),
            val(
                'w',
                Some("weight"),
                "WEIGHT",
                "Weight, 1 to 65535; 256 is usual.",
            ),
            val(
                'c',
                Some("cap"),
                "CAP",
                "Cap in percent of one CPU; 0 is none.",
            ),
            on(
                's',
                "schedparam",
                "Show or change the scheduler's own parameters.",
            ),
            val(
                'r',
                Some("ratelimit_us"),
                "RLIMIT",
                "Rate limit in microseconds; 0 is none.",
            ),
            val(
                'p',
                Some("cpupool"),
                "CPUPOOL",
                "Restrict the output to this CPU pool.",
            ),
        ],
        run: cmd::sched_credit2,
    },
    Command {
        name: "claims",
        args: "",
        help: "List outstanding claim information about all domains",
        min_args: 0,
        effect: Looks,
        flags: &[],
        run: cmd::claims,
    },
];
