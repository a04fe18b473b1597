//! `xtask test`: everything that `tests/run` checks once the machine is set up, with the time each part took.

use crate::steps::Steps;
use crate::{Context, Result, dist, paths, tidy};
use std::process::Command;

/// What `--help` prints.
pub const HELP: &str = "\
tests/run              all checks: format, lints, tidy, host tests, emulator tests
  --host               without the emulator tests
  --emulator [NAME]    only the emulator tests (whose name contains NAME)
  --reference          only the emulator tests of Debian's tools on Debian's Xen, which prove the stories themselves
                       and which the others leave out
";

/// What the names of stories told of Debian's Xen with Debian's tools end in.
const REFERENCE: &str = "::reference";

/// Runs `xtask test`; the result is the exit status.
pub fn main(args: &[String]) -> Result<i32> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (host, emulator, filter) = match words.as_slice() {
        [] => (true, true, None),
        ["--host"] => (true, false, None),
        ["--emulator"] => (false, true, None),
        ["--emulator", name] => (false, true, Some(*name)),
        ["--reference"] => (false, true, Some(REFERENCE)),
        _ => {
            print!("{HELP}");
            return Ok(i32::from(words != ["--help"]));
        }
    };
    println!("{}", this_machine());
    let mut steps = Steps::new();
    let mut failed = Vec::new();
    let mut step = |name: &'static str, steps: &mut Steps, result: Result<()>| match result {
        Ok(()) => steps.done(&format!("{name}: passed")),
        Err(error) => {
            steps.done(&format!("{name}: FAILED: {error}"));
            failed.push(name);
        }
    };
    if host {
        steps.begin("format");
        let result = dist::cargo(&["fmt", "--all", "--check"], None);
        step("format", &mut steps, result);
        steps.begin("lints");
        let result = dist::cargo(
            &[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            None,
        );
        step("lints", &mut steps, result);
        steps.begin("tidy");
        let result = tidy::main().and_then(|n| {
            if n == 0 {
                Ok(())
            } else {
                Err("house rules are broken".into())
            }
        });
        step("tidy", &mut steps, result);
        steps.begin("host tests");
        let result = dist::cargo(&["test", "--workspace", "--no-fail-fast"], None);
        step("host tests", &mut steps, result);
    }
    if emulator {
        let result = dist::build(&mut steps);
        step("build", &mut steps, result);
        steps.begin("emulator tests");
        let mut args = vec![
            "test",
            "-p",
            "integration",
            "--no-fail-fast",
            "--",
            "--ignored",
            "--test-threads=1",
        ];
        args.extend(filter);
        if filter != Some(REFERENCE) {
            args.extend(["--skip", REFERENCE]);
        }
        let result = dist::cargo(&args, None);
        step("emulator tests", &mut steps, result);
    }
    if failed.is_empty() {
        println!("all passed in {:.0} s", steps.elapsed().as_secs_f32());
        return Ok(0);
    }
    println!("FAILED: {}", failed.join(", "));
    Ok(1)
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
