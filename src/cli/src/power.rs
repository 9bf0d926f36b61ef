//! `rollinit poweroff`, `reboot`, `halt`.

use crate::exit::{Code, Failure};
use crate::screen::Screen;
use control::client::Client;
use control::types::ShutdownKind;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Under {
    shutdown: ShutdownKind,
}

/// Asks for the end of the host, and says that it is under way.
pub async fn run(
    client: &mut Client,
    kind: ShutdownKind,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    client.shutdown(kind).await?;
    if screen.json {
        screen.json(&Under { shutdown: kind })?;
    } else {
        screen.text(&format!("{kind} is under way: services are being stopped\n"))?;
    }
    Ok(Code::Done)
}
