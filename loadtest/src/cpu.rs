//! CPU figures: of this process, of another one, of the whole machine; and what machine it is.
//!
//! Called by every command that reports cost. All figures are user + system time; work that the kernel does
//! for a loopback send (the receive path of the peer's socket) is charged to the sender, so processes that
//! are compared must each be measured whole.

use procfs::process::Process;
use procfs::{CpuInfo, Current, CurrentSI, KernelStats};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::limits::SATURATED_SHARE;

/// A figure that `/proc` didn't give.
#[derive(Debug, thiserror::Error)]
#[error("can't read {what}: {source}")]
pub struct CpuError {
    /// Which figure.
    what: String,
    source: procfs::ProcError,
}

impl CpuError {
    fn reading(what: impl Into<String>) -> impl FnOnce(procfs::ProcError) -> Self {
        let what = what.into();
        move |source| Self { what, source }
    }
}

/// CPU seconds of this process so far, all threads, to the nanosecond.
#[must_use]
pub fn own_process_cpu_s() -> f64 {
    clock_s(ClockId::ProcessCPUTime)
}

/// CPU seconds of the calling thread so far, to the nanosecond.
#[must_use]
pub fn own_thread_cpu_s() -> f64 {
    clock_s(ClockId::ThreadCPUTime)
}

fn clock_s(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU seconds of process `pid` so far, all threads, ended ones included. Two clock ticks (20 ms on most
/// kernels) coarse: measure windows of many seconds, or let the process report [`own_process_cpu_s`].
///
/// # Errors
/// When there is no such process.
pub fn process_cpu_s(pid: u32) -> Result<f64, CpuError> {
    let what = || format!("the CPU time of process {pid}");
    let id = i32::try_from(pid).map_err(|_| CpuError { what: what(), source: "no such pid".into() })?;
    let stat = Process::new(id).and_then(|process| process.stat()).map_err(CpuError::reading(what()))?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// CPU seconds of the whole machine so far, summed over its cores. 10 ms a core coarse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MachineCpu {
    /// Time that any process, the kernel or another virtual machine (see `steal_s`) used.
    pub busy_s: f64,
    /// The part of it that the hypervisor gave to others while this machine wanted to run.
    pub steal_s: f64,
}

/// Reads the machine's CPU time.
///
/// # Errors
/// When `/proc/stat` can't be read.
pub fn machine_cpu() -> Result<MachineCpu, CpuError> {
    let total = KernelStats::current().map_err(CpuError::reading("/proc/stat"))?.total;
    let per_s = procfs::ticks_per_second() as f64;
    let steal = total.steal.unwrap_or(0);
    let interrupts = total.irq.unwrap_or(0) + total.softirq.unwrap_or(0);
    let busy = total.user + total.nice + total.system + interrupts + steal;
    Ok(MachineCpu { busy_s: busy as f64 / per_s, steal_s: steal as f64 / per_s })
}

/// Cores that this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether `used_cores` of `cores` leave so little room that figures measure the queue for the CPU instead
/// of the server (more than 1.8 of 2).
#[must_use]
pub fn is_saturated(used_cores: f64, cores: usize) -> bool {
    used_cores > SATURATED_SHARE * cores as f64
}

/// The machine that a figure was measured on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The CPU's model as the kernel names it.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// Kernel name and release.
    pub kernel: String,
    /// Main memory, MiB.
    pub memory_mib: u64,
}

/// Describes this machine; what `/proc` doesn't tell is "unknown" or 0, a record is still a record.
#[must_use]
pub fn machine() -> Machine {
    let cpu = CpuInfo::current().ok().and_then(|info| info.model_name(0).map(str::to_owned));
    let memory_bytes = procfs::Meminfo::current().map_or(0, |memory| memory.mem_total);
    let name = rustix::system::uname();
    Machine {
        cpu: cpu.unwrap_or_else(|| "unknown".to_owned()),
        cores: cores(),
        kernel: format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
        memory_mib: memory_bytes / (1024 * 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Burns CPU until the calling thread has used `seconds` more; bounded by the CPU clock, not by the wall.
    fn burn(seconds: f64) {
        let end = own_thread_cpu_s() + seconds;
        let mut x = 1_u64;
        while own_thread_cpu_s() < end {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }

    #[test]
    fn the_clocks_and_proc_agree_on_what_was_burnt() {
        let pid = std::process::id();
        let (own, other) = (own_process_cpu_s(), process_cpu_s(pid).expect("own pid exists"));
        burn(0.2);
        let own_delta = own_process_cpu_s() - own;
        let other_delta = process_cpu_s(pid).expect("own pid exists") - other;
        assert!(own_delta >= 0.2, "{own_delta}");
        // Other tests of this process burn in the same time; both readings see them, two ticks apart.
        assert!(other_delta >= 0.2 - 0.02, "{other_delta}");
    }

    #[test]
    fn another_threads_work_counts_for_the_process_but_not_for_this_thread() {
        let (process, thread) = (own_process_cpu_s(), own_thread_cpu_s());
        std::thread::spawn(|| burn(0.1)).join().expect("burn doesn't panic");
        assert!(own_process_cpu_s() - process >= 0.1);
        assert!(own_thread_cpu_s() - thread < 0.05);
    }

    #[test]
    fn the_machine_was_busy_while_we_were() {
        let before = machine_cpu().expect("/proc/stat");
        burn(0.2);
        let after = machine_cpu().expect("/proc/stat");
        assert!(after.busy_s - before.busy_s >= 0.1, "{before:?} {after:?}");
        assert!(after.steal_s >= before.steal_s);
    }

    #[test]
    fn a_pid_that_nobody_has_is_an_error() {
        assert!(process_cpu_s(u32::MAX).is_err());
        // Above the kernel's largest possible pid (2^22).
        let error = process_cpu_s(1 << 30).expect_err("no such pid");
        assert!(error.to_string().contains("1073741824"), "{error}");
    }

    #[test]
    fn saturation_is_a_share_of_the_cores() {
        assert!(!is_saturated(1.79, 2));
        assert!(is_saturated(1.81, 2));
        assert!(!is_saturated(1.81, 4));
    }

    #[test]
    fn the_machine_describes_itself() {
        let machine = machine();
        assert!(machine.cores >= 1 && machine.memory_mib > 0);
        assert!(machine.kernel.starts_with("Linux "), "{machine:?}");
    }
}
