//! Who decides what the world does: nobody, a seed, or every possible decision in turn.

/// The source of decisions.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Always the first possibility: the ordinary course of things.
    First,
    /// Splitmix64 of a seed.
    Random(u64),
    /// Decisions taken so far: which, of how many. Beyond its end: the first.
    Script { taken: Vec<(usize, usize)>, at: usize },
}

impl Choice {
    pub fn script() -> Self {
        Self::Script { taken: Vec::new(), at: 0 }
    }

    /// One of so many.
    pub fn pick(&mut self, of: usize) -> usize {
        assert!(of > 0, "a decision without possibilities");
        match self {
            Self::First => 0,
            Self::Random(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                usize::try_from((mixed ^ (mixed >> 31)) % of as u64).expect("small")
            }
            Self::Script { taken, at } => {
                if *at == taken.len() {
                    taken.push((0, of));
                }
                let (which, known) = taken[*at];
                assert_eq!(known, of, "the world is not deterministic at decision {at}");
                *at += 1;
                which
            }
        }
    }

    /// Whether something that happens once in so many times happens. Never in the ordinary course.
    pub fn once_in(&mut self, times: usize) -> bool {
        match self {
            Self::Random(_) => self.pick(times) == 0,
            Self::First | Self::Script { .. } => false,
        }
    }

    /// The next sequence of decisions; `None` after the last one.
    pub fn next(self) -> Option<Self> {
        let Self::Script { mut taken, .. } = self else { return None };
        while let Some((which, of)) = taken.pop() {
            if which + 1 < of {
                taken.push((which + 1, of));
                return Some(Self::Script { taken, at: 0 });
            }
        }
        None
    }
}
