//! Options as GNU getopt reads them: short ones in clusters, long ones with `=`, before, between and after operands.
use crate::table::{Command, Flag};

/// What a command line came to.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Options in order, by their table entry's letter or (for those without one) long name.
    options: Vec<(&'static Flag, String)>,
    /// What is no option.
    pub operands: Vec<String>,
}

impl Parsed {
    /// Whether an option was given, by letter (`"c"`) or long name.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// How often an option was given.
    pub fn count(&self, name: &str) -> usize {
        self.options.iter().filter(|(f, _)| f.is(name)).count()
    }

    /// The last value given for an option.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .rev()
            .find(|(f, _)| f.is(name))
            .map(|(_, v)| v.as_str())
    }

    /// Operand number `n`; the table's minimum says which are there.
    pub fn operand(&self, n: usize) -> &str {
        self.operands.get(n).map_or("", String::as_str)
    }
}

/// Reads a command's arguments.
pub fn parse(command: &'static Command, args: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            parsed.operands.extend(args.by_ref().cloned());
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, inline) = long
                .split_once('=')
                .map_or((long, None), |(n, v)| (n, Some(v.to_string())));
            let flag = long_flag(command, name)?;
            let value = match (flag.arg, inline) {
                (Some(_), Some(v)) => v,
                (Some(_), None) => args
                    .next()
                    .cloned()
                    .ok_or_else(|| needs_value(command, &format!("--{name}")))?,
                (None, None) => String::new(),
                (None, Some(_)) => {
                    return Err(usage(command, &format!("option --{name} takes no value")));
                }
            };
            parsed.options.push((flag, value));
        } else if arg.len() > 1 && arg.starts_with('-') {
            short_cluster(command, &arg[1..], &mut args, &mut parsed)?;
        } else {
            parsed.operands.push(arg.clone());
        }
    }
    Ok(parsed)
}

/// What to say of operands that are missing, in xl's words.
pub fn too_few(command: &Command, parsed: &Parsed) -> Option<String> {
    let (n, s) = (
        command.min_args,
        if command.min_args > 1 { "s" } else { "" },
    );
    (parsed.operands.len() < n)
        .then(|| format!("'xl {}' requires at least {n} argument{s}.\n", command.name))
}

fn short_cluster<'a>(
    command: &'static Command,
    cluster: &str,
    args: &mut impl Iterator<Item = &'a String>,
    parsed: &mut Parsed,
) -> Result<(), String> {
    for (i, c) in cluster.char_indices() {
        let Some(flag) = command.flags.iter().find(|f| f.short == Some(c)) else {
            return Err(usage(command, &format!("option `{c}' not supported")));
        };
        if flag.arg.is_none() {
            parsed.options.push((flag, String::new()));
            continue;
        }
        let inline = &cluster[i + c.len_utf8()..];
        let value = if inline.is_empty() {
            args.next().cloned()
        } else {
            Some(inline.to_string())
        };
        let value = value.ok_or_else(|| needs_value(command, &format!("-{c}")))?;
        parsed.options.push((flag, value));
        break;
    }
    Ok(())
}

/// By its whole name, or by a beginning that fits one only.
fn long_flag(command: &'static Command, name: &str) -> Result<&'static Flag, String> {
    let longs = || {
        command
            .flags
            .iter()
            .filter(|f| f.long.is_some_and(|l| l.starts_with(name)))
    };
    if let Some(exact) = longs().find(|f| f.long == Some(name)) {
        return Ok(exact);
    }
    match longs().collect::<Vec<_>>()[..] {
        [one] => Ok(one),
        _ => Err(usage(command, &format!("option --{name} not supported"))),
    }
}

fn needs_value(command: &Command, option: &str) -> String {
    usage(command, &format!("option {option} needs a value"))
}

fn usage(command: &Command, what: &str) -> String {
    format!("xl {}: {what}; see xl help {}", command.name, command.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find;

    fn on(line: &str) -> Result<Parsed, String> {
        let mut words = line.split_whitespace().map(String::from);
        let command = find(&words.next().unwrap()).unwrap();
        parse(command, &words.collect::<Vec<_>>())
    }

    #[test]
    fn getopt_habits() {
        let p = on("create a.cfg -cp memory=5 --quiet -f other.cfg").unwrap();
        assert!(p.has("c") && p.has("p") && p.has("q") && !p.has("e"));
        assert_eq!(on("shutdown -wa --wait").unwrap().count("w"), 2);
        assert_eq!(p.value("f"), Some("other.cfg"));
        assert_eq!(p.operands, ["a.cfg", "memory=5"]);
        assert_eq!(
            on("console -n1 --type=pv guest").unwrap().value("t"),
            Some("pv")
        );
        assert_eq!(on("console -- -n").unwrap().operands, ["-n"]);
        assert!(on("list --ver").unwrap().has("v"));
    }

    #[test]
    fn mistakes_name_the_command() {
        let short = |verb: &str| too_few(find(verb).unwrap(), &on(verb).unwrap());
        let pause = short("pause").unwrap();
        assert_eq!(pause, "'xl pause' requires at least 1 argument.\n");
        assert!(short("rename").unwrap().contains("2 arguments") && short("list").is_none());
        assert_eq!(
            on("list -y").unwrap_err(),
            "xl list: option `y' not supported; see xl help list"
        );
        assert_eq!(
            on("console -n").unwrap_err(),
            "xl console: option -n needs a value; see xl help console"
        );
        assert!(
            on("list --verbose=1")
                .unwrap_err()
                .contains("takes no value")
        );
    }
}
