//! Precedence of the sources, and what is read from them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use super::*;
use keys::Role;

fn texts(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn gather(
    role: Role,
    flags: &[(&str, &str)],
    variables: &[(&str, &str)],
    file: Option<PathBuf>,
) -> (Sources, Vec<String>) {
    let mut faults = Vec::new();
    (Sources::gather(role, texts(flags), texts(variables), file, &mut faults), faults)
}

#[test]
fn flags_come_before_variables_before_the_file_before_defaults() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "nodes = 4\ndesign = 100\ncap = 150\nlisten = \"for other roles\"").unwrap();
    let (sources, faults) = gather(
        Role::Up,
        &[("nodes", "6")],
        &[("ATOLL_NODES", "5"), ("ATOLL_DESIGN", "120")],
        Some(file.path().to_owned()),
    );
    let config = up(&sources, faults).unwrap();
    assert_eq!(config.nodes, 6);
    assert_eq!((config.policy.design, config.policy.cap, config.policy.minimum), (120, 150, 36));
    assert_eq!(config.listen(2), "127.0.0.1:7002".parse().unwrap());
    assert_eq!(config.common.http, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.common.store.to_string(), "embedded:./atoll-data");
}

#[test]
fn cap_and_minimum_follow_the_design_population_unless_they_are_given() {
    let populations = |flags: &[(&str, &str)]| {
        let (sources, faults) = gather(Role::Up, flags, &[], None);
        let policy = up(&sources, faults).unwrap().policy;
        (policy.design, policy.cap, policy.minimum)
    };
    assert_eq!(populations(&[]), (200, 300, 60));
    assert_eq!(populations(&[("design", "50")]), (50, 75, 15));
    assert_eq!(populations(&[("design", "4000"), ("cap", "4500")]), (4_000, 4_500, 1_200));
    assert_eq!(populations(&[("design", "50"), ("minimum", "1")]), (50, 75, 1));
}

#[test]
fn the_variable_names_the_file_when_no_flag_does() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "nodes = 2").unwrap();
    let (sources, faults) = gather(Role::Up, &[], &[("ATOLL_CONFIG", file.path().to_str().unwrap())], None);
    assert_eq!(up(&sources, faults).unwrap().nodes, 2);
    let (sources, faults) = gather(Role::Up, &[], &[("ATOLL_CONFIG", "/nowhere/atoll.toml")], None);
    let faults = up(&sources, faults).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("configuration file /nowhere/atoll.toml: "), "{faults:?}");
}

#[test]
fn a_broken_file_is_told_with_its_line() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "nodes = 2\n\ncap = = 3").unwrap();
    let (sources, faults) = gather(Role::Up, &[], &[], Some(file.path().to_owned()));
    let faults = up(&sources, faults).unwrap_err();
    assert!(faults[0].contains(", line 3: "), "{faults:?}");
}

#[test]
fn port_base_0_takes_free_ports_everywhere() {
    let (sources, faults) = gather(Role::Up, &[("port-base", "0"), ("nodes", "64")], &[], None);
    let config = up(&sources, faults).unwrap();
    assert_eq!((config.listen(0).port(), config.listen(64).port()), (0, 0));
}

#[test]
fn the_page_and_the_game_want_ports_of_their_own() {
    let flags = [("port-base", "7000"), ("http", "127.0.0.1:7003")];
    let (sources, faults) = gather(Role::Up, &flags, &[], None);
    let faults = up(&sources, faults).unwrap_err();
    assert_eq!(
        faults,
        [
            "--http 127.0.0.1:7003: the port is the allocator's or a node's (port-base and the ports behind it)"
        ]
    );
}

#[test]
fn a_process_on_any_address_says_what_clients_connect_to() {
    let flags = [("store", "redis://db"), ("listen", "0.0.0.0:7000"), ("mesh-listen", "10.0.0.1:1")];
    let (sources, faults) = gather(Role::Allocator, &flags, &[], None);
    let faults = allocator(&sources, faults).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    let flags = [("store", "redis://db"), ("listen", "0.0.0.0:7000"), ("advertise", "game.example:7000")];
    let (sources, faults) = gather(Role::Allocator, &flags, &[], None);
    let config = allocator(&sources, faults).unwrap();
    assert_eq!(config.addresses.advertise.as_deref(), Some("game.example:7000"));
    for wrong in ["game.example", ":7000", "game:0", "game:port"] {
        let flags = [("store", "redis://db"), ("advertise", wrong)];
        let (sources, faults) = gather(Role::Allocator, &flags, &[], None);
        assert_eq!(allocator(&sources, faults).unwrap_err().len(), 1, "{wrong}");
    }
}

#[test]
fn a_node_has_a_number_of_its_own() {
    let (sources, faults) = gather(Role::Node, &[("store", "redis://db")], &[], None);
    assert_eq!(node(&sources, faults).unwrap_err(), ["--id: must be given"]);
    let (sources, faults) = gather(Role::Node, &[("store", "redis://db"), ("id", "0")], &[], None);
    assert_eq!(node(&sources, faults).unwrap_err(), ["--id 0: nodes are counted from 1"]);
    let (sources, faults) = gather(Role::Node, &[("store", "redis://db"), ("id", "9")], &[], None);
    assert_eq!(node(&sources, faults).unwrap().node, NodeId(9));
}
