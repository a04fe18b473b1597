//! `platform_op`: what dom0 asks of the machine: wall clock, firmware data, power, CPUs.
use crate::control::all_cpus;
use crate::{Cx, Ret, Stop};
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};
use domain::{Domain, Host, Mutex};
use xen_abi::platform::*;
use xen_abi::sched::SHUTDOWN_POWEROFF;
use xen_abi::xen::SharedInfo;
use xen_abi::{Errno, GuestHandle};

const NS_PER_S: u64 = 1_000_000_000;
/// The sleep state that turns the machine off.
const S5: u32 = 5;

/// `platform_op(arg)`.
pub fn platform_op<H: Host>(cx: &Cx<H>) -> Ret {
    let mut op: PlatformOp = cx.read(cx.args[0])?;
    if op.interface_version != INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    cx.need_privilege()?;
    match op.cmd {
        SETTIME32 => {
            let t = op.settime32();
            set_time(cx, u64::from(t.secs), t.nsecs, t.system_time)
        }
        SETTIME64 => {
            let t = op.settime64();
            if t.mbz != 0 {
                return Err(Errno::EINVAL.into());
            }
            set_time(cx, t.secs, t.nsecs, t.system_time)
        }
        GET_CPUINFO => {
            op.set_pcpu_info(cpu_info(cx, op.pcpu_info()));
            cx.write(cx.args[0], &op)?;
            Ok(0)
        }
        GETIDLETIME => {
            let done = idle_time(cx, op.getidletime())?;
            op.set_getidletime(done);
            cx.write(cx.args[0], &op)?;
            Ok(0)
        }
        ENTER_ACPI_SLEEP => sleep(cx, op.enter_acpi_sleep()),
        FIRMWARE_INFO => {
            let told = firmware(cx, op.firmware_info())?;
            op.set_firmware_info(told);
            cx.write(cx.args[0], &op)?;
            Ok(0)
        }
        EFI_RUNTIME_CALL | CPU_ONLINE | CPU_OFFLINE | CORE_PARKING => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// What firmware said. Of a BIOS nothing is kept: `ESRCH`.
fn firmware<H: Host>(cx: &Cx<H>, mut info: FirmwareInfo) -> Result<FirmwareInfo, Stop> {
    if info.r#type != XEN_FW_EFI_INFO {
        return Err(Errno::ESRCH.into());
    }
    let efi = cx.h.efi().ok_or(Errno::ESRCH)?;
    match info.index {
        XEN_FW_EFI_VERSION => info.u.set(efi.version),
        XEN_FW_EFI_RT_VERSION => info.u.set(efi.runtime_version),
        XEN_FW_EFI_CONFIG_TABLE => info.u.set(FwEfiConfigTable {
            addr: efi.config_tables,
            nent: efi.config_count,
            ..Default::default()
        }),
        XEN_FW_EFI_VENDOR => {
            let mut vendor: FwEfiVendor = info.u.get();
            let room = (vendor.bufsz / 2) as usize;
            let last = room.min(efi.vendor.len()).saturating_sub(1);
            let name = efi.vendor.iter().take(last).chain(&[0]);
            let bytes: Vec<u8> = name
                .take(room)
                .flat_map(|unit| unit.to_le_bytes())
                .collect();
            cx.write_bytes(vendor.name.addr(), &bytes)?;
            vendor.revision = efi.firmware_revision;
            info.u.set(vendor);
        }
        XEN_FW_EFI_MEM_INFO => {
            let mem: FwEfiMemInfo = info.u.get();
            let found = efi
                .regions
                .iter()
                .find(|r| (r.start..r.end).contains(&mem.addr));
            let region = found.ok_or(Errno::ESRCH)?;
            info.u.set(FwEfiMemInfo {
                size: mem.size.min(region.end - mem.addr),
                attr: region.attributes,
                r#type: region.kind,
                ..mem
            });
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(info)
}

fn set_time<H: Host>(cx: &Cx<H>, secs: u64, nsecs: u32, system_time: u64) -> Ret {
    let now = secs
        .checked_mul(NS_PER_S)
        .and_then(|s| s.checked_add(u64::from(nsecs)));
    let base = now
        .and_then(|now| now.checked_sub(system_time))
        .ok_or(Errno::EINVAL)?;
    cx.h.set_wallclock_base_ns(base);
    for dom in cx.h.domains().all() {
        update_wallclock(cx.h, &dom);
    }
    Ok(0)
}

/// One writer of wall clocks at a time: the version protocol tells readers of a writer, not writers of each other.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes a domain's wall clock at system time 0 into its shared page. Guests see an odd version while it changes.
pub fn update_wallclock<H: Host>(h: &H, dom: &Domain) {
    let word = |offset: usize| h.shared_u32(dom.shared_info, offset);
    let (Some(version), Some(sec), Some(nsec), Some(sec_hi)) = (
        word(offset_of!(SharedInfo, wc_version)),
        word(offset_of!(SharedInfo, wc_sec)),
        word(offset_of!(SharedInfo, wc_nsec)),
        word(offset_of!(SharedInfo, wc_sec_hi)),
    ) else {
        return;
    };
    let base = h.wallclock_base_ns();
    let seconds = (base / NS_PER_S).wrapping_add_signed(dom.time_offset_s.load(Ordering::Acquire));
    let _one = WRITING.lock();
    let odd = version.load(Ordering::Relaxed) | 1;
    version.store(odd, Ordering::Relaxed);
    fence(Ordering::Release);
    sec.store(seconds as u32, Ordering::Relaxed);
    sec_hi.store((seconds >> 32) as u32, Ordering::Relaxed);
    nsec.store((base % NS_PER_S) as u32, Ordering::Relaxed);
    version.store(odd.wrapping_add(1), Ordering::Release);
}

fn cpu_info<H: Host>(cx: &Cx<H>, mut info: Pcpuinfo) -> Pcpuinfo {
    info.max_present = cx.h.info().cpus.saturating_sub(1);
    match cx.h.cpu_ids(info.xen_cpuid) {
        Some((apic_id, acpi_id)) => {
            (info.apic_id, info.acpi_id, info.flags) = (apic_id, acpi_id, XEN_PCPU_FLAGS_ONLINE);
        }
        None => info.flags = XEN_PCPU_FLAGS_INVALID,
    }
    info
}

/// Idle times of the CPUs in a bitmap, from which those that do not exist are removed.
fn idle_time<H: Host>(cx: &Cx<H>, mut g: Getidletime) -> Result<Getidletime, Stop> {
    let bytes = (g.cpumap_nr_cpus.div_ceil(8) as usize).min(8);
    let mut map = [0u8; 8];
    cx.h.copy_from_guest(&mut map[..bytes], g.cpumap_bitmap.addr())?;
    let wanted = u64::from_le_bytes(map) & all_cpus(cx);
    for cpu in (0..g.cpumap_nr_cpus.min(64)).filter(|c| wanted & (1 << c) != 0) {
        cx.write_nth(
            GuestHandle::<u64>::new(g.idletime.addr()),
            u64::from(cpu),
            &cx.h.cpu_idle_ns(cpu),
        )?;
    }
    cx.write_bytes(g.cpumap_bitmap.addr(), &wanted.to_le_bytes()[..bytes])?;
    g.now = cx.h.now_ns();
    Ok(g)
}

fn sleep<H: Host>(cx: &Cx<H>, s: EnterAcpiSleep) -> Ret {
    if s.flags & !ACPI_SLEEP_EXTENDED != 0 {
        return Err(Errno::EINVAL.into());
    }
    if s.sleep_state != S5 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    cx.h.machine_shutdown(SHUTDOWN_POWEROFF);
    Ok(0)
}
