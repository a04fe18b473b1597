//! Man pages (xl(1), xl.cfg(5)) and bash completion, written from [`crate::table`] and libxl's table of keys.
use crate::table::{Command, Effect, Flag, GLOBAL_OPTIONS, commands};
use libxl::cfg::keys::{KEYS, Key, Status, Type};

/// Writes one of them.
pub type Writer = fn() -> String;

/// What can be printed: its name for `xl docs`, and its text.
pub const DOCS: &[(&str, Writer)] = &[("man", man), ("cfg", cfg), ("completion", completion)];

/// Text as troff takes it literally.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // A line must not begin as a request does.
    match text.strip_prefix(['.', '\'']) {
        Some(_) => format!("\\&{text}"),
        None => text,
    }
}

fn header(title: &str, section: u8, what: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".TH {} {section} \"\" \"Corten {version}\" \"Corten\"\n.SH NAME\n{} \\- {what}\n",
        title.to_uppercase(),
        escape(title)
    )
}

fn visible() -> impl Iterator<Item = &'static Command> {
    commands().filter(|c| !c.hidden())
}

/// Names of an option, as on a command line, with its value's name.
fn option_names(f: &Flag) -> String {
    let names = [
        f.short.map(|c| format!("-{c}")),
        f.long.map(|l| format!("--{l}")),
    ];
    let joined = |n: String| format!("\\fB{}\\fR", escape(&n));
    let names: Vec<String> = names.into_iter().flatten().map(joined).collect();
    let value = f.arg.map(|a| format!(" \\fI{}\\fR", escape(a)));
    names.join(", ") + &value.unwrap_or_default()
}

/// xl(1).
pub fn man() -> String {
    let mut out = header("xl", 1, "manage a Corten or Xen host and its domains");
    out += ".SH SYNOPSIS\n.B xl\n[\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]\n.SH DESCRIPTION\n\
            A \\fIDomain\\fR is named by its name or its number. Memory sizes are in MiB unless they end in b, k, m, g or t.\n\
            Commands can be shortened as far as they stay unambiguous. They succeed with status 0; a command line that\n\
            cannot be understood gives 2, and any other failure 1, with a message on standard error. create gives 1 for a\n\
            configuration that cannot be used, 2 for two files, 6 for none, and 3 for what fails later.\n.SH OPTIONS\n";
    for (name, help) in GLOBAL_OPTIONS {
        out += &format!(".TP\n\\fB{}\\fR\n{}\n", escape(name), escape(help));
    }
    out += ".SH COMMANDS\n";
    for c in visible() {
        out += &format!(
            ".SS \"{} {}\"\n{}.\n",
            escape(c.name),
            escape(c.args),
            escape(c.help)
        );
        if c.effect == Effect::Rehearses {
            out += "With \\fB\\-N\\fR, only say what would be done.\n";
        }
        for f in c.flags {
            out += &format!(".TP\n{}\n{}\n", option_names(f), escape(f.help));
        }
    }
    out + ".SH FILES\n.TP\n/etc/xen/xl.conf\nSettings of xl itself.\n.TP\n/etc/xen/*.cfg\nDomains; see\n.BR xl.cfg (5).\n\
           .TP\n/var/log/xen/xl\\-\\fINAME\\fR.log\nWhat became of the domain \\fINAME\\fR.\n\
           .SH SEE ALSO\n.BR xl.cfg (5)\n"
}

fn type_text(ty: Type) -> &'static str {
    match ty {
        Type::Str => "\"STRING\"",
        Type::Int => "NUMBER",
        Type::Bool => "BOOLEAN",
        Type::StrOrInt => "\"STRING\" or NUMBER",
        Type::StrList => "[ \"STRING\", ... ]",
        Type::IntList => "[ NUMBER, ... ]",
        Type::StrOrList => "\"STRING\" or [ \"STRING\", ... ]",
        Type::BoolOrList => "BOOLEAN or [ \"STRING\", ... ]",
        Type::List => "[ ... ]",
    }
}

