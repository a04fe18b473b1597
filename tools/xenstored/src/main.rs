//! `xenstored`: the XenStore server as a daemon.
#![forbid(unsafe_code)]

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use xenstored::access::Limits;
use xenstored::daemon::Daemon;
use xenstored::platform::{NoDomains, Platform, Xen};
use xenstored::state_file::StateFile;

const USAGE: &str = "Usage: xenstored [options]
  -F, --pid-file FILE     where to write the process id (default /var/run/xenstored.pid)
  -N, --no-fork           stay in the foreground
  -D, --no-domain-init    serve local sockets only, not domains
  -S, --entry-nb N        nodes an unprivileged domain may own (default 1000)
  -E, --entry-size N      bytes per node for unprivileged domains (default 2048)
  -W, --watch-nb N        watches per unprivileged domain (default 128)
  -t, --transaction N     transactions per unprivileged domain (default 10)
  -A, --perm-nb N         permissions per node for unprivileged domains (default 5)
      --no-state          neither go on from a saved state nor save any
  -P, --pid               say the process id on standard output
  -V, --verbose           ignored
  -h, --help              this text
The socket is $XENSTORED_PATH, or socket in $XENSTORED_RUNDIR (default /var/run/xenstored).
State that survives the end of the process is in $XENSTORED_RUNDIR/state: a daemon started again during the
same boot goes on from there.";

struct Options {
    pid_file: PathBuf,
    foreground: bool,
    /// Standard output is a pipe on which the parent waits for us to be ready.
    report_ready: bool,
    say_pid: bool,
    domains: bool,
    keep_state: bool,
    limits: Limits,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "-h" || a == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let result = parse(&args).and_then(|o| {
        if o.foreground {
            serve(&o)
        } else {
            daemonise(&args)
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xenstored: {e}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn parse(args: &[String]) -> Result<Options> {
    let mut o = Options {
        pid_file: "/var/run/xenstored.pid".into(),
        foreground: false,
        report_ready: false,
        say_pid: false,
        domains: true,
        keep_state: true,
        limits: Limits::default(),
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
            "-F" | "--pid-file" => o.pid_file = value()?.into(),
            "-N" | "--no-fork" => o.foreground = true,
            "-D" | "--no-domain-init" => o.domains = false,
            "--no-state" => o.keep_state = false,
            "-P" | "--pid" => o.say_pid = true,
            "-V" | "--verbose" => {}
            "--report-ready" => o.report_ready = true,
            "-S" | "--entry-nb" => o.limits.nodes = value()?.parse()?,
            "-E" | "--entry-size" => o.limits.node_size = value()?.parse()?,
            "-W" | "--watch-nb" => o.limits.watches = value()?.parse()?,
            "-t" | "--transaction" => o.limits.transactions = value()?.parse()?,
            "-A" | "--perm-nb" => o.limits.perms = value()?.parse()?,
            _ => return Err(format!("unknown option {arg:?}\n{USAGE}").into()),
        }
    }
    Ok(o)
}

/// Start ourselves again in the background and return once that process listens.
fn daemonise(args: &[String]) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(args)
        .args(["--no-fork", "--report-ready"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut said)?;
    }
    match said.strip_prefix("ready\n") {
        Some(rest) => {
            print!("{rest}");
            Ok(())
        }
        None => Err(format!("could not start: {}", child.wait()?).into()),
    }
}

fn serve(o: &Options) -> Result<()> {
    let _lock = lock_pid_file(&o.pid_file)?;
    std::fs::create_dir_all(run_dir())?;
    let listener = listen(&socket_path())?;
    if o.domains {
        run(o, listener, Xen::open()?)
    } else {
        run(o, listener, NoDomains)
    }
}

fn run<P: Platform>(o: &Options, listener: UnixListener, platform: P) -> Result<()> {
    let mut daemon = Daemon::new(listener, platform, o.limits)?;
    if o.keep_state {
        daemon.keep_state(StateFile::new(run_dir().join("state")));
    }
    announce(o)?;
    Ok(daemon.run(None)?)
}

/// Only now may whoever started us go on.
fn announce(o: &Options) -> Result<()> {
    let mut out = io::stdout();
    if o.report_ready {
        out.write_all(b"ready\n")?;
    }
    if o.say_pid {
        writeln!(out, "{}", std::process::id())?;
    }
    out.flush()?;
    if o.report_ready {
        // Leave the terminal's session, and end the pipe on which the parent waits.
        rustix::process::setsid()?;
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&null)?;
    }
    Ok(())
}

/// The lock lasts as long as the process, however it ends; so a stale file is no obstacle.
fn lock_pid_file(path: &Path) -> Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(format!("another xenstored holds {}", path.display()).into());
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn socket_path() -> PathBuf {
    if let Some(path) = std::env::var_os("XENSTORED_PATH") {
        return path.into();
    }
    run_dir().join("socket")
}

fn run_dir() -> PathBuf {
    std::env::var_os("XENSTORED_RUNDIR")
        .unwrap_or("/var/run/xenstored".into())
        .into()
}

fn listen(path: &Path) -> Result<UnixListener> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let listener =
        UnixListener::bind(path).map_err(|e| format!("listening on {}: {e}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
