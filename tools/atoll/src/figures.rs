//! What nodes and the allocator counted, as metrics. Called at each look at `/metrics`; the names use the glossary's
//! words. Totals count since the start of the node or process.

use std::sync::atomic::Ordering::Relaxed;

use chunk_sync_io::door::DoorStats;
use chunk_sync_io::mesh::MeshStats;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use population_allocator::service::Report;
use world_node::core::Counters;
use world_node::core::ports::Phase;
use world_node::shell::{NodeHandle, NodeStats};

/// What each name means; told once, at the start.
pub(crate) fn describe() {
    describe_gauge!("atoll_node_tick_ms", "Length of a node's tick over the last 10 s, by quantile");
    describe_gauge!("atoll_node_tick_max_ms", "The longest tick since the node's start");
    describe_gauge!("atoll_node_cpu_seconds", "CPU time of the node's own thread since its start");
    describe_gauge!("atoll_node_sessions", "Sessions that are inside");
    describe_gauge!("atoll_node_ghosts", "Entities of other nodes that the node shows");
    describe_gauge!("atoll_node_chunks_claimed", "Chunks that the node claims");
    describe_gauge!("atoll_node_islands", "Islands of the plan that the node serves");
    describe_gauge!("atoll_node_connections", "Client connections, closing ones included");
    describe_gauge!("atoll_node_store_in_flight", "Operations that the store has yet to answer");
    describe_counter!("atoll_node_ticks_total", "Ticks run");
    describe_counter!(
        "atoll_node_ticks_skipped_total",
        "Ticks left out because the one before took too long"
    );
    describe_counter!("atoll_node_phase_us_total", "Time spent in each phase of the core's tick");
    describe_counter!(
        "atoll_node_part_us_total",
        "Time that the thread spent taking in, in the core, handing out"
    );
    describe_counter!("atoll_node_connections_total", "Client connections, by what became of them");
    describe_counter!("atoll_node_client_bytes_total", "Bytes from and to clients");
    describe_counter!("atoll_node_sends_total", "Sends to clients");
    describe_counter!("atoll_node_sends_waited_total", "Sends of which something had to wait");
    describe_counter!(
        "atoll_node_store_refused_total",
        "Operations not given to the store: too many under way"
    );
    describe_counter!("atoll_node_entered_total", "Players let in");
    describe_counter!("atoll_node_corrections_total", "Steps that were refused and put back");
    describe_counter!("atoll_node_skips_total", "Times that a slow client was skipped to keyframes");
    describe_counter!("atoll_node_snapshots_total", "Snapshots of whole views that were sent");
    describe_counter!("atoll_node_gaps_total", "Gaps found in streams");
    describe_counter!("atoll_node_repairs_total", "Keyframes asked of other sources");
    describe_counter!("atoll_node_garbage_total", "Messages of other members refused as malformed");
    describe_counter!(
        "atoll_node_pauses_total",
        "Times that the node was late and asked the store who it is"
    );
    describe_counter!("atoll_node_acts_total", "Acts that ended, by outcome");
    describe_counter!("atoll_node_act_commits_total", "Commits of acts and transfers");
    describe_counter!(
        "atoll_node_act_conflicts_total",
        "Commits that were decided anew since something had changed"
    );
    describe_counter!("atoll_node_transfers_total", "Transfers brought to their ends");
    describe_counter!("atoll_node_readings_total", "Partitions read or compared with the store");
    describe_counter!("atoll_node_reloads_total", "Partitions read whole since their log didn't reach back");
    describe_counter!("atoll_node_commit_gaps_total", "Commits of others that were missed at first");
    describe_counter!(
        "atoll_node_act_faults_total",
        "Documents that can't be read and steps that no rule allows"
    );
    describe_counter!("atoll_node_checkpoints_total", "Places of players that were given to the store");
    describe_counter!("atoll_node_takeovers_total", "Dead incarnations that the node took over");
    describe_counter!(
        "atoll_node_stream_frames_total",
        "Stream frames on channels: published, passed on, dropped"
    );
    describe_counter!("atoll_node_stream_bytes_total", "Bytes of stream frames published and passed on");
    describe_counter!("atoll_node_creatures_total", "Creatures given to others and taken from others");
    describe_counter!("atoll_node_rejected_total", "Clients that were refused, by reason");
    describe_counter!("atoll_door_connections_total", "Connections at a door, by what became of them");
    describe_gauge!("atoll_door_pending", "Connections that have yet to say Hello");
    describe_counter!("atoll_mesh_frames_total", "Messages on the channel, by direction");
    describe_counter!("atoll_mesh_bytes_total", "Bytes of their bodies");
    describe_counter!("atoll_mesh_dropped_total", "Messages dropped because a bounded queue was full");
    describe_counter!("atoll_mesh_errors_total", "Broken rules and failed handshakes on the channel");
    describe_counter!("atoll_mesh_reconnects_total", "Links that were made again");
    describe_gauge!("atoll_mesh_peers", "Members whose link stands");
    describe_gauge!("atoll_mesh_subscribers", "Members that subscribe here");
    describe_counter!("atoll_allocator_joins_total", "Clients that asked for a seat");
    describe_counter!("atoll_allocator_seated_total", "Clients that got a ticket");
    describe_counter!(
        "atoll_allocator_guests_total",
        "Of those, players seated away from a home that had no room"
    );
    describe_counter!("atoll_allocator_rejected_total", "Clients that were refused, by reason");
    describe_counter!(
        "atoll_allocator_census_dropped_total",
        "Census messages that changed nothing, by reason"
    );
    describe_counter!("atoll_allocator_store_faults_total", "Questions that the store didn't answer");
    describe_counter!("atoll_allocator_plans_total", "Plans written");
    describe_gauge!("atoll_allocator_queue_waiting", "Joins without an answer");
    describe_gauge!("atoll_allocator_plan_number", "Number of the plan that holds");
    describe_gauge!("atoll_nodes_alive", "Nodes to which players are sent");
    describe_gauge!("atoll_island_population", "Seats taken on an island");
    describe_gauge!("atoll_island_design", "Wanted population of an island");
    describe_gauge!("atoll_island_cap", "Most that an island ever holds");
    describe_gauge!("atoll_island_minimum", "Population under which an island feels dead");
    describe_gauge!("atoll_ledger_undrained", "Ledger entries that the store has and the files don't");
    describe_counter!("atoll_ledger_written_total", "Ledger entries written to files since the start");
    describe_counter!("atoll_audit_findings_total", "What the auditor found that can't be right");
    describe_gauge!("atoll_audit_open_transfers", "Transfers that hold items for longer than a minute");
    describe_gauge!("atoll_process_cpu_seconds", "CPU time of the process since its start");
    describe_gauge!("atoll_process_resident_bytes", "Memory of the process");
    describe_gauge!("atoll_process_uptime_seconds", "Age of the process");
    describe_gauge!("atoll_info", "Always 1; version and role are in the labels");
}

