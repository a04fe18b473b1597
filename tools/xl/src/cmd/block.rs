//! `block-attach`, `block-detach`, `block-list`, `cd-insert`, `cd-eject`.
use super::create::locked;
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::opts::Parsed;
use libxl::cfg::{self, Diagnostics};
use libxl::{Disk, Handle, Host, StoreContext, VirtualDevice};
use std::process::ExitCode;
use xen_abi::DomId;

type Outcome = Result<ExitCode, Failure>;

/// A domain by name or number; these verbs put it more plainly than the others.
fn domain(host: &Host, word: &str) -> Result<DomId, Failure> {
    find(host, word).map_err(|e| match e {
        Failure::Message(_) => Failure::Message(format!("{word} is an invalid domain identifier")),
        e => e,
    })
}

/// A disk from words: each a part of a specification (`phy:/dev/vg/d,xvdb,w`), or a setting (`vdev=xvdb`).
fn disk(words: &[String]) -> Result<Disk, Failure> {
    let disk = match words {
        // As in a configuration file: disk="..." or disk=["..."].
        [one] if one.trim_start().starts_with("disk=") => Disk::parse(&from_setting(one)?),
        words => Disk::parse_words(words.iter().map(String::as_str)),
    };
    disk.or_else(fail)
}

fn from_setting(word: &str) -> Result<String, Failure> {
    let mut diags = Diagnostics::default();
    let parsed = cfg::parse_argument(word, &mut diags);
    let value = parsed.settings.into_iter().next().map(|s| s.value);
    let one = |v: &cfg::Value| v.as_str().map(str::to_owned);
    let text = value.as_ref().and_then(|v| match v.as_list() {
        Some([only]) => one(only),
        Some(_) => None,
        None => one(v),
    });
    text.map_or_else(|| fail(format!("\"{word}\" is not one disk")), Ok)
}

/// `xl block-attach`
pub fn block_attach(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = domain(&host, args.operand(0))?;
    let disk = disk(&args.operands[1..])?;
    if ctx.dry_run || args.has("d") {
        host.check_disk(dom, &disk)?;
        println!("disk: {}\n", super::list::pretty(&disk.json()));
        return Ok(ExitCode::SUCCESS);
    }
    locked(|| Ok(host.attach_disk(dom, &disk)?))?;
    Ok(ExitCode::SUCCESS)
}

fn vdev(word: &str) -> Result<VirtualDevice, Failure> {
    VirtualDevice::parse(word).or_else(fail)
}

/// `xl block-detach`
pub fn block_detach(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    let vdev = vdev(args.operand(1))?;
    let force = args.has("f") || ctx.force;
    locked(|| Ok(host.detach_disk(dom, &vdev, force)?))?;
    Ok(ExitCode::SUCCESS)
}

/// `xl block-list`
pub fn block_list(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    println!(
        "{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}",
        "Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path"
    );
    for word in &args.operands {
        // One that is not there does not hide the others.
        match domain(&host, word) {
            Ok(dom) => {
                for (handle, _) in host.disks(dom)? {
                    line(&c, &handle)?;
                }
                if let Some(why) = host.dead_qemu(dom) {
                    eprintln!("xl: warning: {why}");
                }
            }
            Err(Failure::Message(m)) => eprintln!("{m}"),
            Err(e) => return Err(e),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the guest says about its end is its own affair: anything that is no number is -1.
fn line(c: &Connections, h: &Handle) -> Result<(), Failure> {
    use xenstore::Store;
    let front = h.front();
    let number = |node: &str| -> Result<i64, Failure> {
        let text = c.xs.read_opt(&format!("{front}/{node}"));
        let text = text.during(|| format!("reading {front}/{node}"))?;
        Ok(text.and_then(|t| t.trim().parse().ok()).unwrap_or(-1))
    };
    println!(
        "{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}",
        h.id,
        0,
        h.dom.0,
        number("state")?,
        number("event-channel")?,
        number("ring-ref")?,
        h.back()
    );
    Ok(())
}

/// `xl cd-insert`
pub fn cd_insert(ctx: &Ctx, args: &Parsed) -> Outcome {
    change_disc(ctx, args, Some(args.operand(2)))
}

/// `xl cd-eject`
pub fn cd_eject(ctx: &Ctx, args: &Parsed) -> Outcome {
    change_disc(ctx, args, None)
}

fn change_disc(ctx: &Ctx, args: &Parsed, image: Option<&str>) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    let vdev = vdev(args.operand(1))?;
    locked(|| Ok(host.change_disc(dom, &vdev, image)?))?;
    Ok(ExitCode::SUCCESS)
}
