//! Task `switch`: a system that runs becomes another one, as far as that goes without a boot.
//!
//! `/etc`, accounts, settings of the kernel, files and directories, the host's name: each as its
//! own task would, in an order in which the later find what the earlier made. At the end
//! `/run/current-system` leads to the new system, whatever went wrong on the way: `/etc` does.
//! Services are the supervisor's, see `rollinit reload`.

use crate::context::Context;
use crate::report::{Problem, Report};
use crate::{etc, files, host_name, sysctl, tmpfiles, users};

/// The link to the system that runs.
const CURRENT: &str = "/run/current-system";

/// Makes the context's system the one that runs.
pub fn run(context: &Context, report: &mut Report) {
    if !context.system("etc").is_symlink() {
        return report.problem(&Problem::new(
            context.toplevel.display(),
            "is not a system: it has no etc",
            "name a toplevel by --toplevel; nothing was changed",
        ));
    }
    let steps: [fn(&Context, &mut Report); 5] =
        [etc::run, users::run, sysctl::run, tmpfiles::run, host_name::run];
    for step in steps {
        step(context, report);
    }
    match files::point(&context.path(CURRENT), &context.toplevel) {
        Ok(()) => report.say(format_args!("{} runs", context.toplevel.display())),
        Err(error) => report.problem(&Problem::new(
            CURRENT,
            format_args!("cannot lead to {}: {error}", context.toplevel.display()),
            "is /run writable?",
        )),
    }
}
