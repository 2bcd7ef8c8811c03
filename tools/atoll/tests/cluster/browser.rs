//! A headless Chromium with a profile of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Time of the page's own that passes before it is looked at, in milliseconds: a few of its updates.
const PAGE_MS: &str = "4000";

/// Runs the browser on `url` with these options and returns what it printed.
fn run(url: &str, options: &[&str]) -> String {
    let runs = |name: &&&str| {
        let version =
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    let name = NAMES.iter().find(runs).expect("Chromium is installed (apt-get install chromium)");
    let profile: TempDir = tempfile::tempdir().unwrap();
    let output = Command::new(name)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--virtual-time-budget={PAGE_MS}"))
        .args(options)
        .arg(url)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {errors}");
    let complaints: Vec<&str> = errors.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "the page complains: {complaints:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The document at `url` after its scripts ran for a while.
pub(crate) fn dom(url: &str) -> String {
    run(url, &["--dump-dom", "--enable-logging=stderr"])
}

/// A picture of the page at `url`, `size` as `WIDTH,HEIGHT`.
pub(crate) fn picture(url: &str, size: &str, more: &[&str], file: &Path) {
    let (size, file) = (format!("--window-size={size}"), format!("--screenshot={}", file.display()));
    run(url, &[&[size.as_str(), file.as_str()][..], more].concat());
}
