//! `network-attach`, `network-detach`, `network-list`.
use super::create::locked;
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::opts::Parsed;
use crate::xlconf;
use libxl::{NetworkInterface, StoreContext, Vif};
use std::process::ExitCode;

type Outcome = Result<ExitCode, Failure>;

/// `xl network-attach`
pub fn network_attach(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    let mut vif = Vif::parse(&args.operands[1..].join(",")).or_else(fail)?;
    xlconf::read().complete_vif(&mut vif);
    if ctx.dry_run {
        let vif = host.check_vif(dom, &vif)?;
        println!("vif: {}\n", super::list::pretty(&vif.json()));
        return Ok(ExitCode::SUCCESS);
    }
    locked(|| Ok(host.attach_vif(dom, &vif)?))?;
    Ok(ExitCode::SUCCESS)
}

/// `xl network-detach`
pub fn network_detach(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    let force = args.has("f") || ctx.force;
    locked(|| Ok(host.detach_vif(dom, args.operand(1), force)?))?;
    Ok(ExitCode::SUCCESS)
}

/// `xl network-list`
pub fn network_list(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    println!(
        "{:<3} {:<2} {:<17} {:<6} {:<5} {:<6} {:>5}/{:<5} {:<30}",
        "Idx", "BE", "Mac Addr.", "handle", "state", "evt-ch", "tx-", "rx-ring-ref", "BE-path"
    );
    let mut status = ExitCode::SUCCESS;
    for word in &args.operands {
        // One that is not there does not hide the others.
        match find(&host, word) {
            Ok(dom) => {
                for interface in host.interfaces(dom)? {
                    line(&c, &interface)?;
                }
            }
            Err(Failure::Message(m)) => {
                say!("{m}");
                status = ExitCode::FAILURE;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(status)
}

/// What the guest says about its end is its own affair: anything that is no number is -1.
fn line(c: &Connections, interface: &NetworkInterface) -> Result<(), Failure> {
    use xenstore::Store;
    let h = &interface.handle;
    let front = h.front();
    let number = |node: &str| -> Result<i64, Failure> {
        let text = c.xs.read_opt(&format!("{front}/{node}"));
        let text = text.during(|| format!("reading {front}/{node}"))?;
        Ok(text.and_then(|t| t.trim().parse().ok()).unwrap_or(-1))
    };
    println!(
        "{:<3} {:<2} {:<17}{:>6} {:>5} {:>6} {:>5}/{:<11} {:<30}",
        h.id,
        0,
        interface.mac,
        h.id,
        number("state")?,
        number("event-channel")?,
        number("tx-ring-ref")?,
        number("rx-ring-ref")?,
        h.back()
    );
    Ok(())
}
