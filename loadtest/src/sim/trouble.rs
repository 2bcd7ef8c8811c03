//! Carries out the faults of a run, and mends them.
//!
//! Part of the cluster.

use super::arbiter::StoreWeather;
use super::books::Noted;
use super::cluster::Cluster;
use super::events::{Event, Process};
use super::faults::{Fault, Planned};
use super::limits::BELIEVED_MS_MAX;
use world_node::core::ports::Standing;

impl Cluster {
    /// A fault begins.
    pub(super) fn begin_fault(&mut self, nth: usize) {
        let planned = self.faults[nth].clone();
        let (now_ms, until_ms) = (self.now_ms, planned.until_ms);
        *self.totals.faults.entry(planned.fault.kind()).or_default() += 1;
        self.tell(&format!("FAULT for {} ms: {:?}", until_ms - now_ms, planned.fault));
        if planned.fault.disturbs_members() {
            self.watch.unsettle(until_ms);
        }
        self.active.insert(nth);
        match planned.fault {
            Fault::Weather(_) => self.set_weather(),
            Fault::Cut(cut) => self.mesh.begin_cut(cut, now_ms, &mut self.events),
            Fault::Crash(node) => self.kill_node(node, "crashes"),
            Fault::CrashForGood(node) => {
                self.nodes[node].gone = true;
                self.kill_node(node, "crashes for good");
            }
            Fault::Stop(node) => self.nodes[node].stops = true,
            Fault::Pause(node) => {
                let slot = &mut self.nodes[node];
                slot.paused_until_ms = slot.paused_until_ms.max(until_ms);
            }
            Fault::Store(weather) => {
                if weather == StoreWeather::Behind {
                    self.store.fall_behind();
                }
                self.set_weather();
            }
            Fault::StoreCut(process) => drop(self.store.cut_off.insert(process)),
            Fault::WireCut(bot) => self.cut_wire(bot),
            Fault::WireStall(bot) => self.stall_wire(bot, until_ms),
            Fault::AllocatorCrash => self.kill_door("crashes"),
            Fault::CrashAfter(..) => self.armed.push(nth),
        }
    }

    /// A fault is over.
    pub(super) fn end_fault(&mut self, nth: usize) {
        let planned = self.faults[nth].clone();
        let now_ms = self.now_ms;
        self.tell(&format!("fault over: {}", planned.fault.kind()));
        self.active.remove(&nth);
        match planned.fault {
            Fault::Weather(_) => self.set_weather(),
            Fault::Cut(cut) => self.mesh.end_cut(cut.number, now_ms, &mut self.events),
            Fault::Crash(node) => self.boot_again(node),
            Fault::Stop(node) => {
                // Long enough for its farewells; a node that stood still meanwhile is killed, as supervisors do.
                if self.nodes[node].stops {
                    self.kill_node(node, "is killed");
                }
                self.boot_again(node);
            }
            Fault::Store(weather) => {
                if weather == StoreWeather::Behind {
                    self.fail_over();
                }
                self.set_weather();
            }
            Fault::StoreCut(process) => {
                if !self.goes_on(|fault| *fault == Fault::StoreCut(process)) {
                    self.store.cut_off.remove(&process);
                }
            }
            Fault::AllocatorCrash if self.goes_on(|fault| *fault == Fault::AllocatorCrash) => (),
            Fault::AllocatorCrash => self.events.plan(now_ms, Event::Boot(Process::Allocator)),
            Fault::CrashAfter(node, ..) => {
                self.armed.retain(|armed| *armed != nth);
                self.boot_again(node);
            }
            Fault::CrashForGood(_) | Fault::Pause(_) | Fault::WireCut(_) | Fault::WireStall(_) => (),
        }
        if now_ms >= self.end_ms {
            self.watch.disturbed(now_ms);
        }
    }

    /// Whether such a fault goes on now.
    fn goes_on(&self, such: impl Fn(&Fault) -> bool) -> bool {
        self.active.iter().any(|nth| such(&self.faults[*nth].fault))
    }

