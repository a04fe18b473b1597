//! The misbehaving guest of `tests/guests` as seen from a story.

use crate::host::{Builder, Host, Reply};
use qemu::{Result, paths};

/// Where it lies in dom0.
const IMAGE: &str = "/boot/guest/microguest";

impl Builder {
    /// Puts the micro-guest into dom0.
    pub fn micro_guest(self) -> Self {
        self.file(paths::microguest(), IMAGE)
    }
}

impl Host {
    /// Starts the micro-guest `name` to do `deed`; whatever becomes of it, it is kept for inspection.
    pub fn micro(&mut self, name: &str, deed: &str) -> Result<Reply> {
        self.micro_smp(name, deed, 1)
    }

    /// The same as a PVH guest.
    pub fn micro_pvh(&mut self, name: &str, deed: &str) -> Result<Reply> {
        self.micro_of("pvh", name, deed, 1)
    }

    /// The same as a PVH guest with several vcpus.
    pub fn micro_pvh_smp(&mut self, name: &str, deed: &str, vcpus: u32) -> Result<Reply> {
        self.micro_of("pvh", name, deed, vcpus)
    }

    /// As a PV guest, with several vcpus.
    pub fn micro_smp(&mut self, name: &str, deed: &str, vcpus: u32) -> Result<Reply> {
        self.micro_of("pv", name, deed, vcpus)
    }

    fn micro_of(&mut self, kind: &str, name: &str, deed: &str, vcpus: u32) -> Result<Reply> {
        let config = format!(
            r#"name="{name}"\ntype="{kind}"\nkernel="{IMAGE}"\nextra="{deed}"\nmemory=32\nvcpus={vcpus}\non_crash="preserve"\non_poweroff="preserve"\non_reboot="preserve"\n"#
        );
        self.dom0(&format!("printf '{config}' > /tmp/{name}.cfg"))?
            .ok()?;
        self.dom0(&format!("xl create -q /tmp/{name}.cfg"))?.ok()
    }
}