/// A node's figures.
pub(crate) fn node(handle: &NodeHandle) {
    let node = handle.node().to_string();
    let stats = handle.stats();
    load(&node, &stats);
    clients(&node, &stats);
    core(&node, &stats.counters);
    mesh(&node, &stats.mesh);
    door(&node, handle.door_stats());
}

fn load(node: &str, stats: &NodeStats) {
    let label = || ("node", node.to_owned());
    for (quantile, ms) in [("0.5", stats.tick_ms.0), ("0.99", stats.tick_ms.1)] {
        gauge!("atoll_node_tick_ms", &[label(), ("quantile", quantile.to_owned())]).set(ms);
    }
    gauge!("atoll_node_tick_max_ms", &[label()]).set(stats.tick_max_us as f64 / 1e3);
    gauge!("atoll_node_cpu_seconds", &[label()]).set(stats.cpu_s);
    counter!("atoll_node_ticks_total", &[label()]).absolute(stats.ticks);
    counter!("atoll_node_ticks_skipped_total", &[label()]).absolute(stats.ticks_skipped);
    for (phase, ns) in Phase::ALL.iter().zip(stats.phase_ns) {
        let labels = [label(), ("phase", phase.label().to_owned())];
        counter!("atoll_node_phase_us_total", &labels).absolute(ns / 1_000);
    }
    for (part, us) in
        [("take_in", stats.take_in_us), ("core", stats.core_us), ("hand_out", stats.hand_out_us)]
    {
        counter!("atoll_node_part_us_total", &[label(), ("part", part.to_owned())]).absolute(us);
    }
    gauge!("atoll_node_store_in_flight", &[label()]).set(stats.store_in_flight as f64);
    counter!("atoll_node_store_refused_total", &[label()]).absolute(stats.store_refused);
    for (name, value) in [
        ("atoll_node_sessions", stats.sessions),
        ("atoll_node_ghosts", stats.ghosts),
        ("atoll_node_chunks_claimed", stats.chunks_claimed),
        ("atoll_node_islands", stats.islands),
    ] {
        gauge!(name, &[label()]).set(value as f64);
    }
}

