//! A disk that keeps what was synced and nothing else, once its power is cut: a file system in memory, over FUSE.
//!
//! Each file remembers its bytes as of its last `fsync`, each directory its entries as of its own. A cut takes the rest
//! away, or leaves a random part of it: 4 KiB pages and directory entries that reached the disk by chance. A file that
//! was synced in a directory that was not is gone, as POSIX allows.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::support::random::Random;

const PAGE: usize = 4096;
const ROOT: u64 = 1;

type Entries = BTreeMap<OsString, u64>;
/// What names in a directory become, all at once.
type Changes = Vec<(OsString, Option<u64>)>;

#[derive(Clone, Debug)]
enum Content {
    File { now: Vec<u8>, durable: Vec<u8>, dirty: BTreeSet<usize> },
    Directory { now: Entries, durable: Entries },
    Socket,
}

#[derive(Clone, Debug)]
struct Node {
    mode: u32,
    content: Content,
}

impl Node {
    fn directory(mode: u32) -> Self {
        Self { mode, content: Content::Directory { now: Entries::new(), durable: Entries::new() } }
    }

    fn file(mode: u32) -> Self {
        Self { mode, content: Content::File { now: Vec::new(), durable: Vec::new(), dirty: BTreeSet::new() } }
    }
}

/// How a cut treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsynced {
    /// All of it is lost.
    Lost,
    /// Each page and each change of a directory is lost or kept by chance.
    Torn,
}

/// A cut that is to come.
#[derive(Debug)]
struct Cut {
    after: usize,
    unsynced: Unsynced,
    random: Random,
}

#[derive(Debug)]
struct State {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Changes of directories that were not synced, in order: the directory, and what its names became.
    pending: Vec<(u64, Changes)>,
    cut: Option<Cut>,
    /// What is on the disk, from the cut on.
    survivors: Option<BTreeMap<u64, Node>>,
    /// Whether syncing is only said.
    lies: bool,
}

