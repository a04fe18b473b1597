//! Saving a domain and making it again from what was saved, here or on another host.
//!
//! [`Host::save`] writes Xen's published libxl migration stream: a header, one record in which the domain itself lies
//! (`xenguest`'s stream), and an end. [`Host::receive`] reads it. Who suspends, resumes and destroys is the caller's choice.
use crate::device::poll;
use crate::{DomainConfig, Error, Host, Result, StoreContext, Uuid, nodes};
use std::io::{Read, Write};
use std::time::Duration;
use xen_abi::DomId;
use xenctrl::ShutdownReason;
pub use xenguest::Saved;

/// "LibxlFmt"; header and version are big endian.
const IDENT: u64 = 0x4c69_6278_6c46_6d74;
const VERSION: u32 = 2;
/// Options: it comes from a big-endian machine, or was made from an older stream.
const BIG_ENDIAN: u32 = 1;
/// Records.
const END: u32 = 0;
const DOMAIN: u32 = 1;
const ALIGN: u64 = 8;
/// The longest record behind the domain: what a device model leaves.
const LONGEST: u32 = 128 << 20;
/// How long a guest may take to hear that it is to suspend, and to do it.
const PATIENCE: Duration = Duration::from_secs(60);

impl Host<'_> {
    /// Writes a domain into `out`, while it runs if `live`, and suspends it on the way. If this fails, the caller resumes it.
    pub fn save(&self, dom: DomId, live: bool, out: &mut dyn Write) -> Result<Saved> {
        self.check_saveable(dom)?;
        let failed = |e: std::io::Error| Error::new(format!("saving {dom}: {e}"));
        let mut head = IDENT.to_be_bytes().to_vec();
        head.extend(VERSION.to_be_bytes());
        head.extend(0u32.to_be_bytes());
        head.extend(DOMAIN.to_le_bytes());
        head.extend(0u32.to_le_bytes());
        out.write_all(&head).map_err(failed)?;
        let mut suspend = || self.suspend(dom).map_err(|e| e.to_string());
        let saved = self.hv.save(dom, live, &mut suspend, out)?;
        out.write_all(&[0; 8])
            .and_then(|()| out.flush())
            .map_err(failed)?;
        Ok(saved)
    }

    /// Refuses what cannot be saved, before anything is done.
    pub fn check_saveable(&self, dom: DomId) -> Result<()> {
        let info = self.info(dom)?;
        if dom == DomId::DOM0 {
            return Err(Error::new("dom0 cannot be saved or moved"));
        }
        if info.state.hvm {
            return Err(Error::new(format!(
                "{dom} is a PVH guest, and only PV guests can be saved yet"
            ))
            .hint("xl shutdown and xl create it"));
        }
        if info.state.shutdown.is_some() {
            return Err(Error::new(format!(
                "{dom} has ended; there is nothing to save"
            )));
        }
        if info.state.paused {
            let message = format!("{dom} is paused, and has to run to suspend itself");
            return Err(Error::new(message).hint("xl unpause it first"));
        }
        match self.saved_config(dom)? {
            Some(c) if c.nomigrate => Err(Error::new(format!(
                "\"{}\" is configured with nomigrate=1: it is not to be moved",
                c.name
            ))),
            _ => Ok(()),
        }
    }

    /// Asks a guest to suspend itself, and waits until it has.
    pub fn suspend(&self, dom: DomId) -> Result<()> {
        let node = format!("{}/control/shutdown", nodes::dom_path(dom));
        self.control(dom, "suspend")?;
        let heard = poll(PATIENCE, || {
            let ended = self.info(dom)?.state.shutdown.is_some();
            let word = self
                .xs
                .read_opt(&node)
                .during(|| format!("reading {node}"))?;
            Ok((ended || word.as_deref().unwrap_or_default().is_empty()).then_some(()))
        })?;
        if heard.is_none() {
            // It might still, at a time when nobody wants it any more.
            let _ = self.xs.write(&node, "");
            let message = format!("{dom} did not answer to the request to suspend itself");
            return Err(Error::new(message).hint(
                "is its kernel still starting, or built without CONFIG_HIBERNATE_CALLBACKS?",
            ));
        }
        let done = poll(PATIENCE, || Ok(self.info(dom)?.state.shutdown))?;
        match done {
            Some(ShutdownReason::Suspend) => Ok(()),
            Some(other) => Err(Error::new(format!(
                "{dom} was to suspend itself and ended instead, reason {other:?}"
            ))),
            None => {
                let message = format!("{dom} began to suspend itself and did not end with it");
                Err(Error::new(message).hint("its console may say which driver refused"))
            }
        }
    }

    /// Lets a domain go on that suspended itself, or that was about to.
    pub fn resume(&self, dom: DomId) -> Result<()> {
        if self.info(dom)?.state.shutdown != Some(ShutdownReason::Suspend) {
            return Err(Error::new(format!("{dom} is not suspended")));
        }
        self.hv.resume_suspended(dom)?;
        // So that its end is told again.
        self.xs
            .resume(dom.0)
            .during(|| format!("telling the xenstore that {dom} goes on"))
    }

    /// Makes a domain, paused, from a stream. `moved`: the domain it was may still be there, on this host or another.
    pub fn receive(
        &self,
        config: &DomainConfig,
        moved: bool,
        input: &mut dyn Read,
    ) -> Result<DomId> {
        read_header(input)?;
        let exempt = moved.then_some(config.uuid);
        let dom = self
            .prepare_incoming(config, exempt, self.hv.incoming(input))?
            .create()?;
        if let Err(e) = read_tail(input) {
            let _ = self.wipe(dom, Some(config.uuid));
            return Err(e);
        }
        Ok(dom)
    }
}

