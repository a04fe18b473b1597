//! Verbs that save domains and move them.
use super::Effect::Changes;
use super::{Command, Flag, long, on, short, val};
use crate::cmd;

/// The verbs.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "save",
        args: "[options] <Domain> <CheckpointFile> [<ConfigFile>]",
        help: "Save a domain state to restore later",
        min_args: 2,
        effect: Changes,
        flags: &[
            short('c', "Leave domain running after creating the snapshot."),
            short('p', "Leave domain paused after creating the snapshot."),
            short(
                'D',
                "Store the domain id in the configuration. (It gets a new one all the same.)",
            ),
        ],
        run: cmd::save,
    },
    Command {
        name: "restore",
        args: "[options] [<ConfigFile>] <CheckpointFile>",
        help: "Restore a domain from a saved state",
        min_args: 1,
        effect: Changes,
        flags: &[
            short('p', "Do not unpause domain after restoring it."),
            short(
                'e',
                "Do not wait in the background for the death of the domain.",
            ),
            short('F', "Stay in the foreground until the domain is gone."),
            short('c', "Connect to the console after the domain is restored."),
            short('d', "Print the configuration on standard error."),
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
        ],
        run: cmd::restore,
    },
    Command {
        name: "migrate",
        args: "[options] <Domain> <host>",
        help: "Migrate a domain to another host",
        min_args: 2,
        effect: Changes,
        flags: &[
            val(
                'C',
                None,
                "<config>",
                "Send <config> instead of config file from creation.",
            ),
            val(
                's',
                None,
                "<sshcommand>",
                "Use <sshcommand> instead of ssh. If empty, run <host> instead of ssh <host> xl migrate-receive [-d -e].",
            ),
            short(
                'e',
                "Do not wait in the background (on <host>) for the death of the domain.",
            ),
            short('F', "The same."),
            long(
                "debug",
                "Let <host> print the configuration on standard error.",
            ),
            short('p', "Do not unpause domain after migrating it."),
            short(
                'D',
                "Preserve the domain id. (It gets a new one all the same.)",
            ),
            on(
                'l',
                "live",
                "Migrate while the domain runs: it always does.",
            ),
        ],
        run: cmd::migrate,
    },
    Command {
        name: "migrate-receive",
        args: "- for internal use only",
        help: "Restore a domain from a saved state",
        min_args: 0,
        effect: Changes,
        flags: &[
            short(
                'e',
                "Do not wait in the background for the death of the domain.",
            ),
            short('F', "Stay in the foreground until the domain is gone."),
            short('d', "Print the configuration on standard error."),
            short('p', "Do not unpause the domain."),
            short('D', "Preserve the domain id."),
            short('r', "Remus, which is not here."),
            long("colo", "COLO, which is not here."),
            Flag {
                short: None,
                long: Some("coloft-script"),
                arg: Some("SCRIPT"),
                help: "A script of COLO's.",
            },
            long("userspace-colo-proxy", "A way of COLO's."),
        ],
        run: cmd::migrate_receive,
    },
    Command {
        name: "suspend",
        args: "<Domain>",
        help: "Suspend a domain to RAM",
        min_args: 1,
        effect: Changes,
        flags: &[],
        run: cmd::suspend,
    },
    Command {
        name: "resume",
        args: "<Domain>",
        help: "Resume a domain from RAM",
        min_args: 1,
        effect: Changes,
        flags: &[],
        run: cmd::resume,
    },
];
