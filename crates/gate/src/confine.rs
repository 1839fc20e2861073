//! What a tool server cannot reach: the files that govern it.
//!
//! On Linux it enters a Landlock domain before it becomes the tool server's program, and so does all that it starts. The
//! kernel then refuses it the hidden files, and with them the memory, environment and descriptors of every process outside,
//! and signals to them where the kernel knows how (6.12). Root can still read a disk past its file system.
//!
//! Landlock lists what is allowed and cannot except something below it. So everything is allowed but the hidden places
//! and the directories on the way to them: of those each entry is allowed by itself. Directories can be listed everywhere,
//! but those on the way cannot be changed: who could rename or add entries there could put other files in the place of
//! those that govern. What exists when the tool server is started is what it can reach there.

use std::io;
use std::path::PathBuf;

/// Whether this kernel can keep a tool server from files. It takes Linux 6.2, which knows to refuse truncation.
#[must_use]
pub fn is_possible() -> bool {
    imp::is_possible()
}

/// What of the file system a process is kept from. The paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// What is there or below it, or will be, is neither read nor changed. Names, sizes and times can be seen.
    pub hidden: Vec<PathBuf>,
    /// It is read and run, and not changed.
    pub kept: Vec<PathBuf>,
}

impl Confinement {
    /// Whether it keeps a process from nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hidden.is_empty() && self.kept.is_empty()
    }

    /// Confines this process, for good, and all that it will start.
    ///
    /// # Errors
    /// If the kernel cannot, or the paths cannot be looked at. Then nothing may be run.
    pub(crate) fn enter(&self) -> io::Result<()> {
        imp::enter(self)
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};
    use std::ffi::{OsStr, OsString};
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Component, Path, PathBuf};

    use super::Confinement;
    use landlock::{
        ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
        RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    };
    use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};
    use rustix::thread::{CapabilitySet, capabilities, remove_capability_from_bounding_set};

    /// Without refusing truncation, what cannot be written could still be emptied.
    const LEAST: ABI = ABI::V3;
    /// What is refused besides where the kernel knows how: ioctls of devices, and signals to processes outside.
    const MORE: ABI = ABI::V6;
    /// Symbolic links on the way to a hidden place, as many as the kernel follows.
    const LINKS: usize = 40;
    /// Rules, at most. A directory with more entries is no place to keep such files in.
    const RULES: usize = 100_000;

    /// Device and inode: one file has one, by whatever path it is reached.
    type Identity = (u64, u64);

    pub(super) fn is_possible() -> bool {
        least().and_then(Ruleset::create).is_ok()
    }

    /// What must be refused, or nothing is run.
    fn least() -> Result<Ruleset, RulesetError> {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(LEAST))
    }

    pub(super) fn enter(confinement: &Confinement) -> io::Result<()> {
        let (mut way, mut kept) = (Way::default(), Vec::new());
        for path in &confinement.hidden {
            way.hide(path)?;
        }
        let hidden = way.hidden.clone();
        for path in &confinement.kept {
            let Some(found) = way.hide(path)? else { continue };
            if hidden.contains(&identity(&statat(CWD, &found, AtFlags::SYMLINK_NOFOLLOW)?)) {
                return Err(io::Error::other(
                    "a file that tool servers may read holds something to be hidden from them",
                ));
            }
            kept.push(found);
        }
        let ruleset = least()
            .map(|ruleset| ruleset.set_compatibility(CompatLevel::BestEffort))
            .and_then(|ruleset| ruleset.handle_access(AccessFs::from_all(MORE)))
            .and_then(|ruleset| ruleset.scope(Scope::Signal | Scope::AbstractUnixSocket))
            .and_then(Ruleset::create)
            .map_err(io::Error::other)?;
        let mut allowed = Allowed { ruleset: Some(ruleset), rules: 0 };
        let root = open(CWD, OsStr::new("/"), OFlags::DIRECTORY)?;
        if !way.hidden.contains(&identity(&fstat(&root)?)) {
            allowed.below(root.try_clone()?, &way)?;
        }
        allowed.add(root, AccessFs::ReadDir)?;
        for path in kept {
            allowed
                .add(open(CWD, path.as_os_str(), OFlags::empty())?, AccessFs::ReadFile | AccessFs::Execute)?;
        }
        allowed.enforce()?;
        take_sight()
    }

    /// Takes away what lets root read the environment of processes whose memory is closed to it. Whoever is not root gets
    /// no capability back: new privileges were given up before.
    fn take_sight() -> io::Result<()> {
        let held = capabilities(None)?.permitted;
        for sight in [CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN] {
            if held.contains(sight) {
                remove_capability_from_bounding_set(sight)?;
            }
        }
        Ok(())
    }

    fn open(at: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
        // A link is opened itself: what it leads to is allowed where it lies, or not at all.
        let flags = flags | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(at, name, flags, Mode::empty())?)
    }

    fn identity(stat: &rustix::fs::Stat) -> Identity {
        (stat.st_dev, stat.st_ino)
    }

    /// What is hidden, and the directories on the way there with the entries that lead on.
    #[derive(Default)]
    struct Way {
        hidden: BTreeSet<Identity>,
        above: BTreeMap<Identity, BTreeSet<OsString>>,
    }

    impl Way {
        /// Follows an absolute path, link by link: a link on the way is a thing that could be put elsewhere. Returns where
        /// it leads, if anything is there.
        fn hide(&mut self, path: &Path) -> io::Result<Option<PathBuf>> {
            let mut here = PathBuf::from("/");
            let mut rest: VecDeque<OsString> = parts(path)?;
            let mut links = 0;
            while let Some(name) = rest.pop_front() {
                if name == ".." {
                    here.pop();
                    continue;
                }
                let at = identity(&statat(CWD, &here, AtFlags::SYMLINK_NOFOLLOW)?);
                let names = self.above.entry(at).or_default();
                names.insert(name.clone());
                // What is being written to take its place, as this program names it.
                names.insert(successor(&name));
                let next = here.join(&name);
                let found = match statat(CWD, &next, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(found) => found,
                    // What is not there yet is hidden by the directory that it would be made in.
                    Err(rustix::io::Errno::NOENT) => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
                    here = next;
                    continue;
                }
                links += 1;
                if links > LINKS {
                    return Err(io::Error::other("too many symbolic links on the way to a hidden file"));
                }
                let target = readlinkat(CWD, &next, Vec::new())?;
                let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                relative(&target).into_iter().rev().for_each(|part| rest.push_front(part));
            }
            self.hidden.insert(identity(&statat(CWD, &here, AtFlags::SYMLINK_NOFOLLOW)?));
            Ok(Some(here))
        }
    }

    /// The name under which a file is written that is to take another's place.
    fn successor(name: &OsStr) -> OsString {
        let mut name = name.to_owned();
        name.push(".new");
        name
    }

    fn parts(path: &Path) -> io::Result<VecDeque<OsString>> {
        if !path.is_absolute() {
            return Err(io::Error::other("a path to be hidden is not absolute"));
        }
        Ok(relative(path))
    }

    /// The parts of a path, without its root.
    fn relative(path: &Path) -> VecDeque<OsString> {
        let part = |component: Component<'_>| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        };
        path.components().filter_map(part).collect()
    }

    /// What is allowed so far.
    struct Allowed {
        /// Taken out while a rule is added to it.
        ruleset: Option<RulesetCreated>,
        rules: usize,
    }

    impl Allowed {
        fn add(&mut self, at: OwnedFd, access: impl Into<BitFlags<AccessFs>>) -> io::Result<()> {
            self.rules = self.rules.saturating_add(1);
            if self.rules > RULES {
                let what =
                    "a directory on the way to the gate's files has too many entries: keep them elsewhere";
                return Err(io::Error::other(what));
            }
            let gone = || io::Error::other("a rule could not be added before");
            let ruleset = self.ruleset.take().ok_or_else(gone)?;
            let added = ruleset.add_rule(PathBeneath::new(at, access.into()));
            self.ruleset = Some(added.map_err(io::Error::other)?);
            Ok(())
        }

        /// Allows every entry of a directory that is on the way, but what is hidden and the way itself.
        fn below(&mut self, directory: OwnedFd, way: &Way) -> io::Result<()> {
            let known = way.above.get(&identity(&fstat(&directory)?));
            for name in entries(&directory, known)? {
                // What is gone, or cannot even be looked up, is not allowed.
                let Ok(entry) = open(&directory, &name, OFlags::empty()) else { continue };
                let stat = fstat(&entry)?;
                let (kind, here) = (FileType::from_raw_mode(stat.st_mode), identity(&stat));
                if way.hidden.contains(&here) || kind == FileType::Symlink {
                    continue;
                }
                if way.above.contains_key(&here) {
                    self.below(entry, way)?;
                } else if known.is_some_and(|known| known.contains(&name)) {
                    // In the place of something hidden lies something else than did a moment ago.
                } else if kind == FileType::Directory {
                    self.add(entry, AccessFs::from_all(MORE))?;
                } else {
                    self.add(entry, AccessFs::from_file(MORE))?;
                }
            }
            Ok(())
        }

        fn enforce(self) -> io::Result<()> {
            let gone = || io::Error::other("a rule could not be added");
            let entered = self.ruleset.ok_or_else(gone)?.restrict_self().map_err(io::Error::other)?;
            match entered.ruleset {
                RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
                RulesetStatus::NotEnforced => Err(io::Error::other("the kernel enforces nothing")),
            }
        }
    }

    /// The entries of a directory; of one that may be passed but not listed, those that lead on.
    fn entries(directory: &OwnedFd, known: Option<&BTreeSet<OsString>>) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listed = match openat(directory, ".", flags, Mode::empty()) {
            Ok(listed) => listed,
            Err(rustix::io::Errno::ACCESS) => {
                return Ok(known.map_or_else(Vec::new, |known| known.iter().cloned().collect()));
            }
            Err(error) => return Err(error.into()),
        };
        let mut names = Vec::new();
        for entry in Dir::new(listed)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;

    pub(super) fn is_possible() -> bool {
        false
    }

    pub(super) fn enter(_: &super::Confinement) -> io::Result<()> {
        Err(io::Error::other("only Linux can keep a tool server from files"))
    }
}
