//! THE COMMAND TABLE: every verb with its arguments, options, help and function. All help is made from it.
use crate::cmd;
use crate::ctx::{Ctx, Failure};
use crate::opts::Parsed;
use libxl::cfg::keys::nearest;
use std::process::ExitCode;

/// An option of a command.
#[derive(Debug)]
pub struct Flag {
    /// Its letter.
    pub short: Option<char>,
    /// Its name.
    pub long: Option<&'static str>,
    /// Its value's name in the help; `None` for a switch.
    pub arg: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
}

impl Flag {
    /// Whether `name` is its letter or its long name.
    pub fn is(&self, name: &str) -> bool {
        self.long == Some(name) || self.short.is_some_and(|c| name.chars().eq([c]))
    }
}

/// A verb.
#[derive(Debug)]
pub struct Command {
    /// The word.
    pub name: &'static str,
    /// Operands, for the help.
    pub args: &'static str,
    /// What it does, one line. Empty for commands that are not for people.
    pub help: &'static str,
    /// Operands it cannot do without.
    pub min_args: usize,
    /// Its options.
    pub flags: &'static [Flag],
    /// Does it.
    pub run: fn(&Ctx, &Parsed) -> Result<ExitCode, Failure>,
}

impl Command {
    /// Whether it is left out of the help.
    pub fn hidden(&self) -> bool {
        self.help.is_empty()
    }
}

const fn on(short: char, long: &'static str, help: &'static str) -> Flag {
    Flag {
        short: Some(short),
        long: Some(long),
        arg: None,
        help,
    }
}

const fn short(short: char, help: &'static str) -> Flag {
    Flag {
        short: Some(short),
        long: None,
        arg: None,
        help,
    }
}

const fn long(long: &'static str, help: &'static str) -> Flag {
    Flag {
        short: None,
        long: Some(long),
        arg: None,
        help,
    }
}

const fn val(
    short: char,
    long: Option<&'static str>,
    arg: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        short: Some(short),
        long,
        arg: Some(arg),
        help,
    }
}

const WAIT: Flag = on('w', "wait", "Wait for the guests to complete it.");
const ALL: Flag = on('a', "all", "All guests.");
const FALLBACK: Flag = short(
    'F',
    "Fall back to an ACPI event for guests without PV drivers.",
);

/// Every verb, in the order of the help.
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
    Command {
        name: "vm-list",
        args: "",
        help: "List guest domains, excluding dom0, stubdoms, etc.",
        min_args: 0,
        flags: &[],
        run: cmd::vm_list,
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

/// Looks a verb up, by its whole name or by a beginning that fits one only.
pub fn find(verb: &str) -> Result<&'static Command, String> {
    if let Some(c) = COMMANDS.iter().find(|c| c.name == verb) {
        return Ok(c);
    }
    let visible = || COMMANDS.iter().filter(|c| !c.hidden());
    let fitting: Vec<_> = visible().filter(|c| c.name.starts_with(verb)).collect();
    if let ([one], false) = (&fitting[..], verb.is_empty()) {
        return Ok(one);
    }
    let hint = nearest(verb, visible().map(|c| c.name));
    let hint = hint.map_or("see xl help".into(), |n| format!("did you mean \"{n}\"?"));
    Err(format!("xl: there is no command \"{verb}\" ({hint})"))
}

/// The list of commands.
pub fn overview(program: &str) -> String {
    let mut text = format!(
        "Usage {program} [-vfNtT] <subcommand> [args]\n\n{program} full list of subcommands:\n\n"
    );
    for c in COMMANDS.iter().filter(|c| !c.hidden()) {
        text.push_str(&format!(" {:<19} {}\n", c.name, c.help));
    }
    text
}

/// Help for one command.
pub fn command_help(program: &str, c: &Command) -> String {
    let mut text = format!(
        "Usage: {program} [-vfNtT] {} {}\n\n{}.\n\n",
        c.name, c.args, c.help
    );
    if !c.flags.is_empty() {
        text.push_str("Options:\n\n");
    }
    for f in c.flags {
        let short = f.short.map(|s| format!("-{s}"));
        let long = f.long.map(|l| format!("--{l}"));
        let names: Vec<String> = short.into_iter().chain(long).collect();
        let names = names.join(", ") + &f.arg.map(|a| format!("={a}")).unwrap_or_default();
        text.push_str(&format!("{names:<30} {}\n", f.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for (i, c) in COMMANDS.iter().enumerate() {
            assert!(
                COMMANDS[i + 1..].iter().all(|o| o.name != c.name),
                "{} twice",
                c.name
            );
            for (j, f) in c.flags.iter().enumerate() {
                assert!(f.short.is_some() || f.long.is_some());
                assert!(
                    f.short.is_none() || c.flags[j + 1..].iter().all(|o| o.short != f.short),
                    "{} -{:?}",
                    c.name,
                    f.short
                );
            }
        }
        let wanted = "create list info console destroy shutdown reboot pause unpause dmesg domid domname rename uptime \
                      vcpu-list debug-keys mem-set mem-max vcpu-set vm-list help";
        for verb in wanted.split_whitespace() {
            assert_eq!(find(verb).unwrap().name, verb);
        }
    }

    #[test]
    fn help_is_made_from_the_table() {
        let all = overview("xl");
        assert!(
            all.contains("\n list                List information about all/some domains\n"),
            "{all}"
        );
        assert!(!all.contains("supervise"));
        let one = command_help("xl", find("dmesg").unwrap());
        assert_eq!(
            one,
            "Usage: xl [-vfNtT] dmesg [-c]\n\nRead and/or clear dmesg buffer.\n\nOptions:\n\n\
             -c, --clear                    Clear dmesg buffer as well as printing it.\n"
        );
    }

    #[test]
    fn unknown_verbs_get_a_suggestion() {
        assert_eq!(
            find("craete").unwrap_err(),
            "xl: there is no command \"craete\" (did you mean \"create\"?)"
        );
        assert_eq!(find("unp").unwrap().name, "unpause");
        assert!(find("xyzzy").unwrap_err().ends_with("(see xl help)"));
    }
}
