//! Carries out the faults of a run, and mends them.
//!
//! Part of the cluster.

use super::arbiter::StoreWeather;
use super::cluster::Cluster;
use super::events::{Event, Process};
use super::faults::Fault;

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
        match planned.fault {
            Fault::Weather(weather) => self.mesh.weather = weather,
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
            Fault::Store(weather) => self.store.weather = weather,
            Fault::StoreCut(process) => drop(self.store.cut_off.insert(process)),
            Fault::WireCut(bot) => self.cut_wire(bot),
            Fault::WireStall(bot) => self.stall_wire(bot, until_ms),
            Fault::AllocatorCrash => self.kill_door("crashes"),
        }
    }

    /// A fault is over.
    pub(super) fn end_fault(&mut self, nth: usize) {
        let planned = self.faults[nth].clone();
        let now_ms = self.now_ms;
        self.tell(&format!("fault over: {}", planned.fault.kind()));
        match planned.fault {
            Fault::Weather(_) => self.mesh.weather = self.fair,
            Fault::Cut(cut) => self.mesh.end_cut(cut.number, now_ms, &mut self.events),
            Fault::Crash(node) => self.events.plan(now_ms, Event::Boot(Process::Node(node))),
            Fault::Stop(node) => {
                // Long enough for its farewells; a node that stood still meanwhile is killed, as supervisors do.
                if self.nodes[node].stops {
                    self.kill_node(node, "is killed");
                }
                self.events.plan(now_ms, Event::Boot(Process::Node(node)));
            }
            Fault::Store(_) => self.store.weather = StoreWeather::Fair,
            Fault::StoreCut(process) => drop(self.store.cut_off.remove(&process)),
            Fault::AllocatorCrash => self.events.plan(now_ms, Event::Boot(Process::Allocator)),
            Fault::CrashForGood(_) | Fault::Pause(_) | Fault::WireCut(_) | Fault::WireStall(_) => (),
        }
        if now_ms >= self.end_ms {
            self.watch.disturbed(now_ms);
        }
    }
}
