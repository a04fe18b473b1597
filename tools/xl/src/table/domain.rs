//! Verbs about domains as a whole.
use super::{Command, Flag, long, on, short, val};
use crate::cmd;

const WAIT: Flag = on('w', "wait", "Wait for the guests to complete it.");
const ALL: Flag = on('a', "all", "All guests.");
const FALLBACK: Flag = short(
    'F',
    "Fall back to an ACPI event for guests without PV drivers.",
);

/// The verbs.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        args: "[<ConfigFile>] [<key>=<value>...]",
        help: "Create a domain from a configuration file",
        min_args: 0,
        flags: &[
            on('p', "pause", "Leave the domain paused after it is created."),
            on(
                'c',
                "console",
                "Connect to the console after the domain is created.",
            ),
            val(
                'f',
                Some("defconfig"),
                "FILE",
                "Use this configuration file.",
            ),
            on('n', "dryrun", "Dry run: print the resulting configuration."),
            on('d', "debug", "More information."),
            on('q', "quiet", "Quiet."),
            short('F', "Stay in the foreground until the domain is gone."),
            short('e', "Do not wait in the background for the domain's end."),
            on(
                'V',
                "vncviewer",
                "Connect to the VNC display (not for PV guests).",
            ),
            on(
                'A',
                "vncviewer-autopass",
                "Pass the VNC password on (not for PV guests).",
            ),
            long(
                "ignore-global-affinity-masks",
                "Ignore global affinity masks.",
            ),
        ],
        run: cmd::create,
    },
    Command {
        name: "list",
        args: "[Domain]",
        help: "List information about all/some domains",
        min_args: 0,
        flags: &[
            on('l', "long", "Output all details, as JSON."),
            on(
                'v',
                "verbose",
                "Print UUIDs, shutdown reasons and security labels.",
            ),
            on('Z', "context", "Print security labels."),
            on('c', "cpupool", "Print the CPU pools."),
            on('n', "numa", "Print the NUMA node affinities."),
        ],
        run: cmd::list,
    },
    Command {
        name: "destroy",
        args: "[-f] <Domain>",
        help: "Terminate a domain immediately",
        min_args: 1,
        flags: &[short(
            'f',
            "Permit destroying domain 0, which only succeeds when it is not the control domain.",
        )],
        run: cmd::destroy,
    },
    Command {
        name: "shutdown",
        args: "[-wF] [-a | <Domain>...]",
        help: "Issue a shutdown signal to a domain",
        min_args: 0,
        flags: &[ALL, WAIT, FALLBACK],
        run: cmd::shutdown,
    },
    Command {
        name: "reboot",
        args: "[-wF] [-a | <Domain>...]",
        help: "Issue a reboot signal to a domain",
        min_args: 0,
        flags: &[ALL, WAIT, FALLBACK],
        run: cmd::reboot,
    },
    Command {
        name: "pause",
        args: "<Domain>...",
        help: "Pause execution of a domain",
        min_args: 1,
        flags: &[],
        run: cmd::pause,
    },
    Command {
        name: "unpause",
        args: "<Domain>...",
        help: "Unpause a paused domain",
        min_args: 1,
        flags: &[],
        run: cmd::unpause,
    },
    Command {
        name: "console",
        args: "<Domain>",
        help: "Attach to domain's console",
        min_args: 1,
        flags: &[
            val('t', Some("type"), "TYPE", "Console type: pv or serial."),
            val('n', Some("num"), "NUM", "Console number."),
            val(
                'e',
                Some("escape"),
                "CHAR",
                "Key that leaves the console: a character, or ^ and a letter; ^] if absent.",
            ),
            long("start-notify-fd", "Accepted for compatibility."),
        ],
        run: cmd::console,
    },
    Command {
        name: "domid",
        args: "<DomainName>",
        help: "Convert a domain name to domain id",
        min_args: 1,
        flags: &[],
        run: cmd::domid,
    },
    Command {
        name: "domname",
        args: "<DomainId>",
        help: "Convert a domain id to domain name",
        min_args: 1,
        flags: &[],
        run: cmd::domname,
    },
    Command {
        name: "rename",
        args: "<Domain> <NewDomainName>",
        help: "Rename a domain",
        min_args: 2,
        flags: &[],
        run: cmd::rename,
    },
    Command {
        name: "uptime",
        args: "[-s] [Domain...]",
        help: "Print uptime for all/some domains",
        min_args: 0,
        flags: &[on(
            's',
            "short",
            "One line for each, like the host's uptime command.",
        )],
        run: cmd::uptime,
    },
    Command {
        name: "vm-list",
        args: "",
        help: "List guest domains, excluding dom0, stubdoms, etc.",
        min_args: 0,
        flags: &[],
        run: cmd::vm_list,
    },
    Command {
        name: "sysrq",
        args: "<Domain> <letter>",
        help: "Send a sysrq to a domain",
        min_args: 2,
        flags: &[],
        run: cmd::sysrq,
    },
    Command {
        name: "trigger",
        args: "<Domain> <nmi|reset|init|power|sleep> [<VCPU>]",
        help: "Send a trigger to a domain",
        min_args: 2,
        flags: &[],
        run: cmd::trigger,
    },
    Command {
        name: "button-press",
        args: "<Domain> <power|sleep>",
        help: "Press a button of a domain (deprecated: use trigger)",
        min_args: 2,
        flags: &[],
        run: cmd::button_press,
    },
    Command {
        name: "config-update",
        args: "<Domain> [<ConfigFile>] [<key>=<value>...]",
        help: "Update a running domain's saved configuration, used when rebuilding the domain after reboot",
        min_args: 1,
        flags: &[
            val(
                'f',
                Some("defconfig"),
                "FILE",
                "Use this configuration file.",
            ),
            on('d', "debug", "Print the resulting configuration."),
        ],
        run: cmd::config_update,
    },
];
