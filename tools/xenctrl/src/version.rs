//! `xen_version`: what the hypervisor says about itself.
use crate::{Error, Result, Xenctrl};
use xen_abi::version::*;
use xen_abi::{Errno, hypercall};
use xendev::{SharedMem, SharedMemExt};

/// All of it.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct XenVersion {
    pub major: u32,
    pub minor: u32,
    pub extra: String,
    pub compiler: String,
    pub compile_by: String,
    pub compile_domain: String,
    pub compile_date: String,
    pub capabilities: String,
    pub changeset: String,
    /// Lowest address of the hypervisor's part of a PV guest's address space.
    pub virt_start: u64,
    pub pagesize: u32,
    pub command_line: String,
    /// Hexadecimal, empty if there is none.
    pub build_id: String,
}

impl Xenctrl {
    /// Asks for everything. Only the number is indispensable; what else the hypervisor keeps to itself stays empty.
    pub fn version(&self) -> Result<XenVersion> {
        let fail = |e| Error::new("asking the hypervisor for its version", e);
        let number = self
            .raw()
            .hypercall(hypercall::XEN_VERSION, [VERSION.into(), 0, 0, 0, 0])
            .map_err(fail)?;
        let buf = self.alloc(4096).map_err(fail)?;
        let ask = |cmd: u32| -> Result<i64, Errno> {
            buf.write(0, &[0; 2048]);
            self.raw()
                .hypercall(hypercall::XEN_VERSION, [cmd.into(), buf.addr(), 0, 0, 0])
        };
        let text = |cmd: u32, max: usize| {
            ask(cmd)
                .map(|_| c_string(&buf.read_vec(0, max)))
                .unwrap_or_default()
        };
        let extra = text(EXTRAVERSION, EXTRAVERSION_LEN);
        let capabilities = text(CAPABILITIES, CAPABILITIES_INFO_LEN);
        let changeset = text(CHANGESET, CHANGESET_INFO_LEN);
        let command_line = text(COMMANDLINE, COMMANDLINE_LEN);
        let compile: CompileInfo = ask(COMPILE_INFO)
            .map(|_| buf.read_obj(0))
            .unwrap_or_default();
        let params: PlatformParameters = ask(PLATFORM_PARAMETERS)
            .map(|_| buf.read_obj(0))
            .unwrap_or_default();
        let pagesize = ask(PAGESIZE).unwrap_or(4096) as u32;
        Ok(XenVersion {
            major: (number as u32) >> 16,
            minor: (number as u32) & 0xffff,
            extra,
            compiler: c_string(&compile.compiler),
            compile_by: c_string(&compile.compile_by),
            compile_domain: c_string(&compile.compile_domain),
            compile_date: c_string(&compile.compile_date),
            capabilities,
            changeset,
            virt_start: params.virt_start,
            pagesize,
            command_line,
            build_id: self.build_id(&*buf),
        })
    }

    /// `XENVER_build_id` takes a counted buffer: the length word, then the bytes.
    fn build_id(&self, buf: &dyn SharedMem) -> String {
        buf.write_obj(0, &1020u32);
        let len = self.raw().hypercall(
            hypercall::XEN_VERSION,
            [BUILD_ID.into(), buf.addr(), 0, 0, 0],
        );
        let len = len
            .ok()
            .and_then(|l| usize::try_from(l).ok())
            .unwrap_or(0)
            .min(1020);
        buf.read_vec::<u8>(4, len)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }
}

fn c_string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
