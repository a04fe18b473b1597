//! `xenconsole <domid> [-n NUM] [-t pv|serial] [-e ESCAPE]`: show a domain's console.
use std::process::ExitCode;
use std::time::Duration;
use xenconsoled::client::{DEFAULT_ESCAPE, Detached, attach, wait_for_tty};

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xenconsole: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<(), Box<dyn std::error::Error>> {
    let (mut domid, mut num, mut escape) = (None, 0, DEFAULT_ESCAPE);
    while let Some(arg) = args.next() {
        let mut value = |name: &str| args.next().ok_or(format!("{name} needs a value"));
        match arg.as_str() {
            "-n" | "--num" => num = value("--num")?.parse()?,
            "-t" | "--type" => match value("--type")?.as_str() {
                "pv" => {}
                "serial" => return Err("serial consoles of HVM guests are not served yet".into()),
                other => return Err(format!("unknown console type {other:?}").into()),
            },
            "-e" | "--escape" => {
                let key = value("--escape")?;
                let key = key.strip_prefix('^').unwrap_or(&key);
                escape = key.bytes().next().ok_or("--escape needs a character")? & 0x1f;
            }
            "-h" | "--help" => {
                println!("Usage: xenconsole [-n NUM] [-t pv] [-e ESCAPE] DOMID");
                return Ok(());
            }
            id if domid.is_none() => domid = Some(id.parse().map_err(|_| "invalid domain id")?),
            extra => return Err(format!("unexpected argument {extra:?}").into()),
        }
    }
    let domid = domid.ok_or("which domain? Usage: xenconsole DOMID")?;
    let store = xenstore::Client::open()?;
    let tty = wait_for_tty(&store, domid, num, Duration::from_secs(5))?.ok_or(format!(
        "domain {domid} has no console {num} (is xenconsoled running?)"
    ))?;
    if attach(&tty, escape)? == Detached::ConsoleGone {
        eprintln!("\r\nxenconsole: the console has gone");
    }
    Ok(())
}
