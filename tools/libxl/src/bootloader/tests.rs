//! Boot loaders that are shell scripts: run, understood, and survived.
use super::*;

#[test]
fn results_in_either_form() {
    let want = Found {
        kernel: "/run/k".into(),
        ramdisk: Some("/run/r".into()),
        args: Some("root=/dev/xvda1 ro".into()),
    };
    assert_eq!(
        parse(b"kernel /run/k\0ramdisk /run/r\0args root=/dev/xvda1 ro\0").as_ref(),
        Ok(&want)
    );
    assert_eq!(
        parse(b"kernel /run/k\nramdisk /run/r\nargs root=/dev/xvda1 ro\n").as_ref(),
        Ok(&want)
    );
    assert_eq!(
        parse(b"linux (kernel /run/k)(ramdisk /run/r)(args \"root=/dev/xvda1 ro\")").as_ref(),
        Ok(&want)
    );
    let only = parse(b"linux (kernel /run/k)").unwrap();
    assert_eq!((only.ramdisk, only.args), (None, None));
}

#[test]
fn results_that_are_none() {
    for bad in [
        &b""[..],
        b"ramdisk /r\0",
        b"linux (kernel /k",
        b"linux (kernel /k)x",
        b"linux (args \"\\",
        b"\xff",
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

fn config(program: &str, disk: &Path) -> DomainConfig {
    let text = format!(
        "name='g'\nmemory=64\nbootloader='{program}'\nbootloader_args=['-x','y z']\ndisk=['file:{},xvda2,w']\nextra='quiet'\n",
        disk.display()
    );
    let mut diags = crate::cfg::Diagnostics::default();
    let cfg = crate::cfg::parse("g.cfg", &text, &mut diags);
    DomainConfig::from_cfg(&cfg, &mut diags).unwrap()
}

/// Runs a shell script as the boot loader.
fn boot(name: &str, script: &str) -> (Result<Found>, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let base = std::env::temp_dir().join(format!("bootloader-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    let program = base.join("loader");
    std::fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = config(program.to_str().unwrap(), &base.join("disk"));
    let place = Place::new(&base, 7).unwrap();
    let boot = Boot::prepare(&config).unwrap().unwrap();
    let found = boot.run(&place, &mut |_| Ok(()), &mut || !base.join("gone").exists());
    drop(place);
    assert!(!base.join("bootloader.7.d").exists() && !base.join("bootloader.7.out").exists());
    (found, base)
}

const OUT: &str = "out=$(echo \"$2\" | sed s/--output=//)\n";

#[test]
fn a_program_is_run_on_a_terminal_of_its_own() {
    let script =
        format!("{OUT}test -t 0 || exit 3\nprintf 'kernel /k\\0args %s\\0' \"$*\" >$out\n");
    let (found, base) = boot("runs", &script);
    let found = found.unwrap();
    let (dir, disk) = (base.join("bootloader.7.d"), base.join("disk"));
    let (out, args) = (base.join("bootloader.7.out"), found.args.unwrap());
    assert_eq!(
        args,
        format!(
            "--args=quiet --output={} --output-format=simple0 --output-directory={} -x y z {}",
            out.display(),
            dir.display(),
            disk.display()
        )
    );
    let _ = std::fs::remove_dir_all(base);
}

#[test]
fn failures_name_program_and_disk() {
    let (e, base) = boot("fails", "echo; echo no kernel here; exit 4\n");
    let e = e.unwrap_err().to_string();
    for part in ["loader on disk xvda2 (", "exit status: 4", "no kernel here"] {
        assert!(e.contains(part), "{e}");
    }
    let _ = std::fs::remove_dir_all(base);
    let (e, base) = boot("endless", &format!("{OUT}exec cat /dev/zero >$out\n"));
    assert!(e.unwrap_err().to_string().contains("longer than"));
    let _ = std::fs::remove_dir_all(base);
}

#[test]
fn it_dies_with_its_domain() {
    let (e, base) = boot("orphan", "touch ${0%/*}/gone; sleep 1000\n");
    assert!(e.unwrap_err().to_string().contains("destroyed"), "{base:?}");
    let _ = std::fs::remove_dir_all(base);
}

#[test]
fn what_can_be_known_before() {
    let e = Boot::prepare(&config("/nowhere/loader", Path::new("/d"))).unwrap_err();
    assert!(
        e.to_string().contains("no bootloader \"/nowhere/loader\""),
        "{e}"
    );
    let mut scripted = config("sh", Path::new("/d"));
    scripted.disks[0].script = Some("block-iscsi".into());
    let e = Boot::prepare(&scripted).unwrap_err().to_string();
    assert!(e.contains("xvda2") && e.contains("block-iscsi"), "{e}");
    let mut without = config("sh", Path::new("/d"));
    without.disks.clear();
    assert!(
        Boot::prepare(&without)
            .unwrap_err()
            .to_string()
            .contains("no disk")
    );
}
