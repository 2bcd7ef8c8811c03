//! Tries what a configuration names before anything is started, so that a taken port, an unwritable folder and
//! whatever else is wrong are told together. Only a look: who really binds may still be refused.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use chunk_sync_io::store::StoreUrl;

use crate::limits::FREE_BYTES_MIN;

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
    match writable(folder).and_then(|()| Ok(rustix::fs::statvfs(folder)?)) {
        Err(error) => Some(failed(error)),
        Ok(system) => too_little(folder, system.f_bavail.saturating_mul(system.f_frsize)),
    }
}

fn too_little(folder: &Path, free_bytes: u64) -> Option<String> {
    let (free_kib, needed_kib) = (free_bytes / 1024, FREE_BYTES_MIN / 1024);
    (free_bytes < FREE_BYTES_MIN).then(|| {
        format!(
            "data folder {}: {free_kib} KiB are free there, at least {needed_kib} are needed: make room, or choose \
             another --data",
            folder.display()
        )
    })
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
        ErrorKind::StorageFull => "no space is left on its file system".to_owned(),
        ErrorKind::NotFound => "it can't be made there".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_room_is_told_with_its_name() {
        let folder = Path::new("./world");
        assert_eq!(too_little(folder, FREE_BYTES_MIN), None);
        let said = too_little(folder, FREE_BYTES_MIN - 1024).expect("too little");
        assert!(said.starts_with("data folder ./world: 16383 KiB are free there"), "{said}");
        let here = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(super::folder(&StoreUrl::Embedded(here.path().join("new"))), None);
    }
}
