//! `console`.
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::opts::Parsed;
use std::process::ExitCode;
use std::time::Duration;
use xen_abi::DomId;
use xenconsoled::client::{DEFAULT_ESCAPE, attach, wait_for_tty};

/// How long the console daemon may take to open a domain's terminal.
const TTY_TIMEOUT: Duration = Duration::from_secs(10);

/// `xl console`
pub fn console(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    let c = ctx.connect()?;
    let dom = find(&c.host(), args.operand(0))?;
    let num = match args.value("n").map(str::parse::<u32>) {
        None => 0,
        Some(Ok(n)) => n,
        Some(Err(_)) => {
            return fail(format!(
                "\"{}\" is not a console's number",
                args.value("n").unwrap_or_default()
            ));
        }
    };
    match args.value("t") {
        None | Some("pv") => {}
        Some("serial") => {
            return fail(format!(
                "{dom} is a PV guest and has no serial port; try -t pv"
            ));
        }
        Some(_) => return fail("console type supported are: pv, serial"),
    }
    let escape = match args.value("e") {
        None => DEFAULT_ESCAPE,
        Some(e) => match escape_key(e) {
            Some(k) => k,
            None => {
                return fail(format!(
                    "\"{e}\" is not a key: give a character, or ^ and a letter"
                ));
            }
        },
    };
    connect(&c, dom, num, escape)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until a domain's console is served.
pub fn wait_served(c: &Connections, dom: DomId, num: u32) -> Result<std::path::PathBuf, Failure> {
    let tty = wait_for_tty(&c.xs, dom.0, num, TTY_TIMEOUT)
        .map_err(|e| Failure::Message(format!("xl: waiting for the console of {dom}: {e}")))?;
    match tty {
        Some(t) => Ok(t),
        None => fail(format!(
            "nobody serves console {num} of {dom} (is xenconsoled running?)"
        )),
    }
}

/// Connects the user's terminal, until the escape key or the domain's end.
pub fn connect(c: &Connections, dom: DomId, num: u32, escape: u8) -> Result<(), Failure> {
    let tty = wait_served(c, dom, num)?;
    match attach(&tty, escape) {
        Ok(_) => Ok(()),
        Err(e) => fail(format!("console {num} of {dom} on {}: {e}", tty.display())),
    }
}

/// `x` is itself, `^x` is Ctrl-x.
fn escape_key(text: &str) -> Option<u8> {
    match *text.as_bytes() {
        [c] => Some(c),
        [b'^', c @ (b'@'..=b'_' | b'a'..=b'z')] => Some(c & 0x1f),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_keys() {
        assert_eq!(escape_key("^]"), Some(DEFAULT_ESCAPE));
        assert_eq!(escape_key("^a"), Some(1));
        assert_eq!(escape_key("q"), Some(b'q'));
        assert_eq!(escape_key("qq"), None);
        assert_eq!(escape_key("^1"), None);
    }
}
