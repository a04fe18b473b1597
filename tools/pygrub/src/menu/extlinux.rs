//! extlinux's and syslinux's configuration.

use super::{Entry, Menu, key_and_value, path};

/// Reads the menu; `INCLUDE`d files are not.
pub fn parse(text: &str) -> Menu {
    let mut menu = Menu::default();
    let mut entry: Option<Entry> = None;
    let mut labels = 0;
    let mut default = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = key_and_value(line);
        match (key.as_str(), &mut entry) {
            ("default", _) => default = Some(value.to_owned()),
            // Tenths of a second; 0 waits for ever.
            ("timeout", _) => {
                let tenths: Option<u32> = value.parse().ok();
                menu.timeout = tenths.map(|t| if t == 0 { -1 } else { t.div_ceil(10).into() });
            }
            ("label", _) => {
                let new = Entry {
                    title: value.to_owned(),
                    names: vec![value.to_owned()],
                    place: vec![labels],
                    ..Entry::default()
                };
                labels += 1;
                keep(&mut menu, entry.replace(new));
            }
            ("kernel" | "linux", Some(e)) => e.kernel = path(value),
            ("initrd", Some(e)) => e.initrds.extend(value.split(',').map(path)),
            ("append", Some(e)) => append(e, value),
            ("menu", Some(e)) => match key_and_value(value) {
                (word, title) if word == "label" => e.title = title.replace('^', ""),
                (word, _) if word == "default" => default = e.names.first().cloned(),
                _ => {}
            },
            _ => {}
        }
    }
    keep(&mut menu, entry);
    menu.default = default;
    menu
}

/// Arguments, among which the initrd may be.
fn append(entry: &mut Entry, value: &str) {
    let mut rest = Vec::new();
    for word in value.split_whitespace() {
        match word.strip_prefix("initrd=") {
            Some(files) => entry.initrds.extend(files.split(',').map(path)),
            None => rest.push(word),
        }
    }
    entry.args = rest.join(" ");
}

fn keep(menu: &mut Menu, entry: Option<Entry>) {
    menu.entries
        .extend(entry.filter(|e| !e.kernel.is_empty() && !e.kernel.ends_with(".c32")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_alpine_and_debian_write_it() {
        let menu = parse(
            "DEFAULT menu.c32\nTIMEOUT 35\nLABEL virt\n  MENU DEFAULT\n  MENU LABEL Linux ^virt\n  LINUX vmlinuz-virt\n  INITRD initramfs-virt\n\
             APPEND root=UUID=1 modules=ext4\nlabel old\n kernel /boot/old\n append initrd=/boot/old.img quiet\nlabel memtest\n kernel memtest.c32\n",
        );
        let [virt, old] = &menu.entries[..] else {
            panic!("{menu:?}");
        };
        assert_eq!(
            (&*virt.title, &*virt.kernel),
            ("Linux virt", "/vmlinuz-virt")
        );
        assert_eq!(
            (&*virt.args, &virt.initrds[..]),
            ("root=UUID=1 modules=ext4", &["/initramfs-virt".into()][..])
        );
        assert_eq!(
            (&*old.args, &old.initrds[..]),
            ("quiet", &["/boot/old.img".into()][..])
        );
        assert_eq!((menu.chosen(), menu.timeout), (0, Some(4)));
    }
}
