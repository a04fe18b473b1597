//! What `xtask bench` runs inside a host: in dom0, in a guest, on the bare machine. Prints `bench: NAME NANOSECONDS` for one
//! execution of each operation; under `-icount` a nanosecond is an instruction.
//!
//! [`VERBS`] lists what it does. Everything is measured by repeating it and dividing; set-up is outside the loop.

mod cpu;
mod io;
mod xen;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Errors end the program with a message.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Verb, its arguments, what it does.
type Verb = (&'static str, &'static str, fn(&[String]) -> Result<()>);
const VERBS: &[Verb] = &[
    ("cpu", "[OPERATION...]", cpu::run),
    ("xen", "", xen::calls),
    ("grant", "DOMID [map|maps|copy...]", xen::grants),
    ("forever", "VERB ARGUMENTS...", forever),
    ("time", "NAME COMMAND...", time),
    ("until", "NAME WORD SHELL-COMMAND", until),
    ("relay", "PREFIX SHELL-COMMAND", relay),
    ("echo", "", echo),
    ("disk", "DEVICE", io::disk),
    ("net", "ADDRESS [to|from|ping...]", io::net),
    ("serve", "", io::serve),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let verb = args
        .first()
        .and_then(|name| VERBS.iter().find(|v| v.0 == name));
    let (Some((name, _, run)), Some((_, rest))) = (verb, args.split_first()) else {
        for (name, args, _) in VERBS {
            eprintln!("hostbench {name} {args}");
        }
        return ExitCode::from(2);
    };
    match run(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hostbench {name}: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Repeats one operation until killed, for profiles: a verb, or `cpu` with the name of one of its operations.
fn forever(args: &[String]) -> Result<()> {
    let (name, rest) = args.split_first().ok_or("a verb is needed")?;
    let (_, _, run) = VERBS.iter().find(|v| v.0 == name).ok_or("no such verb")?;
    loop {
        run(rest)?;
    }
}

/// Nanoseconds for one `body`, repeated after one execution that warms up.
fn each(repeat: u32, mut body: impl FnMut() -> Result<()>) -> Result<f64> {
    body()?;
    let start = Instant::now();
    for _ in 0..repeat {
        body()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(repeat))
}

fn report(name: &str, ns: f64) {
    println!("bench: {name} {ns:.0}");
}

/// How long one command takes, from before it is started until it has ended.
fn time(args: &[String]) -> Result<()> {
    let [name, program, rest @ ..] = args else {
        return Err("a name and a command are needed".into());
    };
    let start = Instant::now();
    let status = Command::new(program)
        .args(rest)
        .stdout(Stdio::null())
        .status()?;
    let taken = start.elapsed().as_nanos() as f64;
    if !status.success() {
        return Err(format!("{program}: {status}").into());
    }
    report(name, taken);
    Ok(())
}

fn shell(command: &str) -> Result<std::process::Child> {
    Ok(Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?)
}

/// How long it takes until a command has printed a word; then it is killed.
fn until(args: &[String]) -> Result<()> {
    let [name, word, command] = args else {
        return Err("a name, a word and a command are needed".into());
    };
    let start = Instant::now();
    let mut child = shell(command)?;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    let mut found = false;
    while let Some(out) = child.stdout.as_mut().filter(|_| !found) {
        let n = out.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        heard.extend_from_slice(&buffer[..n]);
        found = String::from_utf8_lossy(&heard).contains(word.as_str());
    }
    let taken = start.elapsed().as_nanos() as f64;
    child.kill()?;
    child.wait()?;
    if !found {
        return Err(format!("{command} has not said {word}").into());
    }
    report(name, taken);
    Ok(())
}

/// Repeats what a command says of its own benchmarks, their names prefixed, until it says `bench: done`.
fn relay(args: &[String]) -> Result<()> {
    let [prefix, command] = args else {
        return Err("a prefix and a command are needed".into());
    };
    let mut child = shell(command)?;
    let out = child.stdout.take().ok_or("no output")?;
    for line in BufReader::new(out).lines() {
        let line = line?;
        let Some((_, what)) = line.split_once("bench: ") else {
            continue;
        };
        if what.trim() == "done" {
            break;
        }
        println!("bench: {prefix}{}", what.trim());
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// The far end of the pipes.
fn echo(_: &[String]) -> Result<()> {
    let (mut from, mut to) = (std::io::stdin(), std::io::stdout());
    let mut byte = [0];
    while from.read(&mut byte)? == 1 {
        to.write_all(&byte)?;
        to.flush()?;
    }
    Ok(())
}
