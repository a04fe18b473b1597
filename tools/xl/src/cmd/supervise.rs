//! The background process that does what a configuration says when its domain ends.
//!
//! `xl create` starts it as a program of its own, in a session of its own, so that it survives; it finds the
//! configuration where libxl keeps it and writes what it does to `/var/log/xen/xl-NAME.log`.
use crate::ctx::{Connections, Ctx, Failure, fail};
use crate::opts::Parsed;
use crate::xlconf;
use libxl::{DomainConfig, Outcome};
use std::fs::File;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use xen_abi::DomId;
use xenctrl::Xenctrl;

const LOG_DIR: &str = "/var/log/xen";
/// How often it looks, besides when the xenstore says that a domain ended.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long it waits before it tries again what failed.
const RETRY: Duration = Duration::from_secs(1);
/// A domain that lives shorter than this is restarted only this long after its start.
const SHORTEST_LIFE: Duration = Duration::from_secs(2);

/// Starts the supervisor of a domain.
pub fn spawn(dom: DomId, name: &str, masked: bool) -> Result<(), Failure> {
    let path = format!("{LOG_DIR}/xl-{}.log", name.replace('/', "_"));
    let log = std::fs::create_dir_all(LOG_DIR)
        .and_then(|()| File::options().create(true).append(true).open(&path));
    let (out, err) = match log.and_then(|l| Ok((l.try_clone()?, l))) {
        Ok((o, e)) => (Stdio::from(o), Stdio::from(e)),
        Err(e) => {
            say!("xl: {path} cannot be written ({e}); what happens to \"{name}\" is not logged");
            (Stdio::null(), Stdio::null())
        }
    };
    let exe = std::env::current_exe()?;
    let child = Command::new(exe)
        .args(["supervise", &dom.0.to_string()])
        .args((!masked).then(|| format!("--{}", super::create::UNMASKED)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn();
    match child {
        Ok(_) => Ok(()),
        Err(e) => fail(format!("starting the supervisor of \"{name}\": {e}")),
    }
}

/// `xl supervise`
pub fn supervise(ctx: &Ctx, args: &Parsed) -> Result<ExitCode, Failure> {
    // Fails when it leads a session already, which is as good.
    let _ = rustix::process::setsid();
    let Ok(id) = args.operand(0).parse::<u16>() else {
        return fail("supervise takes a domain's number");
    };
    let c = ctx.connect()?;
    let Some(config) = c.host().saved_config(DomId(id))? else {
        return fail(format!("there is no configuration of d{id}"));
    };
    drop(c);
    watch(DomId(id), config, !args.has(super::create::UNMASKED))
}

fn log(message: impl std::fmt::Display) {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    // Standard output may be a line to another host; and whoever listened may have gone.
    let _ = writeln!(std::io::stderr(), "{now}: {message}");
}

/// Watches over a domain and those that follow it, until there is nothing left to watch.
/// `masked`: only on the CPUs that xl.conf leaves to guests.
pub fn watch(mut dom: DomId, config: DomainConfig, masked: bool) -> Result<ExitCode, Failure> {
    log(format_args!("watching over \"{}\", {dom}", config.name));
    let xc = Xenctrl::open()?;
    let conf = xlconf::read();
    let complete = |mut config: DomainConfig| {
        conf.complete(&mut config);
        if masked {
            conf.confine(&mut config);
        }
        config
    };
    let mut config = complete(config);
    let mut connection: Option<Connections> = None;
    let mut started = Instant::now();
    let mut told = None;
    loop {
        let Some(c) = &connection else {
            connection = reconnect(&xc).map(|c| conf.creating(c));
            if connection.is_none() {
                std::thread::sleep(RETRY);
            }
            continue;
        };
        let host = c.host();
        if matches!(host.ended(dom), Ok(Some(Some(_)))) {
            std::thread::sleep(SHORTEST_LIFE.saturating_sub(started.elapsed()));
        }
        let result =
            super::create::locked(|| Ok(host.tend(dom, &config, &complete, &mut |m| log(m))?));
        match result {
            Ok(Outcome::Running) => {
                let dead = host.dead_qemu(dom);
                if told != dead {
                    dead.iter().for_each(log);
                    told = dead;
                }
            }
            Ok(Outcome::Over) => return Ok(ExitCode::SUCCESS),
            Ok(Outcome::Reborn(next)) => {
                log(format_args!("\"{}\" is {next} now", config.name));
                (dom, started) = (next, Instant::now());
                if let Ok(Some(fresh)) = host.saved_config(dom) {
                    config = complete(fresh);
                }
                continue;
            }
            Err(Failure::Message(m))
                if host.find(&config.name).is_err()
                    && c.xc.domain_info(dom).is_ok_and(|i| i.is_none()) =>
            {
                // It is gone and could not be made again.
                return Err(Failure::Message(m));
            }
            Err(Failure::Message(m)) => {
                log(m);
                std::thread::sleep(RETRY);
                connection = None;
                continue;
            }
            Err(e) => return Err(e),
        }
        if c.xs.next_event(Some(LOOK_AGAIN)).is_err() {
            // The xenstore went away; it may come back.
            connection = None;
        }
    }
}

fn reconnect(xc: &Xenctrl) -> Option<Connections> {
    let xs = xenstore::Client::open().ok()?;
    xs.watch("@releaseDomain", "supervise").ok()?;
    Some(Connections {
        xc: xc.clone(),
        xs,
        memory: (true, false),
    })
}
