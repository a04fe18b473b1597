//! `dump-core`.
use crate::ctx::{Ctx, Failure, fail, find};
use crate::opts::Parsed;
use std::path::Path;
use std::process::ExitCode;

/// `xl dump-core`
pub fn dump_core(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    if dom == xen_abi::DomId::DOM0 {
        return fail("dom0 cannot dump itself");
    }
    let pages = host.dump_core(dom, Path::new(args.operand(1)))?;
    ctx.verbose(format_args!(
        "{pages} pages of {dom} in {}",
        args.operand(1)
    ));
    Ok(ExitCode::SUCCESS)
}
