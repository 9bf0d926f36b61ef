//! User-data: the document that tells a host from one image what it is.
//!
//! Is: its schema, its reader with file, line and column, and what looks like a secret. Pure: the
//! agent and `rollinit user-data check` read with the same code. Never: a clock, a socket, a file.
