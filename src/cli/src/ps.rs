//! `rollinit ps`.

use crate::exit::{Code, Failure};
use crate::screen::{Screen, Tone, cut, printable};
use crate::times;
use control::client::Client;
use control::types::ServiceProcesses;

/// Shows what each service costs.
pub async fn run(client: &mut Client, screen: &mut Screen) -> Result<Code, Failure> {
    let list = client.processes().await?;
    if screen.json {
        screen.json(&list)?;
        return Ok(Code::Done);
    }
    let name_width = screen.width.saturating_sub(57).max(12);
    let heading = line(name_width, ["NAME", "RUN", "PID", "PROCS", "MEMORY", "CPU", "CGROUP"]);
    let heading = screen.tint(Tone::Strong, &heading);
    screen.text(&format!("{heading}\n"))?;
    for service in &list.services {
        let text = row(name_width, service);
        screen.text(&format!("{}\n", cut(&text, screen.width)))?;
    }
    if list.services.is_empty() {
        screen.text("no service has a process\n")?;
    }
    Ok(Code::Done)
}

fn row(name_width: usize, service: &ServiceProcesses) -> String {
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |n| n.to_string());
    line(
        name_width,
        [
            &cut(&printable(&service.name), name_width),
            &service.incarnation.to_string(),
            &number(service.pid.map(u64::from)),
            &number(service.processes),
            &service.memory_bytes.map_or_else(|| "-".to_owned(), bytes),
            &service.cpu_ns.map_or_else(|| "-".to_owned(), times::processor),
            &printable(&service.cgroup),
        ],
    )
}

fn line(name_width: usize, cells: [&str; 7]) -> String {
    let [name, run, pid, processes, memory, processor, cgroup] = cells;
    format!(
        "{name:<name_width$} {run:>4} {pid:>7} {processes:>5} {memory:>7} {processor:>7} {cgroup}"
    )
}

/// Bytes in at most seven columns: `512B`, `8.0K`, `128.0M`, `1.5G`.
fn bytes(count: u64) -> String {
    // Whole units and the remainder in 1/1024 of one.
    let (mut whole, mut rest) = (count, 0);
    for unit in ["B", "K", "M", "G", "T", "P"] {
        if whole < 1024 {
            return match unit {
                "B" => format!("{whole}B"),
                _ => format!("{whole}.{}{unit}", rest * 10 / 1024),
            };
        }
        (whole, rest) = (whole / 1024, whole % 1024);
    }
    format!("{whole}.{}E", rest * 10 / 1024)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes() {
        for (count, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            (134_217_728, "128.0M"),
            (1 << 40, "1.0T"),
            (u64::MAX, "15.9E"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
