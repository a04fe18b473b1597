//! `create`.
use super::{console, supervise};
use crate::ctx::{Connections, Ctx, Failure};
use crate::opts::Parsed;
use crate::xlconf;
use libxl::DomainConfig;
use libxl::cfg::{self, Cfg, Diagnostics};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use xen_abi::DomId;
use xenconsoled::client::{DEFAULT_ESCAPE, attach};

/// What it ends with where nothing could be made of the configuration: as a script knows it from Debian's xl.
const BAD_CONFIG: u8 = 1;
const TWO_FILES: u8 = 2;
const NO_FILE: u8 = 6;
/// The same for anything else.
const FAILED: u8 = 3;
/// The option that lets a domain use CPUs that xl.conf withholds.
pub const UNMASKED: &str = "ignore-global-affinity-masks";

/// `xl create`
pub fn create(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    try_create(ctx, args).map_err(|e| e.or_exit(FAILED))
}

/// Shows a configuration that is asked for: what would be made where nothing is to be made.
pub fn show(config: &DomainConfig, dry: bool) {
    let text = super::list::pretty(&config.json());
    match dry {
        true => println!("{text}"),
        // No message, which could be stamped.
        false => {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

fn try_create(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    let conf = xlconf::read();
    let mut config = read_config(args)?;
    conf.complete(&mut config);
    if !args.has(UNMASKED) {
        conf.confine(&mut config);
    }
    let dry = args.has("n") || ctx.dry_run;
    if dry || args.has("d") {
        show(&config, dry);
    }
    if dry {
        return Ok(ExitCode::SUCCESS);
    }
    if args.has("V") || args.has("A") {
        say!("xl: a PV guest without a framebuffer has no VNC display; -V and -A are ignored");
    }
    let c = conf.creating(ctx.connect().map_err(|e| e.or_exit(BAD_CONFIG))?);
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
    diags.0.iter().for_each(|d| say!("{d}"));
}

/// Reads the file and the `key=value` arguments, shows all findings, and gives the result if it can be used.
fn read_config(args: &Parsed) -> Result<DomainConfig, Failure> {
    let mut diags = Diagnostics::default();
    let config = read_settings(args.value("f"), &args.operands, args.has("q"), &mut diags)?;
    let result = DomainConfig::from_cfg(&config, &mut diags);
    if result.is_ok() {
        report(&diags);
    }
    result.map_err(|e| Failure::from(e).or_exit(BAD_CONFIG))
}

/// Reads the file, given as option or among the operands, and the operands that are settings. `quiet`: without saying so.
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
        return Err(Failure::Exit(
            TWO_FILES,
            format!(
                "xl: one configuration file at a time, not {}",
                files.join(" and ")
            ),
        ));
    }
    let Some(file) = files.pop() else {
        let text =
            "xl: no configuration file (with /dev/null, key=value settings are all there is)";
        return Err(Failure::Exit(NO_FILE, text.into()));
    };
    let bytes = std::fs::read(file)
        .map_err(|e| Failure::Exit(FAILED, format!("xl: reading {file}: {e}")))?;
    if !quiet {
        say!("Parsing config from {file}");
    }
    let mut config = cfg::parse(file, &String::from_utf8_lossy(&bytes), diags);
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
