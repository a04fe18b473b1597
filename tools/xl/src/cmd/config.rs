//! `config-update`: other settings for the domain's next life.
use super::create::{read_settings, report};
use crate::ctx::{Ctx, Failure, find};
use crate::opts::Parsed;
use libxl::cfg::Diagnostics;
use libxl::{DomainConfig, userdata};
use std::process::ExitCode;

/// `xl config-update`
pub fn config_update(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    eprintln!(
        "WARNING: xl now has better capability to manage domain configuration, avoid using this command when possible"
    );
    let mut diags = Diagnostics::default();
    let settings = read_settings(args.value("f"), &args.operands[1..], false, &mut diags)?;
    let config = DomainConfig::from_cfg(&settings, &mut diags);
    if config.is_ok() {
        report(&diags);
    }
    // The domain stays who it is, whatever the file says.
    let uuid = libxl::Uuid(host.info(dom)?.handle);
    let config = config?.with_uuid(uuid);
    println!("setting dom{} configuration", dom.0);
    if args.has("d") {
        println!("{}", super::list::pretty(&config.json()));
    }
    host.store_userdata(dom, uuid, userdata::UPDATE, &config.source)?;
    Ok(ExitCode::SUCCESS)
}