/// xl.cfg(5).
pub fn cfg() -> String {
    let mut out = header("xl.cfg", 5, "configuration of a domain");
    out += ".SH DESCRIPTION\nSettings are written \\fIkey\\fR = \\fIvalue\\fR, one on a line or separated by semicolons.\n\
            A value is a number, a string in single or double quotes, or a list in square brackets; += adds to the value\n\
            that is there. # starts a comment. A key that is not known is reported and ignored.\n.SH EXAMPLE\n.nf\n\
            name = \"guest\"\nmemory = 512\nvcpus = 2\nkernel = \"/boot/vmlinuz\"\nramdisk = \"/boot/initrd.img\"\n\
            root = \"/dev/xvda1 ro\"\ndisk = [ \"phy:/dev/vg0/guest,xvda,w\" ]\nvif = [ \"bridge=xenbr0\" ]\n.fi\n.SH KEYS\n";
    let entry = |k: &Key| {
        format!(
            ".TP\n\\fB{}\\fR = {}\n{}\n",
            escape(k.name),
            escape(type_text(k.ty)),
            escape(k.doc)
        )
    };
    KEYS.iter()
        .filter(|k| k.status == Status::Used)
        .for_each(|k| out += &entry(k));
    out += ".SH KEYS WITHOUT EFFECT YET\nThese are checked, and a warning says so.\n";
    KEYS.iter()
        .filter(|k| k.status == Status::Later)
        .for_each(|k| out += &entry(k));
    out += ".SH KEYS OF HVM GUESTS\nThere are no such guests yet. These are checked, and a warning says that they have no effect.\n";
    KEYS.iter()
        .filter(|k| k.status == Status::Hvm)
        .for_each(|k| out += &entry(k));
    out += ".SH KEYS OF DEVICES THAT CANNOT BE PASSED THROUGH YET\nNo guest is started without them: take the key out for that.\n";
    KEYS.iter()
        .filter(|k| k.status == Status::Absent)
        .for_each(|k| out += &entry(k));
    out += ".SH KEYS THAT ARE NOT USED ANY MORE\n";
    KEYS.iter()
        .filter(|k| k.status == Status::Never)
        .for_each(|k| out += &entry(k));
    out + ".SH SEE ALSO\n.BR xl (1)\n"
}

/// Completion for bash: verbs, their options, then names of domains or files.
pub fn completion() -> String {
    let names: Vec<&str> = visible().map(|c| c.name).collect();
    let mut out = format!(
        "# bash completion for xl and xm; made by \"xl docs completion\"\n\
         _xl()\n{{\n    local cur=${{COMP_WORDS[COMP_CWORD]}} verb= w opts= names=\n    COMPREPLY=()\n    \
         for w in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n        [[ $w == -* ]] || {{ verb=$w; break; }}\n    done\n    \
         case $verb in\n    '') COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return ;;\n",
        names.join(" ")
    );
    for c in visible().filter(|c| !c.flags.is_empty()) {
        let long = |f: &Flag| f.long.map(|l| format!("--{l}"));
        let options: Vec<String> = c
            .flags
            .iter()
            .flat_map(|f| [f.short.map(|s| format!("-{s}")), long(f)])
            .flatten()
            .collect();
        out += &format!("    {}) opts='{}' ;;\n", c.name, options.join(" "));
    }
    let of_domains: Vec<&str> = visible()
        .filter(|c| c.args.contains("Domain"))
        .map(|c| c.name)
        .collect();
    out += &format!(
        "    esac\n    if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$opts\" -- \"$cur\")); return; fi\n    \
         case $verb in\n    create|config-update) COMPREPLY=($(compgen -f -- \"$cur\") $(compgen -f -- \"/etc/xen/$cur\")) ;;\n    \
         help) COMPREPLY=($(compgen -W '{}' -- \"$cur\")) ;;\n    \
         {})\n        names=$(xl list 2>/dev/null | awk 'NR > 1 {{ print $1 }}')\n        \
         COMPREPLY=($(compgen -W \"$names\" -- \"$cur\")) ;;\n    \
         esac\n}}\ncomplete -o default -F _xl xl xm\n",
        names.join(" "),
        of_domains.join("|")
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_and_key_is_documented() {
        let (man, cfg, completion) = (man(), cfg(), completion());
        for c in visible() {
            assert!(
                man.contains(&format!(".SS \"{} ", escape(c.name))),
                "{}",
                c.name
            );
            assert!(completion.contains(c.name), "{}", c.name);
        }
        for k in KEYS {
            assert!(
                cfg.contains(&format!("\\fB{}\\fR", escape(k.name))),
                "{}",
                k.name
            );
        }
        assert!(!man.contains("supervise") && !completion.contains("supervise"));
    }

    #[test]
    fn troff_takes_text_literally() {
        assert_eq!(escape(".x -a\\b"), "\\&.x \\-a\\eb");
    }

    #[test]
    fn bash_understands_the_completion() {
        let script =
            completion() + "COMP_WORDS=(xl crea); COMP_CWORD=1; _xl; echo \"${COMPREPLY[@]}\"\n";
        let Ok(out) = std::process::Command::new("bash")
            .args(["-c", &script])
            .output()
        else {
            return;
        };
        assert_eq!(
            String::from_utf8_lossy(&out.stdout).trim(),
            "create",
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