    /// The weather is that of the fault that began last and goes on: of two that overlap, the end of one mends nothing of
    /// the other.
    fn set_weather(&mut self) {
        let mut active: Vec<&Planned> = self.active.iter().map(|nth| &self.faults[*nth]).collect();
        active.sort_by_key(|planned| planned.from_ms);
        (self.mesh.weather, self.store.weather) = (self.fair, StoreWeather::Fair);
        for planned in active {
            match &planned.fault {
                Fault::Weather(weather) => self.mesh.weather = *weather,
                // A master that is cut off from its replica works, as far as anything else lets it.
                Fault::Store(weather) if *weather != StoreWeather::Behind => self.store.weather = *weather,
                _ => (),
            }
        }
    }

    /// A node starts again, unless something else keeps it down.
    fn boot_again(&mut self, node: usize) {
        if !self.goes_on(|fault| fault.holds_down(node)) {
            self.events.plan(self.now_ms, Event::Boot(Process::Node(node)));
        }
    }

    /// The store did something for a process: a fault that waited for it strikes soon.
    pub(super) fn done_for(&mut self, process: Process, noted: Noted) {
        let waits = |nth: &usize| {
            matches!(self.faults[*nth].fault,
                Fault::CrashAfter(node, after, _) if (Process::Node(node), after) == (process, noted))
        };
        let Some(at) = self.armed.iter().position(waits) else { return };
        let nth = self.armed.swap_remove(at);
        if let Fault::CrashAfter(_, _, after_ms) = self.faults[nth].fault {
            self.events.plan(self.now_ms + after_ms, Event::Strike(nth));
        }
    }

    /// A node dies at the worst moment.
    pub(super) fn strike(&mut self, nth: usize) {
        let Fault::CrashAfter(node, noted, after_ms) = self.faults[nth].fault else { return };
        if !self.active.contains(&nth) || self.nodes[node].host.is_none() {
            return;
        }
        let (what, how) = match noted {
            Noted::Act => ("crash right after an act", "the store did an act"),
            Noted::Step => ("crash right after a step", "the store did a step of a transfer"),
        };
        *self.totals.faults.entry(what).or_default() += 1;
        self.watch.disturbed(self.now_ms);
        self.kill_node(node, &format!("crashes {after_ms} ms after {how}"));
    }

    /// The store's master dies, its replica takes over, and every node learns that another server answers.
    fn fail_over(&mut self) {
        let lost = self.store.fail_over(self.now_ms);
        self.tell(&format!("another master: {lost} commits of the game are lost"));
        *self.totals.feats.entry("commit lost with its master").or_default() += lost as u64;
        for host in self.nodes.iter_mut().filter_map(|slot| slot.host.as_mut()) {
            host.core.handle_store_changed();
        }
        self.events.plan(self.now_ms + BELIEVED_MS_MAX, Event::Believers(self.store.office()));
    }

    /// Some time after a change of master: what was lost nobody believes, unless something keeps it from asking.
    pub(super) fn look_for_believers(&mut self, office: u32) {
        if office != self.store.office() {
            return;
        }
        for (at, slot) in self.nodes.iter().enumerate() {
            let process = Process::Node(at);
            let Some(host) = slot.host.as_ref().filter(|host| host.core.standing() == Standing::Serving)
            else {
                continue;
            };
            if self.hindered_ms(process, BELIEVED_MS_MAX) > 0 || slot.paused_until_ms > self.now_ms {
                continue;
            }
            *self.totals.feats.entry("node looked at after a change of master").or_default() += 1;
            for (partition, token) in self.store.lost() {
                let known = host.core.executor().docs(partition).into_iter().flatten();
                if let Some((name, _)) = known.into_iter().find(|(_, doc)| doc.cas == token.into()) {
                    let what =
                        format!("{process} believes {name} of {partition}, which was lost with its master");
                    return self.watch.fail(what);
                }
            }
        }
    }
}
