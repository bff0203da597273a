//! A small file system of a test's own, on a loop device: it can be filled, turned read-only, made to fail and unmounted.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a device may be in use after the process that wrote to it has ended.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct SmallDisk {
    dir: TempDir,
    device: String,
    mounted: bool,
}

impl SmallDisk {
    /// An ext4 of so many MiB; none where this process may not mount, which is said loudly.
    pub fn ext4(mib: u64) -> Option<SmallDisk> {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the disk");
        let image = dir.path().join("image");
        File::create(&image).and_then(|file| file.set_len(mib << 20)).expect("the image");
        let made = run("mkfs.ext4", &["-q", "-F", "-m", "0", "-b", "4096", text(&image)]);
        let device = made.and_then(|_| run("losetup", &["--find", "--show", text(&image)]));
        let device = match device {
            Ok(device) => device.trim().to_owned(),
            Err(why) => return skipped(&why),
        };
        let mut disk = SmallDisk { dir, device, mounted: false };
        fs::create_dir(disk.path()).expect("a place to mount");
        match disk.mount() {
            Ok(()) => Some(disk),
            Err(why) => skipped(&why),
        }
    }

    fn mount(&mut self) -> Result<(), String> {
        run("mount", &["-t", "ext4", &self.device, text(&self.path())])?;
        self.mounted = true;
        Ok(())
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// A directory on it, for a broker.
    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn free_bytes(&self) -> u64 {
        let info = nix::sys::statfs::statfs(&self.path()).expect("the file system's state");
        info.blocks_free() * info.block_size() as u64
    }

    /// A file that takes all but `left` bytes. Removing it gives them back.
    pub fn fill_but(&self, left: u64) -> PathBuf {
        let path = self.path().join("ballast");
        let file = File::options().create(true).append(true).open(&path).expect("a file");
        let mut size = file.metadata().expect("its size").len();
        let chunk = vec![7_u8; 1 << 20];
        let mut step = chunk.len();
        while self.free_bytes() > left && step >= 4096 {
            step = step.min((self.free_bytes() - left) as usize);
            match file.write_at(&chunk[..step], size) {
                Ok(written) => {
                    size += written as u64;
                    file.sync_data().expect("the ballast is written");
                }
                Err(_) => step /= 2,
            }
        }
        path
    }

    /// `mount -o remount,...`
    pub fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), text(&self.path())]).expect("it is remounted");
    }

    /// Takes the file system out of sight, as `umount -l` does; whoever has files open keeps them.
    pub fn unmount_lazily(&mut self) {
        run("umount", &["-l", text(&self.path())]).expect("it is unmounted");
        self.mounted = false;
    }

    /// Unmounts it when nobody uses it any more, and mounts it anew.
    pub fn mount_again(&mut self) {
        self.unmount();
        self.mount().expect("it is mounted again");
    }

    /// Whether the segments of partitions take writes: all whose name begins so.
    pub fn set_immutable(&self, partitions: &str, immutable: bool) {
        let flag = if immutable { "+i" } else { "-i" };
        for entry in fs::read_dir(self.data_dir()).expect("the data directory").flatten() {
            if entry.file_name().to_string_lossy().starts_with(partitions) {
                for file in fs::read_dir(entry.path()).expect("a partition").flatten().map(|file| file.path()) {
                    if file.extension().is_some_and(|extension| extension == "log") {
                        run("chattr", &[flag, text(&file)]).expect("the flag is set");
                    }
                }
            }
        }
    }

    /// The device ends at `mib` from now on: what lies behind fails with EIO.
    pub fn cut_device(&self, mib: u64) {
        let image = self.dir.path().join("image");
        File::options().write(true).open(image).and_then(|file| file.set_len(mib << 20)).expect("the image is cut");
        run("losetup", &["--set-capacity", &self.device]).expect("the device is cut");
    }

    fn unmount(&mut self) {
        let began = Instant::now();
        while self.mounted {
            match run("umount", &[text(&self.path())]) {
                Ok(_) => self.mounted = false,
                // The kernel is still taking the rings of a killed broker apart.
                Err(_) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(50)),
                Err(why) => {
                    eprintln!("{why}: unmounted lazily");
                    let _ = run("umount", &["-l", text(&self.path())]);
                    self.mounted = false;
                }
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.unmount();
        // A device that is still in use goes with its last user.
        if let Err(why) = run("losetup", &["--detach", &self.device]) {
            eprintln!("{why}");
        }
    }
}

fn skipped(why: &str) -> Option<SmallDisk> {
    assert!(std::env::var_os("CORELANE_TEST_MOUNTS").is_none(), "no file system can be mounted: {why}");
    eprintln!("SKIPPED: no file system can be mounted here: {why}");
    None
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let told = |what: String| format!("{program} {}: {what}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output().map_err(|error| told(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(told(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
