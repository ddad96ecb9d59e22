//! Connections: messages keep their order within one, and take their time.

use crate::server::{LinkId, Output, Server};
use crate::world::{Event, HostId, Link, World, subject_of};

impl World {
    pub(crate) fn connect(&mut self, host: HostId) {
        self.next_id += 1;
        let id = self.next_id;
        let link =
            Link { host, up_ms: 0, down_ms: 0, silent: false, client_open: true, server_open: false, timer_ms: None };
        self.links.insert(id, link);
        if let Some(seat) = self.hosts.get_mut(&host) {
            seat.link = Some(id);
        }
        let delay = self.latency();
        let fails = !self.healed && self.random.chance(50);
        self.schedule(delay, if fails { Event::ClosedAtClient(id) } else { Event::Connected(id) });
    }

    pub(crate) fn connected(&mut self, id: LinkId) {
        let now = self.now_ms;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.client_open) else { return };
        link.server_open = true;
        let host = link.host;
        self.server.connected(id, now);
        let Some(seat) = self.hosts.get(&host).filter(|seat| seat.link == Some(id)) else { return };
        let subject = subject_of(seat.replica);
        self.tell(host, |client| client.handle_connected(now, &subject));
    }

    pub(crate) fn send_up(&mut self, host: HostId, bytes: Vec<u8>) {
        let delay = self.latency();
        let at = self.now_ms + delay;
        let Some(id) = self.hosts.get(&host).and_then(|seat| seat.link) else { return };
        let Some(link) = self.links.get_mut(&id) else { return };
        link.up_ms = link.up_ms.max(at);
        if !link.silent {
            let delay = link.up_ms - self.now_ms;
            self.schedule(delay, Event::ToServer(id, bytes));
        }
    }

    pub(crate) fn at_server(&mut self, link: LinkId, call: impl FnOnce(&mut Server)) {
        if self.links.get(&link).is_some_and(|link| link.server_open) {
            call(&mut self.server);
        }
    }

    pub(crate) fn link(&mut self, id: LinkId, call: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&id) {
            call(link);
        }
    }

    /// Carries out what the server did, and schedules what it has to do.
    pub(crate) fn settle_server(&mut self) {
        for output in self.server.take_outputs() {
            let delay = self.latency();
            let at = self.now_ms + delay;
            let (id, event) = match output {
                Output::Send(id, bytes) => (id, Event::ToClient(id, bytes)),
                Output::Close(id) => (id, Event::ClosedAtClient(id)),
            };
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.down_ms = link.down_ms.max(at);
            if matches!(event, Event::ClosedAtClient(_)) {
                link.server_open = false;
            }
            if !link.silent {
                let delay = link.down_ms - self.now_ms;
                self.schedule(delay, event);
            }
        }
        for link in self.server.busy() {
            if self.working.insert(link) {
                let delay = self.latency() / 4;
                self.schedule(delay, Event::ServerWork(link));
            }
        }
        let open: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.server_open).map(|(id, _)| *id).collect();
        for id in open {
            let due = self.server.next_timeout_ms(id);
            let now = self.now_ms;
            let Some(link) = self.links.get_mut(&id) else { continue };
            if let Some(at) = due.filter(|at| link.timer_ms.is_none_or(|timer| timer > *at)) {
                link.timer_ms = Some(at);
                self.schedule(at.saturating_sub(now), Event::ServerTimer(id));
            }
        }
        self.links.retain(|_, link| link.client_open || link.server_open);
    }
}
