//! From "somebody asks for the end" to the end itself: the owner's chance, then the teardown.

use crate::power::Asked;
use crate::teardown::{self, Effect, Event, Teardown};
use crate::turn::{Init, PATIENCE_NS, Pending};
use port::event::PowerSource;
use port::request::ShutdownKind;
use sys::clock::{NS_PER_S, monotonic_ns};
use sys::kmsg::Priority;
use sys::reap::{self, Dead};
use sys::reboot::Ending;
use sys::who;

/// Exit status of a contained PID 1 that was asked to reboot: whoever started it does.
const EXIT_REBOOT: u8 = 100;

impl Init {
    /// Somebody asks for the machine to end. The owner is told and given time; one press seen by
    /// two ways counts once.
    pub(crate) fn end_asked(&mut self, asked: Asked) {
        if self.teardown.is_some() {
            return;
        }
        let word = teardown::word(asked.kind);
        if asked.at_once {
            self.say(Priority::Notice, format_args!("{word} at once, by {:?}", asked.source));
            return self.begin_end(asked.kind);
        }
        if let Some(pending) = &self.power {
            let before = teardown::word(pending.asked.kind);
            return self.say(
                Priority::Notice,
                format_args!("{word} by {:?}: {before} is under way already", asked.source),
            );
        }
        let seconds = PATIENCE_NS / NS_PER_S;
        self.say(
            Priority::Notice,
            format_args!(
                "{word} by {:?}: the supervisor has {seconds} s to stop services",
                asked.source
            ),
        );
        self.power = Some(Pending { asked, deadline_ns: monotonic_ns() + PATIENCE_NS });
        self.tell_power();
        self.end_without_owner();
    }

    /// A power request does not wait for a supervisor that does not come up.
    pub(crate) fn end_without_owner(&mut self) {
        if let Some(pending) = self.power.filter(|_| self.owner.is_hopeless()) {
            let text = "there is no supervisor to stop services; ending everything";
            self.say(Priority::Error, format_args!("{text}"));
            self.begin_end(pending.asked.kind);
        }
    }

    /// Tells the owner of a request under way; after each attach again.
    pub(crate) fn tell_power(&mut self) {
        if let (Some(pending), Some(connection)) = (&self.power, &mut self.connection) {
            let (kind, source): (ShutdownKind, PowerSource) =
                (pending.asked.kind, pending.asked.source);
            connection.tell(port::Event::Power { kind, source });
        }
    }

    /// The point of no return: nothing is spawned any more, no owner started again.
    pub(crate) fn begin_end(&mut self, kind: ShutdownKind) {
        if self.teardown.is_some() {
            return;
        }
        self.owner.retire();
        self.power = None;
        let (teardown, effects) = Teardown::begin(kind, self.options.mode, monotonic_ns());
        self.teardown = Some(teardown);
        self.do_for_the_end(effects);
        // Who is dead already is noticed, even if nobody dies from now on.
        self.dead_wait = true;
    }

    /// Deadlines of the end.
    pub(crate) fn pass_time_of_the_end(&mut self, now_ns: u64) {
        let patience = self.power.as_ref().filter(|pending| pending.deadline_ns <= now_ns);
        if let Some(kind) = patience.map(|pending| pending.asked.kind) {
            let seconds = PATIENCE_NS / NS_PER_S;
            self.say(
                Priority::Error,
                format_args!("the supervisor did not finish in {seconds} s; ending everything"),
            );
            self.begin_end(kind);
        }
        if self.teardown.as_ref().is_some_and(|teardown| teardown.deadline_ns() <= now_ns) {
            self.step_the_end(Event::Tick);
        }
    }

    /// A child ended while everything does.
    pub(crate) fn ended_in_the_end(&mut self, dead: &Dead) {
        self.step_the_end(Event::Ended { pid: dead.pid, status: dead.status });
    }

    /// Nobody dead is left to reap; perhaps nobody at all.
    pub(crate) fn nobody_left(&mut self) {
        if self.teardown.is_some() && !reap::any_children() {
            self.step_the_end(Event::NobodyLeft);
        }
    }

    fn step_the_end(&mut self, event: Event) {
        if let Some(teardown) = &mut self.teardown {
            let effects = teardown.step(monotonic_ns(), event);
            self.do_for_the_end(effects);
        }
    }

    fn do_for_the_end(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Say(priority, text) => self.say(priority, format_args!("{text}")),
                Effect::SignalAll(signal) => {
                    let root = self.root.as_ref();
                    if let Err(error) = teardown::signal_all(signal, self.options.mode, root) {
                        let text = format_args!("signal {signal} to everything: {error}");
                        self.say(Priority::Error, text);
                    }
                }
                Effect::NameSurvivors => {
                    let names = who::survivors().join(", ");
                    self.say(Priority::Error, format_args!("left behind after SIGKILL: {names}"));
                }
                Effect::StartHelper => {
                    let event = teardown::start_helper();
                    self.step_the_end(event);
                }
                Effect::Finish(kind) => self.finish(kind),
            }
        }
    }

    /// The last call.
    fn finish(&mut self, kind: ShutdownKind) {
        let orphans = self.orphans;
        self.say(Priority::Information, format_args!("{orphans} orphans were reaped"));
        if !self.is_kernel() {
            self.exit = Some(if kind == ShutdownKind::Reboot { EXIT_REBOOT } else { 0 });
            return;
        }
        let ending = match kind {
            ShutdownKind::PowerOff => Ending::PowerOff,
            ShutdownKind::Reboot => Ending::Restart,
            ShutdownKind::Halt => Ending::Halt,
        };
        if kind == ShutdownKind::Halt {
            self.guard.stop();
        }
        let error = sys::reboot::end(ending);
        self.say(Priority::Error, format_args!("{}: {error}", teardown::word(kind)));
        // A machine that cannot be powered off is at least not left half alive.
        if kind == ShutdownKind::PowerOff {
            let _ = sys::reboot::end(Ending::Halt);
        }
    }
}
