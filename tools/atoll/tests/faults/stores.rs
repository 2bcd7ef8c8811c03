//! Settlers on a real Redis that is stopped, full, slow, killed, or followed by its replica: sessions go on, acts wait or
//! are refused with a reason, and at the end nothing that was acknowledged is lost or doubled.

use std::time::Duration;

use rustix::process::Signal;

use crate::crowd::count;
use crate::processes::Cluster;
use crate::redis_server::RedisServer;
use crate::settlers::{Settlers, await_outcomes};
use crate::throughout;

const BOTS: u64 = 18;
/// How long the store is stopped.
const STOPPED: Duration = Duration::from_secs(10);
/// How long the store answers nobody while it is slow.
const SLOW: Duration = Duration::from_secs(2);

/// Refusals for these reasons.
fn refused(report: &serde_json::Value, reasons: &[&str]) -> u64 {
    let outcomes = &report["settle"]["outcomes"];
    reasons.iter().filter_map(|reason| outcomes[format!("refused {reason}")].as_u64()).sum()
}

#[test]
fn settlers_outlast_a_redis_that_is_stopped_full_slow_and_killed() {
    let mut cluster = Cluster::start();
    let settlers = Settlers::enter(&cluster, BOTS, 30);
    await_outcomes(&cluster, "done");

    cluster.store().signal(Signal::STOP);
    throughout(STOPPED, || assert_eq!(cluster.sessions(), BOTS, "a session closed"));
    cluster.store().signal(Signal::CONT);
    await_outcomes(&cluster, "done");

    cluster.store().ask("CONFIG SET maxmemory 1");
    await_outcomes(&cluster, "refused");
    cluster.store().ask("CONFIG SET maxmemory 0");
    await_outcomes(&cluster, "done");

    cluster.store().ask(&format!("CLIENT PAUSE {} ALL", SLOW.as_millis()));
    throughout(SLOW, || assert_eq!(cluster.sessions(), BOTS, "a session closed"));
    await_outcomes(&cluster, "done");

    cluster.store_mut().kill();
    cluster.store_mut().restart_with(&[]);
    await_outcomes(&cluster, "done");
    settlers.await_all_in(&cluster);

    let report = settlers.report();
    assert_eq!(count(&report, "disconnects"), 0, "{report:#}");
    assert!(refused(&report, &["store_away"]) > 0, "{report:#}");
    assert!(refused(&report, &["store_full"]) > 0, "{report:#}");
    cluster.end_and_audit();
}

#[test]
fn nothing_acknowledged_is_lost_when_a_replica_takes_over() {
    let master = RedisServer::start();
    let replica = master.start_replica();
    // Both say so, or the master doesn't count it yet.
    for (server, says) in [(&replica, "master_link_status:up"), (&master, "state=online")] {
        crate::eventually("the replica follows", crate::processes::READY_WAIT, || {
            match server.ask("INFO replication") {
                info if info.contains(says) => Ok(()),
                info => Err(info),
            }
        });
    }
    let [first, second] = [master.port(), replica.port()];
    let store = format!("redis://127.0.0.1:{first},127.0.0.1:{second}/0?replicas=1");
    let mut cluster = Cluster::start_on(master, store);
    let settlers = Settlers::enter(&cluster, BOTS, 15);
    await_outcomes(&cluster, "done");

    cluster.store_mut().kill();
    replica.ask("REPLICAOF NO ONE");
    // Nothing is acknowledged until somebody follows the new master.
    cluster.store_mut().restart_with(&["--replicaof", "127.0.0.1", &second.to_string()]);
    await_outcomes(&cluster, "done");
    settlers.await_all_in(&cluster);

    let report = settlers.report();
    assert_eq!(count(&report, "disconnects"), 0, "{report:#}");
    cluster.end_and_audit();
    drop(replica);
}
