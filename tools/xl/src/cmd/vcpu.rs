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
    let (dom, vcpu, force) = (
        find(&host, args.operand(0))?,
        args.operand(1),
        args.has("f"),
    );
    let one = match vcpu.parse::<u32>() {
        Ok(v) => Some(v),
        Err(_) if vcpu == "all" && force => {
            let text = "Error: --force and 'all' as VCPU not allowed.";
            return Err(Failure::Message(text.into()));
        }
        Err(_) if vcpu == "all" => None,
        Err(_) => {
            let text = format!("Error: Invalid argument {vcpu} as VCPU.");
            return Err(Failure::Message(text));
        }
    };
    let max = c.xc.physinfo()?.max_cpu_id;
    let nodes = host.cpu_nodes(max)?;
    let mut hard = affinity(args.operands.get(2), &nodes, "hard")?;
    let soft = affinity(args.operands.get(3), &nodes, "soft")?;
    if ctx.dry_run {
        println!("{}", rehearsal(hard.as_ref(), soft.as_ref(), max + 1));
        return Ok(ExitCode::SUCCESS);
    }
    let info = host.info(dom)?;
    let count = info.max_vcpu_id.map_or(0, |m| m + 1);
    let vcpus = match one {
        None => 0..count,
        Some(v) if v < count => v..v + 1,
        Some(v) => {
            return fail(format!(
                "Could not set affinity for vcpu `{v}': {dom} has {count} vcpus"
            ));
        }
    };
    if !args.has("i") {
        let conf = crate::xlconf::read();
        conf.mask(info.state.hvm, &nodes, &mut hard)?;
    }
    if hard.is_none() && soft.is_none() {
        return fail("neither a hard nor a soft affinity is to be set");
    }
    for v in vcpus.map(VcpuId) {
        match force {
            true => {
                c.xc.force_vcpu_affinity(dom, v, hard.as_ref(), soft.as_ref())?;
            }
            false => {
                c.xc.set_vcpu_affinity(dom, v, hard.as_ref(), soft.as_ref())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What would be set: the hard affinity, and the soft one if there is one.
fn rehearsal(hard: Option<&CpuMap>, soft: Option<&CpuMap>, cpus: u32) -> String {
    let show = |m: &CpuMap| libxl::format_cpus(m, cpus);
    let soft = soft.map(|m| format!(" {}", show(m))).unwrap_or_default();
    format!("cpumap: {}{soft}", hard.map_or("-".into(), show))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_shows_what_is_given() {
        let mut one = CpuMap::empty(4);
        one.set(2);
        let all = CpuMap::full(4);
        assert_eq!(rehearsal(Some(&one), None, 4), "cpumap: 2");
        assert_eq!(rehearsal(None, Some(&all), 4), "cpumap: - all");
    }
}
