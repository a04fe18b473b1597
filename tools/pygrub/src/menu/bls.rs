//! Entries that are files of their own (Boot Loader Specification), which Fedora's `grub.cfg` reads with `blscfg`.

use super::{Entry, key_and_value, path};
use crate::disk::Volume;
use std::collections::HashMap;

/// The entries, newest version first. Variables in them are `vars`.
pub fn entries(volume: &Volume, vars: &HashMap<String, String>) -> Vec<Entry> {
    for dir in ["/boot/loader/entries", "/loader/entries"] {
        let mut files = volume.list(dir);
        files.retain(|f| f.ends_with(".conf"));
        files.sort_by_key(|f| std::cmp::Reverse(version(f)));
        let texts = files
            .iter()
            .filter_map(|f| Some((f, volume.text(&format!("{dir}/{f}"))?)));
        let entries: Vec<Entry> = texts
            .filter_map(|(f, text)| parse(f.trim_end_matches(".conf"), &text, vars))
            .enumerate()
            .map(|(n, e)| Entry {
                place: vec![n],
                ..e
            })
            .collect();
        if !entries.is_empty() {
            return entries;
        }
    }
    Vec::new()
}

/// Sorts 6.10 after 6.9: a name's numbers and what is between them.
fn version(name: &str) -> Vec<(u64, String)> {
    let mut out = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let text = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (between, next) = after.split_at(text);
        out.push((number.parse().unwrap_or(0), between.to_owned()));
        rest = next;
    }
    out
}

fn parse(name: &str, text: &str, vars: &HashMap<String, String>) -> Option<Entry> {
    let mut entry = Entry {
        title: name.to_owned(),
        names: vec![name.to_owned()],
        ..Entry::default()
    };
    for line in text.lines() {
        let (key, value) = key_and_value(line);
        match key.as_str() {
            "title" => entry.title = value.to_owned(),
            "linux" => entry.kernel = path(value),
            "initrd" => entry.initrds.extend(
                value
                    .split_whitespace()
                    .map(|w| super::grub2::expand(w, vars))
                    .filter(|w| !w.is_empty())
                    .map(|w| path(&w)),
            ),
            "options" => entry.args = super::grub2::expand(value, vars),
            _ => {}
        }
    }
    (!entry.kernel.is_empty()).then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_fedora_writes_it() {
        let vars = HashMap::from([("kernelopts".to_owned(), "root=/dev/xvda2 ro".to_owned())]);
        let text = "title Fedora Linux (6.10)\nversion 6.10\nlinux /vmlinuz-6.10\ninitrd /initramfs-6.10.img $tuned_initrd\noptions $kernelopts quiet\n";
        let entry = parse("id-6.10", text, &vars).unwrap();
        assert_eq!(entry.args, "root=/dev/xvda2 ro quiet");
        assert_eq!(entry.initrds, ["/initramfs-6.10.img"]);
        assert!(version("a-6.10") > version("a-6.9"));
    }
}
