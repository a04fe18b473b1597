//! [`Menu`]: what a boot menu offers, whoever wrote it: GRUB 2 (with or without entries of their own), GRUB legacy, extlinux.

mod bls;
mod extlinux;
mod grub2;
mod legacy;

use crate::disk::Volume;

/// A kernel to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What a person reads.
    pub title: String,
    /// Other names by which a menu refers to it, such as GRUB's `--id`.
    pub names: Vec<String>,
    /// Its place in the menu, and in each submenu on the way.
    pub place: Vec<usize>,
    /// Paths on the volume with the menu.
    pub kernel: String,
    pub initrds: Vec<String>,
    pub args: String,
}

/// A menu with at least one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Menu {
    /// The file it is from.
    pub file: String,
    pub entries: Vec<Entry>,
    /// What its author wants: a number, a title, a name, or for submenus several of them joined by `>`.
    pub default: Option<String>,
    /// Seconds until that is taken; negative: until somebody chooses.
    pub timeout: Option<i64>,
}

type Parser = fn(&str, &Volume) -> Menu;

/// Where menus are, below the root of the volume and of one that is mounted on /boot.
const FILES: &[(&str, Parser)] = &[
    ("grub/grub.cfg", grub2::parse),
    ("grub2/grub.cfg", grub2::parse),
    ("grub/menu.lst", |text, _| legacy::parse(text)),
    ("grub/grub.conf", |text, _| legacy::parse(text)),
    ("extlinux/extlinux.conf", |text, _| extlinux::parse(text)),
    ("extlinux.conf", |text, _| extlinux::parse(text)),
    ("syslinux/syslinux.cfg", |text, _| extlinux::parse(text)),
];

/// The first menu on a volume that offers something.
pub fn find(volume: &Volume) -> Option<Menu> {
    for dir in ["/boot/", "/"] {
        for (name, parse) in FILES {
            let file = format!("{dir}{name}");
            let Some(text) = volume.text(&file) else {
                continue;
            };
            let mut menu = parse(&text, volume);
            if !menu.entries.is_empty() {
                menu.file = file;
                return Some(menu);
            }
        }
    }
    None
}

/// Where menus are looked for, for a message.
pub fn places() -> String {
    let names: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
    format!("{} below / and /boot", names.join(", "))
}

impl Menu {
    /// Index of the entry that `name` means: a number, a title or a name, through submenus with `>`.
    pub fn named(&self, name: &str) -> Option<usize> {
        if let Some(n) = self
            .entries
            .iter()
            .position(|e| e.title == name || e.names.iter().any(|n| n == name))
        {
            return Some(n);
        }
        let place: Vec<&str> = name.split('>').map(str::trim).collect();
        if let Ok(place) = place
            .iter()
            .map(|p| p.parse())
            .collect::<Result<Vec<usize>, _>>()
        {
            return self
                .entries
                .iter()
                .position(|e| e.place.starts_with(&place));
        }
        match place.as_slice() {
            [.., last] if place.len() > 1 => self.named(last),
            _ => None,
        }
    }

    /// Index of the entry to take when nobody chooses.
    pub fn chosen(&self) -> usize {
        self.default
            .as_deref()
            .and_then(|d| self.named(d))
            .unwrap_or(0)
    }
}

/// A path as a boot loader writes it, without the device in front: `(hd0,0)/vmlinuz`.
fn path(word: &str) -> String {
    let path = match word.strip_prefix('(').and_then(|w| w.split_once(')')) {
        Some((_, path)) => path,
        None => word,
    };
    match path.strip_prefix('/') {
        Some(_) => path.to_owned(),
        None => format!("/{path}"),
    }
}

/// A line's first word, and the rest of it; menus separate them by blanks, tabs or `=`.
fn key_and_value(line: &str) -> (String, &str) {
    let line = line.trim();
    let end = line
        .find([' ', '\t', '='])
        .map_or((line, ""), |n| line.split_at(n));
    let value = end.1.trim_start_matches([' ', '\t', '=']);
    (end.0.to_ascii_lowercase(), value.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_number_title_and_name() {
        let entry = |title: &str, name: &str, place: &[usize]| Entry {
            title: title.into(),
            names: vec![name.into()],
            place: place.into(),
            ..Entry::default()
        };
        let mut menu = Menu {
            entries: vec![
                entry("One", "one-id", &[0]),
                entry("Two", "two-id", &[1, 0]),
                entry("Three", "three-id", &[1, 1]),
            ],
            ..Menu::default()
        };
        for (name, want) in [
            ("0", Some(0)),
            ("1", Some(1)),
            ("1>1", Some(2)),
            ("Three", Some(2)),
            ("Advanced>Three", Some(2)),
            ("two-id", Some(1)),
            ("2", None),
            ("nope", None),
        ] {
            assert_eq!(menu.named(name), want, "{name}");
        }
        assert_eq!(menu.chosen(), 0);
        menu.default = Some("1>1".into());
        assert_eq!(menu.chosen(), 2);
    }

    #[test]
    fn paths_lose_their_device() {
        assert_eq!(path("(hd0,0)/boot/vmlinuz"), "/boot/vmlinuz");
        assert_eq!(path("vmlinuz"), "/vmlinuz");
    }
}
