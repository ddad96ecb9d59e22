//! Connections: messages keep their order within one, and take their time.

use crate::node::{LinkId, Node, Output};
use crate::versions::Version;
use crate::world::{Event, HostId, Link, World};

impl World {
    pub(crate) fn connect(&mut self, host: HostId) {
        self.next_id += 1;
        let id = self.next_id;
        let node = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0);
        let link = Link {
            host,
            up_ms: 0,
            down_ms: 0,
            silent: false,
            stalled: false,
            slow: None,
            client_open: true,
            server_open: false,
            node,
            client: Version::This,
            server: Version::This,
        };
        self.links.insert(id, link);
        if let Some(seat) = self.hosts.get_mut(&host) {
            seat.link = Some(id);
        }
        let delay = self.latency();
        let fails = !self.healed && self.random.chance(50);
        self.schedule(delay, if fails { Event::ClosedAtClient(id) } else { Event::Connected(id) });
    }

    pub(crate) fn connected(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.client_open) else { return };
        link.server_open = true;
        let (host, node) = (link.host, link.node);
        self.meet(id);
        if let Some(node) = self.nodes.get_mut(node) {
            node.connected(id, &mut self.tasks);
        }
        let Some(seat) = self.hosts.get(&host).filter(|seat| seat.link == Some(id)) else { return };
        let token = self.token_of(seat.replica);
        let now = self.host_ms(host);
        self.tell(host, |client| client.handle_connected(now, &token));
    }

    pub(crate) fn send_up(&mut self, host: HostId, bytes: Vec<u8>) {
        let at = self.now_ms + self.latency();
        let Some(id) = self.hosts.get(&host).and_then(|seat| seat.link) else { return };
        let Some(link) = self.links.get_mut(&id) else { return };
        link.up_ms = link.up_ms.max(at + link.slow_ms(self.now_ms));
        if !link.silent {
            let delay = link.up_ms - self.now_ms;
            self.schedule(delay, Event::ToServer(id, bytes));
        }
    }

    pub(crate) fn at_server(&self, link: LinkId, call: impl FnOnce(&Node)) {
        let link = self.links.get(&link).filter(|link| link.server_open);
        if let Some(node) = link.and_then(|link| self.nodes.get(link.node)) {
            call(node);
        }
    }

    pub(crate) fn link(&mut self, id: LinkId, call: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&id) {
            call(link);
        }
    }

    /// Carries out what the nodes did, and schedules what they have to do.
    pub(crate) fn settle_nodes(&mut self) {
        for committed in self.ground.journal.take() {
            if let Err(violation) = self.checkers.committed(&committed) {
                self.violation.get_or_insert(violation);
            }
        }
        let outputs: Vec<Output> = self.nodes.iter().flat_map(Node::take_outputs).collect();
        for output in outputs {
            let at = self.now_ms + self.latency();
            let (id, event, made_ms) = match output {
                Output::Send(id, bytes, made_ms) => (id, Event::ToClient(id, bytes), made_ms),
                Output::Close(id) => (id, Event::ClosedAtClient(id), self.now_ms),
            };
            if !self.links.get(&id).is_some_and(|link| link.server_open) {
                continue;
            }
            if let Event::ToClient(_, bytes) = &event
                && let Err(violation) =
                    self.checkers.server_sends(id, made_ms, bytes).and_then(|()| self.check_refusal(id, bytes))
            {
                self.violation.get_or_insert(violation);
            }
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.down_ms = link.down_ms.max(at + link.slow_ms(self.now_ms));
            if matches!(event, Event::ClosedAtClient(_)) {
                link.server_open = false;
            }
            if !link.silent {
                let delay = link.down_ms - self.now_ms;
                self.schedule(delay, event);
            }
        }
        for task in self.tasks.take_woken() {
            if self.scheduled.insert(task) {
                let delay = (self.latency() / 4).min(self.site.work_ms_max());
                self.schedule(delay, Event::Run(task));
            }
        }
        if let Some(at) = self.time.due_ms().filter(|at| self.tick_ms.is_none_or(|tick| tick > *at)) {
            self.tick_ms = Some(at);
            self.schedule(at.saturating_sub(self.now_ms), Event::Tick);
        }
        self.links.retain(|_, link| link.client_open || link.server_open);
        self.spring_traps();
    }
}

impl Link {
    /// What a slow network adds to the way of a message.
    fn slow_ms(&mut self, now_ms: u64) -> u64 {
        self.slow = self.slow.filter(|(until_ms, _)| *until_ms > now_ms);
        self.slow.map_or(0, |(_, slow_ms)| slow_ms)
    }
}
