//! `[app]` and all below it.

use super::read::{Fault, File, Section, Written};
use super::sections::{self, Names, duration, integer, strings};
use super::sockets;
use super::values::word;
use super::{Address, Definition, Kind, Listen};
use crate::app::{
    App, CLOSURE_VARIABLE, Health, PORT_VARIABLE, Probe, ProbeAddress, Retire, Strategy, SwapPolicy,
};
use crate::limits::{
    ARGUMENTS_MAX, CLOSURE_BYTES_MAX, LEASE_MS_MIN, PROBE_EVERY_MS_MIN, PROBE_PASSES_MAX,
    PROBE_PATH_BYTES_MAX,
};
use std::ops::Range;
use toml::Spanned;

impl Written for Strategy {
    const EXAMPLE: &'static str = "\"overlap\", \"restart\" or \"ports\"";

    fn read(text: &str) -> Result<Self, Fault> {
        word(
            text,
            &[("overlap", Self::Overlap), ("restart", Self::Restart), ("ports", Self::Ports)],
        )
    }
}

impl Written for Retire {
    const EXAMPLE: &'static str = "\"after-bake\" or \"at-switch\"";

    fn read(text: &str) -> Result<Self, Fault> {
        word(text, &[("after-bake", Self::AfterBake), ("at-switch", Self::AtSwitch)])
    }
}

/// Why a path cannot be an app's closure; none if it can.
pub(crate) fn closure_fault(path: &str) -> Option<String> {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    let parts = path.strip_prefix('/').unwrap_or_default().split('/');
    let sound = plain && parts.clone().all(|part| !matches!(part, "" | "." | ".."));
    if !sound {
        return Some(format!("{path:?} is no store path"));
    }
    (path.len() > CLOSURE_BYTES_MAX)
        .then(|| format!("a store path of {} bytes, above {CLOSURE_BYTES_MAX}", path.len()))
}

/// Whether a program can be found without searching: an absolute path, or one in the closure.
fn is_found(program: &str) -> bool {
    program.starts_with('/')
        || program.strip_prefix(CLOSURE_VARIABLE).is_some_and(|rest| rest.starts_with('/'))
}

/// `[app]`.
pub(super) fn app(file: &mut File, mut section: Section) -> (App, Names) {
    let closure = closure(file, &mut section);
    let serve = || vec![format!("{CLOSURE_VARIABLE}/bin/serve")];
    let exec = program(file, &mut section, "exec").unwrap_or_else(serve);
    let migrate = migrate(file, &mut section);
    let kind = kind(file, &mut section);
    let mut spans = Vec::new();
    let (mut template, names) = sections::body(file, &mut section, exec, kind, |file, section| {
        sockets::named(file, section, &mut spans)
    });
    let ports = ports(file, &mut section, &template, &spans);
    let doors = Doors { listen: &template.listen, has_ports: ports.is_some() };
    let health = health(file, &mut section, doors, kind);
    let swap = swap(file, &mut section, doors);
    if swap.strategy == Strategy::Overlap {
        for (listen, span) in template.listen.iter_mut().zip(&spans) {
            listen.grouped = matches!(listen.address, Address::Tcp(_));
            check_overlap(file, listen, span);
        }
    }
    let (after_switch, on_rollback) = hooks(file, &mut section);
    section.finish(file);
    (App { template, closure, ports, migrate, health, swap, after_switch, on_rollback }, names)
}

fn closure(file: &mut File, section: &mut Section) -> Option<String> {
    let cure = "write closure = \"/nix/store/…\", or leave it out for a host with a profile";
    let path = section.value::<String>(file, "closure", cure)?;
    if let Some(message) = closure_fault(path.get_ref()) {
        file.fault(&path.span(), Fault::new(message, cure));
        return None;
    }
    Some(path.into_inner())
}

