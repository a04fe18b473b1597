//! The `xl` program (and `xm` and `xentop`, when called so).
use std::process::ExitCode;

/// What a shell says of a program that nobody listens to any more.
const NOBODY_LISTENS: i32 = 128 + 13;

fn main() -> ExitCode {
    leave_quietly();
    let args: Vec<String> = std::env::args_os()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    xl::run(&args)
}

/// Ends without a word where output goes to a pipe that is closed, as in `xl list -l | head`.
fn leave_quietly() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|t| t.starts_with("failed printing to stdout: Broken pipe")) {
            std::process::exit(NOBODY_LISTENS);
        }
        usual(panic);
    }));
}
