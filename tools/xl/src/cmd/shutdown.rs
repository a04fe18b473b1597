//! `shutdown` and `reboot`.
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::opts::Parsed;
use crate::output::reason_code;
use std::process::ExitCode;
use std::time::Duration;
use xen_abi::DomId;

type Outcome = Result<ExitCode, Failure>;

/// How often a waiting command looks, besides when the xenstore says that a domain ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// `xl shutdown`
pub fn shutdown(ctx: &Ctx, args: &Parsed) -> Outcome {
    control(ctx, args, "poweroff", "Shutting down")
}

/// `xl reboot`
pub fn reboot(ctx: &Ctx, args: &Parsed) -> Outcome {
    control(ctx, args, "reboot", "Rebooting")
}

fn control(ctx: &Ctx, args: &Parsed, word: &str, saying: &str) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let domains: Vec<DomId> = if args.has("a") {
        if !args.operands.is_empty() {
            say!("xl: -a means all guests, not only those named");
        }
        c.xc.domains()?
            .iter()
            .map(|d| d.domid)
            .filter(|d| *d != DomId::DOM0)
            .collect()
    } else if args.operands.is_empty() {
        return Err(Failure::Message(
            "You must specify -a or a domain id.\n".into(),
        ));
    } else {
        args.operands
            .iter()
            .map(|w| find(&host, w))
            .collect::<Result<_, _>>()?
    };
    for dom in &domains {
        if *dom == DomId::DOM0 {
            return fail("dom0 is shut down with its own tools");
        }
        say!("{saying} domain {}", dom.0);
        host.control(*dom, word)?;
    }
    match args.count("w") {
        0 => {}
        n => wait(&c, domains, n > 1)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until all are shut down, or (`gone`) until they are destroyed.
fn wait(c: &Connections, mut left: Vec<DomId>, gone: bool) -> Result<(), Failure> {
    let host = c.host();
    say!("Waiting for {} domains", left.len());
    let mut told = Vec::new();
    // Without the watch it is only slower.
    let _ = c.xs.watch("@releaseDomain", "shutdown");
    loop {
        let mut waiting = Vec::new();
        for dom in left {
            match host.ended(dom)? {
                None => waiting.push(dom),
                Some(None) => say!("Domain {} has been destroyed", dom.0),
                Some(Some(r)) => {
                    if !told.contains(&dom) {
                        told.push(dom);
                        let reason = reason_code(r);
                        say!("Domain {} has been shut down, reason code {reason}", dom.0);
                        if gone {
                            say!("Domain {} continue waiting for death", dom.0);
                        }
                    }
                    if gone {
                        waiting.push(dom);
                    }
                }
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        left = waiting;
        if c.xs.next_event(Some(LOOK_AGAIN)).is_err() {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}
