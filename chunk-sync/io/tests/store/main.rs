//! The stores against their contract: one suite, every backend; then what only a real backend can get wrong.

mod acts;
mod damage;
mod differential;
mod durability;
mod embedded;
mod indexes;
mod ledger;
mod proxy;
mod redis_change;
mod redis_cluster;
mod redis_faults;
mod redis_server;
mod subject;
mod suite;
mod whole;

/// Runs what ops tools do against a cluster too, whose masters share the shards.
macro_rules! on_a_cluster {
    ($($group:ident: $($case:ident),* $(,)?);* $(;)?) => {
        mod redis_cluster_store {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { crate::$group::$case(crate::subject::Subject::cluster().await).await })*)*
        }
    };
}

/// Runs every case of the suite against every backend, each on a fresh store.
macro_rules! conformance {
    ($($group:ident: $($case:ident),* $(,)?);* $(;)?) => {
        mod memory {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { crate::$group::$case(crate::subject::Subject::memory()).await })*)*
        }
        mod embedded_store {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { crate::$group::$case(crate::subject::Subject::embedded().await).await })*)*
        }
        mod redis_store {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { crate::$group::$case(crate::subject::Subject::redis().await).await })*)*
        }
    };
}

/// Runs cases one after the other on servers that are started once: three masters, and a master whose replica is waited
/// for.
macro_rules! on_shared_servers {
    ($($group:ident: $($case:ident),* $(,)?);* $(;)?) => {
        mod redis_shared {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn the_suite_on_a_cluster() {
                let nodes = crate::redis_cluster::three().await;
                let url = crate::redis_cluster::url(&nodes[0], "");
                $($(run(&nodes, &url, stringify!($case), crate::$group::$case).await;)*)*
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn the_suite_with_a_replica_that_is_waited_for() {
                let master = crate::redis_server::RedisServer::start_with(&[]);
                let _replica = crate::redis_server::RedisServer::start_replica_of(&master);
                master.until_followed().await;
                let url = format!("redis://127.0.0.1:{}/0?replicas=1", master.port()).parse().expect("a URL");
                $($(run(&[&master], &url, stringify!($case), crate::$group::$case).await;)*)*
            }

            /// Runs one on an empty store.
            async fn run<Case: Future<Output = ()>>(
                masters: &[impl std::borrow::Borrow<crate::redis_server::RedisServer>],
                url: &chunk_sync_io::store::StoreUrl,
                name: &str,
                case: impl Fn(crate::subject::Subject) -> Case,
            ) {
                println!("{name}");
                for master in masters {
                    master.borrow().run(&["FLUSHALL"]).await;
                }
                Box::pin(case(crate::subject::Subject::lent(url).await)).await;
            }
        }
    };
}

conformance![
    suite:
    an_unknown_partition_is_empty,
    documents_are_written_removed_and_versioned,
    preconditions_hold_or_refuse_the_whole_commit,
    epochs_only_grow,
    leases_are_taken_renewed_and_released,
    expired_leases_stay_their_holders_until_taken,
    a_young_store_lets_nobody_take_over,
    a_commit_is_too_late_by_the_stores_clock,
    demands_are_judged_in_the_promised_order,
    a_resend_is_answered_and_not_done_again,
    tails_are_complete_or_a_reload,
    the_log_is_bounded,
    partitions_do_not_mix,
    numbers_of_64_bits_and_any_bytes_survive,
    the_largest_commit_fits_and_a_larger_one_is_refused,
    a_partition_has_a_most_of_rows,
    sixteen_racers_count_to_sixteen,
    minters_are_leased_once;
    acts:
    an_act_is_done_once_and_answered_as_before,
    confirmed_acts_are_forgotten_and_never_done_again,
    an_older_session_is_fenced,
    refused_commits_remember_nothing,
    an_act_outlives_its_token,
    sixteen_senders_of_one_act_do_it_once,
    an_actor_has_a_most_of_unconfirmed_acts,
    a_partition_remembers_a_most_of_actors,
    what_is_no_act_is_refused;
    indexes:
    entries_change_with_their_commit_or_not_at_all,
    pages_are_whole_and_in_order,
    an_index_has_a_most_of_entries,
    what_is_no_index_step_is_refused;
    ledger:
    entries_are_written_with_their_commit_and_numbered,
    pages_of_the_ledger_are_whole_and_in_order,
    what_was_trimmed_is_gone_and_its_numbers_with_it,
    a_full_ledger_refuses_what_has_an_entry,
    what_is_no_entry_is_refused;
    whole:
    every_partition_is_listed_once_and_whole,
    a_large_partition_ends_its_page,
    a_restored_world_goes_on_where_it_was,
    what_is_there_is_not_restored_over,
    a_partition_is_replaced_over_the_state_that_was_read_and_no_other,
    index_entries_go_back_to_their_shards;
];

on_shared_servers![
    suite:
    an_unknown_partition_is_empty,
    documents_are_written_removed_and_versioned,
    preconditions_hold_or_refuse_the_whole_commit,
    epochs_only_grow,
    leases_are_taken_renewed_and_released,
    expired_leases_stay_their_holders_until_taken,
    a_commit_is_too_late_by_the_stores_clock,
    demands_are_judged_in_the_promised_order,
    a_resend_is_answered_and_not_done_again,
    tails_are_complete_or_a_reload,
    the_log_is_bounded,
    partitions_do_not_mix,
    numbers_of_64_bits_and_any_bytes_survive,
    the_largest_commit_fits_and_a_larger_one_is_refused,
    a_partition_has_a_most_of_rows,
    sixteen_racers_count_to_sixteen,
    minters_are_leased_once;
    acts:
    an_act_is_done_once_and_answered_as_before,
    confirmed_acts_are_forgotten_and_never_done_again,
    an_older_session_is_fenced,
    refused_commits_remember_nothing,
    an_act_outlives_its_token,
    sixteen_senders_of_one_act_do_it_once,
    an_actor_has_a_most_of_unconfirmed_acts;
    indexes:
    entries_change_with_their_commit_or_not_at_all,
    pages_are_whole_and_in_order,
    what_is_no_index_step_is_refused;
];

on_a_cluster![
    ledger:
    entries_are_written_with_their_commit_and_numbered,
    pages_of_the_ledger_are_whole_and_in_order,
    what_was_trimmed_is_gone_and_its_numbers_with_it;
    whole:
    every_partition_is_listed_once_and_whole,
    a_restored_world_goes_on_where_it_was,
    a_partition_is_replaced_over_the_state_that_was_read_and_no_other,
    index_entries_go_back_to_their_shards;
];
