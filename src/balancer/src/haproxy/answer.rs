//! What HAProxy answers, read: `show servers state` and `show stat` of one backend.
//!
//! Columns are found by the names in the first line, as management.txt asks for: versions add some.
//! The status alone does not tell everything: a server that is down while it drains says `DOWN`. So
//! what was ordered comes from the first table, and what goes on from the second.

use super::excerpt;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Bits of `srv_admin_state`: maintenance, by an order, inherited, or by the configuration's name
/// resolution; and draining, by an order or inherited.
const MAINT: u32 = 0x01 | 0x02 | 0x20;
/// See [`MAINT`].
const DRAIN: u32 = 0x08 | 0x10;

/// A server of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its address; nothing for a Unix socket, or a name without an address yet.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Whether it is in maintenance.
    pub is_maint: bool,
    /// Whether it gets no new sessions.
    pub is_draining: bool,
    /// Whether it would get some: it is up, or nobody checks it.
    pub is_up: bool,
    /// Whether it takes more than one failed check to take it down. One that was just told to be
    /// ready is up, by a check that is yet to come.
    pub is_sure: bool,
    /// `UP`, `UP 1/3`, `DOWN`, `DOWN 1/2`, `no check`, …
    pub status: String,
    /// What its last check said.
    pub check: String,
    /// Sessions that it has.
    pub sessions: u64,
    /// Sessions that wait for it alone.
    pub queued: u64,
}

/// Why an answer cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Strange {
    /// HAProxy says no.
    #[error("{0}")]
    Refused(String),
    /// It says something else.
    #[error("an answer without {0}")]
    Without(&'static str),
}

impl Strange {
    /// What to do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Refused(_) => {
                "write the name of a backend as HAProxy's configuration has it, and `level admin` \
                 at its `stats socket`"
            }
            Self::Without(_) => "take HAProxy 2.4 or newer, and give the backend a server",
        }
    }
}

/// The number of the backend that `show servers state` tells of.
///
/// # Errors
/// [`Strange`] has HAProxy's own words; a backend without servers has none.
pub fn backend_number(states: &str) -> Result<u32, Strange> {
    let states = state_rows(states)?;
    let number = states.first().and_then(|row| row.get("be_id")?.parse().ok());
    number.ok_or(Strange::Without("a server in that backend"))
}

/// The table of `show servers state`: its first line is the format's version.
fn state_rows(states: &str) -> Result<Vec<Row>, Strange> {
    rows(states.trim_start().strip_prefix("1\n").unwrap_or(states), ' ')
}

/// The servers of a backend, by both answers about it.
///
/// # Errors
/// [`Strange`] has HAProxy's own words.
pub fn servers(states: &str, stats: &str) -> Result<Vec<Server>, Strange> {
    let stats = rows(stats, ',')?;
    let by_name: BTreeMap<&str, &Row> =
        stats.iter().filter_map(|row| Some((row.get("svname")?, row))).collect();
    state_rows(states)?
        .iter()
        .map(|row| {
            let name = row.get("srv_name").ok_or(Strange::Without("srv_name"))?;
            let admin = row.get("srv_admin_state").and_then(|text| text.parse::<u32>().ok());
            let admin = admin.ok_or(Strange::Without("srv_admin_state"))?;
            let stat = by_name.get(name).ok_or(Strange::Without("the server's statistics"))?;
            let status = stat.get("status").ok_or(Strange::Without("status"))?;
            let count = |column| stat.get(column).and_then(|text| text.parse::<u64>().ok());
            Ok(Server {
                name: name.to_owned(),
                address: row.get("srv_addr").and_then(|text| text.parse().ok()),
                port: row.get("srv_port").and_then(|text| text.parse().ok()).unwrap_or(0),
                is_maint: admin & MAINT != 0,
                is_draining: admin & DRAIN != 0,
                is_up: status.starts_with("UP") || status == "no check",
                is_sure: status == "UP" || status == "no check",
                status: excerpt(status),
                check: excerpt(stat.get("last_chk").unwrap_or_default()),
                sessions: count("scur").ok_or(Strange::Without("scur"))?,
                queued: count("qcur").unwrap_or(0),
            })
        })
        .collect()
}

/// A line by the names of its columns.
#[derive(Debug)]
struct Row(BTreeMap<String, String>);

impl Row {
    fn get(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(String::as_str)
    }
}

/// The lines of a table whose first one begins with `# ` and names the columns.
fn rows(text: &str, separator: char) -> Result<Vec<Row>, Strange> {
    let text = text.trim();
    let Some(table) = text.strip_prefix("# ") else {
        return Err(Strange::Refused(format!("HAProxy says \"{}\"", excerpt(text))));
    };
    let mut lines = table.lines().filter(|line| !line.trim().is_empty());
    let names = fields(lines.next().unwrap_or_default(), separator);
    let row = |line: &str| Row(names.iter().cloned().zip(fields(line, separator)).collect());
    Ok(lines.map(row).collect())
}

/// The fields of a line; one that begins with a quote ends with one, and a double one within is one
/// (RFC 4180).
fn fields(line: &str, separator: char) -> Vec<String> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut is_quoted, mut letters) = (false, line.chars().peekable());
    while let Some(letter) = letters.next() {
        if is_quoted && letter == '"' && letters.peek() == Some(&'"') {
            letters.next();
            field.push('"');
        } else if letter == '"' && (is_quoted || field.is_empty()) {
            is_quoted = !is_quoted;
        } else if letter == separator && !is_quoted {
            fields.push(std::mem::take(&mut field));
        } else {
            field.push(letter);
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests;