impl State {
    fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::directory(0o700))]);
        Self { nodes, next: ROOT + 1, pending: Vec::new(), cut: None, survivors: None, lies: false }
    }

    /// Counts something that would change the disk, and cuts the power before it if its time has come.
    fn step(&mut self) -> Result<(), Errno> {
        match &mut self.cut {
            Some(cut) if cut.after == 0 => self.lose(),
            Some(cut) => cut.after -= 1,
            None => {}
        }
        if self.survivors.is_some() { Err(Errno::EIO) } else { Ok(()) }
    }

    fn lose(&mut self) {
        let Some(Cut { unsynced, mut random, .. }) = self.cut.take() else { return };
        let mut by_chance = || unsynced == Unsynced::Torn && random.one_in(2);
        let mut nodes = self.nodes.clone();
        for (directory, changes) in &self.pending {
            if by_chance()
                && let Some(Node { content: Content::Directory { durable, .. }, .. }) =
                    nodes.get_mut(directory)
            {
                apply(durable, changes);
            }
        }
        for node in nodes.values_mut() {
            if let Content::File { now, durable, dirty } = &mut node.content {
                for page in dirty.iter().filter(|_| by_chance()) {
                    keep(durable, now, *page);
                }
                if now.len() < durable.len() && by_chance() {
                    durable.truncate(now.len());
                }
            }
        }
        self.survivors = Some(nodes);
    }

    /// What is there after the cut, under numbers that the kernel has never seen.
    fn restore(&mut self) {
        let Some(old) = self.survivors.take() else { return };
        self.pending.clear();
        self.nodes.clear();
        self.adopt(&old, ROOT, ROOT);
    }

    fn adopt(&mut self, old: &BTreeMap<u64, Node>, from: u64, to: u64) {
        let mut node = old[&from].clone();
        match &mut node.content {
            Content::File { now, durable, dirty } => {
                now.clone_from(durable);
                dirty.clear();
            }
            Content::Directory { now, durable } => {
                for number in durable.values_mut() {
                    let before = *number;
                    *number = self.next;
                    self.next += 1;
                    self.adopt(old, before, *number);
                }
                now.clone_from(durable);
            }
            Content::Socket => {}
        }
        self.nodes.insert(to, node);
    }

    fn node(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(Errno::ENOENT)
    }

    fn entries(&mut self, directory: u64) -> Result<&mut Entries, Errno> {
        match &mut self.node(directory)?.content {
            Content::Directory { now, .. } => Ok(now),
            Content::File { .. } | Content::Socket => Err(Errno::ENOTDIR),
        }
    }

    fn find(&mut self, directory: u64, name: &OsStr) -> Result<u64, Errno> {
        self.entries(directory)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Changes names in a directory, all at once.
    fn change(&mut self, directory: u64, changes: Changes) -> Result<(), Errno> {
        self.step()?;
        apply(self.entries(directory)?, &changes);
        self.pending.push((directory, changes));
        Ok(())
    }

    fn make(&mut self, parent: u64, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        if self.find(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let number = self.next;
        self.change(parent, vec![(name.to_owned(), Some(number))])?;
        self.next += 1;
        self.nodes.insert(number, node);
        self.attributes(number)
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let number = self.find(from.0, from.1)?;
        let (gone, there) = ((from.1.to_owned(), None), (to.1.to_owned(), Some(number)));
        if from.0 == to.0 {
            return self.change(from.0, vec![gone, there]);
        }
        self.change(to.0, vec![there])?;
        self.change(from.0, vec![gone])
    }

    fn write(&mut self, number: u64, offset: usize, data: &[u8]) -> Result<(), Errno> {
        self.step()?;
        let Content::File { now, dirty, .. } = &mut self.node(number)?.content else {
            return Err(Errno::EISDIR);
        };
        let end = offset + data.len();
        let first = offset.min(now.len());
        now.resize(now.len().max(end), 0);
        now[offset..end].copy_from_slice(data);
        dirty.extend(first / PAGE..end.div_ceil(PAGE));
        Ok(())
    }

    fn resize(&mut self, number: u64, length: usize) -> Result<(), Errno> {
        self.step()?;
        let Content::File { now, dirty, .. } = &mut self.node(number)?.content else {
            return Err(Errno::EISDIR);
        };
        dirty.extend(now.len().min(length) / PAGE..length.div_ceil(PAGE));
        now.resize(length, 0);
        Ok(())
    }

    fn sync(&mut self, number: u64) -> Result<(), Errno> {
        self.step()?;
        if self.lies {
            return Ok(());
        }
        match &mut self.node(number)?.content {
            Content::File { now, durable, dirty } => {
                for page in std::mem::take(dirty) {
                    keep(durable, now, page);
                }
                durable.resize(now.len(), 0);
            }
            Content::Directory { now, durable } => {
                durable.clone_from(now);
                self.pending.retain(|(directory, _)| *directory != number);
            }
            Content::Socket => {}
        }
        Ok(())
    }

    fn attributes(&mut self, number: u64) -> Result<FileAttr, Errno> {
        let node = self.node(number)?;
        let (kind, size) = match &node.content {
            Content::File { now, .. } => (FileType::RegularFile, now.len()),
            Content::Directory { .. } => (FileType::Directory, 0),
            Content::Socket => (FileType::Socket, 0),
        };
        let size = u64::try_from(size).unwrap();
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: u16::try_from(node.mode & 0o7777).unwrap(),
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

fn apply(entries: &mut Entries, changes: &[(OsString, Option<u64>)]) {
    for (name, number) in changes {
        match number {
            Some(number) => drop(entries.insert(name.clone(), *number)),
            None => drop(entries.remove(name)),
        }
    }
}

/// Copies a page of a file to the disk.
fn keep(durable: &mut Vec<u8>, now: &[u8], page: usize) {
    let (start, end) = (page * PAGE, now.len().min((page + 1) * PAGE));
    if start < end {
        durable.resize(durable.len().max(end), 0);
        durable[start..end].copy_from_slice(&now[start..end]);
    }
}

/// The file system's side that the kernel speaks to.
struct Served(Arc<Mutex<State>>);

impl Served {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// Nothing is kept in the kernel beyond a single look.
const TTL: Duration = Duration::ZERO;

fn empty(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(reply: ReplyEntry, result: Result<FileAttr, Errno>) {
    match result {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attr(reply: ReplyAttr, result: Result<FileAttr, Errno>) {
    match result {
        Ok(attributes) => reply.attr(&TTL, &attributes),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.state();
        let found = state.find(parent.0, name);
        entry(reply, found.and_then(|number| state.attributes(number)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(reply, self.state().attributes(ino.0));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        let resized = size.map_or(Ok(()), |size| state.resize(ino.0, usize::try_from(size).unwrap()));
        let changed = resized.and_then(|()| {
            let node = state.node(ino.0)?;
            node.mode = mode.unwrap_or(node.mode);
            state.attributes(ino.0)
        });
        attr(reply, changed);
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        // Only files and sockets are made so.
        let file = mode & 0o170_000 == 0o100_000;
        let node = if file { Node::file(mode) } else { Node { mode, content: Content::Socket } };
        entry(reply, self.state().make(parent.0, name, node));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        entry(reply, self.state().make(parent.0, name, Node::directory(mode)));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.state().make(parent.0, name, Node::file(mode)) {
            Ok(made) => reply.created(&TTL, &made, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        let found = state.find(parent.0, name);
        empty(reply, found.and_then(|_| state.change(parent.0, vec![(name.to_owned(), None)])));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        let found =
            state.find(parent.0, name).and_then(|number| state.entries(number).map(|all| all.is_empty()));
        let removed = found.and_then(|bare| {
            if bare { state.change(parent.0, vec![(name.to_owned(), None)]) } else { Err(Errno::ENOTEMPTY) }
        });
        empty(reply, removed);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        empty(reply, self.state().rename((parent.0, name), (newparent.0, newname)));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.state();
        match state.node(ino.0).map(|node| &node.content) {
            Ok(Content::File { now, .. }) => {
                let start = usize::try_from(offset).unwrap().min(now.len());
                let end = (start + usize::try_from(size).unwrap()).min(now.len());
                reply.data(&now[start..end]);
            }
            Ok(Content::Directory { .. } | Content::Socket) => reply.error(Errno::EISDIR),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.state().write(ino.0, usize::try_from(offset).unwrap(), data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap()),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        let end = usize::try_from(offset + length).unwrap();
        let now = state.attributes(ino.0).map(|attributes| usize::try_from(attributes.size).unwrap());
        empty(reply, now.and_then(|now| state.resize(ino.0, now.max(end))));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing a file syncs nothing.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.state().sync(ino.0));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.state().sync(ino.0));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut state = self.state();
        let entries = match state.entries(ino.0) {
            Ok(entries) => entries.clone(),
            Err(error) => return reply.error(error),
        };
        let before = usize::try_from(offset).unwrap();
        for (place, (name, number)) in (1..).zip(entries).skip(before) {
            let kind = state.attributes(number).map_or(FileType::RegularFile, |attributes| attributes.kind);
            if reply.add(INodeNo(number), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = 1 << 20;
        reply.statfs(blocks, blocks, blocks, blocks, blocks, 4096, 255, 4096);
    }
}

/// The disk, mounted. Unmounted when dropped.
pub(crate) struct Forgetful {
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
}

impl Forgetful {
    /// An empty disk over a directory, which is made.
    pub(crate) fn mount(at: &Path) -> Self {
        std::fs::create_dir(at).unwrap();
        let state = Arc::new(Mutex::new(State::new()));
        let session = fuser::spawn_mount(Served(Arc::clone(&state)), at, &Config::default());
        Self { state, session: Some(session.expect("root may mount a FUSE file system")) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Cuts the power before the change or sync with this number, counted from now.
    pub(crate) fn cut_after(&self, after: usize, unsynced: Unsynced, random: Random) {
        self.state().cut = Some(Cut { after, unsynced, random });
    }

    /// Cuts the power now, if it was not cut yet. Whether it was.
    pub(crate) fn cut(&self) -> bool {
        let mut state = self.state();
        let before = state.survivors.is_some();
        state.lose();
        before
    }

    /// Whether the power is cut.
    pub(crate) fn is_dark(&self) -> bool {
        self.state().survivors.is_some()
    }

    /// Gives what survived the cut to whoever reads from now on. All that was open is to be closed before.
    pub(crate) fn power_on(&self) {
        self.state().restore();
    }

    /// From now on syncing is said, and not done.
    pub(crate) fn lie(&self) {
        self.state().lies = true;
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            drop(session.umount_and_join());
        }
    }
}
