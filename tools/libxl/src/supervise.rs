//! Watching over a domain: when it shuts down, doing what its configuration says.
use crate::cfg::{self, Diagnostics};
use crate::{Action, DomainConfig, Error, Host, Result, StoreContext, Uuid, nodes, userdata};
use xen_abi::DomId;
use xenctrl::ShutdownReason;

/// What became of a domain that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It still runs.
    Running,
    /// It is gone, or kept for examination: nothing is left to watch.
    Over,
    /// It was created again, under this id.
    Reborn(DomId),
}

impl DomainConfig {
    /// What a shutdown for `reason` leads to.
    pub fn action_for(&self, reason: ShutdownReason) -> Action {
        match reason {
            ShutdownReason::Poweroff => self.actions.poweroff,
            ShutdownReason::Reboot => self.actions.reboot,
            ShutdownReason::Watchdog => self.actions.watchdog,
            ShutdownReason::SoftReset => self.actions.soft_reset,
            ShutdownReason::Crash | ShutdownReason::Suspend | ShutdownReason::Unknown(_) => {
                self.actions.crash
            }
        }
    }
}

impl Host<'_> {
    /// Looks at a domain once, and acts if it has ended. What is kept of its configuration goes before `config`;
    /// `complete` adds what only the caller knows. `log` hears what is done.
    pub fn tend(
        &self,
        dom: DomId,
        config: &DomainConfig,
        complete: &dyn Fn(DomainConfig) -> DomainConfig,
        log: &mut dyn FnMut(String),
    ) -> Result<Outcome> {
        // Somebody may have destroyed it and its id may be another's by now.
        let alive = self
            .hv
            .domain_info(dom)?
            .is_some_and(|i| i.handle == config.uuid.0);
        let reason = match self.ended(dom)? {
            _ if !alive => None,
            None => return Ok(Outcome::Running),
            Some(reason) => reason,
        };
        let Some(reason) = reason else {
            log(format!("{dom} is gone"));
            return Ok(Outcome::Over);
        };
        let kept = self.saved_config(dom)?;
        let config = kept.as_ref().unwrap_or(config);
        let action = config.action_for(reason);
        log(format!(
            "{dom} has shut down, reason {reason:?}; action is {}",
            action.name()
        ));
        if matches!(action, Action::CoredumpDestroy | Action::CoredumpRestart) {
            match self.dump_ended(dom, config) {
                Ok(file) => log(format!("the core of {dom} is in {}", file.display())),
                // The rest is done all the same.
                Err(e) => log(e.to_string()),
            }
        }
        match action {
            Action::Destroy | Action::CoredumpDestroy => self.destroy(dom).map(|()| Outcome::Over),
            Action::Preserve => Ok(Outcome::Over),
            Action::Restart | Action::CoredumpRestart | Action::SoftReset => {
                let next = complete(self.next_config(dom, config, log));
                self.destroy(dom)?;
                self.create_and_start(&next).map(Outcome::Reborn)
            }
            Action::RenameRestart => {
                let next = complete(self.next_config(dom, config, log));
                let name = self.set_aside(dom)?;
                log(format!("{dom} is kept as \"{name}\""));
                self.create_and_start(&next).map(Outcome::Reborn)
            }
        }
    }

    /// Gives a dead domain a name and a UUID of its own, so that a new one can have what it had; returns the name.
    fn set_aside(&self, dom: DomId) -> Result<String> {
        let old = Uuid(self.info(dom)?.handle);
        let uuid = Uuid::random().map_err(|e| Error::new(format!("making a UUID: {e}")))?;
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%MZ");
        let name = self.free_name(&format!("{}-{now}", self.name(dom)?.unwrap_or_default()))?;
        // The UUID comes last: by it this domain is known until all is done.
        if let Some(text) = self.load_userdata(dom, old, userdata::XL) {
            self.store_userdata(dom, uuid, userdata::XL, &text)?;
        }
        self.xs
            .atomically(&mut |s| nodes::set_aside(s, dom, uuid, &name))
            .during(|| format!("renaming {dom}"))?;
        self.hv.set_handle(dom, uuid.0)?;
        self.forget_userdata_of(dom, old);
        Ok(name)
    }

    /// The name, or the name and the first number that makes it nobody's.
    fn free_name(&self, name: &str) -> Result<String> {
        let numbered = (2..1000).map(|n| format!("{name}-{n}"));
        std::iter::once(name.to_string())
            .chain(numbered)
            .find(|n| matches!(self.find(n), Err(Error::NoSuchDomain(_))))
            .ok_or_else(|| Error::new(format!("there are too many dead copies \"{name}\"")))
    }

    /// Creates a domain and lets it run.
    pub fn create_and_start(&self, config: &DomainConfig) -> Result<DomId> {
        let dom = self.prepare(config)?.create()?;
        self.start_or_undo(dom, config)?;
        Ok(dom)
    }

    /// Unpauses a new domain, or removes it.
    pub fn start_or_undo(&self, dom: DomId, config: &DomainConfig) -> Result<()> {
        self.hv.unpause_domain(dom).map_err(|e| {
            // The failure to start is what the user must hear of.
            let _ = self.wipe(dom, Some(config.uuid));
            e.into()
        })
    }
}

impl DomainConfig {
    /// The same domain with another UUID.
    pub fn with_uuid(&self, uuid: Uuid) -> DomainConfig {
        DomainConfig {
            uuid,
            source: self.source_with("uuid", &uuid.to_string()),
            ..self.clone()
        }
    }

    /// The same domain with another name.
    pub fn renamed(&self, name: &str) -> DomainConfig {
        DomainConfig {
            name: name.into(),
            source: self.source_with("name", name),
            ..self.clone()
        }
    }

    /// The source with another value for a string.
    fn source_with(&self, key: &str, value: &str) -> String {
        let mut diags = Diagnostics::default();
        let mut kept = cfg::parse("kept configuration", &self.source, &mut diags);
        kept.settings.retain(|s| s.key != key);
        let changed = format!("{key} = {value:?}");
        kept.merge(cfg::parse_argument(&changed, &mut diags), &mut diags);
        kept.to_text()
    }
}
