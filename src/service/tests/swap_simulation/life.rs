//! What happens to the world: actions, and how it comes to rest.

use super::pid1::event_key;
use super::*;

impl World {
    pub fn act(&mut self, action: Action) {
        match action {
            Action::Deliver { pick, again } => self.deliver(pick, again),
            Action::Exec { pick, works } => self.with(pick, |pid1, id| pid1.exec(id, works)),
            Action::Notify { pick } => self.with(pick, |pid1, id| pid1.notify(id, true, false)),
            Action::Exit { pick, status, emptied } => {
                self.with(pick, |pid1, id| pid1.exit(id, status, emptied));
            }
            Action::Empty { pick } => self.with(pick, Pid1::empty),
            Action::Shut { pick } => self.shut(pick),
            Action::QueueEmpty { app } => self.queue_empty(APPS[usize::from(app)]),
            Action::Advance { duration_ms } => {
                self.pid1.advance(duration_ms);
                self.step(Event::Tick);
            }
            Action::Command { verb, name } => {
                let key = NAMES[usize::from(name)].to_owned();
                let id = self.open(&key, "", None);
                self.step(Event::Command { id, verb, key });
            }
            Action::Swap { app, verb, age } => self.agent(APPS[usize::from(app)], verb, age),
            Action::Task { app, task, age, renew } => {
                self.task(APPS[usize::from(app)], Task::ALL[usize::from(task)], age, renew);
            }
            Action::Refuse { refuse } => self.refuse = refuse,
            Action::Die { after } => self.dies_after = Some(after),
            Action::Resync => {
                let effects = self.machine.resync(self.now(), self.pid1.snapshot());
                self.carry_out(effects);
            }
            Action::Power => self.step(Event::Power { kind: PowerKind::PowerOff, within_ms: None }),
        }
        self.check_leases();
    }

    fn open(&mut self, name: &str, swap: &str, verb: Option<SwapVerb>) -> u64 {
        self.command_last += 1;
        self.open.insert(self.command_last, (name.to_owned(), swap.to_owned(), verb));
        self.command_last
    }

    fn with(&mut self, pick: u8, act: impl Fn(&mut Pid1, &RunId)) {
        let ids: Vec<RunId> = self.pid1.runs.keys().cloned().collect();
        if let Some(id) = ids.get(usize::from(pick) % ids.len().max(1)) {
            act(&mut self.pid1, id);
        }
    }

    /// The tenant of some side, or what it left behind, shuts its socket.
    fn shut(&mut self, pick: u8) {
        let holds =
            |known: &&pid1::Known| known.run.state != RunState::Starting && !known.is_stopped();
        let keys: Vec<String> =
            self.pid1.runs.values().filter(holds).map(|known| known.run.key.clone()).collect();
        let Some(key) = keys.get(usize::from(pick) % keys.len().max(1)) else { return };
        if let Place::Side { app, side } = self.machine.place(key) {
            self.apps.get_mut(app).expect("an app").group.shut(side);
        }
    }

    fn queue_empty(&mut self, app: &str) {
        let known = self.apps.get_mut(app).expect("an app");
        if let Some(request) = known.group.awaited.take() {
            self.pid1.queue.push(Event::QueueEmpty { app: app.to_owned(), request });
        }
    }

    /// The agent says something of its newest swap, begins one, or says something late.
    fn agent(&mut self, app: &str, verb: u8, age: u8) {
        let known = self.apps.get_mut(app).expect("an app");
        known.swap += u32::from(verb == 0);
        let swap = swap_id(app, known.swap.saturating_sub(u32::from(age)));
        let verb = match verb {
            0 | 1 => SwapVerb::Prepare { closure: closure(&swap) },
            2 | 3 => SwapVerb::Admit,
            4 => SwapVerb::Retire,
            _ => SwapVerb::Abandon,
        };
        self.say(app, swap, verb);
    }

    fn say(&mut self, app: &str, swap: String, verb: SwapVerb) {
        if verb == SwapVerb::Admit {
            self.apps.get_mut(app).expect("an app").admitted.insert(swap.clone());
        }
        let view = self.view(app);
        if matches!(verb, SwapVerb::Prepare { .. }) && view.swap.is_none() {
            let known = self.apps.get_mut(app).expect("an app");
            known.before.insert(swap.clone(), view.serving.closure);
        }
        let id = self.open(app, &swap, Some(verb.clone()));
        self.step(Event::Swap { id, app: app.to_owned(), swap, verb });
    }

    fn task(&mut self, app: &str, task: Task, age: u8, renew: bool) {
        let number = self.apps[app].swap.saturating_sub(u32::from(age));
        let swap = swap_id(app, number);
        let id = self.open(app, &swap, None);
        let (app, lease_ms) = (app.to_owned(), 5000);
        self.step(if renew {
            Event::RenewTask { id, app, swap, task, lease_ms, until_ns: None }
        } else {
            let program = vec!["${closure}/bin/task".to_owned(), swap.clone()];
            let closure = closure(&swap);
            Event::RunTask {
                id,
                app,
                swap,
                task,
                program,
                closure,
                lease_ms,
                until_ns: None,
                fence: None,
            }
        });
    }

