//! `migrate` and, at the other end of the line, `migrate-receive`.
//!
//! The two speak as Xen's `xl` does: a banner, the domain, "ready", "go", and how it went. Until the sender says "go" the domain
//! is the sender's, whatever happens to the line; from then on it is the receiver's.
use super::save::{config_of, go_on, make, read_head, run, write_domain};
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::message;
use crate::opts::Parsed;
use crate::xlconf;
use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use xen_abi::DomId;

type Outcome = Result<ExitCode, Failure>;

/// What the two say to each other; all but the first with a zero at its end.
const BANNER: &[u8] = b"xl migration receiver ready, send binary domain data.\n";
const READY: &[u8] = b"domain received, ready to unpause\0";
const GO: &[u8] = b"domain is yours, you are cleared to unpause\0";
const REPORT: &[u8] = b"my copy unpause results are as follows\0";
/// Bytes that go over the line at once.
const BUFFER: usize = 1 << 20;
/// How long the far end may take to leave once all is said.
const LEAVE: Duration = Duration::from_secs(2);

/// `xl migrate`
pub fn migrate(ctx: &Ctx, args: &Parsed) -> Outcome {
    if args.operands.len() > 2 {
        return fail("migrate takes a domain and a host");
    }
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    host.check_saveable(dom)?;
    let config = config_of(&c, dom, args.value("C").map(String::from).as_ref())?;
    let command = far_command(ctx, args);
    let mut line = Line::open(&command)?;
    let sent = send(&c, dom, &config, &mut line);
    let status = line.close();
    match sent {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failure::Message(m)) => fail(format!(
            "{}{}",
            m.trim_start_matches("xl: "),
            status.map_or(String::new(), |s| format!(" (`{command}` ended with {s})"))
        )),
        Err(e) => Err(e),
    }
}

/// What is run to reach the other host.
fn far_command(ctx: &Ctx, args: &Parsed) -> String {
    let host = args.operand(1);
    let chosen = |words: &[(bool, &'static str)]| -> String {
        words.iter().filter(|w| w.0).map(|w| w.1).collect()
    };
    // Messages of the far end are shown like ours.
    let mut global = chosen(&[(message::is_one_line(), " -t"), (message::stamped(), " -T")]);
    if ctx.verbose > 0 {
        global += &format!(" -{}", "v".repeat(ctx.verbose as usize));
    }
    let flags = chosen(&[
        // Nobody is at the far end for whom it could stay in the foreground.
        (args.has("e") || args.has("F"), " -e"),
        (args.has("debug"), " -d"),
        (args.has("p"), " -p"),
    ]);
    match args.value("s").unwrap_or("ssh") {
        "" => host.to_string(),
        ssh => format!("exec {ssh} {host} xl{global} migrate-receive{flags}"),
    }
}

/// The program that leads to the other host, and its two ends.
struct Line {
    child: Child,
    to: Option<BufWriter<std::process::ChildStdin>>,
    from: BufReader<std::process::ChildStdout>,
}

impl Line {
    fn open(command: &str) -> Result<Line, Failure> {
        let child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.or_else(|e| fail(format!("running `{command}`: {e}")))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Line {
                child,
                to: Some(BufWriter::with_capacity(BUFFER, to)),
                from: BufReader::new(from),
            }),
            _ => fail("the line to the other host has no ends"),
        }
    }

    fn say(&mut self, message: &[u8]) -> Result<(), Failure> {
        let Some(to) = &mut self.to else {
            return fail("the line to the other host is closed");
        };
        to.write_all(message)
            .and_then(|()| to.flush())
            .or_else(|e| fail(format!("the line to the other host broke: {e}")))
    }

    fn hear(&mut self, message: &[u8], what: &str) -> Result<(), Failure> {
        hear(&mut self.from, message, what)
    }

    /// Hangs up; how the program ended, if it did not end well.
    fn close(&mut self) -> Option<String> {
        self.to = None;
        let until = Instant::now() + LEAVE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return (!status.success()).then(|| status.to_string()),
                Ok(None) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => return None,
            }
        }
    }
}

fn hear(from: &mut dyn Read, message: &[u8], what: &str) -> Result<(), Failure> {
    let mut heard = vec![0; message.len()];
    match from.read_exact(&mut heard) {
        Err(_) => fail(format!("the other host hung up instead of saying {what}")),
        Ok(()) if heard == message => Ok(()),
        Ok(()) => fail(format!(
            "the other host said {:?} instead of {what}",
            String::from_utf8_lossy(&heard)
        )),
    }
}