fn damaged(why: impl std::fmt::Display) -> Error {
    Error::new(format!("reading the saved domain: {why}"))
}

fn read_header(input: &mut dyn Read) -> Result<()> {
    let mut head = [0; 24];
    input.read_exact(&mut head).map_err(damaged)?;
    let be = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..8] != IDENT.to_be_bytes() {
        return Err(damaged(
            "what follows its configuration is no stream of a domain",
        ));
    }
    if be(8) != VERSION || be(12) & BIG_ENDIAN != 0 {
        return Err(damaged(format!(
            "version {} of the stream is not known",
            be(8)
        )));
    }
    match u32::from_le_bytes([head[16], head[17], head[18], head[19]]) {
        DOMAIN => Ok(()),
        other => Err(damaged(format!("it begins with a record of kind {other}"))),
    }
}

/// Reads to the end, past what a device model may have left.
fn read_tail(input: &mut dyn Read) -> Result<()> {
    loop {
        let mut head = [0; 8];
        input.read_exact(&mut head).map_err(damaged)?;
        let kind = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if kind == END {
            return Ok(());
        }
        if length > LONGEST {
            return Err(damaged(format!("a record of {length} bytes is too long")));
        }
        let padded = u64::from(length).next_multiple_of(ALIGN);
        let mut rest = Read::take(&mut *input, padded);
        let skipped = std::io::copy(&mut rest, &mut std::io::sink()).map_err(damaged)?;
        if skipped != padded {
            return Err(damaged("it ends early: the copy is not whole"));
        }
    }
}

/// Whose disks and addresses are no hindrance: those of the domain that is being moved.
pub(crate) fn is_exempt(handle: [u8; 16], exempt: Option<Uuid>) -> bool {
    exempt.is_some_and(|u| u.0 == handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_others_are_refused() {
        let mut head = IDENT.to_be_bytes().to_vec();
        head.extend([0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        read_header(&mut &head[..]).unwrap();
        head[11] = 1;
        assert!(
            read_header(&mut &head[..])
                .unwrap_err()
                .to_string()
                .contains("version 1")
        );
        assert!(read_header(&mut &b"Xen saved domain, xl format"[..]).is_err());
    }

    #[test]
    fn what_a_device_model_left_is_passed_over() {
        let mut tail = vec![3, 0, 0, 0, 9, 0, 0, 0];
        tail.extend([7; 16]);
        tail.extend([0; 8]);
        read_tail(&mut &tail[..]).unwrap();
        assert!(read_tail(&mut &tail[..20]).is_err());
    }
}
