//! `info`, `dmesg`, `debug-keys`, `help`, `--version`, and dom0's initialisation.
use crate::ctx::{Ctx, Failure};
use crate::opts::Parsed;
use crate::{output, table};
use std::io::Write;
use std::process::ExitCode;

type Outcome = Result<ExitCode, Failure>;

/// `xl info`
pub fn info(ctx: &Ctx, args: &Parsed) -> Outcome {
    let xc = ctx.xc()?;
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let info = output::Info {
        uname: output::Uname {
            host: text(uname.nodename()),
            release: text(uname.release()),
            version: text(uname.version()),
            machine: text(uname.machine()),
        },
        phys: xc.physinfo()?,
        version: xc.version()?,
        scheduler: output::scheduler_name(xc.sched_id()?),
        sharing: xc.sharing_pages(),
        free_cpus: xc.free_cpus().map_or(0, |m| m.iter().count() as u32),
    };
    let text = output::info(&info);
    if args.has("n") {
        // The topology stands between the machine and the hypervisor.
        let (machine, xen) = text.split_at(text.find("xen_major").unwrap_or(text.len()));
        let places = xc.cpu_places(info.phys.max_cpu_id + 1)?;
        print!(
            "{machine}{}{xen}",
            output::topology(&places, &xc.numa_nodes()?)
        );
    } else if let Some(name) = args.operands.first() {
        print!("{}", output::info_values(&text, name));
    } else {
        print!("{text}");
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl dmesg`
pub fn dmesg(ctx: &Ctx, args: &Parsed) -> Outcome {
    let text = ctx.xc()?.read_console(args.has("c"))?;
    std::io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `xl debug-keys`
pub fn debug_keys(ctx: &Ctx, args: &Parsed) -> Outcome {
    ctx.xc()?.debug_keys(args.operand(0))?;
    Ok(ExitCode::SUCCESS)
}

/// `xl set-parameters`
pub fn set_parameters(ctx: &Ctx, args: &Parsed) -> Outcome {
    let xc = ctx.xc()?;
    for word in args.operands.iter().flat_map(|o| o.split_whitespace()) {
        let (name, value) = word.split_once('=').unwrap_or((word, "1"));
        xc.set_parameter(name, value)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl help`
pub fn help(ctx: &Ctx, args: &Parsed) -> Outcome {
    match args.operands.first() {
        None => print!("{}", table::overview(ctx.program)),
        Some(verb) => match table::find(verb) {
            Ok(command) => print!("{}", table::command_help(ctx.program, command)),
            // Saying so is what was asked for, so it is no failure.
            Err(why) => println!("{why}"),
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl docs`
pub fn docs(_: &Ctx, args: &Parsed) -> Outcome {
    let wanted = args.operand(0);
    match crate::docs::DOCS.iter().find(|d| d.0 == wanted) {
        Some((_, text)) => {
            print!("{}", text());
            Ok(ExitCode::SUCCESS)
        }
        None => crate::ctx::fail(format!("there is no \"{wanted}\": man, cfg or completion")),
    }
}

/// `xl --version`
pub fn version(ctx: &Ctx) -> Outcome {
    println!("{} {} (Corten)", ctx.program, env!("CARGO_PKG_VERSION"));
    Ok(ExitCode::SUCCESS)
}

/// `xl init-dom0`
pub fn init_dom0(ctx: &Ctx, _: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let vcpus =
        c.xc.domain_info(xen_abi::DomId::DOM0)?
            .and_then(|i| i.max_vcpu_id)
            .map_or(1, |m| m + 1);
    c.host().init_dom0(vcpus)?;
    Ok(ExitCode::SUCCESS)
}
