//! Who waits for whom.
//!
//! Two kinds of edges. *Order*: `after` and its mirror `before`; it only says who goes first where
//! both go. *Strength*: `requires` (which is an order too) and `wants` (which is none). There are
//! no levels to compute: a service starts the moment those before it are up, so what is
//! independent starts in parallel. Stopping goes along the same edges the other way.

use crate::definition::Definition;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The edges between the sound definitions of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    nodes: BTreeMap<String, Node>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    after: BTreeSet<String>,
    followers: BTreeSet<String>,
    requires: BTreeSet<String>,
    requirers: BTreeSet<String>,
    wants: BTreeSet<String>,
}

impl Graph {
    /// The edges that these definitions draw (an app's template is its), also to names that are not
    /// among them: a broken service may still have a run.
    #[must_use]
    pub fn new<'a>(definitions: impl IntoIterator<Item = (&'a String, &'a Definition)>) -> Self {
        let mut graph = Self::default();
        for (name, definition) in definitions {
            for earlier in definition.after.iter().chain(&definition.requires) {
                graph.order(earlier, name);
            }
            for later in &definition.before {
                graph.order(name, later);
            }
            for required in &definition.requires {
                graph.node(name).requires.insert(required.clone());
                graph.node(required).requirers.insert(name.clone());
            }
            graph.node(name).wants.extend(definition.wants.iter().cloned());
        }
        graph
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.entry(name.to_owned()).or_default()
    }

    fn order(&mut self, earlier: &str, later: &str) {
        self.node(later).after.insert(earlier.to_owned());
        self.node(earlier).followers.insert(later.to_owned());
    }

    /// Those that `name` starts after: its `after`, its `requires`, and who says `before` of it.
    pub fn after(&self, name: &str) -> impl Iterator<Item = &str> {
        self.edges(name, |node| &node.after)
    }

    /// Those that start after `name`, and stop before it.
    pub fn followers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.edges(name, |node| &node.followers)
    }

    /// Those that `name` cannot be without, whether they are defined or not.
    pub fn requires(&self, name: &str) -> impl Iterator<Item = &str> {
        self.edges(name, |node| &node.requires)
    }

    /// Those that cannot be without `name`.
    pub fn requirers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.edges(name, |node| &node.requirers)
    }

    /// Those that are started with `name` by hand.
    pub fn wants(&self, name: &str) -> impl Iterator<Item = &str> {
        self.edges(name, |node| &node.wants)
    }

    fn edges<'a>(
        &'a self,
        name: &str,
        kind: impl Fn(&'a Node) -> &'a BTreeSet<String>,
    ) -> impl Iterator<Item = &'a str> {
        self.nodes.get(name).into_iter().flat_map(kind).map(String::as_str)
    }

    /// `name` and all that it requires or wants, near and far.
    #[must_use]
    pub fn pulled_in(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::from([name.to_owned()]);
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            for next in self.requires(&name).chain(self.wants(&name)) {
                if found.insert(next.to_owned()) {
                    open.push(next.to_owned());
                }
            }
        }
        found
    }

    /// A shortest cycle of the order for each knot of services that wait for each other, as the
    /// path around it, each name followed by one that it waits for: `["a", "b", "a"]`. A knot with
    /// several cycles is named by as many as it takes to name each of its services once.
    #[must_use]
    pub fn cycles(&self) -> Vec<Vec<String>> {
        let mut named = BTreeSet::new();
        let mut cycles = Vec::new();
        for name in self.tangled() {
            if named.contains(name) {
                continue;
            }
            if let Some(cycle) = self.shortest_cycle(name) {
                named.extend(cycle.iter().cloned());
                cycles.push(cycle);
            }
        }
        cycles
    }

    /// What is left when everything that waits for nobody is taken away, again and again (Kahn):
    /// the cycles, and what waits for them.
    fn tangled(&self) -> impl Iterator<Item = &str> {
        let mut waits: BTreeMap<&str, usize> =
            self.nodes.iter().map(|(name, node)| (name.as_str(), node.after.len())).collect();
        let mut free: Vec<&str> =
            waits.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
        while let Some(name) = free.pop() {
            for follower in self.followers(name) {
                if let Some(count) = waits.get_mut(follower) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(follower);
                    }
                }
            }
        }
        waits.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name)
    }

    /// Breadth first along `after` until `start` comes again; none if it never does.
    fn shortest_cycle(&self, start: &str) -> Option<Vec<String>> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut open = VecDeque::from([self.nodes.get_key_value(start)?.0.as_str()]);
        while let Some(name) = open.pop_front() {
            for next in self.after(name) {
                if next == start {
                    let mut path = vec![start, name];
                    while let Some(earlier) = came_from.get(path[path.len() - 1]) {
                        path.push(earlier);
                    }
                    // A service that waits for itself was pushed twice already.
                    if name != start {
                        path.reverse();
                        return Some(path.into_iter().map(str::to_owned).collect());
                    }
                    return Some(vec![start.to_owned(); 2]);
                }
                if !came_from.contains_key(next) {
                    came_from.insert(next, name);
                    open.push_back(next);
                }
            }
        }
        None
    }
}
