//! A directory tree on a device that can lose power.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::observe;

use super::file_model::{BLOCK, Content, FileModel, Resize, prefix};

/// A file or directory, for as long as the run goes.
pub type NodeId = usize;

/// The directory that all else lies in.
pub const ROOT: NodeId = 0;

/// What the code under test did, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new file or directory, the next in number.
    Make {
        dir: NodeId,
        name: String,
        is_dir: bool,
    },
    Rename {
        dir: NodeId,
        from: String,
        to: String,
    },
    Remove {
        dir: NodeId,
        name: String,
    },
    SyncDir {
        dir: NodeId,
    },
    Resize {
        node: NodeId,
        resize: Resize,
    },
    BeginWrite {
        write: u64,
        node: NodeId,
        position: u64,
        data: Bytes,
    },
    /// `durable`: the write flushed itself.
    EndWrite {
        write: u64,
        durable: bool,
    },
    /// Of one file, or of the whole file system.
    BeginFlush {
        flush: u64,
        node: Option<NodeId>,
    },
    EndFlush {
        flush: u64,
    },
    /// A moment of note for whoever drives the run: one of a list that it keeps.
    Mark(usize),
}

#[derive(Clone)]
enum NameChange {
    Put(String, NodeId),
    Remove(String),
    Rename { from: String, to: String },
}

type Names = BTreeMap<String, NodeId>;

#[derive(Clone, Default)]
struct DirModel {
    durable: Names,
    current: Names,
    pending: Vec<(u64, NameChange)>,
}

#[derive(Clone)]
enum Node {
    File(FileModel),
    Dir(DirModel),
}

#[derive(Clone)]
pub struct DiskModel {
    nodes: Vec<Node>,
    seq: u64,
    writes: HashMap<u64, (NodeId, u64)>,
    flushes: HashMap<u64, Flush>,
}

/// How much of what was not flushed is lost, and how much of a block is written whole or not at all.
#[derive(Clone, Copy)]
struct Loss {
    lost: f64,
    whole: usize,
}

/// What a flush in flight covers.
#[derive(Clone)]
struct Flush {
    files: Vec<(NodeId, Vec<u64>)>,
    /// Names changed before this.
    names_before: Option<u64>,
    blocks: Vec<(NodeId, u64)>,
}

