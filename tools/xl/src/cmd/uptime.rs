//! `uptime`.
use super::list::{name_of, selected};
use crate::ctx::{Ctx, Failure};
use crate::opts::Parsed;
use crate::output::duration;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use xen_abi::DomId;
use xenstore::Store;

/// `xl uptime`
pub fn uptime(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    let c = ctx.connect()?;
    let host = c.host();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let short = args.has("s");
    let domains = selected(&host, &args.operands)?;
    if !short {
        println!("{:<33} {:>4} Uptime", "Name", "ID");
    }
    for d in domains {
        let seconds = if d.domid == DomId::DOM0 {
            host_uptime()?
        } else {
            match started(&c.xs, d.domid) {
                Some(start) => now.saturating_sub(start),
                // Nobody knows.
                None => continue,
            }
        };
        let (name, id) = (name_of(&host, d.domid)?, d.domid.0);
        if short {
            let clock = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
            println!(" {clock} up {}, {name} ({id})", duration(seconds, true));
        } else {
            println!("{name:<33} {id:>4} {}", duration(seconds, false));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn host_uptime() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    Ok(text
        .split('.')
        .next()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0))
}

/// When a domain was started, as its creator wrote it down.
fn started(xs: &dyn Store, dom: DomId) -> Option<u64> {
    let read = |path: String| xs.read_opt(&path).ok().flatten();
    let vm = read(format!("/local/domain/{}/vm", dom.0));
    let start = vm.and_then(|vm| read(format!("{vm}/start_time")));
    start?.split('.').next()?.parse().ok()
}
