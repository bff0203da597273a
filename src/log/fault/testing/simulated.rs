//! Real files under the real code, watched: what it does to them, in order.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::runtime::end_of_turn;
use crate::runtime::file::{AlignedBuf, RawFile};
use crate::runtime::fs;
use crate::runtime::observe::{self, FsChange, FsObserver, Watch};

use super::disk_model::{DiskModel, Event, NodeId};
use super::file_model::Resize;

/// Looks at the run before each event, and may have something to note.
pub type Onlooker = Box<dyn Fn() -> Vec<usize>>;

thread_local! {
    static CURRENT: RefCell<Option<Rc<SimulatedDisk>>> = const { RefCell::new(None) };
}

/// One run of the real code on a directory.
pub struct SimulatedDisk {
    root: PathBuf,
    model: RefCell<DiskModel>,
    events: RefCell<Vec<Event>>,
    inodes: RefCell<HashMap<u64, NodeId>>,
    random: RefCell<StdRng>,
    next_id: Cell<u64>,
    onlooker: RefCell<Option<Onlooker>>,
    /// What was done against the rules.
    violation: RefCell<Option<String>>,
    /// Of so many changes by blocking calls the next one fails so.
    failing: Cell<Option<(u32, i32)>>,
    /// How long completions are put off at most.
    pause_max: u32,
}

/// While it lives, this thread's file operations go to the disk.
pub struct Session {
    _watch: Watch,
}

impl Drop for Session {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl SimulatedDisk {
    /// A disk whose files lie in `root`, an empty directory, and hold at first what `model` says.
    pub fn new(root: &Path, model: DiskModel, seed: u64) -> Rc<SimulatedDisk> {
        let mut random = StdRng::seed_from_u64(seed);
        let inodes = model.write_to(root, &mut random);
        let pause_max = [0, 2, 5, 20][random.random_range(0..4)];
        Rc::new(SimulatedDisk {
            root: root.to_owned(),
            model: RefCell::new(model),
            events: RefCell::default(),
            inodes: RefCell::new(inodes),
            random: RefCell::new(random),
            next_id: Cell::new(0),
            onlooker: RefCell::default(),
            violation: RefCell::default(),
            failing: Cell::new(None),
            pause_max,
        })
    }

    /// Begins to watch this thread.
    pub fn watch(self: &Rc<Self>) -> Session {
        CURRENT.set(Some(Rc::clone(self)));
        let observer: Rc<dyn FsObserver> = Rc::clone(self) as _;
        Session { _watch: Watch::begin(observer) }
    }

    /// The disk that this thread's files are on, if it is a simulated one.
    pub(in crate::log) fn current() -> Option<Rc<SimulatedDisk>> {
        CURRENT.with_borrow(Option::clone)
    }

    pub fn set_onlooker(&self, onlooker: Option<Onlooker>) {
        *self.onlooker.borrow_mut() = onlooker;
    }

    /// After `skip` more changes by blocking calls one of them fails with this error number.
    pub fn fail_call(&self, skip: u32, error: i32) {
        self.failing.set(Some((skip, error)));
    }

    pub fn event_count(&self) -> usize {
        self.events.borrow().len()
    }

    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.borrow_mut())
    }

    /// What was done against the rules of writing, if anything.
    pub fn violation(&self) -> Option<String> {
        self.violation.borrow().clone()
    }

    /// Notes a moment.
    pub fn mark(&self, mark: usize) {
        self.push(Event::Mark(mark));
    }

    /// Has the onlooker look, between two events.
    pub fn glance(&self) {
        let noted = self.onlooker.borrow().as_ref().map(|look| look()).unwrap_or_default();
        self.events.borrow_mut().extend(noted.into_iter().map(Event::Mark));
    }

    fn push(&self, event: Event) {
        self.glance();
        self.model.borrow_mut().apply(&event);
        self.events.borrow_mut().push(event);
    }

    fn new_id(&self) -> u64 {
        self.next_id.set(self.next_id.get() + 1);
        self.next_id.get()
    }

    fn node(&self, inode: u64) -> Option<NodeId> {
        self.inodes.borrow().get(&inode).copied()
    }

    /// The directory and the name of a path on this disk.
    fn place(&self, path: &Path) -> Option<(NodeId, String)> {
        let below = path.strip_prefix(&self.root).ok()?;
        let dir = self.model.borrow().find(below.parent()?)?;
        Some((dir, below.file_name()?.to_str()?.to_owned()))
    }

    fn find(&self, path: &Path) -> Option<NodeId> {
        self.model.borrow().find(path.strip_prefix(&self.root).ok()?)
    }

    fn turns(&self) -> u32 {
        let mut random = self.random.borrow_mut();
        if random.random_bool(0.02) { random.random_range(0..=200) } else { random.random_range(0..=self.pause_max) }
    }

    async fn some_turns(&self) {
        for _ in 0..self.turns() {
            end_of_turn().await;
        }
    }

    fn begin_write(&self, inode: u64, position: u64, data: Bytes) -> Option<u64> {
        let node = self.node(inode)?;
        let objection = self.model.borrow().objection(node, position, data.len() as u64);
        if objection.is_some() && self.violation.borrow().is_none() {
            *self.violation.borrow_mut() = objection;
        }
        let write = self.new_id();
        self.push(Event::BeginWrite { write, node, position, data });
        Some(write)
    }

    fn end_write(&self, write: Option<u64>, durable: bool) {
        if let Some(write) = write {
            self.push(Event::EndWrite { write, durable });
        }
    }

    /// Submits a write, which is in flight for a while before it is done and before that is told.
    pub(in crate::log) fn write(
        self: Rc<Self>,
        file: Arc<RawFile>,
        data: Bytes,
        position: u64,
        durable: bool,
    ) -> impl Future<Output = io::Result<usize>> {
        let write = self.begin_write(observe::inode(&*file), position, data.clone());
        async move {
            self.some_turns().await;
            observe::unobserved(|| fs::pwrite_all(&file, &data, position))?;
            self.some_turns().await;
            self.end_write(write, durable);
            Ok(data.len())
        }
    }

    /// Submits an fdatasync; to be ended by [`end_flush`](Self::end_flush).
    pub(in crate::log) fn begin_flush(&self, file: &RawFile) -> Option<u64> {
        let node = self.node(observe::inode(file))?;
        let flush = self.new_id();
        self.push(Event::BeginFlush { flush, node: Some(node) });
        Some(flush)
    }

    pub(in crate::log) async fn end_flush(&self, flush: Option<u64>) {
        self.some_turns().await;
        if let Some(flush) = flush {
            self.push(Event::EndFlush { flush });
        }
    }

    pub(in crate::log) async fn read(&self, file: &RawFile, position: u64, bytes: usize) -> io::Result<AlignedBuf> {
        self.some_turns().await;
        let mut buffer = AlignedBuf::with_capacity(bytes);
        let count = fs::pread(file, buffer.as_mut_capacity().get_mut(..bytes).unwrap_or_default(), position)?;
        buffer.set_len(count);
        Ok(buffer)
    }

    fn remove_all(&self, dir: NodeId) {
        let names = self.model.borrow().names(dir);
        for (name, node) in names {
            self.remove_all(node);
            self.push(Event::Remove { dir, name });
        }
    }
}

