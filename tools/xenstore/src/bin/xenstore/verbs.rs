//! One function per verb.
use crate::text::{escape, unescape};
use crate::{Options, Result};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xenstore::{Client, Perm, Store};

fn need(o: &Options, n: usize) -> Result<()> {
    if o.args.len() < n {
        Err("too few arguments".into())
    } else {
        Ok(())
    }
}

/// Say which path it was.
fn at<T>(path: &str, what: &str, r: xenstore::Result<T>) -> Result<T> {
    r.map_err(|e| format!("couldn't {what} path {path}: {e}").into())
}

fn join(dir: &str, name: &str) -> String {
    if dir.ends_with('/') {
        format!("{dir}{name}")
    } else {
        format!("{dir}/{name}")
    }
}

pub fn ls(c: &Client, o: &Options) -> Result<ExitCode> {
    let root = ["/".to_string()];
    let dirs = if o.args.is_empty() {
        &root[..]
    } else {
        &o.args
    };
    for dir in dirs {
        at(dir, "list", c.directory(dir))?;
        show(c, o, dir, 0)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(c: &Client, o: &Options, dir: &str, depth: usize) -> Result<()> {
    // Nodes may go while we look; what is gone is not shown.
    let Ok(names) = c.directory(dir) else {
        return Ok(());
    };
    for name in names {
        let path = join(dir, &name);
        let Ok(value) = c.read(&path) else { continue };
        let shown = if o.full_paths {
            path.clone()
        } else {
            " ".repeat(depth) + &name
        };
        let mut line = format!("{shown} = \"{}\"", escape(&value));
        if o.perms
            && let Ok(list) = c.perms(&path)
        {
            line.push_str(&leaders(line.len(), o.full_paths));
            line.push_str(&format!("  ({})", comma(&list)));
        }
        writeln!(io::stdout(), "{line}")?;
        show(c, o, &path, depth + 1)?;
    }
    Ok(())
}

/// What leads the eye from the end of a line to its permissions in column 62.
fn leaders(len: usize, full_paths: bool) -> String {
    if full_paths {
        return " ".into();
    }
    let even = len + len % 2;
    " ".repeat(len % 2) + &" .".repeat(60usize.saturating_sub(even) / 2)
}

fn comma(perms: &[Perm]) -> String {
    perms
        .iter()
        .map(Perm::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

pub fn read(c: &Client, o: &Options) -> Result<ExitCode> {
    need(o, 1)?;
    for path in &o.args {
        let value = at(path, "read", c.read(path))?;
        let mut out = io::stdout();
        if o.prefix {
            write!(out, "{path}: ")?;
        }
        if o.raw {
            out.write_all(&value)?;
            out.flush()?;
        } else {
            writeln!(out, "{}", escape(&value))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn write(c: &Client, o: &Options) -> Result<ExitCode> {
    need(o, 2)?;
    if !o.args.len().is_multiple_of(2) {
        return Err("a path without a value".into());
    }
    c.transaction(|tx| {
        o.args.chunks_exact(2).try_for_each(|pair| {
            let value = if o.raw {
                pair[1].as_bytes().to_vec()
            } else {
                unescape(&pair[1])
            };
            tx.write_bytes(&pair[0], &value)
        })
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn list(c: &Client, o: &Options) -> Result<ExitCode> {
    need(o, 1)?;
    for path in &o.args {
        for name in at(path, "list", c.directory(path))? {
            let shown = if o.prefix { join(path, &name) } else { name };
            writeln!(io::stdout(), "{shown}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn exists(c: &Client, o: &Options) -> Result<ExitCode> {
    need(o, 1)?;
    for path in &o.args {
        if !c.exists(path)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn rm(c: &Client, o: &Options) -> Result<ExitCode> {
    need(o, 1)?;
    for path in &o.args {
        at(
            path,
            "remove",
            c.transaction(|tx| tx.read(path).and_then(|_| tx.rm(path))),
        )?;
        let mut dir = path.rsplit_once('/').map(|(d, _)| d);
        // Tidy: parents that were only there for it go as well.
        while let Some(d) = dir.filter(|d| o.tidy && !d.is_empty()) {
            if c.read(d)?.is_empty() && c.directory(d)?.is_empty() {
                c.rm(d)?;
                dir = d.rsplit_once('/').map(|(d, _)| d);
            } else {
                break;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn chmod(c: &Client, o: &Options) -> Result<ExitCode> {
    need(o, 2)?;
    let path = &o.args[0];
    let perms = Perm::parse_list(o.args[1..].iter().map(|s| s.as_bytes()))
        .map_err(|_| "permissions look like n0, r5, w3 or b12")?;
    at(
        path,
        "change",
        c.transaction(|tx| set_perms(tx, path, &perms, o)),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn set_perms(s: &impl Store, path: &str, perms: &[Perm], o: &Options) -> xenstore::Result<()> {
    s.set_perms(path, perms)?;
    if o.recursive {
        for name in s.directory(path)? {
            set_perms(
                s,
                &join(path, &name),
                perms,
                &Options {
                    recursive: true,
                    ..Options::default()
                },
            )?;
        }
    }
    let mut above = path.rsplit_once('/').map(|(d, _)| d);
    while let Some(dir) = above.filter(|d| o.upwards && !d.is_empty()) {
        s.set_perms(dir, perms)?;
        above = dir.rsplit_once('/').map(|(d, _)| d);
    }
    Ok(())
}

pub fn watch(c: &Client, o: &Options) -> Result<ExitCode> {
    need(o, 1)?;
    let deadline = o
        .timeout
        .map(|s| Instant::now() + Duration::from_secs_f64(s.clamp(0.0, 1e9)));
    for path in &o.args {
        at(path, "watch", c.watch(path, path))?;
    }
    let mut fired = 0;
    while o.count.is_none_or(|n| fired < n) {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let Some(event) = c.next_event(left)? else {
            return Ok(ExitCode::SUCCESS);
        };
        writeln!(io::stdout(), "{}", event.path)?;
        fired += 1;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn control(c: &Client, o: &Options) -> Result<ExitCode> {
    let args: Vec<&str> = o.args.iter().map(String::as_str).collect();
    writeln!(io::stdout(), "{}", c.control(&args)?)?;
    Ok(ExitCode::SUCCESS)
}
