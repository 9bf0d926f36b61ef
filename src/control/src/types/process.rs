//! Reply of `ListProcesses`.

use serde::{Deserialize, Serialize};
use zlink::introspect::{CustomType, Type};

/// Reply of `ListProcesses`: what each service costs now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct ProcessList {
    /// When the reply was made; CLOCK_MONOTONIC nanoseconds.
    pub now_ns: u64,
    /// The services that have a run, by name.
    pub services: Vec<ServiceProcesses>,
}

/// The processes of one service. A figure is absent where the kernel does not keep it: without
/// the memory, cpu or pids controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct ServiceProcesses {
    /// The service.
    pub name: String,
    /// The run.
    pub incarnation: u64,
    /// The process rollinit started.
    pub pid: Option<u32>,
    /// Its cgroup, relative to the cgroup2 mount.
    pub cgroup: String,
    /// Processes in the cgroup (cgroup.procs).
    pub processes: Option<u64>,
    /// Memory in use, in bytes (memory.current).
    pub memory_bytes: Option<u64>,
    /// Processor time used, in nanoseconds (usage_usec of cpu.stat).
    pub cpu_ns: Option<u64>,
}
