//! `xenconsoled`: serves the consoles of all domains.
#![forbid(unsafe_code)]

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use xenconsoled::daemon::{Daemon, LogOptions};
use xenconsoled::platform::Xen;

const USAGE: &str = "Usage: xenconsoled [options]
  -i, --interactive            stay in the foreground
  -p, --pid-file FILE          where to write the process id (default /var/run/xenconsoled.pid)
      --log=none|guest|hv|all  what to log (default none)
      --log-dir=DIR            where (default /var/log/xen/console)
  -t, --timestamp=none|guest|hv|all
                               which logs' lines begin with the time (UTC; default none)
  -o, --overflow-data=discard  what to do with output above the limit
  -e, --replace-escape, -v, --verbose
                               accepted and ignored
  -h, --help                   this text";

struct Options {
    pid_file: PathBuf,
    foreground: bool,
    /// Standard output is a pipe on which the parent waits for us to be ready.
    report_ready: bool,
    logs: LogOptions,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "-h" || a == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let result = parse(&args).and_then(|o| {
        if o.foreground {
            serve(o)
        } else {
            daemonise(&args)
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xenconsoled: {e}");
            ExitCode::FAILURE
        }
    }
}

/// `none`, `guest`, `hv` or `all` as (guest, hypervisor).
fn which(word: &str) -> Result<(bool, bool)> {
    match word {
        "none" => Ok((false, false)),
        "guest" => Ok((true, false)),
        "hv" => Ok((false, true)),
        "all" => Ok((true, true)),
        other => Err(format!("{other:?} is none of none, guest, hv, all").into()),
    }
}

fn parse(args: &[String]) -> Result<Options> {
    let mut o = Options {
        pid_file: "/var/run/xenconsoled.pid".into(),
        foreground: false,
        report_ready: false,
        logs: LogOptions {
            dir: "/var/log/xen/console".into(),
            ..LogOptions::default()
        },
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_string())),
            _ => (arg.as_str(), None),
        };
        let mut value = || {
            let next = inline.clone().or_else(|| args.next().cloned());
            next.ok_or_else(|| format!("{name} needs a value"))
        };
        match name {
            "-i" | "--interactive" => o.foreground = true,
            "-p" | "--pid-file" => o.pid_file = value()?.into(),
            "--log" => (o.logs.guests, o.logs.hypervisor) = which(&value()?)?,
            "--log-dir" => o.logs.dir = value()?.into(),
            "-t" | "--timestamp" => {
                (o.logs.guest_times, o.logs.hypervisor_times) = which(&value()?)?;
            }
            "-o" | "--overflow-data" => drop(value()?),
            "-e" | "--replace-escape" | "-v" | "--verbose" => {}
            "--report-ready" => o.report_ready = true,
            _ => return Err(format!("unknown option {arg:?}\n{USAGE}").into()),
        }
    }
    Ok(o)
}

/// Start ourselves again in the background and return once that process serves.
fn daemonise(args: &[String]) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(args)
        .args(["--interactive", "--report-ready"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut said)?;
    }
    if said == "ready\n" {
        Ok(())
    } else {
        Err(format!("could not start: {}", child.wait()?).into())
    }
}

fn serve(o: Options) -> Result<()> {
    let _lock = lock_pid_file(&o.pid_file)?;
    // The store's server is started just before us: give it a moment, then say what is missing.
    let mut tries = 0;
    while let Err(e) = xenstore::Client::open() {
        tries += 1;
        if tries == 50 {
            return Err(e.into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut daemon = Daemon::new(Xen::open()?, xenstore::Client::open, o.logs)?;
    if o.report_ready {
        io::stdout().write_all(b"ready\n")?;
        io::stdout().flush()?;
        // Leave the terminal's session, and end the pipe on which the parent waits.
        rustix::process::setsid()?;
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&null)?;
    }
    Ok(daemon.run(None)?)
}

/// The lock lasts as long as the process, however it ends; so a stale file is no obstacle.
fn lock_pid_file(path: &Path) -> Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(format!("another xenconsoled holds {}", path.display()).into());
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}
