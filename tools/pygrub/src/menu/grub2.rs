//! GRUB 2's `grub.cfg`, as far as a menu needs it: entries, submenus, variables. Of conditions every branch is taken; what is
//! set last counts, unless it is empty.

use super::{Entry, Menu, bls, path};
use crate::disk::Volume;
use std::collections::HashMap;

type Vars = HashMap<String, String>;

/// What a `{` has opened.
enum Block {
    /// `submenu`: how many entries it has by now.
    Submenu(usize),
    Entry,
    Other,
}

/// Reads the menu and the environment block beside it.
pub fn parse(text: &str, volume: &Volume) -> Menu {
    let environment = ["/boot/grub", "/boot/grub2", "/grub", "/grub2"]
        .iter()
        .find_map(|dir| volume.text(&format!("{dir}/grubenv")));
    let mut vars = environment.as_deref().map(variables).unwrap_or_default();
    let mut menu = read(text, &mut vars);
    if menu.entries.is_empty() && text.contains("blscfg") {
        menu.entries = bls::entries(volume, &vars);
    }
    menu
}

/// `key=value` lines of an environment block.
fn variables(text: &str) -> Vars {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn read(text: &str, vars: &mut Vars) -> Menu {
    let mut menu = Menu::default();
    let mut blocks: Vec<Block> = Vec::new();
    let mut entry: Option<Entry> = None;
    let mut top = 0;
    for line in joined(text) {
        let words = words(&line, vars);
        let Some((first, rest)) = words.split_first() else {
            continue;
        };
        let opens = words.last().is_some_and(|w| w == "{");
        match first.as_str() {
            "menuentry" | "submenu" => {
                let place = next_place(&mut blocks, &mut top);
                if first == "submenu" {
                    blocks.push(Block::Submenu(0));
                } else {
                    entry = Some(heading(rest, place));
                    blocks.push(Block::Entry);
                }
            }
            "}" => {
                if let Some(Block::Entry) = blocks.pop() {
                    let done = entry.take();
                    menu.entries.extend(done.filter(|e| !e.kernel.is_empty()));
                }
            }
            "linux" | "linux16" | "linuxefi" => {
                if let (Some(e), Some((kernel, args))) = (&mut entry, rest.split_first()) {
                    e.kernel = path(kernel);
                    e.args = args.join(" ");
                }
            }
            "initrd" | "initrd16" | "initrdefi" => {
                if let Some(e) = &mut entry {
                    e.initrds = rest.iter().map(|w| path(w)).collect();
                }
            }
            "set" => rest.iter().for_each(|w| assign(w, vars, &mut menu)),
            _ if opens => blocks.push(Block::Other),
            word if entry.is_none() && word.contains('=') => assign(word, vars, &mut menu),
            _ => {}
        }
    }
    menu
}

/// Lines, with those that end in a backslash joined to the next.
fn joined(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut whole = String::new();
    for line in text.lines() {
        match line.strip_suffix('\\') {
            Some(part) => whole += part,
            None => lines.push(std::mem::take(&mut whole) + line),
        }
    }
    lines.push(whole);
    lines
}

/// Number of the next entry in each open menu.
fn next_place(blocks: &mut [Block], top: &mut usize) -> Vec<usize> {
    let mut counts = vec![top];
    counts.extend(blocks.iter_mut().filter_map(|b| match b {
        Block::Submenu(n) => Some(n),
        _ => None,
    }));
    let depth = counts.len();
    let mut place = Vec::with_capacity(depth);
    for (n, count) in counts.into_iter().enumerate() {
        if n + 1 == depth {
            place.push(*count);
            *count += 1;
        } else {
            // The submenu itself has been counted.
            place.push(count.saturating_sub(1));
        }
    }
    place
}

/// `'Title' --class debian --id NAME {`; Debian writes `$menuentry_id_option 'NAME'` for the latter.
fn heading(words: &[String], place: Vec<usize>) -> Entry {
    let mut names = Vec::new();
    let mut words_left = words.iter();
    let title = words_left.next().cloned().unwrap_or_default();
    while let Some(word) = words_left.next() {
        match word.as_str() {
            "--class" | "--users" | "--hotkey" => drop(words_left.next()),
            "--id" => names.extend(words_left.next().cloned()),
            w if w.starts_with("--") || w == "{" => {}
            other => names.push(other.to_owned()),
        }
    }
    Entry {
        title,
        names,
        place,
        ..Entry::default()
    }
}

fn assign(word: &str, vars: &mut Vars, menu: &mut Menu) {
    let Some((key, value)) = word.split_once('=') else {
        return;
    };
    match key {
        _ if value.is_empty() => return,
        "default" => menu.default = Some(value.to_owned()),
        "timeout" => menu.timeout = value.parse().ok(),
        _ => {}
    }
    // `set a=$a$a`, again and again.
    if vars.len() < 1000 && value.len() < 4096 {
        vars.insert(key.to_owned(), value.to_owned());
    }
}

/// Replaces `$name` and `${name}`; what is not set is empty.
pub(super) fn expand(text: &str, vars: &Vars) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' => out += &variable(&mut chars, vars),
            _ => out.push(c),
        }
    }
    out
}