/// A program and its arguments; none if the key is missing.
fn program(file: &mut File, section: &mut Section, key: &'static str) -> Option<Vec<String>> {
    let cure = format!("write {key} = [\"{CLOSURE_VARIABLE}/bin/x\", \"argument\"]");
    let span = section.place_of(key)?;
    let problems_before = file.problems.len();
    let list = strings(file, section, key, ARGUMENTS_MAX);
    match list.first() {
        Some(program) if !is_found(program.get_ref()) => {
            let message = format!("the program {:?} is not an absolute path", program.get_ref());
            let cure = format!("begin with / or {CLOSURE_VARIABLE}/: no PATH is searched");
            file.fault(&program.span(), Fault::new(message, cure));
        }
        None if file.problems.len() == problems_before => {
            file.fault(&span, Fault::new(format!("{key} is empty"), cure));
        }
        _ => {}
    }
    Some(list.into_iter().map(Spanned::into_inner).collect())
}

fn migrate(file: &mut File, section: &mut Section) -> Option<String> {
    let cure = format!("write migrate = \"{CLOSURE_VARIABLE}/bin/migrate\", or \"\" for never");
    let Some(program) = section.value::<String>(file, "migrate", &cure) else {
        return Some(format!("{CLOSURE_VARIABLE}/bin/migrate"));
    };
    if program.get_ref().is_empty() {
        return None;
    }
    if !is_found(program.get_ref()) {
        let message = format!("the program {:?} is not an absolute path", program.get_ref());
        file.fault(&program.span(), Fault::new(message, cure));
    }
    Some(program.into_inner())
}

fn kind(file: &mut File, section: &mut Section) -> Kind {
    let span = section.place_of("kind").unwrap_or_default();
    let kind = section.written(file, "kind").unwrap_or(Kind::Simple);
    if kind == Kind::Oneshot {
        let message = "an app stays up, a oneshot does not";
        file.fault(&span, Fault::new(message, "write kind = \"simple\" or \"notify\""));
        return Kind::Simple;
    }
    kind
}

/// Probes are told by their IPv4 address.
fn check_overlap(file: &mut File, listen: &Listen, span: &Range<usize>) {
    let Address::Tcp(address) = &listen.address else { return };
    if address.is_ipv6() && !address.ip().is_unspecified() {
        let message = format!(
            "strategy \"overlap\" tells probes by an IPv4 address, which never comes to {address}"
        );
        let port = address.port();
        let cure = format!(
            "write \"[::]:{port}\" or an IPv4 address, or strategy = \"restart\" in [app.swap]"
        );
        file.fault(span, Fault::new(message, cure));
    }
}

/// Through what an app is reached.
#[derive(Clone, Copy)]
struct Doors<'a> {
    listen: &'a [Listen],
    /// It binds one of two ports by itself.
    has_ports: bool,
}

impl Doors<'_> {
    fn strategy(self) -> Strategy {
        let has_tcp = self.listen.iter().any(|listen| matches!(listen.address, Address::Tcp(_)));
        match (self.has_ports, has_tcp) {
            (true, _) => Strategy::Ports,
            (false, true) => Strategy::Overlap,
            (false, false) => Strategy::Restart,
        }
    }
}

/// `ports = [4000, 4001]`: what each side binds by itself. `spans` is where its sockets stand.
fn ports(
    file: &mut File,
    app: &mut Section,
    template: &Definition,
    spans: &[Range<usize>],
) -> Option<[u16; 2]> {
    let cure = "write ports = [4000, 4001]: one for each side, from 1 to 65535";
    let ports = app.value::<[u16; 2]>(file, "ports", cure)?;
    let span = ports.span();
    let [zero, one] = *ports.get_ref();
    if zero == 0 || one == 0 || zero == one {
        let message = format!("[{zero}, {one}] are no two ports");
        file.fault(&span, Fault::new(message, cure));
    }
    if let Some(socket) = spans.first() {
        let message = "an app with ports binds them itself and is given no sockets";
        file.fault(socket, Fault::new(message, "leave [app.listen] out, or ports"));
    }
    if template.environment.contains_key(PORT_VARIABLE) {
        let message = format!("{PORT_VARIABLE} is set by the supervisor: to the port of each side");
        file.fault(&span, Fault::new(message, "leave it out of environment"));
    }
    Some([zero, one])
}