    /// Delivers an event that is the first of its unit, as one connection would.
    fn deliver(&mut self, pick: u8, again: bool) {
        let mut seen = BTreeSet::new();
        let queue = &self.pid1.queue;
        let firsts: Vec<usize> =
            (0..queue.len()).filter(|index| seen.insert(event_key(&queue[*index]))).collect();
        let Some(index) = firsts.get(usize::from(pick) % firsts.len().max(1)).copied() else {
            return;
        };
        let again = again && !matches!(queue[index], Event::Notified { .. });
        let event = if again { queue[index].clone() } else { self.pid1.queue.remove(index) };
        if let Event::Exited { key, incarnation, end, .. } = &event
            && end.cause == Cause::Own
            && let Some(swap) = self.task_swaps.get(&(key.clone(), *incarnation))
        {
            self.ended_tasks.insert((key.clone(), swap.clone()));
        }
        self.step(event);
    }

    /// Who runs a task has PID 1 know when to end it.
    fn check_leases(&self) {
        for (id, known) in &self.pid1.runs {
            let is_task = matches!(self.machine.place(&id.0), Place::Task { .. });
            if is_task && known.has_leader() && self.dies_after.is_none() {
                assert!(known.deadline_ns.is_some(), "{known:?} has no lease");
            }
        }
    }

    /// From now on all behave, the agent takes back what it began, and every event arrives.
    pub fn rest(&mut self) {
        self.dies_after = None;
        self.refuse = false;
        for _ in 0..600 {
            for id in self.pid1.runs.keys().cloned().collect::<Vec<_>>() {
                self.behave(&id);
            }
            for app in APPS {
                self.queue_empty(app);
                self.finish_swap(app);
            }
            while !self.pid1.queue.is_empty() {
                self.deliver(0, false);
            }
            self.check_shadow();
            let open = self.machine.apps().iter().any(|app| app.swap.is_some());
            let busy = self.pid1.runs.keys().any(|id| !self.is_at_rest(id));
            let over = self.machine.power().is_some() && self.pid1.shutdown.is_some();
            match self.machine.deadline() {
                _ if over && !busy => return,
                Some(deadline) => {
                    let ahead_ns = deadline.0.saturating_sub(self.pid1.now_ns);
                    self.pid1.advance(ahead_ns / 1_000_000 + 1);
                    self.step(Event::Tick);
                }
                None if busy || (open && !over) => {}
                None => return,
            }
        }
        panic!("no rest: {:#?} {:#?}", self.machine.views(), self.machine.apps());
    }

    fn finish_swap(&mut self, app: &str) {
        let view = self.view(app);
        let Some(swap) = view.swap.filter(|_| self.machine.power().is_none()) else { return };
        let mine = |verb: &SwapVerb| {
            self.open.values().any(|(name, id, open)| {
                name == app && *id == swap.id && open.as_ref() == Some(verb)
            })
        };
        let verb = match swap.phase {
            SwapPhase::Retiring => SwapVerb::Retire,
            _ => SwapVerb::Abandon,
        };
        if !mine(&verb) {
            self.say(app, swap.id, verb);
        }
    }

    fn is_at_rest(&self, id: &RunId) -> bool {
        let known = &self.pid1.runs[id];
        let is_task = matches!(self.machine.place(&id.0), Place::Task { .. });
        known.run.state == RunState::Running && known.run.stop_deadline_ns.is_none() && !is_task
    }

    fn behave(&mut self, id: &RunId) {
        self.pid1.exec(id, true);
        let Some(known) = self.pid1.runs.get(id) else { return };
        let is_task = matches!(self.machine.place(&id.0), Place::Task { .. });
        if known.run.stop_deadline_ns.is_some() || known.run.state != RunState::Running {
            self.pid1.exit(id, 15, true);
            self.pid1.empty(id);
        } else if is_task {
            self.pid1.exit(id, 0, true);
        } else if id.0.starts_with("job") {
            self.pid1.notify(id, true, false);
        }
    }

    pub fn check_rested(&self) {
        assert!(self.open.is_empty(), "commands without an answer: {:?}", self.open);
        for known in self.pid1.runs.values() {
            assert!(known.has_leader(), "a tombstone stays: {known:?}");
        }
        if let Some(power) = self.machine.power() {
            assert!(self.pid1.shutdown.is_some(), "the {power:?} never comes");
            return;
        }
        for view in self.machine.apps() {
            assert_eq!((view.swap, view.candidate), (None, None));
            let serving = view.serving.side.key(&view.name);
            let of_app = |key: &&String| key.starts_with(&format!("{}.", view.name));
            let runs: Vec<&String> =
                self.pid1.runs.keys().map(|(key, _)| key).filter(of_app).collect();
            let state = view.serving.view.state;
            if state == State::Running {
                assert_eq!(runs, [&serving], "one side, and the right one");
                let id = (serving.clone(), view.serving.view.incarnation);
                let program = format!("{}/bin/serve", view.serving.closure.unwrap_or_default());
                assert_eq!(self.programs[&id], program, "it runs its closure");
            } else {
                assert_eq!(runs, Vec::<&String>::new(), "{state}");
            }
            let group = &self.apps[&view.name].group;
            let fine = |side: &Side| *side == view.serving.side;
            assert!(group.listening.iter().all(fine), "{group:?}");
            self.check_rested_state(&view.name, state, view.serving.view.desired_up);
        }
    }

    /// Who is not up at rest has a reason that the model can check.
    fn check_rested_state(&self, name: &str, state: State, desired_up: bool) {
        match state {
            State::Running => assert!(desired_up),
            State::Stopped if !desired_up => {}
            State::Stopped | State::Failed => assert_eq!(name, "job", "only it may give up"),
            State::Blocked => assert!(name == "web" && !self.is_wanted("db")),
            State::Waiting => assert_eq!(name, "new", "only it has nothing to run"),
            other => panic!("{name} is {other}"),
        }
    }
}
