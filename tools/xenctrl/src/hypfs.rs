//! Parameters of the hypervisor that can be changed while it runs: files under `/params` of its own small file
//! system (`public/hypfs.h`).
use crate::{Error, Result, Xenctrl};
use xen_abi::{Errno, hypercall};
use xendev::SharedMemExt;

const OP_READ: u64 = 1;
const OP_WRITE: u64 = 2;
/// Kinds of values (`XEN_HYPFS_TYPE_*`).
const STRING: u8 = 2;
const UINT: u8 = 3;
const INT: u8 = 4;
const BOOL: u8 = 5;
/// Size of what stands before a value that is read: its kind in byte 0, its length in bytes 4 to 7.
const HEADER: usize = 12;
/// Longest value that is read.
const ROOM: usize = 4096;

impl Xenctrl {
    /// Sets the parameter `name` to `value`, as on the hypervisor's command line.
    pub fn set_parameter(&self, name: &str, value: &str) -> Result<()> {
        self.write_parameter(name, value).map_err(|e| {
            let error = Error::new(
                format!("setting the hypervisor's parameter {name}={value}"),
                e,
            );
            match e {
                Errno::ENOENT => {
                    error.detail("there is no such parameter, or it cannot be changed at run time")
                }
                Errno::ENOSYS => {
                    error.detail("this hypervisor's parameters are set on its command line only")
                }
                _ => error,
            }
        })
    }

    fn write_parameter(&self, name: &str, value: &str) -> Result<(), Errno> {
        let path = format!("/params/{name}\0");
        let path_buf = self.alloc(path.len())?;
        path_buf.write(0, path.as_bytes());
        let data = self.alloc(ROOM)?;
        let args = [path_buf.addr(), path.len() as u64, data.addr()];
        let call = |op: u64, size: u64| {
            self.raw()
                .hypercall(hypercall::HYPFS_OP, [op, args[0], args[1], args[2], size])
        };
        call(OP_READ, ROOM as u64)?;
        let head: [u8; HEADER] = data.read_obj(0);
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let bytes = match head[0] {
            STRING => [value.as_bytes(), b"\0"].concat(),
            BOOL | UINT | INT => {
                let number = match value {
                    "on" | "yes" | "true" | "enable" => 1,
                    "off" | "no" | "false" | "disable" => 0,
                    v => v.parse::<i64>().map_err(|_| Errno::EINVAL)?,
                };
                number.to_le_bytes()[..size.clamp(1, 8)].to_vec()
            }
            _ => return Err(Errno::EINVAL),
        };
        if bytes.len() > ROOM {
            return Err(Errno::E2BIG);
        }
        data.write(0, &bytes);
        call(OP_WRITE, bytes.len() as u64).map(drop)
    }
}
