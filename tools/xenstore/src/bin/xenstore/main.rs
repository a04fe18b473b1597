//! `xenstore VERB …`, and the same as `xenstore-VERB …`: the store from the command line.
#![forbid(unsafe_code)]

mod text;
mod verbs;

use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What the options said, for all verbs; each looks at its own.
#[derive(Default)]
struct Options {
    full_paths: bool,
    perms: bool,
    prefix: bool,
    raw: bool,
    tidy: bool,
    recursive: bool,
    upwards: bool,
    count: Option<u64>,
    timeout: Option<f64>,
    args: Vec<String>,
}

struct Verb {
    name: &'static str,
    usage: &'static str,
    /// Letters of its options; one followed by `:` takes a value.
    letters: &'static str,
    run: fn(&xenstore::Client, &Options) -> Result<ExitCode>,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "ls",
        usage: "[-f] [-p] [PATH…]",
        letters: "fp",
        run: verbs::ls,
    },
    Verb {
        name: "read",
        usage: "[-p] [-R] PATH…",
        letters: "pR",
        run: verbs::read,
    },
    Verb {
        name: "write",
        usage: "[-R] PATH VALUE [PATH VALUE…]",
        letters: "R",
        run: verbs::write,
    },
    Verb {
        name: "list",
        usage: "[-p] PATH…",
        letters: "p",
        run: verbs::list,
    },
    Verb {
        name: "exists",
        usage: "PATH…",
        letters: "",
        run: verbs::exists,
    },
    Verb {
        name: "rm",
        usage: "[-t] PATH…",
        letters: "t",
        run: verbs::rm,
    },
    Verb {
        name: "chmod",
        usage: "[-u] [-r] PATH PERM…",
        letters: "ur",
        run: verbs::chmod,
    },
    Verb {
        name: "watch",
        usage: "[-n COUNT] [-T SECONDS] PATH…",
        letters: "n:T:",
        run: verbs::watch,
    },
    Verb {
        name: "control",
        usage: "COMMAND [ARG…]",
        letters: "",
        run: verbs::control,
    },
];

fn main() -> ExitCode {
    let mut args = std::env::args();
    let program = args.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_string();
    let verb = match program.strip_prefix("xenstore-") {
        Some(verb) => Some(verb.to_string()),
        None => args.next(),
    };
    let verb = VERBS.iter().find(|v| Some(v.name) == verb.as_deref());
    let Some(verb) = verb else {
        for v in VERBS {
            eprintln!("Usage: xenstore {} {}", v.name, v.usage);
        }
        return ExitCode::from(2);
    };
    let result = parse(verb, args).and_then(|o| {
        let client = xenstore::Client::open()
            .map_err(|e| format!("cannot reach the store (is xenstored running?): {e}"))?;
        (verb.run)(&client, &o)
    });
    result.unwrap_or_else(|e| {
        // Whoever reads our output has seen enough.
        let io = e.downcast_ref::<std::io::Error>();
        if io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("xenstore-{}: {e}", verb.name);
        ExitCode::FAILURE
    })
}

/// Options may stand together (`-fp`) and end at the first argument that is none, or at `--`.
fn parse(verb: &Verb, mut args: impl Iterator<Item = String>) -> Result<Options> {
    let mut o = Options::default();
    while let Some(arg) = args.next() {
        let Some(letters) = arg.strip_prefix('-').filter(|l| !l.is_empty()) else {
            o.args.push(arg);
            break;
        };
        if letters == "-" {
            break;
        }
        if letters == "h" || letters == "-help" {
            println!("Usage: xenstore-{} {}", verb.name, verb.usage);
            std::process::exit(0);
        }
        for letter in letters.chars() {
            let known = verb.letters.find(letter).filter(|_| letter != ':');
            let takes_value = known.is_some_and(|at| verb.letters[at + 1..].starts_with(':'));
            let value = if takes_value { args.next() } else { None };
            match (letter, known) {
                // Stock tools choose the socket with it; it is our first choice anyway.
                ('s', None) => {}
                (_, None) => {
                    return Err(format!("unknown option -{letter}; usage: {}", verb.usage).into());
                }
                ('f', _) => o.full_paths = true,
                ('p', _) => (o.perms, o.prefix) = (true, true),
                ('R', _) => o.raw = true,
                ('t', _) => o.tidy = true,
                ('r', _) => o.recursive = true,
                ('u', _) => o.upwards = true,
                ('n', _) => o.count = Some(value.ok_or("-n needs a number")?.parse()?),
                _ => o.timeout = Some(value.ok_or("-T needs a number")?.parse()?),
            }
        }
    }
    o.args.extend(args);
    Ok(o)
}
