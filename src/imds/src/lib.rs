//! EC2's metadata service for guests that are not on EC2: tests, and `rollinit vm`.
//!
//! Is: IMDSv2 (tokens, 401 without one, folders) over one file of answers that may change while it
//! serves, on a socket or on standard input and output. May touch: that file, its socket. Never:
//! runs on a host of EC2.
