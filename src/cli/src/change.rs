//! `rollinit start`, `stop`, `restart`.

use crate::exit::{Code, Failure, FailureJson};
use crate::screen::{Screen, printable};
use control::client::Client;
use control::types::Changed;
use serde::Serialize;

/// What to do with the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Up.
    Start,
    /// Down.
    Stop,
    /// Down and up.
    Restart,
}

/// The JSON form: a list, in the order in which the services were named.
#[derive(Debug, Serialize)]
struct Results<'a> {
    results: Vec<ResultJson<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ResultJson<'a> {
    Done(&'a Changed),
    Failed {
        name: &'a str,
        #[serde(flatten)]
        failure: FailureJson<'a>,
    },
}

/// Does it to one service after the other; goes on after a failure, unless nobody answers any
/// more. The exit code is that of the first failure.
pub async fn run(
    client: &mut Client,
    verb: Verb,
    names: &[String],
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let mut results: Vec<Result<Changed, Failure>> = Vec::with_capacity(names.len());
    for name in names {
        let result = match verb {
            Verb::Start => client.start(name).await,
            Verb::Stop => client.stop(name).await,
            Verb::Restart => client.restart(name).await,
        }
        .map_err(Failure::from);
        if !screen.json {
            match &result {
                Ok(changed) => screen.text(&line(verb, changed))?,
                Err(failure) => screen.complain(&failure.lines())?,
            }
            screen.flush()?;
        }
        let is_last = matches!(&result, Err(failure) if failure.code == Code::Unreachable);
        results.push(result);
        if is_last {
            break;
        }
    }
    if screen.json {
        screen.json(&json(names, &results))?;
    }
    let failed = results.iter().find_map(|result| result.as_ref().err());
    Ok(failed.map_or(Code::Done, |failure| failure.code))
}

fn json<'a>(names: &'a [String], results: &'a [Result<Changed, Failure>]) -> Results<'a> {
    let each = names.iter().zip(results).map(|(name, result)| match result {
        Ok(changed) => ResultJson::Done(changed),
        Err(failure) => ResultJson::Failed { name, failure: failure.json() },
    });
    Results { results: each.collect() }
}

fn line(verb: Verb, changed: &Changed) -> String {
    let name = printable(&changed.name);
    let state = changed.state.word();
    let pid = changed.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let done = match verb {
        Verb::Start => "started",
        Verb::Stop => "stopped",
        Verb::Restart => "restarted",
    };
    match changed.changed {
        true if verb == Verb::Stop => format!("{name}: stopped\n"),
        true => format!("{name}: {done}, {state}{pid}\n"),
        false => format!("{name}: nothing to do, {state}{pid}\n"),
    }
}
