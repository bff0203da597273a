//! File systems on loop devices, all in a mount namespace of this process: when it ends, however it ends, the kernel
//! takes the mounts down, and with them the loop devices, which detach by themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// An unmount waits this long for a process on its way out.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl FileSystem {
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
        }
    }

    /// A new file system in a plain file.
    pub fn make(self, file: &Path, sector_bytes: u32) -> Result<()> {
        let file = file.to_str().context("a path of plain letters")?;
        let sector = format!("size={sector_bytes}");
        match self {
            FileSystem::Ext4 => {
                let now = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
                run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-N", "8192", "-E", now, file])
            }
            FileSystem::Xfs => run("mkfs.xfs", &["-q", "-f", "-K", "-s", &sector, file]),
            FileSystem::Btrfs => run("mkfs.btrfs", &["-q", "-f", "-K", "-s", "4096", file]),
        }?;
        Ok(())
    }
}

/// Runs a program to its end; its output.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("{program} {} ended with {}: {errors} {text}", arguments.join(" "), output.status);
    }
    Ok(text)
}

/// Gives this process mounts of its own. Only before it has other threads.
pub fn enter_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace of our own (needs root)")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("keeping our mounts to ourselves")
}

/// Why this machine cannot run the rig, if so.
pub fn missing(file_system: FileSystem) -> Option<String> {
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return Some(format!("there is no {device}"));
        }
    }
    let mkfs = format!("mkfs.{}", file_system.name());
    for program in [mkfs.as_str(), "losetup", "setpriv"] {
        if run("which", &[program]).is_err() {
            return Some(format!("there is no {program}"));
        }
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let is_known = |name: &str| known.lines().any(|line| line.split_whitespace().last() == Some(name));
    for name in [file_system.name(), "fuse"] {
        if !is_known(name) && run("modprobe", &[name]).is_err() {
            return Some(format!("the kernel does not know {name}"));
        }
    }
    None
}

/// A loop device until it is mounted or dropped.
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    pub fn attach(file: &Path, sector_bytes: u32, direct: bool) -> Result<LoopDevice> {
        let sector = format!("--sector-size={sector_bytes}");
        let direct_io = format!("--direct-io={}", if direct { "on" } else { "off" });
        let file = file.to_str().context("a path of plain letters")?;
        let path = PathBuf::from(run("losetup", &["--find", "--show", &sector, &direct_io, file])?);
        let device = LoopDevice { path };
        if direct {
            let dio = device.attribute("loop/dio")?;
            ensure!(dio == "1", "the loop device does no direct I/O: not every block write would be seen");
        }
        let blocks = device.attribute("queue/logical_block_size")?;
        ensure!(blocks == sector_bytes.to_string(), "the loop device has blocks of {blocks} bytes");
        Ok(device)
    }

    fn attribute(&self, name: &str) -> Result<String> {
        let device = self.path.file_name().and_then(|name| name.to_str()).context("a device name")?;
        let path = format!("/sys/block/{device}/{name}");
        Ok(fs::read_to_string(&path).with_context(|| path)?.trim().to_owned())
    }

    /// Mounts it; from then on it goes with the mount.
    pub fn mount(self, file_system: FileSystem, dir: &Path, options: &str) -> Result<Mounted> {
        let result = mount(Some(&self.path), dir, Some(file_system.name()), MsFlags::MS_NOATIME, Some(options));
        result.with_context(|| format!("mounting {} as {}", self.path.display(), file_system.name()))?;
        Ok(Mounted { dir: Some(dir.to_owned()) })
        // Dropping the device asks for its detachment, which the kernel puts off until the unmount.
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(error) = run("losetup", &["--detach", &self.path.to_string_lossy()]) {
            eprintln!("powercut: {error:#}");
        }
    }
}

pub struct Mounted {
    dir: Option<PathBuf>,
}

impl Mounted {
    pub fn unmount(mut self) -> Result<()> {
        self.dir.take().map_or(Ok(()), |dir| unmount(&dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take()
            && let Err(error) = unmount(&dir)
        {
            eprintln!("powercut: {error:#}");
            let _ = umount2(&dir, MntFlags::MNT_DETACH);
        }
    }
}

fn unmount(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + UNMOUNT_PATIENCE;
    loop {
        match umount2(dir, MntFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(nix::errno::Errno::EBUSY) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Err(error) => bail!("unmounting {}: {error}", dir.display()),
        }
    }
}

/// Takes away what an earlier process of this rig left below `work`, if that process is gone: its directories are
/// named by its process id.
pub fn remove_leftovers(work: &Path) -> Result<()> {
    for entry in fs::read_dir(work)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("pid-") else { continue };
        if fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
            continue;
        }
        let prefix = entry.path().to_string_lossy().into_owned();
        for device in fs::read_dir("/sys/block")?.flatten() {
            let backing = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
            if backing.starts_with(&prefix) {
                let path = Path::new("/dev").join(device.file_name());
                eprintln!("powercut: detaching {} of process {pid}, which is gone", path.display());
                let _ = run("losetup", &["--detach", &path.to_string_lossy()]);
            }
        }
        fs::remove_dir_all(entry.path()).with_context(|| format!("removing {prefix}"))?;
    }
    Ok(())
}

/// Takes this process's own directory away, with what is mounted below it.
pub fn clean_up(dir: &Path) -> Result<()> {
    for name in ["mounted", "recorded", "fuse", "images"] {
        let _ = umount2(&dir.join(name), MntFlags::MNT_DETACH);
    }
    fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))
}