/// The value of the variable whose name, in braces or not, follows.
fn variable(chars: &mut std::iter::Peekable<std::str::Chars>, vars: &Vars) -> String {
    let braces = chars.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_' || (braces && *c == '?'))
    {
        name.push(c);
    }
    if braces {
        chars.next_if_eq(&'}');
    }
    vars.get(&name).cloned().unwrap_or_default()
}

/// Splits a line into words as GRUB's shell does, with quotes, backslashes, comments and variables.
fn words(line: &str, vars: &Vars) -> Vec<String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | ';' => out.extend(word.take()),
            '#' if word.is_none() => break,
            '\'' => {
                let w = word.get_or_insert_default();
                w.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '"' => {
                let w = word.get_or_insert_default();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => w.extend(chars.next()),
                        '$' => *w += &variable(&mut chars, vars),
                        _ => w.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '$' => {
                // A variable that is empty is no word.
                let value = variable(&mut chars, vars);
                let mut parts = value.split_whitespace().peekable();
                while let Some(part) = parts.next() {
                    *word.get_or_insert_default() += part;
                    if parts.peek().is_some() {
                        out.extend(word.take());
                    }
                }
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Debian's update-grub writes, shortened.
    const DEBIAN: &str = r#"
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="0"
fi
function load_video {
  insmod all_video
}
if [ x$feature_timeout_style = xy ] ; then
  set timeout_style=menu
  set timeout=5
fi
menuentry 'Debian GNU/Linux' --class debian --class gnu $menuentry_id_option 'gnulinux-simple-1' {
	load_video
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	set root='hd0,msdos1'
	linux	/boot/vmlinuz-6.1.0-1-amd64 root=UUID=1-2 ro  quiet "two words"
	initrd	/boot/ucode.img /boot/initrd.img-6.1.0-1-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-1-amd64' --id a {
		linux	($root)/boot/vmlinuz-6.1.0-1-amd64 root=UUID=1-2 ro
	}
	menuentry 'Recovery' --id b {
		linux	/boot/vmlinuz-6.1.0-1-amd64 root=UUID=1-2 ro single
	}
}
menuentry "Firmware" {
	fwsetup
}
"#;

    #[test]
    fn as_debian_writes_it() {
        let menu = read(DEBIAN, &mut Vars::new());
        let [first, advanced, recovery] = &menu.entries[..] else {
            panic!("{menu:?}");
        };
        assert_eq!(first.title, "Debian GNU/Linux");
        assert_eq!(first.names, ["gnulinux-simple-1"]);
        assert_eq!(first.kernel, "/boot/vmlinuz-6.1.0-1-amd64");
        assert_eq!(first.args, "root=UUID=1-2 ro quiet two words");
        assert_eq!(
            first.initrds,
            ["/boot/ucode.img", "/boot/initrd.img-6.1.0-1-amd64"]
        );
        assert_eq!(advanced.kernel, first.kernel);
        assert_eq!(recovery.place, [1, 1]);
        assert_eq!((menu.chosen(), menu.timeout), (0, Some(5)));
        assert_eq!(menu.named("1>1"), Some(2));
        assert_eq!(menu.named("gnulinux-advanced-1>b"), Some(2));
    }

    #[test]
    fn the_saved_entry_is_the_default() {
        let mut vars =
            variables("# GRUB Environment Block\nsaved_entry=gnulinux-advanced-1>b\n###");
        let text = DEBIAN.replace("set default=\"0\"", "set default=\"${saved_entry}\"");
        assert_eq!(read(&text, &mut vars).chosen(), 2);
    }

    #[test]
    fn anything_is_survived() {
        for text in [
            "}",
            "}\n}\nmenuentry",
            "menuentry 'a",
            "set\nset =\n$ ${ \"$",
            "linux x\ninitrd",
            "submenu {\nmenuentry {\nlinux\n}",
        ] {
            assert!(read(text, &mut Vars::new()).entries.is_empty(), "{text}");
        }
    }
}
