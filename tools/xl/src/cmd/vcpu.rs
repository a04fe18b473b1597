//! `vcpu-list` and `vcpu-set`.
use super::list::{name_of, selected};
use crate::ctx::{Ctx, Failure, fail, find};
use crate::opts::Parsed;
use crate::output;
use libxl::CpuList;
use std::process::ExitCode;
use xen_abi::VcpuId;
use xenctrl::CpuMap;

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

/// Reads an affinity: `-` leaves it as it is, anything else names CPUs.
fn affinity(word: Option<&String>, nodes: &[u32], what: &str) -> Result<Option<CpuMap>, Failure> {
    let Some(word) = word.filter(|w| *w != "-") else {
        return Ok(None);
    };
    let Ok(list) = CpuList::parse(word) else {
        return Err(Failure::Message(format!("Invalid pcpu range: {word}.")));
    };
    match list.resolve(nodes) {
        Ok(map) => Ok(Some(map)),
        Err(e) => Err(Failure::Message(format!(
            "vcpu {what} affinity map is empty: {e}"
        ))),
    }
}

/// `xl vcpu-pin`
pub fn vcpu_pin(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let (dom, vcpu) = (find(&host, args.operand(0))?, args.operand(1));
    let info = host.info(dom)?;
    let count = info.max_vcpu_id.map_or(0, |m| m + 1);
    let vcpus: Vec<u32> = match vcpu.parse::<u32>() {
        _ if vcpu == "all" => (0..count).collect(),
        Ok(v) if v < count => vec![v],
        Ok(v) => {
            return fail(format!(
                "Could not set affinity for vcpu `{v}': {dom} has {count} vcpus"
            ));
        }
        Err(_) => {
            return Err(Failure::Message(format!(
                "Error: Invalid argument {vcpu} as VCPU."
            )));
        }
    };
    let max = c.xc.physinfo()?.max_cpu_id;
    let nodes = host.cpu_nodes(max)?;
    let mut hard = affinity(args.operands.get(2), &nodes, "hard")?;
    let mut soft = affinity(args.operands.get(3), &nodes, "soft")?;
    if !args.has("ignore-global-affinity-masks") {
        let conf = crate::xlconf::read();
        conf.mask(dom, info.state.hvm, &nodes, &mut hard, &mut soft)?;
    }
    if hard.is_none() && soft.is_none() {
        return fail("neither a hard nor a soft affinity is to be set");
    }
    for v in vcpus {
        if ctx.dry_run {
            let show = |m: &Option<CpuMap>| {
                m.as_ref()
                    .map_or("-".into(), |m| libxl::format_cpus(m, max + 1))
            };
            println!("cpumap: {v}: hard {} soft {}", show(&hard), show(&soft));
            continue;
        }
        if args.has("f") {
            c.xc.force_vcpu_affinity(dom, VcpuId(v), hard.as_ref(), soft.as_ref())?;
        } else {
            c.xc.set_vcpu_affinity(dom, VcpuId(v), hard.as_ref(), soft.as_ref())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
