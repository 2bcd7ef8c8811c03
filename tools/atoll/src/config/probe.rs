//! Tries what a configuration names before anything is started, so that a taken port, an unwritable folder and
//! whatever else is wrong are told together. Only a look: who really binds may still be refused.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use chunk_sync_io::store::StoreUrl;

/// What is wrong with the ports, each `(what for, address)`.
pub(crate) fn ports(wanted: &[(String, SocketAddr)]) -> Vec<String> {
    // All are held until the last was tried: two that want the same port are told apart from free ones.
    let mut held = Vec::new();
    let mut faults = Vec::new();
    for (what, address) in wanted.iter().filter(|(_, address)| address.port() != 0) {
        match TcpListener::bind(address) {
            Ok(listener) => held.push(listener),
            Err(error) => faults.push(refused(what, *address, &error)),
        }
    }
    faults
}

/// Why an address can't be listened on.
pub(crate) fn refused(what: &str, address: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("{what}: port {} on {} is taken by another program", address.port(), address.ip())
        }
        ErrorKind::AddrNotAvailable => format!("{what}: {} is no address of this machine", address.ip()),
        ErrorKind::PermissionDenied => format!("{what}: not allowed to listen on port {}", address.port()),
        _ => format!("{what}: can't listen on {address}: {error}"),
    }
}

/// What is wrong with the store's folder, if it has one.
pub(crate) fn folder(store: &StoreUrl) -> Option<String> {
    let StoreUrl::Embedded(folder) = store else { return None };
    let failed = |error: std::io::Error| format!("data folder {}: {}", folder.display(), reason(&error));
    if let Err(error) = std::fs::create_dir_all(folder) {
        return Some(failed(error));
    }
    writable(folder).err().map(failed)
}

fn writable(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".writable-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => "not allowed to write there".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => "it is a file, not a folder".to_owned(),
        _ => error.to_string(),
    }
}
