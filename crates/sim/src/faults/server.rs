//! Faults of the servers and of what they stand on.

use tidelock_core::ids::ChangelogId;

use crate::node::{Life, LinkId, Node};
use crate::slow::Trap;
use crate::versions::Version;
use crate::world::{Event, World};

impl World {
    pub(crate) fn any_node(&mut self) -> usize {
        usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0)
    }

    /// A node's process ends where it stands; another one starts.
    pub(crate) fn restart_server(&mut self, _replica: usize) -> bool {
        let index = self.any_node();
        self.restart_node(index);
        true
    }

    /// A node's process ends between its next commit and the answer.
    pub(crate) fn kill_after_commit(&mut self, _replica: usize) -> bool {
        let index = self.any_node();
        self.nodes.get(index).into_iter().for_each(|node| node.set_trap(Trap::Set));
        true
    }

    /// Nodes that were to die after a commit do.
    pub(crate) fn spring_traps(&mut self) {
        while let Some(index) = self.nodes.iter().position(Node::is_trapped) {
            self.restart_node(index);
        }
    }

    /// Something goes wrong below the servers; it is counted by its own name.
    pub(crate) fn strike_site(&mut self, replica: usize) -> bool {
        if let Some(name) = self.site.strike(&mut self.random) {
            self.note(|| format!("fault {name}"));
            self.struck(name, replica);
        }
        false
    }

    /// A node's process starts.
    pub(crate) fn start_node(&mut self, index: usize, life: Life) -> Node {
        self.note(|| format!("node {index} starts, changelog {}, clock {:+} ms", life.changelog, life.skew_ms));
        let opening = self.site.open(index, life);
        Node::start(opening, &self.ground, life, &mut self.tasks, self.node_config)
    }

    /// Another process takes a node's place, with the old changelog or a new one.
    pub(super) fn restart_node(&mut self, index: usize) {
        let version = self.nodes.get(index).map(|node| node.version).unwrap_or_default();
        self.restart_node_as(index, version);
    }

    /// The same, and the process is of this version.
    pub(crate) fn restart_node_as(&mut self, index: usize, version: Version) {
        let Some(old) = self.nodes.get(index) else { return };
        let changelog = if self.random.chance(300) { ChangelogId(self.random.any()) } else { old.changelog };
        let life = Life { changelog, version, ..self.draw_life() };
        self.nodes.remove(index).end(&mut self.tasks);
        self.site.ended(index);
        let node = self.start_node(index, life);
        self.nodes.insert(index, node);
        self.checkers.node_replaced(self.now_ms);
        let open: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.node == index).map(|(id, _)| *id).collect();
        for id in open {
            self.link(id, |link| {
                link.silent = true;
                link.server_open = false;
            });
            self.queue.retain(|_, event| !matches!(event, Event::ToServer(at, _) if *at == id));
            let delay = self.latency();
            self.schedule(delay, Event::ClosedAtClient(id));
        }
    }

    /// The next calls of a node's store fail.
    pub(crate) fn fail_store(&mut self, _replica: usize) -> bool {
        let (calls, index) = (self.random.between(1, 3), self.any_node());
        self.nodes.get(index).into_iter().for_each(|node| node.fail_store(calls));
        true
    }

    /// Deletes are forgotten much sooner than the servers' own task would.
    pub(crate) fn forget_tombstones(&mut self, _replica: usize) -> bool {
        self.checkers.tombstones_forgotten();
        self.site.forget_tombstones(&mut self.random)
    }

    /// Other access rules come into force while the server runs: stored channels are brought up to them. Where several nodes share a
    /// store, each would have to be told at one moment, which nothing does.
    pub(crate) fn change_rules(&mut self, _replica: usize) -> bool {
        if self.nodes.len() > 1 {
            return false;
        }
        self.settings = self.settings.with_next_access();
        self.checkers.rules_changed(self.now_ms, self.settings);
        for node in &mut self.nodes {
            node.reload(self.settings, &mut self.tasks);
        }
        true
    }
}
