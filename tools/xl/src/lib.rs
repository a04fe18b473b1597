//! `xl`, the administrator's command: [`table`] names every verb with its flags, help and function.
//!
//! `main` reads the global options and looks the verb up; the verb's own file is in `cmd`. What the verbs share is
//! in [`ctx`] (the host), [`opts`] (options, getopt's way) and [`output`] (xl's own formats).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// First, so that all the others have its macro.
#[macro_use]
pub mod message;

mod cmd;
pub mod ctx;
pub mod docs;
pub mod opts;
pub mod output;
pub mod savefile;
pub mod table;
pub mod top;
pub mod xlconf;

use ctx::{Ctx, Failure};
use std::process::ExitCode;
use table::Effect;

/// Runs a command line, `args[0]` being the program's name.
pub fn run(args: &[String]) -> ExitCode {
    match dispatch(args) {
        Ok(code) => code,
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(Failure::Message(m)) => {
            say!("{m}");
            ExitCode::FAILURE
        }
        Err(Failure::Exit(status, m)) => {
            say!("{m}");
            ExitCode::from(status)
        }
        Err(Failure::Usage(m)) => {
            say!("{m}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(args: &[String]) -> Result<ExitCode, Failure> {
    let program = args
        .first()
        .map_or("xl", |a| a.rsplit('/').next().unwrap_or("xl"));
    let mut ctx = Ctx::new(if program == "xm" { "xm" } else { "xl" });
    let mut rest = args.get(1..).unwrap_or_default();
    if program == "xentop" {
        return execute(&ctx, "top", rest);
    }
    while let Some((word, more)) = rest.split_first() {
        match word.as_str() {
            "--version" => return cmd::version(&ctx),
            "--help" | "-h" => return cmd::help(&ctx, &opts::Parsed::default()),
            "--" => {
                rest = more;
                break;
            }
            w if w.len() > 1 && w.starts_with('-') => {
                for c in w.chars().skip(1) {
                    ctx.global(c)?;
                }
            }
            _ => break,
        }
        rest = more;
    }
    let Some((verb, args)) = rest.split_first() else {
        // As getopt-style tools do: no verb is a mistake, and the help says what there is.
        cmd::help(&ctx, &opts::Parsed::default())?;
        return Err(Failure::Reported);
    };
    execute(&ctx, verb, args)
}

/// Does what a verb's arguments say.
fn execute(ctx: &Ctx, verb: &str, args: &[String]) -> Result<ExitCode, Failure> {
    let command = table::find(verb).map_err(Failure::Message)?;
    // help is no verb to the xl that this is like, and does nothing that could be done dryly.
    if ctx.dry_run && command.effect != Effect::Rehearses && command.name != "help" {
        let text = "command does not implement -N (dryrun) option";
        return Err(Failure::Message(text.into()));
    }
    if args
        .iter()
        .take_while(|a| *a != "--")
        .any(|a| a == "-h" || a == "--help")
        && !command.hidden()
    {
        print!("{}", table::command_help(ctx.program, command));
        return Ok(ExitCode::SUCCESS);
    }
    let parsed = opts::parse(command, args).map_err(Failure::Usage)?;
    if let Some(missing) = opts::too_few(command, &parsed) {
        // As xl does: the help is output, what is wrong is not.
        say!("{missing}");
        print!("{}", table::command_help(ctx.program, command));
        return Ok(ExitCode::from(2));
    }
    (command.run)(ctx, &parsed)
}
