//! The errors of the agent's interface, as they travel and as a person reads them.

/// Why a call was not done.
///
/// On the wire each is `io.rollinit.Agent.NAME` with the fields as parameters. A swap that was
/// begun does not end in an error but in an outcome.
#[derive(Debug, Clone, PartialEq, Eq, zlink::ReplyError, zlink::introspect::ReplyError)]
#[zlink(interface = "io.rollinit.Agent")]
pub enum Error {
    /// No app of that name is defined on this host.
    NoSuchApp {
        /// The name that was asked for.
        name: String,
        /// The defined name that looks most like it, if one is close.
        nearest: Option<String>,
    },
    /// No swap of that id is known any more.
    NoSuchSwap {
        /// The id that was asked for.
        swap: String,
    },
    /// The app has no generation of that number.
    NoSuchGeneration {
        /// The app.
        app: String,
        /// The number; none if the app has no previous one to go back to.
        generation: Option<u64>,
    },
    /// The caller's role does not reach that far.
    NotPermitted {
        /// The method that was called.
        method: String,
        /// The role it needs: read, operate or admin.
        needs: String,
        /// The role the caller has: none, read, operate or admin.
        has: String,
        /// Where the caller's role comes from, for a person.
        reason: String,
    },
    /// The agent understood and will not do it; nothing was changed.
    Refused {
        /// The object: an app's name, or what else was asked for.
        name: String,
        /// Why, and what to do instead; a sentence that names the object.
        reason: String,
    },
    /// It was tried and did not succeed.
    Failed {
        /// The object: an app's name, or what else was asked for.
        name: String,
        /// What happened; a sentence that names the object.
        reason: String,
    },
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoSuchApp { name, nearest: Some(nearest) } => {
                write!(out, "no app is called \"{name}\"; did you mean \"{nearest}\"?")
            }
            Error::NoSuchApp { name, nearest: None } => {
                write!(out, "no app is called \"{name}\"; `rollinit status` lists them")
            }
            Error::NoSuchSwap { swap } => {
                write!(out, "no swap {swap} is known; `rollinit swaps` lists those that are")
            }
            Error::NoSuchGeneration { app, generation: Some(number) } => {
                write!(out, "{app} has no generation {number}; `rollinit generations {app}`")
            }
            Error::NoSuchGeneration { app, generation: None } => {
                write!(out, "{app} has no previous generation to go back to")
            }
            Error::NotPermitted { method, needs, has, reason } => {
                write!(out, "{method} needs the role {needs}, yours is {has}: {reason}")
            }
            Error::Refused { reason, .. } | Error::Failed { reason, .. } => out.write_str(reason),
        }
    }
}

impl Error {
    /// A [`Error::NoSuchApp`] that names the closest of `defined`, if one is close enough to be a
    /// slip of the fingers.
    pub fn no_such_app<'a>(name: &str, defined: impl IntoIterator<Item = &'a str>) -> Error {
        let (name, nearest) = crate::error::nearest(name, defined);
        Error::NoSuchApp { name, nearest }
    }
}
