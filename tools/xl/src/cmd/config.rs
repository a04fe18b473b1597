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
    say!(
        "WARNING: xl now has better capability to manage domain configuration, avoid using this command when possible"
    );
    let mut diags = Diagnostics::default();
    let settings = read_settings(args.value("f"), &args.operands[1..], true, &mut diags);
    let settings = settings.map_err(Failure::without_status)?;
    let config = DomainConfig::from_cfg(&settings, &mut diags);
    if config.is_ok() {
        report(&diags);
    }
    // The domain stays who it is, whatever the file says.
    let uuid = libxl::Uuid(host.info(dom)?.handle);
    let config = config?.with_uuid(uuid);
    if args.has("d") || ctx.dry_run {
        let record = serde_json::json!({ "domid": null, "config": config.json() });
        println!("{}", super::list::pretty(&record));
    }
    if ctx.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    say!("setting dom{} configuration", dom.0);
    host.store_userdata(dom, uuid, userdata::UPDATE, &config.source)?;
    Ok(ExitCode::SUCCESS)
}
