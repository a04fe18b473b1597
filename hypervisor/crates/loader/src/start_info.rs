//! The page a PV guest finds in `rsi` at entry (`start_info` in public/xen.h), filled from a [`PvLayout`].
use crate::{LoadError, PAGE_SIZE, PvLayout};
use xen_abi::handle::Payload;
use xen_abi::start_info::{
    ConsoleDom0, ConsoleDomU, MAX_GUEST_CMDLINE, SIF_INITDOMAIN, SIF_MOD_START_PFN, SIF_PRIVILEGED,
    SIF_VIRT_P2M_4TOOLS, START_INFO_MAGIC, StartInfo,
};
use xen_abi::{Mfn, Pfn, Port};

/// What differs between dom0 and the others.
#[derive(Clone, Copy, Debug)]
pub enum Rings {
    /// The first domain: no rings; where a [`xen_abi::start_info::VgaConsoleInfo`] lies in the start_info page, if
    /// there is one.
    Dom0 {
        /// Offset and size.
        vga: Option<(u32, u32)>,
    },
    /// Any other domain.
    DomU {
        /// Machine frame of the xenstore ring.
        store_mfn: Mfn,
        /// The domain's port for it.
        store_port: Port,
        /// Machine frame of the console ring.
        console_mfn: Mfn,
        /// The domain's port for it.
        console_port: Port,
    },
}

/// Fills the structure. `shared_info` is a machine address in bytes.
///
/// Errors: a command line of more than 1023 bytes, or with a zero byte in it.
pub fn start_info(
    layout: &PvLayout,
    shared_info: u64,
    cmdline: &[u8],
    rings: Rings,
) -> Result<StartInfo, LoadError> {
    if cmdline.len() >= MAX_GUEST_CMDLINE {
        return Err(LoadError::TooLarge {
            what: "the kernel command line",
            size: cmdline.len() as u64,
            limit: MAX_GUEST_CMDLINE as u64 - 1,
        });
    }
    if cmdline.contains(&0) {
        return Err(LoadError::Corrupt(
            "the kernel command line contains a zero byte",
        ));
    }
    let mut info = StartInfo {
        nr_pages: layout.nr_pages,
        shared_info,
        pt_base: layout.pt_base,
        nr_pt_frames: layout.nr_pt,
        mfn_list: layout.p2m.vaddr,
        first_p2m_pfn: Pfn(layout.p2m.pfn),
        nr_p2m_frames: layout.p2m.list_pages + layout.p2m.table_pages,
        ..StartInfo::default()
    };
    info.magic[..START_INFO_MAGIC.len()].copy_from_slice(START_INFO_MAGIC);
    info.cmd_line[..cmdline.len()].copy_from_slice(cmdline);
    if let Some(initrd) = &layout.initrd {
        info.mod_len = initrd.len;
        match initrd.vaddr {
            Some(vaddr) => info.mod_start = vaddr,
            None => {
                info.mod_start = initrd.pfn;
                info.flags |= SIF_MOD_START_PFN;
            }
        }
    }
    match rings {
        Rings::Dom0 { vga } => {
            info.flags |= SIF_PRIVILEGED | SIF_INITDOMAIN;
            if let Some((info_off, info_size)) = vga {
                debug_assert!(u64::from(info_off) + u64::from(info_size) <= PAGE_SIZE);
                info.console = Payload::of(ConsoleDom0 {
                    info_off,
                    info_size,
                });
            }
        }
        Rings::DomU {
            store_mfn,
            store_port,
            console_mfn,
            console_port,
        } => {
            // The toolstack reads the p2m list where the kernel maps it: no need for the kernel to build its tree of frames.
            info.flags |= SIF_VIRT_P2M_4TOOLS;
            info.store_mfn = store_mfn;
            info.store_evtchn = store_port;
            info.console = Payload::of(ConsoleDomU {
                mfn: console_mfn,
                evtchn: console_port,
                ..ConsoleDomU::default()
            });
        }
    }
    Ok(info)
}
