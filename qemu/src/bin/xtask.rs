//! The project's chores from the command line; `qemu/run`, `qemu/demo` and `tests/run` are thin wrappers around it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.split_first() {
        Some((verb, rest)) if verb == "run" => qemu::run::main(rest),
        Some((verb, rest)) if verb == "demo" => qemu::demo::main(rest),
        Some((verb, rest)) if verb == "test" => qemu::check::main(rest),
        Some((verb, rest)) if verb == "bench" => qemu::bench::main(rest),
        Some((verb, [])) if verb == "tidy" => qemu::tidy::main(),
        _ => Err("usage: xtask run|demo|test|bench|tidy [--help]".into()),
    };
    match result {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}
