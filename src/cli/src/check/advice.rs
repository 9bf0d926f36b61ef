//! What sound definitions make impossible to promise: of an app about its swaps, of all together
//! about who reaches the metadata service.

use serde::Serialize;
use service::Loaded;
use service::app::{App, Probe, Strategy};
use service::definition::{Address, Listen};
use std::collections::{BTreeMap, BTreeSet};

/// Ports below are root's, unless `net.ipv4.ip_unprivileged_port_start` says otherwise (ip(7)).
const PRIVILEGED_PORT_END: u16 = 1024;

/// Something to know about a sound definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file.
    pub file: String,
    /// What cannot be promised.
    pub message: String,
    /// What would change that.
    pub suggestion: String,
}

/// All there is to know about one app. `is_fronted`: a load balancer is told who serves.
pub fn of(app: &App, is_fronted: bool) -> Vec<Note> {
    let ports = app.ports.map(|ports| of_own_ports(app, ports, is_fronted));
    ports.unwrap_or_default().into_iter().chain(of_swaps(app)).collect()
}

/// What two ports that it binds by itself mean.
fn of_own_ports(app: &App, ports: [u16; 2], is_fronted: bool) -> Vec<Note> {
    let note = |message: String, suggestion: &str| {
        let file = app.template.source.clone();
        Note { file, message, suggestion: suggestion.to_owned() }
    };
    let [zero, one] = ports;
    let unfronted = (!is_fronted).then(|| {
        note(
            format!(
                "it serves on port {zero} and {one} by turns, and nobody tells a load balancer \
                 which: from the end of each swap on, requests to the port it left are refused"
            ),
            "write [balancer.NAME] with its app in agent.toml beside this directory, or have a \
             proxy of your own in front that asks both ports for their health",
        )
    });
    let is_low = ports.iter().any(|port| *port < PRIVILEGED_PORT_END);
    let low = (is_low && app.template.user.is_some()).then(|| {
        note(
            format!("only root may bind a port below {PRIVILEGED_PORT_END}, and it has a user"),
            "write higher ports, behind a load balancer that has the lower one",
        )
    });
    unfronted.into_iter().chain(low).collect()
}

/// What its swaps cannot promise.
fn of_swaps(app: &App) -> Vec<Note> {
    let listen = &app.template.listen;
    let is_tcp = |listen: &&Listen| matches!(listen.address, Address::Tcp(_));
    let is_overlap = app.swap.strategy == Strategy::Overlap;
    let mut notes = Vec::new();
    let mut note = |message: String, suggestion: &str| {
        let file = app.template.source.clone();
        notes.push(Note { file, message, suggestion: suggestion.to_owned() });
    };
    if listen.is_empty() && app.ports.is_none() {
        note(
            "it listens on nothing that is kept for it: while it is swapped its clients are refused"
                .to_owned(),
            "let it take its socket as LISTEN_FDS and name that in [app.listen]",
        );
    }
    if is_overlap && !listen.iter().any(|listen| is_tcp(&listen)) {
        note(
            "strategy \"overlap\" without a TCP socket: nobody can be kept from the new release \
             until it has passed its gate"
                .to_owned(),
            "write strategy = \"restart\" in [app.swap], or listen on TCP",
        );
    } else if is_overlap {
        for socket in listen.iter().filter(|listen| !is_tcp(listen)) {
            note(
                format!(
                    "the unix socket {:?} is shared by both sides: through it users may reach a \
                     new release before it has passed its gate",
                    socket.name
                ),
                "listen on TCP only, or accept that",
            );
        }
    }
    if matches!(app.health.probe, Probe::Tcp { .. }) {
        note(
            "its gate only connects, and the kernel accepts for a socket that is kept: a release \
             that never answers passes"
                .to_owned(),
            "write [app.health] http = { path = \"/up\" }",
        );
    }
    if matches!(app.health.probe, Probe::Up) {
        note(
            "its gate only sees whether it stays up: a release that does nothing passes".to_owned(),
            "write [app.health] http = { path = \"/up\" }, or kind = \"notify\"",
        );
    }
    if !listen.is_empty() && app.template.environment.contains_key("PORT") {
        note(
            "PORT is set: an app that binds that port itself cannot, because it is bound already"
                .to_owned(),
            "let it take its socket as LISTEN_FDS, and leave PORT out",
        );
    }
    notes
}

/// Who may reach the cloud's metadata service only because it shares a user with one that may:
/// the kernel tells users apart, not services.
pub fn of_metadata(loaded: &Loaded) -> Vec<Note> {
    let friends: Vec<_> = loaded.nodes().filter(|(_, node)| node.imds).collect();
    let note = |(name, node): (&String, &service::Definition)| {
        // Root may in any case, and whoever runs as root knows.
        let user = node.user.as_ref().filter(|_| !node.imds)?;
        let (friend, _) = friends.iter().find(|(_, other)| other.user.as_ref() == Some(user))?;
        Some(Note {
            file: node.source.clone(),
            message: format!(
                "{name} reaches the metadata service too: it runs as {user:?}, as {friend} does, \
                 which has imds = true"
            ),
            suggestion: "give one of them a user of its own".to_owned(),
        })
    };
    loaded.nodes().filter_map(note).collect()
}

