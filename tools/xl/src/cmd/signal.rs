//! `sysrq`, `trigger` and `button-press`: keys and buttons of a domain.
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::opts::Parsed;
use std::process::ExitCode;
use xen_abi::domctl as dc;
use xen_abi::{DomId, VcpuId};
use xenstore::Store;

type Outcome = Result<ExitCode, Failure>;

/// Wakes a hardware guest that sleeps: no trigger of the hypervisor's, but named like them.
const S3RESUME: &str = "s3resume";
/// Names of the triggers.
const TRIGGERS: &[(&str, u32)] = &[
    ("nmi", dc::SENDTRIGGER_NMI),
    ("reset", dc::SENDTRIGGER_RESET),
    ("init", dc::SENDTRIGGER_INIT),
    ("power", dc::SENDTRIGGER_POWER),
    ("sleep", dc::SENDTRIGGER_SLEEP),
];

/// `xl sysrq`
pub fn sysrq(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let dom = find(&c.host(), args.operand(0))?;
    let key = args.operand(1);
    if key.len() != 1 {
        return fail(format!(
            "\"{key}\" is not a sysrq: it is one letter, such as h"
        ));
    }
    let path = format!("/local/domain/{}/control/sysrq", dom.0);
    match c.xs.write(&path, key) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(e) => fail(format!("writing {path}: {e}")),
    }
}

fn send(ctx: &Ctx, args: &Parsed, name: &str) -> Outcome {
    let c = ctx.connect()?;
    let host = c.host();
    let dom = find(&host, args.operand(0))?;
    let number = match TRIGGERS.iter().find(|t| t.0 == name) {
        Some((_, number)) => Some(*number),
        None if name == S3RESUME => None,
        None => {
            let names: Vec<_> = TRIGGERS.iter().map(|t| t.0).collect();
            return fail(format!(
                "Invalid trigger \"{name}\": it is one of {}, {S3RESUME}",
                names.join(", ")
            ));
        }
    };
    let vcpu = args.operands.get(2).map_or(Ok(0), |v| v.parse());
    let vcpu = vcpu.unwrap_or_else(|_| {
        say!("Invalid vcpuid, using default vcpuid=0.");
        0
    });
    // From here on the status is success, as scripts have it from Debian's xl, whatever becomes of the trigger.
    if let Err(why) = press(&c, dom, name, number, VcpuId(vcpu)) {
        say!("{why}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends the trigger of this name; says why it cannot.
fn press(
    c: &Connections,
    dom: DomId,
    name: &str,
    number: Option<u32>,
    vcpu: VcpuId,
) -> Result<(), String> {
    let info = c.host().info(dom).map_err(|e| format!("xl: {e}"))?;
    if !info.state.hvm && number != Some(dc::SENDTRIGGER_NMI) {
        return Err(format!(
            "xl: {dom} is a PV guest and has no {name} button; use xl shutdown, xl reboot or xl destroy"
        ));
    }
    let Some(number) = number else {
        return Err(format!(
            "xl: {dom} does not sleep: this release's guests have no S3"
        ));
    };
    let sent = c.xc.send_trigger(dom, number, vcpu);
    sent.map_err(|e| format!("xl: {e}"))
}

/// `xl trigger`
pub fn trigger(ctx: &Ctx, args: &Parsed) -> Outcome {
    send(ctx, args, args.operand(1))
}

/// `xl button-press`
pub fn button_press(ctx: &Ctx, args: &Parsed) -> Outcome {
    say!("WARNING: \"button-press\" is deprecated. Please use \"trigger\"");
    match args.operand(1) {
        name @ ("power" | "sleep") => send(ctx, args, name),
        other => Err(Failure::Message(format!(
            "{other} is an invalid button identifier"
        ))),
    }
}
