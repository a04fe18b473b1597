//! Hotplug scripts, called as xl calls them: the device by `XENBUS_PATH` in the environment, the event as argument,
//! the answer in the exit status and in the back end's nodes `hotplug-status` and `hotplug-error`.
//!
//! [`Script`] is one call. It cannot hang a command: it is ended, with all that it started, after a bounded time.
use crate::device::{Handle, poll};
use crate::{Error, Host, Result};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where scripts are that are named without a path: the administrator's and those of Xen's packages, then our own.
const SCRIPTS: [&str; 2] = ["/etc/xen/scripts", "/usr/lib/corten/scripts"];
/// How much of what a script said is repeated.
const TAIL: usize = 400;

/// A call of a script.
pub(crate) struct Script<'a> {
    /// Of which device.
    pub handle: &'a Handle,
    /// The file.
    pub path: PathBuf,
    /// The event first: `add`, `remove`, `online`, `offline`.
    pub args: Vec<String>,
    /// Variables besides those that every script gets.
    pub env: Vec<(&'static str, String)>,
    /// The device, for messages.
    pub name: &'a str,
}

/// Where a script is that a configuration names; where one of that name would be, if it is nowhere.
pub(crate) fn locate(script: &str) -> PathBuf {
    locate_in(&SCRIPTS.map(Path::new), script)
}

fn locate_in(dirs: &[&Path], script: &str) -> PathBuf {
    let mut places = dirs.iter().map(|d| d.join(script));
    let first = places.next().unwrap_or_default();
    if first.exists() {
        return first;
    }
    places.find(|p| p.exists()).unwrap_or(first)
}

/// Finds the script that a configuration names and checks that it can be run, before anything exists. `name` is the
/// device's, for messages.
pub(crate) fn find(script: &str, name: &str) -> Result<PathBuf> {
    find_in(&SCRIPTS.map(Path::new), script, name)
}

fn find_in(dirs: &[&Path], script: &str, name: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = locate_in(dirs, script);
    let wrong = match std::fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound && !script.contains('/') => {
            return Err(nowhere(dirs, script, name));
        }
        Err(e) => e.to_string(),
        Ok(m) if !m.is_file() => "it is not a file".into(),
        Ok(m) if m.permissions().mode() & 0o111 == 0 => "it is not executable".into(),
        Ok(_) => return Ok(path),
    };
    let message = format!("{name}: hotplug script {}: {wrong}", path.display());
    Err(Error::new(message).hint("correct \"script\", or make the file executable with chmod +x"))
}

fn nowhere(dirs: &[&Path], script: &str, name: &str) -> Error {
    let places: Vec<_> = dirs.iter().map(|d| d.display().to_string()).collect();
    let there = names(dirs);
    let message = format!(
        "{name}: there is no hotplug script \"{script}\" in {}",
        places.join(" or ")
    );
    Error::new(message).hint(match there.as_slice() {
        [] => "there is none at all; give the full path of one".into(),
        there => format!("there are {}; or give the full path", there.join(", ")),
    })
}

