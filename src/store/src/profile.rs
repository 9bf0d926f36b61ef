//! Profiles: numbered links to the closures of one app.