/// Ports that two of a host would bind: an app that binds its own, and another or a kept socket.
pub fn of_ports(loaded: &Loaded) -> Vec<Note> {
    let mut binders: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    for (name, app) in &loaded.apps {
        for port in app.ports.into_iter().flatten() {
            binders.entry(port).or_default().insert(name);
        }
    }
    for (name, node) in loaded.nodes() {
        for listen in &node.listen {
            // Only one who binds by itself can find the port taken.
            if let Address::Tcp(address) = &listen.address
                && let Some(binders) = binders.get_mut(&address.port())
            {
                binders.insert(name);
            }
        }
    }
    let note = |(port, names): (&u16, &BTreeSet<&str>)| {
        let first = names.iter().find_map(|name| loaded.apps.get(*name))?;
        let names: Vec<&str> = names.iter().copied().collect();
        (names.len() > 1).then(|| Note {
            file: first.template.source.clone(),
            message: format!("port {port} is bound by {}", names.join(" and ")),
            suggestion: "give each a port of its own, unless they bind different addresses"
                .to_owned(),
        })
    };
    binders.iter().filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::{of, of_metadata, of_ports};
    use service::definition::load;

    /// The messages about one app, given what stands below `[app]`.
    fn notes(text: &str) -> Vec<String> {
        let text = format!("[app]\n{text}");
        let loaded = load([("web".to_owned(), "web.toml".to_owned(), text)].to_vec());
        assert_eq!(loaded.problems, [], "the definition of the test is sound");
        of(&loaded.apps["web"], false).into_iter().map(|note| note.message).collect()
    }

    /// Ports shared by nobody are no matter; one that two apps, or an app and a socket, bind is.
    #[test]
    fn ports_of_two() {
        let file =
            |name: &str, text: &str| (name.to_owned(), format!("{name}.toml"), text.to_owned());
        let files = [
            file("one", "[app]\nports = [4000, 4001]"),
            file("two", "[app]\nports = [4001, 4002]"),
            file("three", "[app]\nports = [4003, 4004]"),
            file("four", "[app]\n[app.listen]\nhttp = \"[::]:4004\""),
        ];
        let notes = of_ports(&load(files.to_vec()));
        let messages: Vec<&str> = notes.iter().map(|note| note.message.as_str()).collect();
        let expected =
            ["port 4001 is bound by one and two", "port 4004 is bound by four and three"];
        assert_eq!(messages, expected);
    }

    /// An app in front of which a balancer is told has nothing to hear of its ports.
    #[test]
    fn a_balancer_in_front() {
        let text = "[app]\nports = [4000, 4001]\n[app.health]\nhttp = { path = \"/up\" }\n";
        let loaded = load(vec![("web".to_owned(), "web.toml".to_owned(), text.to_owned())]);
        assert_eq!(of(&loaded.apps["web"], true), []);
    }

    /// Who shares a user with a service that may is named, with the other; root and those who may
    /// themselves are not.
    #[test]
    fn metadata_by_a_shared_user() {
        let file = |name: &str, lines: &str| {
            let text = format!("[service]\nexec = [\"/bin/x\"]\n{lines}\n");
            (name.to_owned(), format!("{name}.toml"), text)
        };
        let files = [
            file("friend", "user = \"web\"\nimds = true"),
            file("other", "user = \"web\""),
            file("both", "user = \"web\"\nimds = true"),
            file("apart", "user = \"shop\""),
            file("root", ""),
        ];
        let notes = of_metadata(&load(files.to_vec()));
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert_eq!(notes[0].file, "other.toml");
        assert!(notes[0].message.contains("as \"web\", as"), "{}", notes[0].message);
    }

    const HTTP: &str = "[app.health]\nhttp = { path = \"/up\" }\n";

    /// Each note comes with what it is about, and an app that can be swapped well has none.
    #[test]
    fn each_note() {
        assert!(notes(&format!("[app.listen]\nhttp = \"[::]:80\"\n{HTTP}")).is_empty());
        for (text, about) in [
            ("", vec!["its clients are refused", "stays up"]),
            ("[app.listen]\nhttp = \"[::]:80\"\n", vec!["never answers passes"]),
            (
                "[app.listen]\nhttp = \"[::]:80\"\nown = \"unix:/run/own\"\n\
                 [app.health]\nhttp = { path = \"/up\" }\n",
                vec!["\"own\" is shared by both sides"],
            ),
            (
                "kind = \"notify\"\n[app.listen]\nown = \"unix:/run/own\"\n\
                 [app.swap]\nstrategy = \"overlap\"\n",
                vec!["without a TCP socket"],
            ),
            (
                "environment = { PORT = \"80\" }\n[app.listen]\nhttp = \"[::]:80\"\n\
                 [app.health]\nhttp = { path = \"/up\" }\n",
                vec!["PORT is set"],
            ),
            (
                "ports = [4000, 4001]\n[app.health]\nhttp = { path = \"/up\" }\n",
                vec!["requests to the port it left are refused"],
            ),
            (
                "ports = [80, 4001]\nuser = \"web\"\n\
                 [app.health]\nhttp = { path = \"/up\" }\n",
                vec!["port 80 and 4001 by turns", "only root may bind"],
            ),
        ] {
            let notes = notes(text);
            assert_eq!(notes.len(), about.len(), "{text}: {notes:?}");
            for (note, about) in notes.iter().zip(about) {
                assert!(note.contains(about), "{text}: {note}");
            }
        }
    }
}
