//! Watching over a domain: when it shuts down, doing what its configuration says.
use crate::cfg::{self, Diagnostics};
use crate::{Action, DomainConfig, Error, Host, Result, Uuid};
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
        // Devices may have come and gone since it was created.
        let kept = self.saved_config(dom)?.map(complete);
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
                // It may have been renamed since it was configured.
                let renamed = self.name(dom)?.filter(|n| *n != config.name);
                let config = &renamed.map_or_else(|| config.clone(), |n| config.renamed(&n));
                self.destroy(dom)?;
                self.create_and_start(config).map(Outcome::Reborn)
            }
            Action::RenameRestart => {
                self.set_aside(dom, config)?;
                let fresh =
                    config.with_uuid(Uuid::random().map_err(|e| Error::new(e.to_string()))?);
                self.create_and_start(&fresh).map(Outcome::Reborn)
            }
        }
    }

    /// Renames a dead domain so that a new one can take its place.
    fn set_aside(&self, dom: DomId, config: &DomainConfig) -> Result<()> {
        for n in 1..1000 {
            let name = format!("{}-{n}", config.name);
            if matches!(self.find(&name), Err(Error::NoSuchDomain(_))) {
                return self.rename(dom, &name);
            }
        }
        Err(Error::new(format!(
            "there are too many dead copies of \"{}\"",
            config.name
        )))
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
