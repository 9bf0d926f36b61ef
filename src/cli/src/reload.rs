//! `rollinit reload`.

use crate::exit::{Code, Failure};
use crate::screen::{Screen, Tone, printable};
use control::client::Client;
use control::types::{Change, Problem, Reload};

/// Reloads, or says what a reload would do. Exits with 1 if a file cannot be used.
pub async fn run(client: &mut Client, dry_run: bool, screen: &mut Screen) -> Result<Code, Failure> {
    let reload = client.reload(dry_run).await?;
    if screen.json {
        screen.json(&reload)?;
    } else {
        show(&reload, screen)?;
    }
    Ok(if reload.refused.is_empty() { Code::Done } else { Code::Failed })
}

fn show(reload: &Reload, screen: &mut Screen) -> Result<(), Failure> {
    let mut line = |word: &str, text: &str| {
        let word = screen.tint(Tone::Strong, &format!("{word:<9}"));
        screen.text(&format!("{word} {}\n", printable(text)))
    };
    for name in &reload.added {
        line("added", name)?;
    }
    for change in &reload.changed {
        line("changed", &changed(change))?;
    }
    for name in &reload.removed {
        line("removed", name)?;
    }
    for name in &reload.refused {
        line("refused", &format!("{name}: its file cannot be used"))?;
    }
    for problem in &reload.problems {
        screen.text(&format!("{}\n", printable(&sentence(problem))))?;
    }
    let unchanged = reload.unchanged.len();
    let text = match (reload.is_empty(), reload.dry_run) {
        (true, _) => format!("nothing changed, {unchanged} as before\n"),
        (false, true) => format!("nothing was done: a dry run; {unchanged} would stay as before\n"),
        (false, false) => format!("{unchanged} as before\n"),
    };
    screen.text(&text)?;
    Ok(())
}

fn changed(change: &Change) -> String {
    let how = if change.restart { "starts again" } else { "in place" };
    format!("{}: {how} ({})", change.name, change.keys.join(", "))
}

fn sentence(problem: &Problem) -> String {
    let cure = problem.cure.as_ref().map(|cure| format!(" ({cure})")).unwrap_or_default();
    format!("{}: {}{cure}", problem.about, problem.message)
}
