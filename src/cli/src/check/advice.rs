//! What sound definitions make impossible to promise: of an app about its swaps, of all together
//! about who reaches the metadata service.

use serde::Serialize;
use service::Loaded;
use service::app::{App, Probe, Strategy};
use service::definition::{Address, Listen};

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

/// All there is to know about one app.
pub fn of(app: &App) -> Vec<Note> {
    let listen = &app.template.listen;
    let is_tcp = |listen: &&Listen| matches!(listen.address, Address::Tcp(_));
    let is_overlap = app.swap.strategy == Strategy::Overlap;
    let mut notes = Vec::new();
    let mut note = |message: String, suggestion: &str| {
        let file = app.template.source.clone();
        notes.push(Note { file, message, suggestion: suggestion.to_owned() });
    };
    if listen.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::{of, of_metadata};
    use service::definition::load;

    /// The messages about one app, given what stands below `[app]`.
    fn notes(text: &str) -> Vec<String> {
        let text = format!("[app]\n{text}");
        let loaded = load([("web".to_owned(), "web.toml".to_owned(), text)].to_vec());
        assert_eq!(loaded.problems, [], "the definition of the test is sound");
        of(&loaded.apps["web"]).into_iter().map(|note| note.message).collect()
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
        ] {
            let notes = notes(text);
            assert_eq!(notes.len(), about.len(), "{text}: {notes:?}");
            for (note, about) in notes.iter().zip(about) {
                assert!(note.contains(about), "{text}: {note}");
            }
        }
    }
}
