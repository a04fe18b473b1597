//! `mem-set` and `mem-max`.
use crate::ctx::{Ctx, Failure, fail, find};
use crate::opts::Parsed;
use crate::output::memory_kib;
use std::process::ExitCode;

type Outcome = Result<ExitCode, Failure>;

fn size(args: &Parsed) -> Result<u64, Failure> {
    match memory_kib(args.operand(1)) {
        Some(kib) if kib > 0 => Ok(kib),
        _ => fail(format!(
            "\"{}\" is not an amount of memory, as in 512 or 2g",
            args.operand(1)
        )),
    }
}

/// `xl mem-set`
pub fn mem_set(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    host.set_memory_target(dom, size(args)?)?;
    Ok(ExitCode::SUCCESS)
}

/// `xl mem-max`
pub fn mem_max(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    host.set_memory_limit(dom, size(args)?)?;
    Ok(ExitCode::SUCCESS)
}
