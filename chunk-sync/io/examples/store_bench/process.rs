//! CPU and written bytes of this process and of a redis-server of its own.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

/// A moment of this process's CPU clock.
pub(crate) struct OwnCpu {
    micros: u64,
}

impl OwnCpu {
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1000;
        Self { micros: u64::try_from(micros).unwrap_or(0) }
    }

    /// CPU that was spent since then, all threads together.
    pub(crate) fn micros_since(&self) -> u64 {
        Self::now().micros.saturating_sub(self.micros)
    }
}

/// Bytes that this process has handed to the system to write, as `/proc/self/io` has it.
pub(crate) fn own_written_bytes() -> Result<u64, Box<dyn Error>> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(written.ok_or("no wchar")?.parse()?)
}

/// A redis-server in a folder of its own; ends with this value.
pub(crate) struct RedisProcess {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl RedisProcess {
    pub(crate) fn start(settings: &[&str]) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(settings)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("eady to accept"));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let server = Self { child, port, _folder: folder };
        if ready { Ok(server) } else { Err("redis-server ended before it was ready".into()) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, disk: bool) -> String {
        let query = if disk { "" } else { "?durability=accepted" };
        format!("redis://127.0.0.1:{}/0{query}", self.port)
    }

    /// A number in what the server says of itself.
    pub(crate) async fn info(&self, field: &str) -> Result<u64, Box<dyn Error>> {
        let client = redis::Client::open(self.url(true))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.ok_or("no such field")?.parse()?)
    }

    /// User and system time of the server in µs, as `/proc/PID/stat` has it (in ticks of 10 ms).
    pub(crate) fn cpu_micros(&self) -> Result<u64, Box<dyn Error>> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold blanks; 14 and 15 are counted from before it.
        let (_, rest) = stat.rsplit_once(") ").ok_or("not a stat line")?;
        let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(ticks * 10_000)
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