fn change_names(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Put(name, node) => drop(names.insert(name.clone(), *node)),
        NameChange::Remove(name) => drop(names.remove(name)),
        NameChange::Rename { from, to } => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

impl DirModel {
    fn durable(names: Names) -> DirModel {
        DirModel { durable: names.clone(), current: names, pending: Vec::new() }
    }

    fn change(&mut self, seq: u64, change: NameChange) {
        change_names(&mut self.current, &change);
        self.pending.push((seq, change));
    }

    fn synced(&mut self, before: u64) {
        let durable = &mut self.durable;
        self.pending.retain(|(seq, change)| {
            let covered = *seq < before;
            if covered {
                change_names(durable, change);
            }
            !covered
        });
    }

    fn power_cut(&self, random: &mut StdRng) -> Names {
        let mut names = self.durable.clone();
        let kept = prefix(self.pending.len(), random);
        self.pending.iter().take(kept).for_each(|(_, change)| change_names(&mut names, change));
        names
    }
}

impl Default for DiskModel {
    /// An empty directory.
    fn default() -> DiskModel {
        DiskModel {
            nodes: vec![Node::Dir(DirModel::default())],
            seq: 0,
            writes: HashMap::new(),
            flushes: HashMap::new(),
        }
    }
}

impl DiskModel {
    pub fn apply(&mut self, event: &Event) {
        self.seq += 1;
        let seq = self.seq;
        match event {
            Event::Make { dir, name, is_dir } => {
                let node = self.nodes.len();
                let made = if *is_dir { Node::Dir(DirModel::default()) } else { Node::File(FileModel::default()) };
                self.nodes.push(made);
                self.dir(*dir).change(seq, NameChange::Put(name.clone(), node));
            }
            Event::Rename { dir, from, to } => {
                self.dir(*dir).change(seq, NameChange::Rename { from: from.clone(), to: to.clone() });
            }
            Event::Remove { dir, name } => self.dir(*dir).change(seq, NameChange::Remove(name.clone())),
            Event::SyncDir { dir } => self.dir(*dir).synced(seq),
            Event::Resize { node, resize } => self.file(*node).resize(seq, *resize),
            Event::BeginWrite { write, node, position, data } => {
                self.writes.insert(*write, (*node, seq));
                self.file(*node).begin_write(seq, *write, *position, data);
            }
            Event::EndWrite { write, durable } => {
                let Some((node, seq)) = self.writes.remove(write) else { return };
                let file = self.file(node);
                file.end_write(*write);
                if *durable {
                    let mut covered = file.finished_resizes();
                    covered.push(seq);
                    covered.sort_unstable();
                    file.flushed(&covered);
                }
            }
            Event::BeginFlush { flush, node } => {
                let begun = self.begin_flush(*node);
                self.flushes.insert(*flush, begun);
            }
            Event::EndFlush { flush } => {
                let Some(flush) = self.flushes.remove(flush) else { return };
                for (node, covered) in flush.files {
                    self.file(node).flushed(&covered);
                }
                if let Some(before) = flush.names_before {
                    for node in &mut self.nodes {
                        if let Node::Dir(dir) = node {
                            dir.synced(before);
                        }
                    }
                }
            }
            Event::Mark(_) => {}
        }
    }

    fn begin_flush(&self, only: Option<NodeId>) -> Flush {
        let files = self.nodes.iter().enumerate().filter_map(|(id, node)| match node {
            Node::File(file) if only.is_none_or(|only| only == id) => Some((id, file)),
            _ => None,
        });
        let mut flush =
            Flush { files: Vec::new(), names_before: only.is_none().then_some(self.seq), blocks: Vec::new() };
        for (id, file) in files {
            flush.files.push((id, file.flushable()));
            flush.blocks.extend(file.unflushed_blocks().into_iter().map(|block| (id, block)));
        }
        flush
    }

    fn dir(&mut self, id: NodeId) -> &mut DirModel {
        match &mut self.nodes[id] {
            Node::Dir(dir) => dir,
            Node::File(_) => panic!("node {id} is a file"),
        }
    }

    fn file(&mut self, id: NodeId) -> &mut FileModel {
        match &mut self.nodes[id] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("node {id} is a directory"),
        }
    }

    /// The node at a path below the root, as the names are now.
    pub fn find(&self, path: &Path) -> Option<NodeId> {
        path.iter().try_fold(ROOT, |at, name| match &self.nodes[at] {
            Node::Dir(dir) => dir.current.get(name.to_str()?).copied(),
            Node::File(_) => None,
        })
    }

    /// The names in a directory.
    pub fn names(&self, dir: NodeId) -> Vec<(String, NodeId)> {
        match &self.nodes[dir] {
            Node::Dir(dir) => dir.current.iter().map(|(name, node)| (name.clone(), *node)).collect(),
            Node::File(_) => Vec::new(),
        }
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// What speaks against a write that begins now (DESIGN section 5, rule 2): a write in flight, or a flush, of one of its blocks.
    pub fn objection(&self, node: NodeId, position: u64, bytes: u64) -> Option<String> {
        let Node::File(file) = &self.nodes[node] else { return None };
        let blocks = position / BLOCK..(position + bytes).div_ceil(BLOCK);
        if let Some(block) = file.blocks_in_flight().into_iter().find(|block| blocks.contains(block)) {
            return Some(format!("a write to block {block} of node {node} begins while another one is in flight"));
        }
        let flushing = self.flushes.values().flat_map(|flush| &flush.blocks);
        let held = flushing.copied().find(|(id, block)| *id == node && blocks.contains(block));
        held.map(|(_, block)| format!("a write to block {block} of node {node} begins while it is being flushed"))
    }

    /// The directory as it is when the power is back: all of it durable.
    #[must_use]
    pub fn power_cut(&self, random: &mut StdRng) -> DiskModel {
        let lost = match random.random_range(0..4) {
            0 => 0.0,
            1 => 1.0,
            _ => random.random_range(0.0..1.0),
        };
        // Most devices write a block whole, all of them a sector.
        let whole = if random.random_bool(0.3) { 512 } else { BLOCK as usize };
        let mut after = DiskModel::default();
        self.cut_dir(ROOT, Loss { lost, whole }, random, &mut after, ROOT);
        after
    }

    fn cut_dir(&self, dir: NodeId, loss: Loss, random: &mut StdRng, after: &mut DiskModel, after_dir: NodeId) {
        let Node::Dir(model) = &self.nodes[dir] else { return };
        let mut names = Names::new();
        for (name, node) in model.power_cut(random) {
            let id = after.nodes.len();
            names.insert(name, id);
            match &self.nodes[node] {
                Node::File(file) => {
                    after.nodes.push(Node::File(FileModel::durable(file.power_cut(loss.lost, loss.whole, random))));
                }
                Node::Dir(_) => {
                    after.nodes.push(Node::Dir(DirModel::default()));
                    self.cut_dir(node, loss, random, after, id);
                }
            }
        }
        after.nodes[after_dir] = Node::Dir(DirModel::durable(names));
    }

    /// The directory as the kernel has it when the process was killed: nothing more is durable.
    #[must_use]
    pub fn kill(&self, random: &mut StdRng) -> DiskModel {
        let mut after = self.clone();
        after.writes.clear();
        after.flushes.clear();
        for node in &mut after.nodes {
            if let Node::File(file) = node {
                file.kill(random);
            }
        }
        after
    }

    /// Writes the directory as it is now to a real, empty one. Returns the nodes by their files' inode numbers.
    pub fn write_to(&self, root: &Path, random: &mut StdRng) -> HashMap<u64, NodeId> {
        let mut inodes = HashMap::new();
        self.write_dir(ROOT, root, random, &mut inodes);
        inodes
    }

    fn write_dir(&self, dir: NodeId, path: &Path, random: &mut StdRng, inodes: &mut HashMap<u64, NodeId>) {
        for (name, node) in self.names(dir) {
            let path = path.join(name);
            match &self.nodes[node] {
                Node::Dir(_) => {
                    fs::create_dir(&path).expect("a directory is made");
                    self.write_dir(node, &path, random, inodes);
                }
                Node::File(file) => {
                    inodes.insert(write_file(&path, &file.current(), random), node);
                }
            }
        }
    }
}

/// Zeros are now holes, now written.
fn write_file(path: &Path, content: &Content, random: &mut StdRng) -> u64 {
    let file = fs::open(path, OpenFlags::CREATE).expect("a file is made");
    if content.size > 0 {
        fs::truncate(&file, content.size).expect("it has its size");
    }
    let holes = random.random_bool(0.7);
    for (block, bytes) in &content.blocks {
        let position = block * BLOCK;
        let bytes = &bytes[..bytes.len().min(content.size.saturating_sub(position) as usize)];
        if !(holes && bytes.iter().all(|byte| *byte == 0)) {
            fs::pwrite_all(&file, bytes, position).expect("it has its content");
        }
    }
    observe::inode(&file)
}
