//! `sched-credit2` and `sched-credit`: domains' shares of the CPUs.
use super::cpupool::{named, pool_name};
use super::list::name_of;
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::opts::Parsed;
use crate::output::{sched_header, sched_line, scheduler_name};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::str::FromStr;
use xen_abi::DomId;
use xen_abi::domctl::{SCHEDULER_CREDIT, SCHEDULER_CREDIT2};
use xen_abi::sysctl::{
    CSCHED_MGR_DLY_MAX_US, CSCHED_TSLICE_MAX, CSCHED_TSLICE_MIN, CreditSchedule,
    SCHED_RATELIMIT_MAX, SCHED_RATELIMIT_MIN,
};
use xenctrl::{CpuPool, SchedParams};

type Outcome = Result<ExitCode, Failure>;

/// What the rate limit may be, in microseconds, if there is to be one.
const RATELIMIT: RangeInclusive<u32> = SCHED_RATELIMIT_MIN..=SCHED_RATELIMIT_MAX;
/// What the credit scheduler's time slice may be, in milliseconds.
const TSLICE: RangeInclusive<u32> = CSCHED_TSLICE_MIN..=CSCHED_TSLICE_MAX;
/// How long it may leave a vcpu where it ran last, in microseconds.
const MIGRATION_DELAY: RangeInclusive<u32> = 0..=CSCHED_MGR_DLY_MAX_US;
/// Options that set these; the second and third are the credit scheduler's alone.
const PARAMETERS: [&str; 3] = ["r", "t", "m"];
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
    if args.has("d") || PARAMETERS.iter().any(|o| args.has(o)) {
        return fail(what);
    }
    say!("xl: {what}");
    match args.has("s") {
        true => scheduler(&c, args, SCHEDULER_CREDIT),
        false => Ok(ExitCode::SUCCESS),
    }
}

fn share(ctx: &Ctx, args: &Parsed, sched: u32) -> Outcome {
    let c = ctx.connect()?;
    let changes = args.has("w") || args.has("c");
    if args.has("p") && (args.has("d") || changes) {
        return fail("a CPU pool (-p) cannot be combined with a domain, a weight or a cap");
    }
    if args.has("s") {
        return scheduler(&c, args, sched);
    }
    if PARAMETERS.iter().any(|o| args.has(o)) {
        return fail("the scheduler's own parameters (-r, -t, -m) are set with -s");
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
fn scheduler(c: &Connections, args: &Parsed, sched: u32) -> Outcome {
    let pool = match args.value("p") {
        Some(word) => named(c, word)?.id,
        None => 0,
    };
    if !PARAMETERS.iter().any(|o| args.has(o)) {
        println!("{}", pool_line(c, pool, sched));
        return Ok(ExitCode::SUCCESS);
    }
    if sched == SCHEDULER_CREDIT2 {
        c.xc.set_credit2_ratelimit(pool, ratelimit(args, 0)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let old = c.xc.credit_schedule(pool)?;
    let wanted = CreditSchedule {
        tslice_ms: number(args.value("t"), old.tslice_ms, TSLICE, "time slice")?,
        ratelimit_us: ratelimit(args, old.ratelimit_us)?,
        vcpu_migr_delay_us: number(
            args.value("m"),
            old.vcpu_migr_delay_us,
            MIGRATION_DELAY,
            "migration delay",
        )?,
    };
    if wanted.ratelimit_us > wanted.tslice_ms * 1000 {
        return fail("the rate limit cannot be longer than the time slice");
    }
    c.xc.set_credit_schedule(pool, wanted)?;
    Ok(ExitCode::SUCCESS)
}

fn ratelimit(args: &Parsed, old: u32) -> Result<u32, Failure> {
    match args.value("r") {
        // None at all.
        Some("0") => Ok(0),
        text => number(text, old, RATELIMIT, "rate limit in microseconds"),
    }
}

fn pool_line(c: &Connections, pool: u32, sched: u32) -> String {
    let name = pool_name(&c.xs, pool);
    let parameters = match sched {
        SCHEDULER_CREDIT => c.xc.credit_schedule(pool).map(|p| {
            format!(
                "tslice={}ms ratelimit={}us migration-delay={}us",
                p.tslice_ms, p.ratelimit_us, p.vcpu_migr_delay_us
            )
        }),
        _ => {
            c.xc.credit2_ratelimit(pool)
                .map(|us| format!("ratelimit={us}us"))
        }
    };
    let parameters = parameters.unwrap_or_else(|_| "[sched params unavailable]".into());
    format!("Cpupool {name}: {parameters}")
}

fn list(c: &Connections, args: &Parsed, sched: u32) -> Outcome {
    let pools: Vec<CpuPool> = match args.value("p") {
        Some(word) => vec![named(c, word)?],
        None => c.xc.cpupools()?,
    };
    let domains = c.xc.domains()?;
    for pool in pools.iter().filter(|p| p.sched == sched) {
        println!("{}\n{}", pool_line(c, pool.id, sched), sched_header());
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

fn number<T: Copy + Display + FromStr + PartialOrd>(
    text: Option<&str>,
    old: T,
    range: RangeInclusive<T>,
    what: &str,
) -> Result<T, Failure> {
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