fn swap(file: &mut File, app: &mut Section, doors: Doors) -> SwapPolicy {
    let mut swap = SwapPolicy {
        strategy: doors.strategy(),
        drain_ms: 30_000,
        bake_ms: 20_000,
        watch_ms: 60_000,
        retire: Retire::AfterBake,
        migrate_lease_ms: 60_000,
    };
    let Some(mut section) = app.section(file, "swap") else { return swap };
    swap.strategy = strategy(file, &mut section, doors);
    for (key, value) in
        [("drain", &mut swap.drain_ms), ("bake", &mut swap.bake_ms), ("watch", &mut swap.watch_ms)]
    {
        *value = duration(file, &mut section, key).unwrap_or(*value);
    }
    swap.retire = section.written(file, "retire").unwrap_or(swap.retire);
    let lease_ms = at_least(file, &mut section, "migrate-lease", LEASE_MS_MIN);
    swap.migrate_lease_ms = lease_ms.unwrap_or(swap.migrate_lease_ms);
    section.finish(file);
    swap
}

fn strategy(file: &mut File, section: &mut Section, doors: Doors) -> Strategy {
    let span = section.place_of("strategy").unwrap_or_default();
    let strategy = section.written(file, "strategy").unwrap_or(doors.strategy());
    let fault = match (strategy, doors.has_ports) {
        (Strategy::Ports, false) => Fault::new(
            "strategy \"ports\" needs a port for each side",
            "write ports = [4000, 4001] in [app]",
        ),
        (Strategy::Overlap | Strategy::Restart, true) => Fault::new(
            format!("an app with ports cannot be swapped by {:?}", strategy.word()),
            "write strategy = \"ports\", or leave ports out of [app]",
        ),
        _ => return strategy,
    };
    file.fault(&span, fault);
    strategy
}

fn at_least(
    file: &mut File,
    section: &mut Section,
    key: &'static str,
    least_ms: u64,
) -> Option<u64> {
    let span = section.place_of(key)?;
    let value_ms = duration(file, section, key)?;
    if value_ms < least_ms {
        let cure = format!("write at least \"{least_ms}ms\"");
        file.fault(&span, Fault::new(format!("{key} is too short"), cure));
        return None;
    }
    Some(value_ms)
}

fn hooks(file: &mut File, app: &mut Section) -> (Vec<String>, Vec<String>) {
    let Some(mut section) = app.section(file, "hooks") else { return Default::default() };
    let after_switch = program(file, &mut section, "after-switch").unwrap_or_default();
    let on_rollback = program(file, &mut section, "on-rollback").unwrap_or_default();
    section.finish(file);
    (after_switch, on_rollback)
}

/// `[app.health]`: one of its tables, or what suits the app.
fn health(file: &mut File, app: &mut Section, doors: Doors, kind: Kind) -> Health {
    let Some(mut section) = app.section(file, "health") else {
        return by_default(doors, kind);
    };
    let span = section.span().clone();
    let mut found = Vec::new();
    for key in ["http", "tcp", "notify"] {
        if let Some(table) = section.section(file, key) {
            found.push(probe(file, table, key, doors, kind));
        }
    }
    section.finish(file);
    if found.len() > 1 {
        let cure = "write one of http, tcp and notify";
        file.fault(&span, Fault::new("more than one probe", cure));
    }
    found.into_iter().next().flatten().unwrap_or_else(|| by_default(doors, kind))
}

fn by_default(doors: Doors, kind: Kind) -> Health {
    let first = doors.listen.iter().find(|listen| matches!(listen.address, Address::Tcp(_)));
    let (probe, passes) = match first {
        Some(first) => (Probe::Tcp { at: ProbeAddress::of(&first.address) }, 3),
        None if doors.has_ports => (Probe::Tcp { at: ProbeAddress::OwnPort }, 3),
        None if kind == Kind::Notify => (Probe::Notify, 1),
        None => (Probe::Up, 1),
    };
    Health { probe, every_ms: 1000, passes, timeout_ms: 2000, deadline_ms: 60_000 }
}

