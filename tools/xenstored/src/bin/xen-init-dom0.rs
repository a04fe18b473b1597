//! `xen-init-dom0`: writes what the toolstack expects to find about domain 0 into a fresh store.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use xen_abi::DomId;
use xenstore::{Client, Store};

const HOME: &str = "/local/domain/0";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xen-init-dom0: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let store = Client::open()?;
    let memory = memory_kib()
        .inspect_err(|e| eprintln!("xen-init-dom0: memory: {e}"))
        .ok();
    store.transaction(|tx| {
        tx.write(&format!("{HOME}/domid"), "0")?;
        if tx.read_opt(&format!("{HOME}/name"))?.is_none() {
            tx.write(&format!("{HOME}/name"), "Domain-0")?;
        }
        if let Some((now, max)) = memory {
            for (node, kib) in [("target", now), ("static-max", max)] {
                let path = format!("{HOME}/memory/{node}");
                // Once the toolstack has changed it, it knows better.
                if tx.read_opt(&path)?.is_none() {
                    tx.write(&path, &kib.to_string())?;
                }
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Memory of domain 0: what it has, and what it may have at most (a limit above the machine's memory is none).
fn memory_kib() -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let xc = xenctrl::Xenctrl::open()?;
    let me = xc.domain_info(DomId::DOM0)?.ok_or("there is no domain 0")?;
    let most = me
        .max_pages
        .min(xc.physinfo()?.total_pages)
        .max(me.tot_pages);
    Ok((me.tot_pages * 4, most * 4))
}