/// The scripts there are: what can be run, in order.
fn names(dirs: &[&Path]) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let entries = dirs.iter().flat_map(std::fs::read_dir).flatten().flatten();
    let runs = |e: &std::fs::DirEntry| {
        std::fs::metadata(e.path())
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    let mut names: Vec<String> = entries
        .filter(runs)
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

impl Script<'_> {
    /// Runs it to its end. Scripts also report failures in the store, so that is looked at too.
    pub(crate) fn run(&self, host: &Host) -> Result<()> {
        let shown = format!("{} {}", self.path.display(), self.args.join(" "));
        let fail = |why: String| {
            let message = format!("{}: hotplug script {shown} {why}", self.name);
            Err(Error::new(message).hint("scripts log to /var/log/xen/xen-hotplug.log"))
        };
        // A file and not a pipe: what the script leaves running in the background may keep it open.
        let mut output = match self.scratch() {
            Ok(f) => f,
            Err(e) => return fail(format!("cannot be run: {e}")),
        };
        let mut child = match self.spawn(&output) {
            Ok(c) => c,
            Err(e) => return fail(format!("cannot be run: {e}")),
        };
        let ended = poll(host.limits.hotplug, || {
            child
                .try_wait()
                .map_err(|e| Error::new(format!("waiting for {shown}: {e}")))
        });
        let Ok(Some(status)) = ended else {
            kill_all(&mut child);
            let seconds = host.limits.hotplug.as_secs_f32();
            return fail(format!(
                "did not end within {seconds} s and was killed{}",
                said(&mut output)
            ));
        };
        let node = |n: &str| {
            let path = format!("{}/{n}", self.handle.back());
            host.xs.read_opt(&path).ok().flatten()
        };
        let error = node("hotplug-error").filter(|e| !e.is_empty());
        match (status.success(), error) {
            (true, None) if node("hotplug-status").as_deref() != Some("error") => Ok(()),
            (true, None) => fail(format!("reported an error{}", said(&mut output))),
            (_, Some(e)) => fail(format!("failed: {e}{}", said(&mut output))),
            (false, None) => fail(format!("failed, {status}{}", said(&mut output))),
        }
    }

    fn scratch(&self) -> std::io::Result<std::fs::File> {
        use rustix::fs::{MemfdFlags, memfd_create};
        Ok(memfd_create("hotplug", MemfdFlags::CLOEXEC)?.into())
    }

    fn spawn(&self, output: &std::fs::File) -> std::io::Result<std::process::Child> {
        let h = self.handle;
        Command::new(&self.path)
            .args(&self.args)
            .env("script", &self.path)
            .env("XENBUS_TYPE", h.front_kind())
            .env("XENBUS_PATH", h.back_relative())
            .env("XENBUS_BASE_PATH", "backend")
            .envs(self.env.iter().map(|(k, v)| (*k, v)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            // A group of its own, so that it can be ended with all that it started.
            .process_group(0)
            .spawn()
    }
}

fn kill_all(child: &mut std::process::Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Ok(id) = i32::try_from(child.id())
        && let Some(pid) = Pid::from_raw(id)
    {
        // It may have ended just now.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

/// The end of what a script said.
fn said(output: &mut std::fs::File) -> String {
    let mut text = Vec::new();
    let len = output.seek(SeekFrom::End(0)).unwrap_or(0);
    let from = SeekFrom::Start(len.saturating_sub(TAIL as u64));
    // Without its words the message is still one.
    let _ = output.seek(from);
    let _ = output.take(TAIL as u64).read_to_end(&mut text);
    match String::from_utf8_lossy(&text).trim() {
        "" => String::new(),
        text => format!("; it said: {}", text.replace('\n', "; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_name_is_looked_up_here_and_there_and_a_path_is_not() {
        let base = std::env::temp_dir().join(format!("scripts-{}", std::process::id()));
        let (ours, theirs) = (base.join("ours"), base.join("theirs"));
        for (dir, name, mode) in [
            (&theirs, "block", 0o755),
            (&theirs, "common.sh", 0o644),
            (&ours, "block", 0o755),
            (&ours, "vif-nat", 0o755),
        ] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join(name), "#!/bin/sh\n").unwrap();
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(dir.join(name), permissions).unwrap();
        }
        let dirs = [&*theirs, &*ours];
        let find = |script: &str| find_in(&dirs, script, "vif 0").map_err(|e| e.to_string());
        assert_eq!(find("block"), Ok(theirs.join("block")));
        assert_eq!(find("vif-nat"), Ok(ours.join("vif-nat")));
        let full = ours.join("block");
        assert_eq!(find(full.to_str().unwrap()), Ok(full));
        let e = find("vif-brigde").unwrap_err();
        for part in [
            "vif 0: there is no hotplug script \"vif-brigde\" in ",
            "/theirs or ",
            "/ours",
            "there are block, vif-nat; or give the full path",
        ] {
            assert!(e.contains(part), "{e}");
        }
        assert!(
            find("/nowhere/x")
                .unwrap_err()
                .contains("/nowhere/x: No such file")
        );
        assert!(find("common.sh").unwrap_err().contains("not executable"));
        let _ = std::fs::remove_dir_all(base);
    }
}
