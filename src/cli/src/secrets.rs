//! `rollinit secrets`.

use crate::exit::{Code, Failure};
use crate::screen::{Screen, Tone, cut, printable, wrap};
use control::client::Client;
use control::types::{Credential, CredentialSource};
use std::io;

/// Columns of the owner's and of the credential's name.
const NAME_WIDTH: usize = 20;

/// Columns of the state.
const STATE_WIDTH: usize = 7;

/// Shows which credentials there are, and what is wrong with them; never what they hold.
pub async fn run(
    client: &mut Client,
    owner: Option<&str>,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    if let Some(owner) = owner {
        // A name that nobody has is the supervisor's to say.
        client.status(Some(owner)).await?;
    }
    let list = client.watch_credentials(false).await?.next().await?;
    let silent = || Failure::local("the supervisor", &io::Error::other("it sent no list"));
    let mut list = list.ok_or_else(silent)?;
    list.credentials.retain(|credential| owner.is_none_or(|owner| credential.owner == owner));
    if screen.json {
        screen.json(&list)?;
        return Ok(Code::Done);
    }
    let heading = screen.tint(Tone::Strong, &line(["NAME", "CREDENTIAL", "STATE"], "FROM"));
    screen.text(&format!("{heading}\n"))?;
    for credential in &list.credentials {
        let (tone, state) = state(credential);
        let names = [credential.owner.as_str(), credential.name.as_str(), state];
        let from = format!("{} {}", credential.source.word(), printable(&credential.place));
        let text = cut(&line(names, &from), screen.width);
        screen.text(&format!("{}\n", screen.tint(tone, &text)))?;
        if let Some(problem) = &credential.problem {
            let problem = wrap(&printable(problem), screen.width - 2, 0);
            screen.text(&format!("  {}\n", problem.replace('\n', "\n  ")))?;
        }
    }
    if list.credentials.is_empty() {
        screen.text("no definition names a credential\n")?;
    }
    Ok(Code::Done)
}

fn state(credential: &Credential) -> (Tone, &'static str) {
    match (credential.present, &credential.problem, credential.source) {
        (true, None, _) => (Tone::Plain, "there"),
        (true, Some(_), _) => (Tone::Warning, "old"),
        (false, _, CredentialSource::Path) => (Tone::Plain, "unread"),
        (false, _, CredentialSource::Ssm) => (Tone::Bad, "missing"),
    }
}

fn line([owner, name, state]: [&str; 3], from: &str) -> String {
    let [owner, name] = [owner, name].map(|text| cut(&printable(text), NAME_WIDTH));
    format!("{owner:<NAME_WIDTH$} {name:<NAME_WIDTH$} {state:<STATE_WIDTH$} {from}")
}