fn send(
    c: &Connections,
    dom: DomId,
    config: &libxl::DomainConfig,
    line: &mut Line,
) -> Result<(), Failure> {
    line.hear(BANNER, "that it is ready")?;
    if let Err(e) = transfer(c, dom, config, line) {
        say!("Migration failed, resuming at sender.");
        go_on(c, dom);
        return Err(e);
    }
    say!("migration sender: Target has acknowledged transfer.");
    let host = c.host();
    let away = format!("{}--migratedaway", config.name);
    if let Err(e) = host.rename(dom, &away) {
        say!("Migration failed, resuming at sender.");
        go_on(c, dom);
        return Err(e.into());
    }
    say!("migration sender: Giving target permission to start.");
    match hand_over(line) {
        Ok(0) => {
            say!("migration sender: Target reports successful startup.");
            host.destroy(dom)?;
            say!("Migration successful.");
            Ok(())
        }
        Ok(code) => {
            say!("migration sender: Target reports startup failure (status code {code}).");
            line.hear(GO, "that the domain is ours again")
                .map_err(undefined)?;
            say!("migration sender: Trying to resume at our end.");
            host.rename(dom, &config.name)?;
            go_on(c, dom);
            fail("the domain could not be started at the target, and goes on here")
        }
        Err(e) => Err(undefined(e)),
    }
}

fn transfer(
    c: &Connections,
    dom: DomId,
    config: &libxl::DomainConfig,
    line: &mut Line,
) -> Result<(), Failure> {
    let Some(to) = &mut line.to else {
        return fail("the line to the other host is closed");
    };
    write_domain(c, dom, config, true, to, "migration stream")?;
    line.hear(READY, "that it has the domain")
}

/// From here on only one may run it; the far end's status.
fn hand_over(line: &mut Line) -> Result<u8, Failure> {
    line.say(GO)?;
    line.hear(REPORT, "how it went")?;
    let mut status = [1];
    match line.from.read_exact(&mut status) {
        Ok(()) => Ok(status[0]),
        Err(e) => fail(format!("the other host hung up: {e}")),
    }
}

/// Nobody knows where the domain runs.
fn undefined(e: Failure) -> Failure {
    let Failure::Message(m) = e else { return e };
    Failure::Message(format!(
        "{m}\nxl: nobody knows now whether the domain runs at the target. Look there with `xl list`; if it does not run, \
         `xl rename` what is left here and `xl resume` it. Two that run at once would destroy their disks."
    ))
}

/// `xl migrate-receive`
pub fn migrate_receive(ctx: &Ctx, args: &Parsed) -> Outcome {
    let replicated = ["r", "colo", "coloft-script", "userspace-colo-proxy"];
    if replicated.iter().any(|flag| args.has(flag)) {
        return fail("this release has neither Remus nor COLO; use plain xl migrate");
    }
    say!("migration target: Ready to receive domain.");
    let (mut to, mut from) = (std::io::stdout(), std::io::stdin());
    let mut tell = |message: &[u8]| -> Result<(), Failure> {
        to.write_all(message)
            .and_then(|()| to.flush())
            .or_else(|e| fail(format!("the line to the sender broke: {e}")))
    };
    tell(BANNER)?;
    // No more may be taken from the line than belongs to the domain: the sender waits for answers in between.
    let mut input = BufReader::with_capacity(BUFFER, &mut from);
    let config = read_head(&mut input, "incoming migration stream", None)?;
    let incoming = config.renamed(&format!("{}--incoming", config.name));
    if args.has("d") {
        super::create::show(&incoming, false);
    }
    let c = xlconf::read().creating(ctx.connect()?);
    let dom = make(&c, &incoming, true, &mut input)?;
    say!("migration target: Transfer complete, requesting permission to start domain.");
    if let Err(e) = tell(READY).and_then(|()| hear(&mut input, GO, "that it may start")) {
        // It is the sender's still.
        let _ = c.host().destroy(dom);
        return Err(e);
    }
    say!("migration target: Got permission, starting domain.");
    let foreground = args.has("F") && !args.has("e");
    let started = c
        .host()
        .rename(dom, &config.name)
        .map_err(Failure::from)
        .and_then(|()| Ok(c.host().keep_config(dom, &config)?))
        .and_then(|()| run(&c, dom, &config, foreground || args.has("e"), args.has("p")));
    tell(REPORT)?;
    match started {
        Ok(()) => {
            say!("migration target: Domain started successsfully.");
            tell(&[0])?;
            match foreground {
                true => super::supervise::watch(dom, config, true),
                false => Ok(ExitCode::SUCCESS),
            }
        }
        Err(e) => {
            say!("migration target: Domain failed to start, destroying it here.");
            let _ = c.host().destroy(dom);
            tell(&[1])?;
            tell(GO)?;
            Err(e)
        }
    }
}
