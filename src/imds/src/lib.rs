//! EC2's metadata service for guests that are not on EC2: tests, and `rollinit vm`.
//!
//! Is: IMDSv2 (tokens, 401 without one, folders) over one file of answers that may change while it
//! serves, on a socket or on standard input and output. May touch: that file, its socket. Never:
//! runs on a host of EC2.
//!
//! The file is a JSON object: path below `/latest/` to text (or to a document). It is read at each
//! request, so whoever plays EC2 plants `meta-data/spot/instance-action` while the guest runs, by
//! [`State::save`]. `${now+SECONDS}` in a text is that time. Beside documents it may hold:
//!
//! | key | value |
//! |---|---|
//! | `!away` | `true`: connections are closed without an answer |
//! | `!status` | a number: every answer but a token's has it |
//!
//! A file `NAME.ADDRESS.json` beside `NAME.json` holds the answers for that client alone. Tokens
//! are kept in `NAME.tokens`, which all processes share: remove it, and all are forgotten.

mod instance;
mod request;
mod serve;
mod state;
mod time;
mod tokens;

pub use instance::{Instance, credentials};
pub use request::{HEAD_BYTES_MAX, Request};
pub use serve::{Server, answer, listen, stdio};
pub use state::{State, StateError};
pub use time::{http_date, rfc3339};

/// The longest that a token lasts, in seconds.
pub const TOKEN_TTL_S_MAX: u64 = 6 * 60 * 60;
