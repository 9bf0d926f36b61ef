//! The real PID 1, supervisor and command line, without a VM. `cargo xtask test process [NAME]`.
//!
//! Four at once on two processors, but for those that load the whole machine. Needs root, a cgroup2
//! mount and util-linux. `ROLLINIT_SEED` replays the random moments of a run, which prints its seed.

mod process {
    pub mod agent_control;
    pub mod alb;
    pub mod balancers;
    pub mod control;
    pub mod credentials;
    pub mod deaths;
    pub mod ends;
    pub mod fleet;
    pub mod fleet_cloud;
    pub mod fleet_hands;
    pub mod guard;
    pub mod notices;
    pub mod peers;
    pub mod ports;
    pub mod random;
    pub mod releases;
    pub mod reloads;
    pub mod services;
    pub mod sides;
    pub mod swaps;
    pub mod user_data;
}

use libtest_mimic::{Arguments, Trial};
use process::{
    agent_control, alb, balancers, control, credentials, deaths, ends, fleet, fleet_cloud,
    fleet_hands, guard, notices, peers, ports, releases, reloads, services, sides, swaps,
    user_data,
};
use qemu_tests::turns::{self, Times};
use std::process::ExitCode;

/// A test's name and what it does.
type Test = (&'static str, fn() -> anyhow::Result<()>);

/// The longest first, so that it is not left to run by itself.
const TESTS: &[Test] = &[
    ("fleet-struck-in-the-middle", fleet::struck_in_the_middle),
    ("born-clean", services::born_clean),
    ("notify-and-order", services::notify_and_order),
    ("notify-never", services::notify_never),
    ("broken-definition", services::broken_definition),
    ("stop-timeout", services::stop_timeout),
    ("power-off-in-namespace", ends::power_off_in_namespace),
    ("reboot-as-subreaper", ends::reboot_as_subreaper),
    ("exits-accounted", ends::exits_accounted),
    ("orphans-go-with-their-service", ends::orphans_go_with_their_service),
    ("fork-bomb", ends::fork_bomb),
    ("owner-deaths", deaths::owner_deaths),
    ("owner-deaths-in-namespace", deaths::owner_deaths_in_namespace),
    ("orders-in-flight", deaths::orders_in_flight),
    ("owner-death-under-load", deaths::owner_death_under_load),
    ("kept-socket", deaths::kept_socket),
    ("output-outlives-owner", deaths::output_outlives_owner),
    ("sides-overlap-verbs", sides::overlap_verbs),
    ("sides-restart-verbs", sides::restart_verbs),
    ("sides-supervisor-killed", sides::supervisor_killed),
    ("sides-listener-shut-down", sides::listener_shut_down),
    ("sides-tasks", sides::tasks),
    ("swap-overlap-commits", swaps::overlap_commits),
    ("swap-drain-deadline", swaps::drain_deadline),
    ("swap-restart-commits", swaps::restart_commits),
    ("swap-bad-releases", swaps::bad_releases_are_taken_back),
    ("swap-under-load", swaps::no_request_fails),
    ("swap-first-closure", swaps::the_first_closure_of_an_app),
    ("swap-agent-killed", swaps::agent_killed_at_each_state),
    ("swap-agent-killed-restart", swaps::agent_killed_at_each_state_of_a_restart),
    ("swap-killed-on-the-way-back", swaps::killed_at_each_state_of_a_way_back),
    ("swap-supervisor-killed", swaps::supervisor_killed_at_each_state),
    ("swap-second-waits", swaps::a_second_swap_waits_or_supersedes),
    ("swap-dry-run-and-disconnect", swaps::dry_run_and_disconnect),
    ("swap-test-and-confirm", swaps::tests_are_undone_unless_confirmed),
    ("swap-migrations-and-hooks", swaps::migrations_and_hooks),
    ("swap-watch-window", swaps::the_watch_window_takes_back),
    ("swap-faults-of-the-host", swaps::faults_of_the_host_bar_nothing),
    ("swap-torn-record", swaps::a_torn_record_is_set_aside),
    ("swap-journal-unwritable", swaps::a_journal_that_cannot_be_written_refuses),
    ("ports-no-request-fails", ports::no_request_fails),
    ("ports-killed-at-each-state", ports::killed_at_each_state_with_two_ports),
    ("ports-way-back", ports::a_way_back_and_a_balancer_that_forgets),
    ("ports-app-comes-back", ports::an_app_that_comes_back),
    ("ports-no-balancer", ports::without_a_balancer),
    ("balancer-no-request-fails", balancers::no_request_fails),
    ("balancer-spares-the-host", balancers::the_host_is_spared),
    ("balancer-host-goes-down", balancers::the_host_goes_down),
    ("balancer-holds-up-a-rollout", balancers::one_holds_up_a_rollout),
    ("alb-around-swaps-and-spot", alb::around_swaps_and_spot),
    ("alb-two-ports-and-scale-in", alb::two_ports_and_scale_in),
    ("peers-share-and-tell", peers::share_and_tell),
    ("swap-interrupted", agent_control::interrupted),
    ("agent-roles", agent_control::roles),
    ("agent-foreign-client", agent_control::foreign_client),
    ("fleet-rolls-and-stops", fleet::rolls_and_stops),
    ("fleet-by-hand", fleet_hands::by_hand),
    ("fleet-on-dynamodb-and-s3", fleet_cloud::dynamodb_and_s3),
    ("credentials-from-ssm", credentials::from_ssm),
    ("guards-metadata", guard::guards_metadata),
    ("notices-scale-in", notices::scale_in),
    ("notices-spot-stop", notices::spot_stop),
    ("notices-told", notices::told),
    ("release-signed-from-the-web", releases::signed_from_the_web),
    ("release-group-by-its-ledger", releases::a_group_by_its_ledger),
    ("release-from-s3-by-a-tag", releases::from_s3_by_a_tag),
    ("reload-touches-only-what-changed", reloads::touches_only_what_changed),
    ("reload-sockets-follow", reloads::sockets_follow),
    ("reload-supervisor-killed", reloads::supervisor_killed),
    ("user-data-zero-touch", user_data::zero_touch),
    ("user-data-release-url", user_data::release_url),
    ("user-data-signed-release", user_data::signed_release),
    ("user-data-one-program", user_data::one_program),
    ("user-data-lifetime", user_data::lifetime),
    ("roles", control::roles),
    ("foreign-client", control::foreign_client),
];

/// They load the whole machine, and some of them count every request.
const ALONE: [&str; 5] = [
    "fork-bomb",
    "owner-death-under-load",
    "swap-under-load",
    "ports-no-request-fails",
    "balancer-no-request-fails",
];

/// They mostly wait for deadlines, which are what most of them are about: measured, a quarter.
const BUSY_TENTHS: usize = 5;

static TIMES: Times = Times::new();

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(turns::at_once(BUSY_TENTHS));
    let trial = |(name, test): Test| {
        let is_alone = ALONE.contains(&name);
        let run = move || turns::take(is_alone, || TIMES.of(name, test));
        Trial::test(name, move || run().map_err(|error| format!("{error:#}").into()))
    };
    // Those last: whoever needs the machine alone waits for all others, and keeps them waiting.
    let (alone, others): (Vec<Test>, Vec<Test>) =
        TESTS.iter().partition(|(name, _)| ALONE.contains(name));
    let trials = others.into_iter().chain(alone).map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    println!("{TIMES}");
    conclusion.exit_code()
}
