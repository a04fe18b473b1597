//! `pause`, `unpause`, `destroy`, `domid`, `domname`, `rename`.
use crate::ctx::{Ctx, Failure, fail, find};
use crate::opts::Parsed;
use std::process::ExitCode;
use xen_abi::DomId;

type Outcome = Result<ExitCode, Failure>;

/// `xl pause`
pub fn pause(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    for word in &args.operands {
        c.xc.pause_domain(find(&c.host(), word)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl unpause`
pub fn unpause(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    for word in &args.operands {
        c.xc.unpause_domain(find(&c.host(), word)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl destroy`
pub fn destroy(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let word = args.operand(0);
    let dom = match (host.find(word), word.parse::<u16>()) {
        (Ok(dom), _) => dom,
        // Nodes of a domain that the hypervisor no longer knows can still be cleaned up by number.
        (Err(libxl::Error::NoSuchDomain(_)), Ok(id)) => DomId(id),
        (Err(libxl::Error::NoSuchDomain(_)), Err(_)) => match stale(&c, word) {
            Some(dom) => dom,
            None => find(&host, word)?,
        },
        (Err(e), _) => return Err(e.into()),
    };
    if dom == DomId::DOM0 && !args.has("f") && !ctx.force {
        return fail("Not destroying domain 0; use -f to force.");
    }
    host.destroy(dom)?;
    Ok(ExitCode::SUCCESS)
}

/// A domain that only the xenstore remembers.
fn stale(c: &crate::ctx::Connections, name: &str) -> Option<DomId> {
    use xenstore::Store;
    let ids = libxl::nodes::children(&c.xs, "/local/domain").ok()?;
    let named = |id: &&String| {
        c.xs.read_opt(&format!("/local/domain/{id}/name"))
            .ok()
            .flatten()
            .as_deref()
            == Some(name)
    };
    ids.iter()
        .find(named)
        .and_then(|id| id.parse().ok())
        .map(DomId)
}

/// `xl domid`
pub fn domid(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let name = args.operand(0);
    let host = c.host();
    for d in c.xc.domains()? {
        if host.name(d.domid)?.as_deref() == Some(name) {
            println!("{}", d.domid.0);
            return Ok(ExitCode::SUCCESS);
        }
    }
    Err(Failure::Message(format!(
        "Can't get domid of domain name '{name}', maybe this domain does not exist."
    )))
}

/// `xl domname`
pub fn domname(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let word = args.operand(0);
    let Ok(id) = word.parse::<u16>() else {
        return Err(Failure::Message(format!("Invalid domain id '{word}'.")));
    };
    let exists = c.xc.domain_info(DomId(id))?.is_some();
    match c.host().name(DomId(id))?.filter(|_| exists) {
        Some(name) => println!("{name}"),
        None => {
            let message = format!(
                "Can't get domain name of domain id '{id}', maybe this domain does not exist."
            );
            return Err(Failure::Message(message));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl rename`
pub fn rename(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    host.rename(dom, args.operand(1))?;
    Ok(ExitCode::SUCCESS)
}
