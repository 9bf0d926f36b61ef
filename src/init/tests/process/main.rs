//! `rollinit-init` as a whole, without a VM: contained, as a subreaper and as PID 1 of a pid
//! namespace, with an owner that each test plays itself.
//!
//! PID 1 starts its supervisor with nothing but an environment, so this program is that supervisor
//! too: started with `ROLLINIT_PORT_FD` it hands the port's descriptor to the test through a socket
//! in the run directory, and lives until it is told to die. What a test then says and hears is the
//! real port of the real binary.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod deaths;
mod guest;
mod owner;
mod proxy;
mod verbs;

use libtest_mimic::{Arguments, Trial};

fn main() {
    if proxy::is_wanted() {
        return proxy::run();
    }
    let tests: [(&'static str, fn()); 20] = [
        ("owner_death_changes_nothing", deaths::owner_death_changes_nothing),
        ("owner_death_in_a_pid_namespace", deaths::owner_death_in_a_pid_namespace),
        ("hundred_thousand_exits", deaths::hundred_thousand_exits),
        ("tombstone_outlives_owner", deaths::tombstone_outlives_owner),
        ("deadline_fires_without_owner", deaths::deadline_fires_without_owner),
        ("own_deadline_fires_without_owner", deaths::own_deadline_fires_without_owner),
        ("fork_bomb_is_killed", deaths::fork_bomb_is_killed),
        ("leftovers_empty_later", deaths::leftovers_empty_later),
        ("start_outlives_asker", deaths::start_outlives_asker),
        ("closed_port_restarts_owner", deaths::closed_port_restarts_owner),
        ("sent_faults_are_ignored", deaths::sent_faults_are_ignored),
        ("seen_incarnation_is_refused", verbs::seen_incarnation_is_refused),
        ("failed_start_names_step", verbs::failed_start_names_step),
        ("malformed_frame_closes_the_port", verbs::malformed_frame_closes_the_port),
        ("unknown_verb_is_answered", verbs::unknown_verb_is_answered),
        ("long_body_comes_in_a_memfd", verbs::long_body_comes_in_a_memfd),
        ("kept_listener_listens_again", verbs::kept_listener_listens_again),
        ("table_full_is_said", verbs::table_full_is_said),
        ("children_inherit_nothing", verbs::children_inherit_nothing),
        ("power_request_and_end", verbs::power_request_and_end),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}
