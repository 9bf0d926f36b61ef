//! A model of an app's `SO_REUSEPORT` group: the kernel's order, the program, and what the shell
//! and PID 1 do with them.

use service::{Program, Side};

#[derive(Debug, Default)]
pub struct Group {
    /// Sides whose sockets listen, in the order in which they joined.
    pub listening: Vec<Side>,
    /// How it was last arranged.
    pub program: Option<Program>,
    /// What the program in the kernel says: the index of who takes a user's connection.
    index: usize,
    /// What the shell was last asked for, done or refused; the next shell does not know it.
    asked: Option<(Side, Program)>,
    /// The memo in PID 1: who is in front where both listen.
    front: Side,
    /// Sides whose sockets were shut by their own tenant and do not listen since.
    pub shut: Vec<Side>,
    /// The wait that was asked for.
    pub awaited: Option<u64>,
}

impl Group {
    /// Where a user's connection goes now. The only one that listens takes it, whatever the program
    /// says.
    pub fn users(&self) -> Option<Side> {
        self.listening.get(self.index).or(self.listening.first()).copied()
    }

    /// The shell is asked for an order, which may be refused, and waits for no queue any more.
    pub fn ask(&mut self, first: Side, program: Program) {
        self.asked = Some((first, program));
        self.awaited = None;
    }

    /// The shell arranges what it is asked for before each spawn, if it knows it.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Another shell takes over.
    pub fn forget(&mut self) {
        self.asked = None;
        self.awaited = None;
    }

    /// The shell brings the group into the order that was last asked for. Nobody who listens and
    /// shall is interrupted: where the other side is in front, the program is turned round.
    pub fn arrange(&mut self, lives: impl Fn(Side) -> bool) {
        let Some((first, program)) = self.asked else { return };
        let other = first.other();
        let is_reversed = match [first, other].map(|side| self.listening.contains(&side)) {
            [true, true] => self.front == other,
            [first_listens, other_listens] => !first_listens && other_listens,
        };
        self.front = if is_reversed { other } else { first };
        self.program = Some(program);
        match program {
            Program::Gate | Program::Switch => {
                self.index = usize::from((program == Program::Switch) != is_reversed);
                self.join(first);
                if lives(other) {
                    self.join(other);
                }
            }
            Program::Alone => {
                self.index = 0;
                self.join(first);
                self.listening.retain(|side| *side == first);
            }
            Program::Nobody => self.listening.clear(),
        }
    }

    /// Somebody has a side's socket listen: it stands behind whoever does already. PID 1 does so
    /// with the sockets of whom it starts.
    pub fn join(&mut self, side: Side) {
        self.shut.retain(|known| *known != side);
        if !self.listening.contains(&side) {
            self.listening.push(side);
        }
    }

    /// A tenant shuts the socket that it was given.
    pub fn shut(&mut self, side: Side) {
        if self.listening.contains(&side) {
            self.listening.retain(|known| *known != side);
            self.shut.push(side);
        }
    }
}

/// Whoever comes back behind the other side has the program turned round, and a candidate that
/// ended keeps its users: its socket goes on listening for the next run.
#[test]
fn who_shut_its_socket_comes_back_behind() {
    let mut group = Group::default();
    group.ask(Side::Zero, Program::Gate);
    group.arrange(|_| false);
    group.join(Side::One);
    for (program, users) in [(Program::Switch, Side::One), (Program::Gate, Side::Zero)] {
        group.shut(Side::Zero);
        assert_eq!(group.users(), Some(Side::One), "who is left takes all");
        group.forget();
        group.ask(Side::Zero, program);
        group.arrange(|_| false);
        assert_eq!(group.listening, [Side::One, Side::Zero]);
        assert_eq!((group.users(), &group.shut[..]), (Some(users), &[][..]));
    }
}
