//! THE COMMAND TABLE: every verb with its arguments, options, help and function, in a file for each family. Help, man
//! pages and completion are made from it.
mod absent;
mod device;
mod domain;
mod host;
mod moving;
mod resource;

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

/// What a verb does to the host, and with it what `-N` does to the verb.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It looks.
    Looks,
    /// It changes something.
    Changes,
    /// The same, but it can also say what it would do, and do nothing.
    Rehearses,
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
    /// What it does to the host.
    pub effect: Effect,
    /// Its options.
    pub flags: &'static [Flag],
    /// Does it.
    pub run: fn(&Ctx, &Parsed) -> Result<ExitCode, Failure>,
}

impl Command {
    /// The letters of the global options that mean something to it.
    fn global_letters(&self) -> &'static str {
        match self.effect {
            Effect::Looks => "vtT",
            Effect::Changes => "vtTf",
            Effect::Rehearses => "vtTfN",
        }
    }

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

/// Options before the verb.
pub const GLOBAL_OPTIONS: &[(&str, &str)] = &[
    ("-v", "Say more; repeat it for still more."),
    (
        "-N",
        "Dry run: say what would be done, and do nothing. Not every command can.",
    ),
    ("-f", "Force: go on where it would rather not."),
    (
        "-t",
        "Show progress on one line, also where there is no terminal.",
    ),
    ("-T", "Show the time and the process id with each message."),
];

/// Every verb, by family.
const FAMILIES: &[&[Command]] = &[
    domain::COMMANDS,
    moving::COMMANDS,
    resource::COMMANDS,
    device::COMMANDS,
    host::COMMANDS,
    absent::COMMANDS,
];

/// Every verb, in the order of the help.
pub fn commands() -> impl Iterator<Item = &'static Command> + Clone {
    FAMILIES.iter().copied().flatten()
}

/// Looks a verb up, by its whole name or by a beginning that fits one only.
pub fn find(verb: &str) -> Result<&'static Command, String> {
    if let Some(c) = commands().find(|c| c.name == verb) {
        return Ok(c);
    }
    let visible = || commands().filter(|c| !c.hidden());
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
    for c in commands().filter(|c| !c.hidden()) {
        text.push_str(&format!(" {:<19} {}\n", c.name, c.help));
    }
    text
}

/// Help for one command.
pub fn command_help(program: &str, c: &Command) -> String {
    let mut text = format!(
        "Usage: {program} [-{}] {} {}\n\n{}.\n\n",
        c.global_letters(),
        c.name,
        c.args,
        c.help
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
        for (i, c) in commands().enumerate() {
            assert!(
                commands().skip(i + 1).all(|o| o.name != c.name),
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
            "Usage: xl [-vtT] dmesg [-c]\n\nRead and/or clear dmesg buffer.\n\nOptions:\n\n\
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
