//! A model of an app's `SO_REUSEPORT` group: the kernel's order, the program, and what the shell
//! does with them.

use service::{Program, Side};

#[derive(Debug, Default)]
pub struct Group {
    /// Sides whose sockets listen, in the order in which they joined.
    pub listening: Vec<Side>,
    pub program: Option<Program>,
    first: Option<Side>,
    /// Sides whose sockets were shut by their own tenant and do not listen since.
    pub shut: Vec<Side>,
    /// The wait that was asked for.
    pub awaited: Option<u64>,
}

impl Group {
    /// Where a user's connection goes now.
    pub fn users(&self) -> Option<Side> {
        match self.program {
            Some(Program::Switch) => self.listening.get(1).or(self.listening.first()).copied(),
            _ => self.listening.first().copied(),
        }
    }

    /// The shell brings the group into the order that is asked for.
    pub fn arrange(&mut self, first: Side, program: Program, runs: impl Fn(Side) -> bool) {
        let other = first.other();
        let other_listens = self.listening.contains(&other);
        match program {
            Program::Gate | Program::Switch => {
                if self.listening.first() != Some(&first) {
                    self.listening = vec![first];
                    if other_listens && runs(other) {
                        self.listening.push(other);
                    }
                }
                self.shut.retain(|side| *side != first);
            }
            Program::Alone => {
                self.listening = vec![first];
                self.shut.clear();
            }
            Program::Nobody => self.listening.clear(),
        }
        self.program = Some(program);
        self.first = Some(first);
        self.awaited = None;
    }

    /// PID 1 listens on the sockets of whom it starts.
    pub fn join(&mut self, side: Side) {
        // In front of it somebody else would be.
        let behind = self.first == Some(side) && !self.listening.is_empty();
        if !behind || self.listening.contains(&side) {
            self.shut.retain(|known| *known != side);
        }
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
