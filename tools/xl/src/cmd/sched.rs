//! `sched-credit2` and `sched-credit`: domains' shares of the CPUs.
use super::cpupool::{named, pool_name};
use super::list::name_of;
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::opts::Parsed;
use crate::output::{sched_header, sched_line, scheduler_name};
use std::process::ExitCode;
use xen_abi::DomId;
use xen_abi::domctl::{SCHEDULER_CREDIT, SCHEDULER_CREDIT2};
use xenctrl::{CpuPool, SchedParams};

type Outcome = Result<ExitCode, Failure>;

/// What the rate limit may be, in microseconds.
const RATELIMIT: std::ops::RangeInclusive<u32> = 100..=500_000;
/// Cap per vcpu, in percent.
const CAP_PER_VCPU: u32 = 100;

/// `xl sched-credit2`
pub fn sched_credit2(ctx: &Ctx, args: &Parsed) -> Outcome {
    share(ctx, args, SCHEDULER_CREDIT2)
}

/// `xl sched-credit`
pub fn sched_credit(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let pools = c.xc.cpupools()?;
    let Some(other) = pools
        .first()
        .filter(|_| !pools.iter().any(|p| p.sched == SCHEDULER_CREDIT))
    else {
        return share(ctx, args, SCHEDULER_CREDIT);
    };
    let name = scheduler_name(other.sched);
    let what = format!("this host's scheduler is {name}, not credit; use \"xl sched-{name}\"");
    // Listing what there is none of is no failure.
    if args.has("d") || args.has("s") {
        return fail(what);
    }
    eprintln!("xl: {what}");
    Ok(ExitCode::SUCCESS)
}

fn share(ctx: &Ctx, args: &Parsed, sched: u32) -> Outcome {
    let c = ctx.connect()?;
    let changes = args.has("w") || args.has("c");
    if args.has("p") && (args.has("d") || changes) {
        return fail("a CPU pool (-p) cannot be combined with a domain, a weight or a cap");
    }
    if args.has("s") {
        return scheduler(&c, args);
    }
    match args.value("d") {
        None if changes => Err(Failure::Message("Must specify a domain.".into())),
        None => list(&c, args, sched),
        Some(word) => {
            let dom = find(&c.host(), word)?;
            if changes {
                set(&c, dom, args, sched)
            } else {
                println!("{}", sched_header());
                line(&c, dom, sched)
            }
        }
    }
}

/// The parameters of a pool's scheduler.
fn scheduler(c: &Connections, args: &Parsed) -> Outcome {
    let pool = match args.value("p") {
        Some(word) => named(c, word)?.id,
        None => 0,
    };
    match args.value("r") {
        None => println!("{}", pool_line(c, pool)),
        Some(text) => match text.parse().ok().filter(|r| RATELIMIT.contains(r)) {
            Some(r) => c.xc.set_credit2_ratelimit(pool, r)?,
            None => {
                let (low, high) = (RATELIMIT.start(), RATELIMIT.end());
                return fail(format!(
                    "\"{text}\" is not a rate limit of {low} to {high} microseconds"
                ));
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn pool_line(c: &Connections, pool: u32) -> String {
    let name = pool_name(&c.xs, pool);
    match c.xc.credit2_ratelimit(pool) {
        Ok(us) => format!("Cpupool {name}: ratelimit={us}us"),
        Err(_) => format!("Cpupool {name}: [sched params unavailable]"),
    }
}

fn list(c: &Connections, args: &Parsed, sched: u32) -> Outcome {
    let pools: Vec<CpuPool> = match args.value("p") {
        Some(word) => vec![named(c, word)?],
        None => c.xc.cpupools()?,
    };
    let domains = c.xc.domains()?;
    for pool in pools.iter().filter(|p| p.sched == sched) {
        println!("{}\n{}", pool_line(c, pool.id), sched_header());
        for d in domains.iter().filter(|d| d.cpupool == pool.id) {
            line(c, d.domid, sched)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(c: &Connections, dom: DomId, sched: u32) -> Outcome {
    let p = c.xc.sched_params(dom, sched)?;
    println!(
        "{}",
        sched_line(&name_of(&c.host(), dom)?, dom.0, p.weight, p.cap)
    );
    Ok(ExitCode::SUCCESS)
}

fn set(c: &Connections, dom: DomId, args: &Parsed, sched: u32) -> Outcome {
    let old = c.xc.sched_params(dom, sched)?;
    let vcpus = c.host().info(dom)?.max_vcpu_id.map_or(1, |m| m + 1);
    let most = (vcpus.saturating_mul(CAP_PER_VCPU)).min(u32::from(u16::MAX)) as u16;
    let params = SchedParams {
        weight: number(args.value("w"), old.weight, 1..=u16::MAX, "weight")?,
        cap: number(args.value("c"), old.cap, 0..=most, "cap")?,
    };
    c.xc.set_sched_params(dom, sched, params)?;
    Ok(ExitCode::SUCCESS)
}

fn number(
    text: Option<&str>,
    old: u16,
    range: std::ops::RangeInclusive<u16>,
    what: &str,
) -> Result<u16, Failure> {
    let Some(text) = text else { return Ok(old) };
    match text.parse().ok().filter(|n| range.contains(n)) {
        Some(n) => Ok(n),
        None => fail(format!(
            "\"{text}\" is not a {what}: it is from {} to {}",
            range.start(),
            range.end()
        )),
    }
}
