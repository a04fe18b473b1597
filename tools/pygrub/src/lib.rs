//! Finds a guest's kernel on the guest's own disk, in the place of Xen's `pygrub`: same name, options and answers.
//!
//! [`run`] is the whole: [`disk`] finds what can be read, [`menu`] reads boot menus, [`choose`] asks, [`output`] hands over.
//! The disk is not to be trusted; see `disk.rs`.

mod choose;
mod disk;
mod menu;
mod options;
mod output;

pub use options::{HELP, Options};
pub use output::Chosen;

use disk::Volume;
use menu::{Entry, Menu};
use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Errors are for people: they say what, where and why.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where copies go when nobody says.
const DIRECTORY: &str = "/run/xen/pygrub";

/// Whether a menu is waiting for a person, which may take any time.
pub static ASKING: AtomicBool = AtomicBool::new(false);

/// How the answer is written: an S-expression, lines, or the same ended by NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Sxp,
    Simple,
    Simple0,
}

impl Format {
    fn named(name: &str) -> Result<Format> {
        match name {
            "sxp" => Ok(Format::Sxp),
            "simple" => Ok(Format::Simple),
            "simple0" => Ok(Format::Simple0),
            _ => Err(format!("no output format \"{name}\"; there are sxp, simple, simple0").into()),
        }
    }
}

/// What is to be printed at the end: the answer in its format, or a list of entries.
pub fn run(o: &Options) -> Result<String> {
    let on_disk = |e: &dyn std::fmt::Display| format!("disk {}: {e}", o.disk.display());
    let file = File::open(&o.disk).map_err(|e| on_disk(&e))?;
    let found = disk::volumes(file, o.offset).map_err(|e| on_disk(&*e))?;
    if let Some(kernel) = &o.kernel {
        return by_name(o, &found, kernel).map_err(|e| on_disk(&*e).into());
    }
    let menus = found
        .volumes
        .iter()
        .filter_map(|v| menu::find(v).map(|m| (v, m)));
    let Some((volume, menu)) = menus.take(1).next() else {
        return Err(on_disk(&nothing(&found)).into());
    };
    if o.list {
        return Ok(list(&menu));
    }
    let mut entry = pick(o, &menu).map_err(|e| on_disk(&*e))?;
    if let Some(ramdisk) = &o.ramdisk {
        entry.initrds = vec![ramdisk.clone()];
    }
    hand_over(o, volume, entry)
}

/// The kernel that the command line names, on the first volume that has it.
fn by_name(o: &Options, found: &disk::Found, kernel: &str) -> Result<String> {
    let entry = Entry {
        kernel: kernel.into(),
        initrds: o.ramdisk.iter().cloned().collect(),
        ..Entry::default()
    };
    let mut why = nothing(found);
    for volume in &found.volumes {
        match hand_over(o, volume, entry.clone()) {
            Ok(said) => return Ok(said),
            Err(e) => why = e.to_string(),
        }
    }
    Err(why.into())
}

fn list(menu: &Menu) -> String {
    let mut out = String::new();
    for (n, e) in menu.entries.iter().enumerate() {
        out += &format!("title: {}\n", choose::shown(&e.title));
        out += &format!(
            "  number: {n}\n  kernel: {}\n  args: {}\n",
            e.kernel, e.args
        );
        for initrd in &e.initrds {
            out += &format!("  initrd: {initrd}\n");
        }
    }
    out
}

/// Why there is nothing to boot, and what to do.
fn nothing(found: &disk::Found) -> String {
    let mut why = Vec::new();
    for volume in &found.volumes {
        why.push(format!("{}: no boot menu", volume.place));
    }
    why.extend(found.passed_over.iter().cloned());
    if why.is_empty() {
        why.push("no partitions".into());
    }
    format!(
        "no kernel found ({}). A menu is one of {}, as update-grub writes it in the guest; or name a kernel on the disk with \
         bootloader_args = [\"--kernel=PATH\"], or a kernel of this host with kernel = \"PATH\" and no bootloader",
        why.join("; "),
        menu::places()
    )
}

fn pick(o: &Options, menu: &Menu) -> Result<Entry> {
    let default = match &o.entry {
        None => menu.chosen(),
        Some(name) => menu.named(name).ok_or_else(|| {
            let titles = menu.entries.iter().enumerate();
            let titles: Vec<String> = titles
                .map(|(n, e)| format!("{n} \"{}\"", choose::shown(&e.title)))
                .collect();
            format!(
                "its menu {} has no entry \"{name}\"; there are {}",
                menu.file,
                titles.join(", ")
            )
        })?,
    };
    let person = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let hurried = menu.timeout == Some(0);
    if o.quiet || o.dry || o.entry.is_some() || hurried || !person {
        return Ok(menu.entries.get(default).cloned().ok_or("an empty menu")?);
    }
    ASKING.store(true, Ordering::Relaxed);
    let entry = choose::ask(menu, default);
    ASKING.store(false, Ordering::Relaxed);
    entry
}

fn hand_over(o: &Options, volume: &Volume, mut entry: Entry) -> Result<String> {
    entry.args = [entry.args.trim(), o.args.trim()].join(" ").trim().into();
    let chosen = if o.dry {
        Chosen::named(&entry)
    } else {
        let dir = o.directory.as_deref().unwrap_or(Path::new(DIRECTORY));
        std::fs::create_dir_all(dir).map_err(|e| format!("making {}: {e}", dir.display()))?;
        Chosen::copied(&entry, volume, dir)?
    };
    Ok(chosen.say(o.format))
}
