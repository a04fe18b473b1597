//! `save`, `restore`, `suspend`, `resume`.
use super::create::{locked, read_settings};
use super::supervise;
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::message::Progress;
use crate::opts::Parsed;
use crate::{savefile, xlconf};
use libxl::DomainConfig;
use libxl::cfg::Diagnostics;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use xen_abi::DomId;

type Outcome = Result<ExitCode, Failure>;

/// Bytes that go to or from a file at once.
const BUFFER: usize = 1 << 20;

/// `xl save`
pub fn save(ctx: &Ctx, args: &Parsed) -> Outcome {
    if args.operands.len() > 3 {
        return fail("save takes a domain, a file, and at most a configuration file");
    }
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    host.check_saveable(dom)?;
    let config = config_of(&c, dom, args.operands.get(2))?;
    let saved = write_file(&c, dom, &config, Path::new(args.operand(1)));
    if let Err(e) = saved {
        say!("Failed to save domain, resuming domain");
        go_on(&c, dom);
        return Err(e);
    }
    if args.has("p") {
        c.xc.pause_domain(dom)?;
    }
    match args.has("p") || args.has("c") {
        true => host.resume(dom)?,
        false => host.destroy(dom)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets a domain go on if it stands still.
pub fn go_on(c: &Connections, dom: DomId) {
    use xenctrl::ShutdownReason::Suspend;
    let suspended =
        c.xc.domain_info(dom)
            .is_ok_and(|i| i.is_some_and(|i| i.state.shutdown == Some(Suspend)));
    if suspended && let Err(e) = c.host().resume(dom) {
        say!("xl: {e}");
    }
}

/// The configuration that goes with a domain: as it is now, or what a file says of it.
pub fn config_of(
    c: &Connections,
    dom: DomId,
    file: Option<&String>,
) -> Result<DomainConfig, Failure> {
    let host = c.host();
    let Some(file) = file else {
        return Ok(host.config_now(dom)?);
    };
    let mut diags = Diagnostics::default();
    let mut cfg =
        read_settings(Some(file), &[], true, &mut diags).map_err(Failure::without_status)?;
    let uuid = libxl::Uuid(host.info(dom)?.handle);
    let same = libxl::cfg::parse_argument(&format!("uuid = \"{uuid}\""), &mut diags);
    cfg.merge(same, &mut diags);
    Ok(DomainConfig::from_cfg(&cfg, &mut diags)?)
}

/// Writes beside the file and puts it in its place once it is whole.
fn write_file(
    c: &Connections,
    dom: DomId,
    config: &DomainConfig,
    file: &Path,
) -> Result<(), Failure> {
    let fresh = PathBuf::from(format!("{}.part", file.display()));
    let failed =
        |e: std::io::Error| Failure::Message(format!("xl: writing {}: {e}", file.display()));
    // It holds all that the guest knows.
    let opened = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(failed)?;
    let mut out = BufWriter::with_capacity(BUFFER, opened);
    let written = write_domain(c, dom, config, false, &mut out, &file.display().to_string())
        .and_then(|()| out.flush().map_err(failed))
        .and_then(|()| std::fs::rename(&fresh, file).map_err(failed));
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

/// Writes head and stream to a file or another host.
pub fn write_domain(
    c: &Connections,
    dom: DomId,
    config: &DomainConfig,
    live: bool,
    out: &mut dyn Write,
    to: &str,
) -> Result<(), Failure> {
    let info = savefile::write(out, &config.json(), config)
        .map_err(|e| Failure::Message(format!("xl: writing {to}: {e}")))?;
    say!("Saving to {to} new xl format (info {info})");
    let host = c.host();
    if live {
        // How often it sends a page nobody knows beforehand; and the line is the other host's to write on.
        host.save(dom, live, out)?;
        return Ok(());
    }
    let total = host.info(dom)?.tot_pages << 12;
    let mut progress = Progress::new(out, "Saving", total);
    host.save(dom, live, &mut progress)?;
    progress.finish();
    Ok(())
}

/// `xl restore`
pub fn restore(ctx: &Ctx, args: &Parsed) -> Outcome {
    let (config, file) = match &args.operands[..] {
        [file] => (None, file),
        [config, file] => (Some(config.as_str()), file),
        _ => return fail("restore takes a file, and at most a configuration file before it"),
    };
    if args.has("V") || args.has("A") {
        say!("xl: a PV guest without a framebuffer has no VNC display; -V and -A are ignored");
    }
    let opened =
        File::open(file).map_err(|e| Failure::Message(format!("xl: opening {file}: {e}")))?;
    let mut input = BufReader::with_capacity(BUFFER, opened);
    let c = xlconf::read().creating(ctx.connect()?);
    let config = read_head(&mut input, file, config)?;
    if args.has("d") {
        super::create::show(&config, false);
    }
    let dom = make(&c, &config, false, &mut input)?;
    ctx.verbose(format_args!("restored \"{}\" as {dom}", config.name));
    let foreground = args.has("F") && !args.has("e");
    run(&c, dom, &config, foreground || args.has("e"), args.has("p"))?;
    if args.has("c") {
        super::console::connect(&c, dom, 0, xenconsoled::client::DEFAULT_ESCAPE)?;
    }
    if foreground {
        return supervise::watch(dom, config, true);
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the head; the configuration comes from a file if one is given.
pub fn read_head(
    input: &mut dyn Read,
    from: &str,
    config: Option<&str>,
) -> Result<DomainConfig, Failure> {
    let head = savefile::read(input).or_else(|e| fail(format!("{from}: {e}")))?;
    say!(
        "Loading new save file {from} (new xl fmt info {})",
        head.info
    );
    let given = match config {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::Message(format!("xl: reading {path}: {e}")))?;
            Some((path, text))
        }
    };
    if head.json.is_some() {
        say!(" Savefile contains xl domain config in JSON format");
    }
    say!("Parsing config from {}", config.unwrap_or("<saved>"));
    let given = given.as_ref().map(|(path, text)| (*path, text.as_str()));
    let mut config = head.config(given)?;
    let conf = xlconf::read();
    conf.complete(&mut config);
    conf.confine(&mut config);
    Ok(config)
}

/// Makes the domain, paused.
pub fn make(
    c: &Connections,
    config: &DomainConfig,
    moved: bool,
    input: &mut dyn Read,
) -> Result<DomId, Failure> {
    locked(|| Ok(c.host().receive(config, moved, input)?))
}

/// Watches over the domain and lets it run, or removes it.
pub fn run(
    c: &Connections,
    dom: DomId,
    config: &DomainConfig,
    unwatched: bool,
    paused: bool,
) -> Result<(), Failure> {
    let begun = match unwatched {
        true => Ok(()),
        false => supervise::spawn(dom, &config.name, true),
    };
    let begun = begun.and_then(|()| match paused {
        true => Ok(()),
        false => Ok(c.xc.unpause_domain(dom)?),
    });
    if begun.is_err() {
        let _ = c.host().destroy(dom);
    }
    begun
}

/// `xl suspend`: it stands still, in memory.
pub fn suspend(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    if dom == DomId::DOM0 {
        return fail("dom0 cannot suspend itself this way");
    }
    host.suspend(dom)?;
    Ok(ExitCode::SUCCESS)
}

/// `xl resume`: it goes on.
pub fn resume(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    host.resume(find(&host, args.operand(0))?)?;
    Ok(ExitCode::SUCCESS)
}
