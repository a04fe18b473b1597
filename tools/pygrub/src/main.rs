//! `pygrub`: reads its command line, bounds what a hostile disk can cost, and lets [`pygrub::run`] work.

use pygrub::{ASKING, HELP, Options, Result};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Most address space: a file system made to exhaust memory ends this program, not dom0.
const MEMORY: u64 = 1 << 30;
/// Longest that it may work, menus aside.
const SECONDS: u32 = 300;

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pygrub: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<()> {
    let Some(options) = Options::parse(std::env::args_os())? else {
        print!("{HELP}");
        return Ok(());
    };
    let limit = Rlimit {
        current: Some(MEMORY),
        maximum: Some(MEMORY),
    };
    setrlimit(Resource::As, limit)?;
    std::thread::spawn(end_in_time);
    let said = pygrub::run(&options)?;
    match &options.output {
        None => std::io::stdout().write_all(said.as_bytes())?,
        Some(path) => {
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).open(path);
            file.and_then(|mut f| f.write_all(said.as_bytes()))
                .map_err(|e| format!("writing {}: {e}", path.display()))?;
        }
    }
    Ok(())
}

/// A file system may be made to be read for ever.
fn end_in_time() {
    let mut left = SECONDS;
    while left > 0 {
        std::thread::sleep(Duration::from_secs(1));
        left -= u32::from(!ASKING.load(Ordering::Relaxed));
    }
    eprintln!("pygrub: the disk could not be read in {SECONDS} s");
    std::process::exit(1);
}