impl FsObserver for SimulatedDisk {
    fn before(&self, change: &FsChange) -> io::Result<()> {
        if let FsChange::RemoveDirAll(path) = change
            && let Some(node) = self.find(path)
        {
            self.remove_all(node);
        }
        if let Some((skip, error)) = self.failing.take() {
            if skip == 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            self.failing.set(Some((skip - 1, error)));
        }
        Ok(())
    }

    fn after(&self, change: FsChange) {
        match change {
            FsChange::Create(path) => {
                if self.find(&path).is_some() {
                    return;
                }
                let Some((dir, name)) = self.place(&path) else { return };
                let inode = fs::open(&path, fs::OpenFlags::READ).map_or(0, |file| observe::inode(&file));
                self.inodes.borrow_mut().insert(inode, self.model.borrow().node_count());
                self.push(Event::Make { dir, name, is_dir: false });
            }
            FsChange::MakeDir(path) => {
                if let Some((dir, name)) = self.place(&path) {
                    self.push(Event::Make { dir, name, is_dir: true });
                }
            }
            FsChange::Rename(from, to) => {
                let (Some((dir, from)), Some((to_dir, to))) = (self.place(&from), self.place(&to)) else { return };
                assert_eq!(dir, to_dir, "nothing moves from one directory to another");
                self.push(Event::Rename { dir, from, to });
            }
            FsChange::Remove(path) | FsChange::RemoveDir(path) | FsChange::RemoveDirAll(path) => {
                if let Some((dir, name)) = self.place(&path) {
                    self.push(Event::Remove { dir, name });
                }
            }
            FsChange::SyncDir(path) => {
                if let Some(dir) = self.find(&path) {
                    self.push(Event::SyncDir { dir });
                }
            }
            FsChange::Resize { inode, bytes } => self.resize(inode, Resize::Cut(bytes)),
            FsChange::Allocate { inode, position, bytes, keep_size: false } => {
                self.resize(inode, Resize::Grow(position + bytes));
            }
            FsChange::Allocate { .. } => {}
            FsChange::ZeroRange { inode, position, bytes } => self.resize(inode, Resize::Zero { position, bytes }),
            FsChange::Write { inode, position, data } => {
                let write = self.begin_write(inode, position, Bytes::from(data));
                self.end_write(write, false);
            }
            FsChange::Sync { inode, .. } => {
                if let Some(node) = self.node(inode) {
                    let flush = self.new_id();
                    self.push(Event::BeginFlush { flush, node: Some(node) });
                    self.push(Event::EndFlush { flush });
                }
            }
            FsChange::SyncFs => {
                let flush = self.new_id();
                self.push(Event::BeginFlush { flush, node: None });
                self.push(Event::EndFlush { flush });
            }
        }
    }

    fn pause(&self) -> u32 {
        // A helper's call can take longer than several commits.
        if self.random.borrow_mut().random_bool(0.2) {
            return self.random.borrow_mut().random_range(0..=80);
        }
        self.turns()
    }
}

impl SimulatedDisk {
    fn resize(&self, inode: u64, resize: Resize) {
        if let Some(node) = self.node(inode) {
            self.push(Event::Resize { node, resize });
        }
    }
}
