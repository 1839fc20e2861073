//! File systems of a test's own: small ones that fill up, and ones that turn read-only or stand still.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system. Unmounted when dropped.
pub(crate) struct Mount {
    at: PathBuf,
    /// The file that an ext4 lies in.
    image: Option<PathBuf>,
}

impl Mount {
    /// A tmpfs of so many bytes over a directory, which is made.
    pub(crate) fn tmpfs(at: &Path, bytes: u64) -> Self {
        make(at);
        root("mount", &["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "tmpfs"], &[at]);
        Self { at: at.to_owned(), image: None }
    }

    /// An ext4 in a file of so many bytes, over a directory, which is made. At an error it turns read-only.
    pub(crate) fn ext4(at: &Path, bytes: u64, block: u32) -> Self {
        make(at);
        let image = at.with_extension("ext4");
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        root("mkfs.ext4", &["-q", "-F", "-b", &block.to_string(), "-m", "0", "-e", "remount-ro"], &[&image]);
        let mount = Self { at: at.to_owned(), image: Some(image) };
        mount.attach();
        mount
    }

    fn attach(&self) {
        let image = self.image.as_ref().expect("an ext4");
        root("mount", &["-o", "loop"], &[image, &self.at]);
    }

    /// Makes the kernel meet an error in an ext4, which then turns read-only under whoever writes.
    pub(crate) fn break_down(&self) {
        let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", self.device());
        std::fs::write(trigger, "a test").expect("root may trigger an error of ext4");
    }

    /// Unmounts an ext4, repairs it and mounts it again.
    pub(crate) fn repair(&self) {
        root("umount", &[], &[&self.at]);
        let checked =
            Command::new("e2fsck").args(["-f", "-y"]).arg(self.image.as_ref().unwrap()).output().unwrap();
        // 1: errors were corrected.
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        self.attach();
    }

    /// Mounts it anew, with these options: `ro`, `rw`.
    pub(crate) fn remount(&self, option: &str) {
        root("mount", &["-o", &format!("remount,{option}")], &[&self.at]);
    }

    /// Lets an ext4 stand still: who writes waits, until the value is dropped.
    pub(crate) fn freeze(&self) -> Frozen {
        root("fsfreeze", &["--freeze"], &[&self.at]);
        Frozen(self.at.clone())
    }

    /// Fills it to the last byte but so many.
    pub(crate) fn fill(&self, but: usize) -> Filler {
        use std::io::Write;
        let path = self.at.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        // What does not fit is what is wanted. Synced, because ext4 promises blocks late.
        for size in [1 << 16, 1 << 12, 1 << 9, 1] {
            while file.write_all(&vec![7; size]).and_then(|()| file.sync_all()).is_ok() {}
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(u64::try_from(but).unwrap())).unwrap();
        drop(file.sync_all());
        Filler(path)
    }

    fn device(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let at = self.at.to_str().unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(at)).expect("it is mounted");
        line.split(' ').next().unwrap().trim_start_matches("/dev/").to_owned()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold it.
        drop(Command::new("umount").arg("--lazy").arg(&self.at).status());
    }
}

/// A file that takes up the room. Gone when dropped.
pub(crate) struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A file system that stands still. Goes on when dropped.
pub(crate) struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status());
    }
}

fn make(at: &Path) {
    std::fs::create_dir_all(at).unwrap();
}

fn root(program: &str, options: &[&str], paths: &[&Path]) {
    let output = Command::new(program).args(options).args(paths).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {paths:?}: {error}: these tests mount, and need root");
}
