//! `console`.
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::opts::Parsed;
use std::process::ExitCode;
use std::time::Duration;
use xen_abi::DomId;
use xenconsoled::client::{DEFAULT_ESCAPE, attach, wait_for_tty};
use xenstore::Store;

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

/// `xl channel-list`: consoles with a name. This release makes none; another xl may have.
pub fn channel_list(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    let c = ctx.connect()?;
    let host = c.host();
    println!(
        "{:<3} {:<2} {:<5} {:<6} {:>8} {:<10} {:<30}",
        "Idx", "BE", "state", "evt-ch", "ring-ref", "connection", ""
    );
    for word in &args.operands {
        let dom = find(&host, word)?;
        let ours = format!("/libxl/{}/device/console", dom.0);
        let read = |path: String| c.xs.read_opt(&path).ok().flatten();
        let nodes = libxl::nodes::children(&c.xs, &ours).unwrap_or_default();
        let named = nodes
            .iter()
            .filter(|n| read(format!("{ours}/{n}/name")).is_some());
        for (id, node) in named.enumerate() {
            // What the guest says about its end is its own affair: anything that is no number is -1.
            let front = |key: &str| {
                read(format!(
                    "/local/domain/{}/device/console/{node}/{key}",
                    dom.0
                ))
            };
            let number = |key: &str| {
                front(key)
                    .and_then(|t| t.trim().parse().ok())
                    .unwrap_or(-1i64)
            };
            let connection = read(format!("{ours}/{node}/connection")).unwrap_or_default();
            let tty = front("tty").filter(|_| connection == "pty");
            let tty = tty.map(|t| format!("{t:<30} ")).unwrap_or_default();
            println!(
                "{id:<3} {:<2} {:<5} {:<6} {:<8} {connection:<10} {tty}",
                0,
                number("state"),
                number("port"),
                number("ring-ref")
            );
        }
    }
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
