//! What travels: the replies of `io.rollinit.Supervisor`.
//!
//! Times are `CLOCK_MONOTONIC` nanoseconds since boot. Every reply whose times a caller may want
//! to set against the present carries `now_ns`, so that a client needs no clock of its own.
//! Fields are only ever added; a client ignores those it does not know.

mod app;
mod credentials;
mod log;
mod process;
mod reload;
mod status;
mod timeline;

pub use app::{
    App, AppHealth, AppList, AppPolicy, AppRun, AppSwap, AppView, HealthKind, RetireWhen, Strategy,
    SwapPhase, Task, TaskEnd,
};
pub use credentials::{
    Credential, CredentialList, CredentialProblem, CredentialSource, CredentialsPut, NewCredential,
};
pub use log::{Event, EventBatch, LogBatch, LogRecord};
pub use process::{ProcessList, ServiceProcesses};
pub use reload::{Change, Reload};
pub use status::{
    Changed, End, EndCause, Host, HostState, Init, Listen, Problem, ServiceState, ServiceStatus,
    ShutdownKind, Status, Supervisor,
};
pub use timeline::{FirstWay, Timeline, WayState};
