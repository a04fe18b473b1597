//! `vcpu-list` and `vcpu-set`.
use super::list::{name_of, selected};
use crate::ctx::{Ctx, Failure, fail, find};
use crate::opts::Parsed;
use crate::output;
use std::process::ExitCode;
use xen_abi::VcpuId;

type Outcome = Result<ExitCode, Failure>;

/// `xl vcpu-list`
pub fn vcpu_list(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let phys = c.xc.physinfo()?;
    println!("{}", output::vcpu_header());
    for d in selected(&host, &args.operands)? {
        let name = name_of(&host, d.domid)?;
        for v in 0..d.max_vcpu_id.map_or(0, |m| m + 1) {
            // A vcpu may never have been made; the list goes on with the next.
            let Ok(info) = c.xc.vcpu_info(d.domid, VcpuId(v)) else {
                continue;
            };
            let (hard, soft) =
                c.xc.vcpu_affinity(d.domid, VcpuId(v), phys.max_cpu_id + 1)?;
            let show = |m| libxl::format_cpus(m, phys.nr_cpus);
            println!(
                "{}",
                output::vcpu_line(&name, d.domid.0, &info, &show(&hard), &show(&soft))
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl vcpu-set`
pub fn vcpu_set(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    let Ok(count) = args.operand(1).parse::<u32>() else {
        return fail(format!(
            "Invalid argument: \"{}\" is not a number of vcpus",
            args.operand(1)
        ));
    };
    let cpus = c.xc.physinfo()?.nr_cpus;
    let now = host.info(dom)?.online_vcpus;
    if count > cpus && count > now && !args.has("i") {
        return fail(format!(
            "You are overcommitting! You have {cpus} physical CPUs and want {count} vCPUs! Aborting, use --ignore-host to continue"
        ));
    }
    host.set_vcpus(dom, count)?;
    Ok(ExitCode::SUCCESS)
}
