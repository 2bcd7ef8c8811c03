//! What is wrong is told in clear lines, all of it at once, with exit code 2; what fails at run time, with 1.

use std::net::TcpListener;

use crate::process::{Atoll, errors};

#[test]
fn all_faults_of_a_configuration_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = "cap = 50\nwater = \"deep\"\nseating = \"scatter\"\nislands = 1.5\n";
    std::fs::write(folder.path().join("atoll.toml"), file).unwrap();
    let flags = [
        "up",
        "--config",
        "atoll.toml",
        "--nodes",
        "0",
        "--minimum",
        "many",
        "--http",
        "here",
        "--design",
        "80",
    ];
    let variables = [("ATOLL_PORT_BASE", "70000"), ("ATOLL_COLOUR", "blue")];
    let logged = Atoll::start_with(folder.path(), &flags, &variables).ends_with(2);
    for expected in [
        "ATOLL_COLOUR: there is no such setting (see `atoll config`)",
        "atoll.toml: there is no setting water (see `atoll config`)",
        "atoll.toml: islands must be a number or a text in quotes",
        "--nodes 0: 1 to 64 nodes run in one process",
        "--minimum many: expected a whole number",
        "--http here: expected ADDRESS:PORT, like 127.0.0.1:8080",
        "ATOLL_PORT_BASE=70000: the number is too large",
        "atoll.toml: seating = scatter: expected spread or pack",
    ] {
        assert!(errors(&logged).contains(&expected), "{expected:?} is not among\n{logged}");
    }
    assert_eq!(errors(&logged).len(), 8, "{logged}");
    assert!(!folder.path().join("atoll-data").exists(), "nothing is made before everything is right");
}

#[test]
fn numbers_that_contradict_each_other_are_told_together() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "up",
        "--design",
        "40",
        "--cap",
        "30",
        "--minimum",
        "60",
        "--islands",
        "0",
        "--port-base",
        "65534",
        "--http",
        "127.0.0.1:0",
    ];
    let logged = Atoll::start(folder.path(), &flags).ends_with(2);
    for expected in [
        "design 40 is above cap 30",
        "minimum 60 is above design 40",
        "islands is 0: a world needs at least one",
        "--port-base 65534: node 3 would need port 65537; 65535 is the highest",
    ] {
        assert!(errors(&logged).contains(&expected), "{expected:?} is not among\n{logged}");
    }
}

#[test]
fn taken_ports_and_a_folder_that_is_none_are_told_together() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), "a file").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = taken.local_addr().unwrap();
    let base = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = base.local_addr().unwrap().port();
    let (http, port) = (http.to_string(), port.to_string());
    let flags = ["up", "--nodes", "1", "--port-base", &port, "--http", &http, "--data", "data"];
    let logged = Atoll::start(folder.path(), &flags).ends_with(2);
    for expected in [
        format!("http: port {} on 127.0.0.1 is taken by another program", taken.local_addr().unwrap().port()),
        format!("the allocator: port {port} on 127.0.0.1 is taken by another program"),
        "data folder data: it is a file, not a folder".to_owned(),
    ] {
        assert!(errors(&logged).contains(&expected.as_str()), "{expected:?} is not among\n{logged}");
    }
}

#[test]
fn an_empty_folder_name_is_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let logged = Atoll::start(folder.path(), &["up", "--data", "", "--http", "127.0.0.1:0"]).ends_with(2);
    assert_eq!(errors(&logged), ["--data : it is empty; expected a folder"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the log");
}

#[test]
fn one_folder_serves_one_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Atoll::up(folder.path(), 1, &[]);
    first.ready();
    let logged = Atoll::up(folder.path(), 1, &[]).ends_with(2);
    assert_eq!(errors(&logged), ["embedded store data: another process is using it"]);
    first.stops();
}

#[test]
fn separate_processes_want_a_store_that_can_be_shared() {
    let folder = tempfile::tempdir().unwrap();
    let logged = Atoll::start(folder.path(), &["allocator", "--store", "embedded:data"]).ends_with(2);
    assert!(errors(&logged)[0].contains("can't be shared by processes"), "{logged}");
    let logged = Atoll::start(folder.path(), &["node", "--listen", "0.0.0.0:0"]).ends_with(2);
    assert_eq!(errors(&logged).len(), 3, "store, id, listen:\n{logged}");
    let unreachable = ["node", "--id", "1", "--store", "redis://127.0.0.1:1/0"];
    let logged = Atoll::start(folder.path(), &unreachable).ends_with(1);
    assert_eq!(errors(&logged).len(), 1, "{logged}");
    assert!(errors(&logged)[0].contains("redis://127.0.0.1:1/0"), "{logged}");
}

#[test]
fn a_password_is_never_repeated() {
    let folder = tempfile::tempdir().unwrap();
    for store in ["redis://me:secret@127.0.0.1:1/0", "postgres://me:secret@db", "redis://me:secret@h:99999/0"]
    {
        let mut atoll = Atoll::start(folder.path(), &["node", "--id", "1", "--store", store]);
        let (status, _) = atoll.ended();
        assert!(matches!(status.code(), Some(1 | 2)), "{status}");
        assert!(!atoll.logged().is_empty() && !atoll.logged().contains("secret"), "{}", atoll.logged());
    }
}

#[test]
fn the_printed_configuration_is_a_file_that_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut printing = Atoll::start(folder.path(), &["config"]);
    let (status, lines) = printing.ended();
    assert!(status.success());
    for key in ["nodes = 3", "port-base = 7000", "design = 200", "seating = \"spread\""] {
        assert!(lines.iter().any(|line| line == key), "{key} is not among\n{}", lines.join("\n"));
    }
    std::fs::write(folder.path().join("atoll.toml"), lines.join("\n")).unwrap();
    let flags = ["up", "--config", "atoll.toml", "--port-base", "0", "--http", "127.0.0.1:0", "--nodes", "1"];
    let mut atoll = Atoll::start(folder.path(), &flags);
    assert_eq!(atoll.ready().value("nodes"), "1", "flags count before the file");
    assert!(folder.path().join("atoll-data").is_dir());
    atoll.stops();
}
