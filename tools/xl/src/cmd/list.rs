//! `list` and `vm-list`.
use crate::ctx::{Ctx, Failure};
use crate::opts::Parsed;
use crate::output;
use libxl::Host;
use std::process::ExitCode;
use xen_abi::DomId;
use xenctrl::DomainInfo;

type Outcome = Result<ExitCode, Failure>;

/// A name for people: dom0 has one even before it is written down.
pub fn name_of(host: &Host, dom: DomId) -> Result<String, Failure> {
    let fallback = || {
        if dom == DomId::DOM0 {
            "Domain-0"
        } else {
            "(null)"
        }
    };
    Ok(host.name(dom)?.unwrap_or_else(|| fallback().into()))
}

/// The domains that operands name, or all.
pub fn selected(host: &Host, operands: &[String]) -> Result<Vec<DomainInfo>, Failure> {
    let all = host.hv.domains()?;
    if operands.is_empty() {
        return Ok(all);
    }
    let mut some = Vec::new();
    for word in operands {
        let dom = crate::ctx::find(host, word)?;
        some.extend(all.iter().find(|d| d.domid == dom).cloned());
    }
    Ok(some)
}

/// `xl list`
pub fn list(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let domains = selected(&host, &args.operands)?;
    if args.has("l") {
        let records = domains
            .iter()
            .map(|d| host.json(d.domid))
            .collect::<libxl::Result<Vec<_>>>()?;
        // A blank line ends it, as libxl's list does.
        println!("{}\n", pretty(&records.into()));
        return Ok(ExitCode::SUCCESS);
    }
    let (verbose, context) = (args.has("v"), args.has("Z"));
    print!("{}", output::LIST_HEADER);
    if verbose {
        print!("   UUID                            Reason-Code\tSecurity Label");
    } else if context {
        print!("   Security Label");
    }
    if args.has("c") {
        print!("         Cpupool");
    }
    if args.has("n") {
        print!(" NODE Affinity");
    }
    println!();
    let nodes = match args.has("n") {
        true => c.xc.physinfo()?.nr_nodes,
        false => 0,
    };
    for d in &domains {
        print!("{}", output::list_line(&name_of(&host, d.domid)?, d));
        if verbose {
            print!(" {}", libxl::Uuid(d.handle));
            match d.state.shutdown {
                Some(r) => print!(" {:>8x}", output::reason_code(r)),
                None => print!(" {:>8}", "-"),
            }
        }
        if verbose || context {
            print!(" {:>16}", "-");
        }
        if args.has("c") {
            print!("{:>16}", super::cpupool::pool_name(&c.xs, d.cpupool));
        }
        if args.has("n") {
            let affinity = c.xc.node_affinity(d.domid, nodes)?;
            print!(" {}", libxl::format_cpus(&affinity, nodes));
        }
        println!();
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl claims`
pub fn claims(ctx: &Ctx, _: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    if !crate::xlconf::read().claim_mode {
        say!("claim_mode not enabled (see man xl.conf).");
    }
    println!("{}  Claimed", output::LIST_HEADER);
    for d in c.xc.domains()? {
        let line = output::list_line(&name_of(&host, d.domid)?, &d);
        println!("{line} {:>5}", d.outstanding_pages / 256);
    }
    Ok(ExitCode::SUCCESS)
}

/// JSON in four-space indentation, as libxl's printer has it.
pub fn pretty(value: &serde_json::Value) -> String {
    use serde_json::ser::{PrettyFormatter, Serializer};
    let mut out = Vec::new();
    let mut serializer =
        Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => open_empty(&String::from_utf8_lossy(&out)),
        // A value in memory always serialises.
        Err(_) => value.to_string(),
    }
}

/// Empty objects and lists are three lines in libxl's layout. Only outside of strings can a
/// line end so.
fn open_empty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    for line in text.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let (body, comma) = line.strip_suffix(',').map_or((line, ""), |b| (b, ","));
        match body
            .strip_suffix("{}")
            .zip(Some('}'))
            .or(body.strip_suffix("[]").zip(Some(']')))
        {
            Some((head, '}')) => out.push_str(&format!("{head}{{\n\n{indent}}}{comma}")),
            Some((head, _)) => out.push_str(&format!("{head}[\n\n{indent}]{comma}")),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out.pop();
    out
}

/// `xl vm-list`
pub fn vm_list(ctx: &Ctx, _: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    println!("UUID                                  ID    name");
    for d in c.xc.domains()? {
        println!(
            "{}  {}    {:<30}",
            libxl::Uuid(d.handle),
            d.domid.0,
            name_of(&host, d.domid)?
        );
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn json_is_laid_out_as_libxl_does() {
        let v = serde_json::json!({"a": {"type.pv": {}, "s": "x {}", "none": []}, "b": [1]});
        assert_eq!(
            super::pretty(&v),
            "{\n    \"a\": {\n        \"type.pv\": {\n\n        },\n        \"s\": \"x {}\",\n        \"none\": [\n\n        ]\n    },\n    \"b\": [\n        1\n    ]\n}"
        );
    }
}
