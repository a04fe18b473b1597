//! `create`.
use super::{console, supervise};
use crate::ctx::{Connections, Ctx, Failure, fail};
use crate::opts::Parsed;
use crate::xlconf;
use libxl::DomainConfig;
use libxl::cfg::{self, Cfg, Diagnostics};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use xen_abi::DomId;
use xenconsoled::client::{DEFAULT_ESCAPE, attach};

/// What a failed creation ends with.
const FAILED: u8 = 3;
/// The option that lets a domain use CPUs that xl.conf withholds.
pub const UNMASKED: &str = "ignore-global-affinity-masks";

/// `xl create`
pub fn create(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    match try_create(ctx, args) {
        Err(Failure::Message(m)) => {
            eprintln!("{m}");
            Ok(ExitCode::from(FAILED))
        }
        other => other,
    }
}

fn try_create(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    let quiet = args.has("q");
    let conf = xlconf::read();
    let mut config = read_config(args, quiet)?;
    conf.complete(&mut config);
    if !args.has(UNMASKED) {
        conf.confine(&mut config);
    }
    if args.has("n") || ctx.dry_run {
        println!("{}", super::list::pretty(&config.json()));
        return Ok(ExitCode::SUCCESS);
    }
    if args.has("V") || args.has("A") {
        eprintln!("xl: a PV guest without a framebuffer has no VNC display; -V and -A are ignored");
    }
    let c = conf.creating(ctx.connect()?);
    let watch = |tty: &Path| {
        // Leaving it leaves the boot loader running; what follows is the guest's own console.
        let _ = attach(tty, DEFAULT_ESCAPE);
    };
    let dom = locked(|| {
        let host = c.host();
        let prepared = host.prepare(&config)?;
        let prepared = if args.has("c") {
            prepared.watched(&watch)
        } else {
            prepared
        };
        Ok(prepared.create()?)
    })?;
    ctx.verbose(format_args!("created \"{}\" as {dom}", config.name));
    if let Err(e) = start(&c, dom, &config, args) {
        // Nobody watches over it, or it cannot run: better no domain than such a one.
        let _ = c.host().destroy(dom);
        return Err(e);
    }
    if args.has("c") {
        console::connect(&c, dom, 0, DEFAULT_ESCAPE)?;
    }
    if args.has("F") {
        return supervise::watch(dom, config, !args.has(UNMASKED));
    }
    Ok(ExitCode::SUCCESS)
}

fn start(c: &Connections, dom: DomId, config: &DomainConfig, args: &Parsed) -> Result<(), Failure> {
    if args.has("c") {
        // Once it is served, nothing that the guest says is lost.
        console::wait_served(c, dom, 0)?;
    }
    if !args.has("e") && !args.has("F") {
        supervise::spawn(dom, &config.name, !args.has(UNMASKED))?;
    }
    if !args.has("p") {
        c.xc.unpause_domain(dom)?;
    }
    Ok(())
}

/// Shows findings.
pub fn report(diags: &Diagnostics) {
    diags.0.iter().for_each(|d| eprintln!("{d}"));
}

/// Reads the file and the `key=value` arguments, shows all findings, and gives the result if it can be used.
fn read_config(args: &Parsed, quiet: bool) -> Result<DomainConfig, Failure> {
    let mut diags = Diagnostics::default();
    let config = read_settings(args.value("f"), &args.operands, quiet, &mut diags)?;
    let result = DomainConfig::from_cfg(&config, &mut diags);
    if result.is_ok() && !quiet {
        report(&diags);
    }
    Ok(result?)
}

/// Reads the file, given as option or among the operands, and the operands that are settings.
pub fn read_settings(
    file: Option<&str>,
    operands: &[String],
    quiet: bool,
    diags: &mut Diagnostics,
) -> Result<Cfg, Failure> {
    let (settings, files): (Vec<_>, Vec<_>) = operands
        .iter()
        .partition(|o| o.contains('=') && !Path::new(o).exists());
    let mut files: Vec<&str> = file
        .into_iter()
        .chain(files.iter().map(|f| f.as_str()))
        .collect();
    if files.len() > 1 {
        return fail(format!(
            "one configuration file at a time, not {}",
            files.join(" and ")
        ));
    }
    let mut config = Cfg::default();
    if let Some(file) = files.pop() {
        if !quiet {
            eprintln!("Parsing config from {file}");
        }
        let bytes = std::fs::read(file).or_else(|e| fail(format!("reading {file}: {e}")))?;
        config = cfg::parse(file, &String::from_utf8_lossy(&bytes), diags);
    } else if settings.is_empty() {
        return fail(
            "no configuration: name a file, or give key=value settings (see xl help create)",
        );
    }
    for s in settings {
        config.merge(cfg::parse_argument(s, diags), diags);
    }
    Ok(config)
}

/// Runs `body` while nobody else creates a domain: two must not take the same name or the same free memory.
pub fn locked<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let _ = std::fs::create_dir_all("/run/lock");
    // Where locks cannot be had, creating goes on without: it is a courtesy between administrators.
    let lock = File::options()
        .create(true)
        .append(true)
        .open(xlconf::lockfile())
        .ok();
    if let Some(l) = &lock {
        let _ = flock(l, FlockOperation::LockExclusive);
    }
    body()
}
