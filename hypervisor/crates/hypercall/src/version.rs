//! `xen_version`: what runs here and what it can do.
use crate::{Cx, Ret, Stop};
use domain::Host;
use xen_abi::Errno;
use xen_abi::features::*;
use xen_abi::version::*;
use xen_abi::xen::HYPERVISOR_VIRT_START;

/// The version of the interface offered.
pub const MAJOR: u32 = 4;
/// See [`MAJOR`].
pub const MINOR: u32 = 17;
/// What follows it.
pub const EXTRA: &str = ".0-corten";
/// Guest kinds that can be created.
pub const GUESTS: &str = "xen-3.0-x86_64 ";
/// The same on a machine with hardware virtualization.
pub const ALL_GUESTS: &str = "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ";
/// Shown in place of what only dom0 may know.
const DENIED: &str = "<denied>";

/// `xen_version(cmd, arg)`.
pub fn xen_version<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, arg, ..] = cx.args;
    let cmd = u32::try_from(cmd).map_err(|_| Errno::ENOSYS)?;
    match cmd {
        VERSION => return Ok(i64::from(MAJOR << 16 | MINOR)),
        EXTRAVERSION => cx.write_text(arg, EXTRA, EXTRAVERSION_LEN)?,
        COMPILE_INFO => cx.write(arg, &compile_info())?,
        CAPABILITIES => {
            let guests = if cx.h.info().hvm { ALL_GUESTS } else { GUESTS };
            cx.write_text(arg, guests, CAPABILITIES_INFO_LEN)?
        }
        CHANGESET => cx.write_text(arg, env!("CARGO_PKG_VERSION"), CHANGESET_INFO_LEN)?,
        PLATFORM_PARAMETERS => cx.write(
            arg,
            &PlatformParameters {
                virt_start: HYPERVISOR_VIRT_START,
            },
        )?,
        GET_FEATURES => get_features(cx, arg)?,
        PAGESIZE => return Ok(4096),
        GUEST_HANDLE => {
            let handle = *cx.dom.handle.lock();
            cx.write(arg, &handle)?;
        }
        COMMANDLINE => {
            let text = if cx.dom.privileged {
                cx.h.command_line()
            } else {
                DENIED
            };
            cx.write_text(arg, text, COMMANDLINE_LEN)?;
        }
        BUILD_ID => {
            cx.need_privilege()?;
            return Err(Errno::ENODATA.into());
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

fn compile_info() -> CompileInfo {
    let mut info = CompileInfo::default();
    fill(&mut info.compiler, "rustc");
    fill(&mut info.compile_by, "corten");
    fill(&mut info.compile_date, "unknown");
    info
}

/// Copies text, leaving at least one zero byte behind it.
fn fill(to: &mut [u8], text: &str) {
    let room = to.len().saturating_sub(1);
    for (slot, byte) in to.iter_mut().take(room).zip(text.bytes()) {
        *slot = byte;
    }
}

fn get_features<H: Host>(cx: &Cx<H>, arg: u64) -> Result<(), Stop> {
    let mut info: FeatureInfo = cx.read(arg)?;
    if info.submap_idx >= NR_SUBMAPS {
        return Err(Errno::EINVAL.into());
    }
    if cx.dom.is_hvm() {
        info.submap = 1 << WRITABLE_PAGE_TABLES
            | 1 << WRITABLE_DESCRIPTOR_TABLES
            | 1 << AUTO_TRANSLATED_PHYSMAP
            | 1 << SUPERVISOR_MODE_KERNEL
            | 1 << MEMORY_OP_VNODE_SUPPORTED
            | 1 << HVM_CALLBACK_VECTOR
            | 1 << HVM_SAFE_PVCLOCK;
        info.submap |= match cx.dom.privileged {
            true => 1 << DOM0 | 1 << DIRECT_MAPPED | 1 << HVM_PIRQS,
            false => 1 << NOT_DIRECT_MAPPED,
        };
        return cx.write(arg, &info);
    }
    info.submap = 1 << PAE_PGDIR_ABOVE_4GB
        | 1 << MMU_PT_UPDATE_PRESERVE_AD
        | 1 << GNTTAB_MAP_AVAIL_BITS
        | 1 << NOT_DIRECT_MAPPED;
    if cx.dom.privileged {
        info.submap |= 1 << DOM0;
    }
    cx.write(arg, &info)
}