fn clients(node: &str, stats: &NodeStats) {
    let label = || ("node", node.to_owned());
    gauge!("atoll_node_connections", &[label()]).set(stats.connections as f64);
    for (outcome, count) in [
        ("taken", stats.connections_taken),
        ("refused", stats.connections_refused),
        ("lost", stats.connections_lost),
        ("cut", stats.connections_cut),
    ] {
        let labels = [label(), ("outcome", outcome.to_owned())];
        counter!("atoll_node_connections_total", &labels).absolute(count);
    }
    for (direction, bytes) in [("in", stats.bytes_in), ("out", stats.bytes_out)] {
        let labels = [label(), ("direction", direction.to_owned())];
        counter!("atoll_node_client_bytes_total", &labels).absolute(bytes);
    }
    counter!("atoll_node_sends_total", &[label()]).absolute(stats.sends);
    counter!("atoll_node_sends_waited_total", &[label()]).absolute(stats.sends_waited);
}

fn core(node: &str, counters: &Counters) {
    let label = || ("node", node.to_owned());
    for (name, count) in [
        ("atoll_node_entered_total", counters.entered),
        ("atoll_node_corrections_total", counters.corrections),
        ("atoll_node_skips_total", counters.skips),
        ("atoll_node_snapshots_total", counters.snapshots),
        ("atoll_node_gaps_total", counters.gaps),
        ("atoll_node_repairs_total", counters.repairs),
        ("atoll_node_garbage_total", counters.garbage),
        ("atoll_node_pauses_total", counters.pauses),
        ("atoll_node_checkpoints_total", counters.checkpoints),
        ("atoll_node_act_commits_total", counters.acts.commits),
        ("atoll_node_act_conflicts_total", counters.acts.conflicts),
        ("atoll_node_transfers_total", counters.acts.carried),
        ("atoll_node_readings_total", counters.acts.readings),
        ("atoll_node_reloads_total", counters.acts.reloads),
        ("atoll_node_commit_gaps_total", counters.acts.gaps),
        ("atoll_node_act_faults_total", counters.acts.faults),
        ("atoll_node_takeovers_total", counters.takeovers),
    ] {
        counter!(name, &[label()]).absolute(count);
    }
    for (direction, frames, bytes) in [
        ("out", counters.frames_out, counters.frame_bytes_out),
        ("in", counters.frames_in, counters.frame_bytes_in),
        ("dropped", counters.frames_dropped, 0),
    ] {
        let labels = [label(), ("direction", direction.to_owned())];
        counter!("atoll_node_stream_frames_total", &labels).absolute(frames);
        counter!("atoll_node_stream_bytes_total", &labels).absolute(bytes);
    }
    for (outcome, count) in
        [("done", counters.acts.done), ("refused", counters.acts.refused), ("over", counters.acts.over)]
    {
        let labels = [label(), ("outcome", outcome.to_owned())];
        counter!("atoll_node_acts_total", &labels).absolute(count);
    }
    for (way, count) in [("released", counters.released), ("adopted", counters.adopted)] {
        counter!("atoll_node_creatures_total", &[label(), ("way", way.to_owned())]).absolute(count);
    }
    for (reason, count) in counters.rejects() {
        let labels = [label(), ("reason", reason.label().to_owned())];
        counter!("atoll_node_rejected_total", &labels).absolute(count);
    }
}