fn probe(
    file: &mut File,
    mut table: Section,
    key: &'static str,
    doors: Doors,
    kind: Kind,
) -> Option<Health> {
    let span = table.span().clone();
    let probe = match key {
        "notify" if kind != Kind::Notify => {
            let cure = "write kind = \"notify\" in [app], or probe http or tcp";
            file.fault(&span, Fault::new("an app of kind \"simple\" says nothing", cure));
            None
        }
        "notify" => Some(Probe::Notify),
        _ => {
            let at = probe_address(file, &mut table, doors);
            match key {
                "http" => {
                    let path = probe_path(file, &mut table);
                    at.zip(path).map(|(at, path)| Probe::Http { at, path })
                }
                _ => at.map(|at| Probe::Tcp { at }),
            }
        }
    };
    let every_ms = at_least(file, &mut table, "every", PROBE_EVERY_MS_MIN);
    let default = by_default(Doors { listen: &[], has_ports: false }, Kind::Simple);
    let passes = integer(file, &mut table, "passes", 1..=i64::from(PROBE_PASSES_MAX));
    let timeout_ms = duration(file, &mut table, "timeout");
    let deadline_ms = duration(file, &mut table, "deadline");
    table.finish(file);
    let passes_default = if key == "notify" { 1 } else { 3 };
    Some(Health {
        probe: probe?,
        every_ms: every_ms.unwrap_or(default.every_ms),
        passes: passes.and_then(|count| u32::try_from(count).ok()).unwrap_or(passes_default),
        timeout_ms: timeout_ms.unwrap_or(default.timeout_ms),
        deadline_ms: deadline_ms.unwrap_or(default.deadline_ms),
    })
}

/// A side's own port; else the socket that `listen` names, else the first TCP one, else the first.
fn probe_address(file: &mut File, table: &mut Section, doors: Doors) -> Option<ProbeAddress> {
    let Doors { listen, has_ports } = doors;
    if has_ports {
        // A name is an unknown key then: there is but one port to ask.
        return Some(ProbeAddress::OwnPort);
    }
    let names: Vec<&str> = listen.iter().map(|listen| listen.name.as_str()).collect();
    let known = format!("name a socket of [app.listen]: {}", names.join(", "));
    let span = table.span().clone();
    let chosen = match table.value::<String>(file, "listen", &known) {
        Some(name) => {
            let chosen = listen.iter().find(|listen| listen.name == *name.get_ref());
            if chosen.is_none() {
                let message = format!("no socket is named {:?}", name.get_ref());
                file.fault(&name.span(), Fault::new(message, known));
            }
            return chosen.map(|listen| ProbeAddress::of(&listen.address));
        }
        None => listen
            .iter()
            .find(|listen| matches!(listen.address, Address::Tcp(_)))
            .or(listen.first()),
    };
    if chosen.is_none() {
        let cure = "write [app.listen] with the socket to ask, or ports, or leave the probe out";
        file.fault(&span, Fault::new("there is no socket to probe", cure));
    }
    chosen.map(|listen| ProbeAddress::of(&listen.address))
}

fn probe_path(file: &mut File, table: &mut Section) -> Option<String> {
    let cure = "write path = \"/up\"";
    let span = table.span().clone();
    if table.place_of("path").is_none() {
        let _ = table.raw("path");
        file.fault(&span, Fault::new("an http probe needs a path", cure));
        return None;
    }
    let path = table.value::<String>(file, "path", cure)?;
    let text = path.get_ref();
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !text.starts_with('/') || !plain || text.len() > PROBE_PATH_BYTES_MAX {
        file.fault(&path.span(), Fault::new(format!("{text:?} is no path of a URL"), cure));
        return None;
    }
    Some(path.into_inner())
}
