//! `xtask test`: everything that `tests/run` checks once the machine is set up, with the time each part took.

use crate::steps::Steps;
use crate::stories::{self, Choice};
use crate::{Context, Result, disk, dist, paths, tidy};
use std::process::Command;

/// What `--help` prints.
pub const HELP: &str = "\
tests/run              all checks: format, lints, tidy, host tests, emulator tests
  --host               without the emulator tests
  --emulator [NAME]    only the emulator tests (whose name contains NAME)
  --reference          only the emulator tests of Debian's tools on Debian's Xen, which prove the stories themselves
                       and which the others leave out
  --more               only further pairs of hypervisor and tools, which the others leave out for their time
";

/// What the names of stories told of Debian's Xen with Debian's tools end in.
const REFERENCE: &str = "::reference";
/// What is in the names of stories told of pairs that `matrix!` has behind a `|`.
const MORE: &str = "::more::";

/// Runs `xtask test`; the result is the exit status.
pub fn main(args: &[String]) -> Result<i32> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (host, emulator, filter) = match words.as_slice() {
        [] => (true, true, None),
        ["--host"] => (true, false, None),
        ["--emulator"] => (false, true, None),
        ["--emulator", name] => (false, true, Some(*name)),
        ["--reference"] => (false, true, Some(REFERENCE)),
        ["--more"] => (false, true, Some(MORE)),
        _ => {
            print!("{HELP}");
            return Ok(i32::from(words != ["--help"]));
        }
    };
    println!("{}", this_machine());
    let mut run = Run {
        steps: Steps::new(),
        failed: Vec::new(),
    };
    // Its download goes on while the host tests run.
    let disk = (host && emulator).then(|| std::thread::spawn(|| disk::debian12().map(drop)));
    if host {
        run.host();
    }
    if let Some(disk) = disk {
        run.check("disk with Debian 12", |_| {
            disk.join().map_err(|_| "making it panicked")?
        });
    }
    if emulator {
        run.emulator(filter);
    }
    if run.failed.is_empty() {
        println!("all passed in {:.0} s", run.steps.elapsed().as_secs_f32());
        return Ok(0);
    }
    println!("FAILED: {}", run.failed.join(", "));
    Ok(1)
}

/// Checks being worked through; one that fails does not keep the others from being made.
struct Run {
    steps: Steps,
    failed: Vec<&'static str>,
}

impl Run {
    fn check(&mut self, name: &'static str, what: impl FnOnce(&mut Steps) -> Result<()>) {
        self.steps.begin(name);
        match what(&mut self.steps) {
            Ok(()) => self.steps.done(&format!("{name}: passed")),
            Err(error) => {
                self.steps.done(&format!("{name}: FAILED: {error}"));
                self.failed.push(name);
            }
        }
    }

    fn cargo(&mut self, name: &'static str, args: &str) {
        let args: Vec<&str> = args.split(' ').collect();
        self.check(name, |_| dist::cargo(&args, None));
    }

    fn host(&mut self) {
        self.cargo("format", "fmt --all --check");
        self.cargo(
            "lints",
            "clippy --quiet --workspace --all-targets -- -D warnings",
        );
        self.check("lints of the hypervisor", |_| dist::lint_hypervisor());
        self.check("tidy", |_| match tidy::main()? {
            0 => Ok(()),
            _ => Err("house rules are broken".into()),
        });
        self.cargo("host tests", "test --workspace --no-fail-fast");
    }

    fn emulator(&mut self, filter: Option<&str>) {
        self.check("build", dist::build);
        let asked_for = |what: &str| filter.is_some_and(|f| f.contains(what));
        let choice = Choice {
            with: filter,
            without: [REFERENCE, MORE]
                .into_iter()
                .filter(|what| !asked_for(what))
                .collect(),
        };
        self.check("emulator tests", |steps| stories::tell(steps, &choice));
    }
}

/// A line about where the tests run: figures mean little without it.
fn this_machine() -> String {
    let run = |program: &str, args: &[&str]| {
        let out = Command::new(program)
            .args(args)
            .current_dir(paths::workspace())
            .output()
            .context(program)?;
        Ok(String::from_utf8_lossy(&out.stdout)
            .lines()
            .next()
            .unwrap_or("")
            .to_owned()) as Result<String>
    };
    let or_unknown = |r: Result<String>| r.unwrap_or_else(|_| "unknown".into());
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("?", |m| m.trim_start_matches(['\t', ' ', ':']));
    format!(
        "{} on {cpus} x {model}; {}; {}; {}",
        or_unknown(run("git", &["log", "-1", "--format=%h %s"])),
        or_unknown(run("qemu-system-x86_64", &["--version"])),
        or_unknown(run("rustc", &["--version"])),
        or_unknown(run("date", &["-u", "+%F %T UTC"])),
    )
}