fn mesh(node: &str, stats: &MeshStats) {
    let (out, total) = (&stats.out, &stats.total_in);
    for (direction, frames, bytes, dropped, errors) in [
        ("out", out.frames, out.bytes, out.dropped, out.errors),
        ("in", total.frames_in, total.bytes_in, total.dropped_in, total.errors),
    ] {
        let labels = [("node", node.to_owned()), ("direction", direction.to_owned())];
        counter!("atoll_mesh_frames_total", &labels).absolute(frames);
        counter!("atoll_mesh_bytes_total", &labels).absolute(bytes);
        counter!("atoll_mesh_dropped_total", &labels).absolute(dropped);
        counter!("atoll_mesh_errors_total", &labels).absolute(errors);
    }
    let label = [("node", node.to_owned())];
    counter!("atoll_mesh_reconnects_total", &label).absolute(total.reconnects);
    gauge!("atoll_mesh_peers", &label).set(stats.peers.iter().filter(|peer| peer.connected).count() as f64);
    gauge!("atoll_mesh_subscribers", &label).set(out.subscribers as f64);
}

fn door(node: &str, stats: &DoorStats) {
    for (outcome, count) in [
        ("accepted", &stats.accepted),
        ("hello", &stats.hellos),
        ("arrived", &stats.arrived),
        ("displaced", &stats.displaced),
        ("refused_full", &stats.refused_full),
        ("malformed", &stats.malformed),
        ("timed_out", &stats.timed_out),
        ("left", &stats.left),
        ("busy", &stats.busy),
        ("accept_error", &stats.accept_errors),
    ] {
        let labels = [("node", node.to_owned()), ("outcome", outcome.to_owned())];
        counter!("atoll_door_connections_total", &labels).absolute(count.load(Relaxed));
    }
    gauge!("atoll_door_pending", &[("node", node.to_owned())]).set(stats.pending.load(Relaxed) as f64);
}

/// The allocator's figures.
pub(crate) fn allocator(report: &Report) {
    let (state, counters) = (&report.state, &report.counters);
    counter!("atoll_allocator_joins_total").absolute(counters.joins);
    counter!("atoll_allocator_seated_total").absolute(counters.seated);
    counter!("atoll_allocator_guests_total").absolute(counters.guests);
    for (reason, count) in &counters.rejected {
        counter!("atoll_allocator_rejected_total", "reason" => *reason).absolute(*count);
    }
    for (reason, count) in [
        ("malformed", counters.mesh_malformed),
        ("unknown", counters.mesh_unknown),
        ("fenced", counters.census_fenced),
        ("stale", counters.census_stale),
    ] {
        counter!("atoll_allocator_census_dropped_total", "reason" => reason).absolute(count);
    }
    counter!("atoll_allocator_store_faults_total").absolute(counters.store_faults);
    counter!("atoll_allocator_plans_total").absolute(counters.plans);
    gauge!("atoll_allocator_queue_waiting").set(state.queue.waiting as f64);
    gauge!("atoll_allocator_plan_number").set(state.plan.number as f64);
    gauge!("atoll_nodes_alive").set(state.nodes.iter().filter(|node| node.alive).count() as f64);
    for island in &state.islands {
        let label = [("island", island.id.to_string())];
        gauge!("atoll_island_population", &label).set(island.population);
        gauge!("atoll_island_design", &label).set(island.design);
        gauge!("atoll_island_cap", &label).set(island.cap);
        gauge!("atoll_island_minimum", &label).set(island.minimum);
    }
}
