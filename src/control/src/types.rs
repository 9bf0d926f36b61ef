//! What travels: the replies of `io.rollinit.Supervisor`.
//!
//! Times are `CLOCK_MONOTONIC` nanoseconds since boot. Every reply whose times a caller may want
//! to set against the present carries `now_ns`, so that a client needs no clock of its own.
//! Fields are only ever added; a client ignores those it does not know.

mod app;
mod log;
mod process;
mod status;

pub use app::{
    App, AppHealth, AppList, AppPolicy, AppRun, AppSwap, AppView, HealthKind, RetireWhen, Strategy,
    SwapPhase, Task, TaskEnd,
};
pub use log::{Event, EventBatch, LogBatch, LogRecord};
pub use process::{ProcessList, ServiceProcesses};
pub use status::{
    Changed, End, EndCause, Host, HostState, Init, Listen, Problem, ServiceState, ServiceStatus,
    ShutdownKind, Status, Supervisor,
};
