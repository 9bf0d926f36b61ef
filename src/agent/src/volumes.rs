//! Data volumes that are named by a tag, and those that came too late.
//!
//! The task `volume` of `rollinit-activate` knows disks by their serial numbers and asks nobody.
//! For a volume with a tag, EC2 is asked here which of those attached to this instance has it; the
//! serial number goes to `/run/rollinit/volumes/NAME`, or `NAME.problem` says why there is none. A
//! disk that appears after its task gave up (`NAME.late`) is told of and left alone.

use crate::app::Tools;
use crate::ec2::Ec2;
use cloud::ec2::Filter;
use control::agent::Level;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use sys::uevent::{EVENT_BYTES_MAX, Listener};
use sys::watch::Watch;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// The file of the volumes, beside the agent's own, in bytes (docs/volumes.md).
const FILE: &str = "volumes.toml";
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Where serial numbers go, below the directory of what runs.
const FOLDER: &str = "volumes";

/// Until EC2 is asked again for what it did not find. It begins short, since an attachment takes
/// seconds, and ends at what a fleet of hosts may cost in calls.
const AGAIN: Duration = Duration::from_secs(5);
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// What is of interest here of a volume; the rest is the task's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Volume {
    serial: Option<String>,
    tag: Option<Tag>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    volumes: BTreeMap<String, Volume>,
}

/// Goes on as long as the agent runs; nothing is done on a host without volumes.
pub async fn run(tools: Rc<Tools>, config: PathBuf, run: PathBuf) {
    let volumes = match read(&config.with_file_name(FILE)) {
        Ok(volumes) => volumes,
        Err(error) => return tracing::error!("{FILE}: {error}; no volume is looked for"),
    };
    if volumes.is_empty() {
        return;
    }
    let folder = run.join(FOLDER);
    if let Err(error) = fs::create_dir_all(&folder) {
        return tracing::error!("make {}: {error}; no volume is looked for", folder.display());
    }
    let late = watch_for_late(&tools, &volumes, &folder);
    let ((), late) = tokio::join!(resolve_all(&tools, &volumes, &folder), late);
    if let Err(error) = late {
        tracing::error!("volumes that come late cannot be heard of: {error}");
    }
}

fn read(file: &Path) -> Result<BTreeMap<String, Volume>, String> {
    use io::Read as _;
    let mut text = String::new();
    match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
        Ok(file) => {
            let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|error| error.to_string())?;
        }
    }
    let file: File = toml::from_str(&text).map_err(|error| error.to_string())?;
    Ok(file.volumes)
}

/// Asks EC2 until every tag has its volume.
async fn resolve_all(tools: &Tools, volumes: &BTreeMap<String, Volume>, folder: &Path) {
    let mut open: Vec<(&String, &Tag)> = volumes
        .iter()
        .filter(|(_, volume)| volume.serial.is_none())
        .filter_map(|(name, volume)| Some((name, volume.tag.as_ref()?)))
        .collect();
    let mut pause = AGAIN;
    while !open.is_empty() {
        let mut missing = Vec::new();
        for (name, tag) in open {
            let found = match &tools.ec2 {
                Some(ec2) => resolve(ec2, tag).await,
                None => Err("this host is on no cloud; set [cloud] in agent.toml".to_owned()),
            };
            if !settle(tools, name, &found, folder) {
                missing.push((name, tag));
            }
        }
        open = missing;
        if !open.is_empty() {
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }
}

/// The serial number of the one volume with this tag that is attached to this instance.
async fn resolve(ec2: &Ec2, tag: &Tag) -> Result<String, String> {
    let identity = ec2.imds.identity().await.map_err(|error| error.to_string())?;
    let instance = &identity.instance_id;
    let attached = Filter::new("attachment.instance-id", instance);
    let filters = [attached, Filter::tag(&tag.key, &tag.value)];
    let found = ec2.aws.ec2().volumes(&filters).await.map_err(|error| error.to_string())?;
    only(&found, tag, instance)
}

/// Of several none is taken: which of them is meant, nobody can tell.
fn only(found: &[cloud::ec2::Volume], tag: &Tag, instance: &str) -> Result<String, String> {
    let Tag { key, value } = tag;
    match found {
        [one] => Ok(one.serial()),
        [] => Err(format!("no volume tagged {key}={value} is attached to {instance}")),
        several => {
            let ids: Vec<&str> = several.iter().map(|one| one.volume_id.as_str()).collect();
            Err(format!(
                "{} are all tagged {key}={value}; give one of them alone this tag",
                ids.join(", ")
            ))
        }
    }
}

/// Tells the task and `rollinit status`; true if that volume is found.
fn settle(tools: &Tools, name: &str, found: &Result<String, String>, folder: &Path) -> bool {
    let (file, problem) = (folder.join(name), folder.join(format!("{name}.problem")));
    let subject = format!("volume {name}");
    let (written, text) = match found {
        Ok(serial) => (&file, serial),
        Err(why) => (&problem, why),
    };
    if let Err(error) = replace(written, text) {
        tracing::error!("write {}: {error}", written.display());
        return false;
    }
    match found {
        Ok(serial) => {
            let _ = fs::remove_file(&problem);
            tools.standing.clear(&subject);
            tracing::info!("{subject}: its serial number is {serial}");
            true
        }
        Err(why) => {
            let cure = "attach it, or correct its tag; asked again within a minute";
            tools.standing.set(&tools.console, &subject, Level::Warning, why, Some(cure));
            false
        }
    }
}

/// All of the text or none of it is seen. What lies in memory needs no sync.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let part = file.with_extension("part");
    fs::write(&part, text)?;
    fs::rename(&part, file)
}

/// Tells of disks whose tasks gave up before they came.
async fn watch_for_late(
    tools: &Tools,
    volumes: &BTreeMap<String, Volume>,
    folder: &Path,
) -> io::Result<()> {
    let (events, files) = (Listener::open()?, Watch::open(folder)?);
    let (events_ready, files_ready) = (readable(&events)?, readable(&files)?);
    loop {
        for name in volumes.keys() {
            tell_if_late(tools, name, folder);
        }
        tokio::select! {
            ready = events_ready.readable() => {
                // Cleared first: what comes while this is read wakes it again.
                ready?.clear_ready();
                let mut buffer = [0; EVENT_BYTES_MAX];
                while events.hear(&mut buffer)?.is_some() {}
            }
            ready = files_ready.readable() => {
                ready?.clear_ready();
                files.heard()?;
            }
        }
    }
}

/// Tells when there is something to hear; by a second descriptor of the same socket.
#[allow(deprecated)]
fn readable(source: &impl AsFd) -> io::Result<AsyncFd<OwnedFd>> {
    // tokio deprecates its safe constructor since a foreign type might change or close its
    // descriptor behind the registration's back (tokio#8587). `OwnedFd` cannot.
    AsyncFd::with_interest(source.as_fd().try_clone_to_owned()?, Interest::READABLE)
}

fn tell_if_late(tools: &Tools, name: &str, folder: &Path) {
    let subject = format!("late volume {name}");
    let Ok(serial) = fs::read_to_string(folder.join(format!("{name}.late"))) else {
        return tools.standing.clear(&subject);
    };
    // The tag may have been found since.
    let serial = fs::read_to_string(folder.join(name)).unwrap_or(serial);
    let serial = serial.trim();
    let devices = disk::devices().unwrap_or_default();
    let came = |device: &&disk::Device| {
        device.partition.is_none()
            && device.serial.as_deref().is_some_and(|text| !text.is_empty() && text == serial)
    };
    if let Some(device) = devices.iter().find(came) {
        let text = format!("{device} came too late, and is left alone");
        let cure = format!("`rollinit start volume-{name}` mounts it");
        tools.standing.set(&tools.console, &subject, Level::Warning, &text, Some(&cure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(id: &str) -> cloud::ec2::Volume {
        cloud::ec2::Volume {
            volume_id: id.to_owned(),
            size: 8,
            status: "in-use".to_owned(),
            attachments: Vec::new(),
            tags: BTreeMap::new(),
        }
    }

    /// One volume is the volume; none and several are told by their names.
    #[test]
    fn one_volume_has_the_tag() {
        let tag = Tag { key: "Name".to_owned(), value: "db".to_owned() };
        let only =
            |ids: &[&str]| only(&ids.iter().map(|id| volume(id)).collect::<Vec<_>>(), &tag, "i-1");
        assert_eq!(only(&["vol-0a1b"]), Ok("vol0a1b".to_owned()));
        assert_eq!(only(&[]), Err("no volume tagged Name=db is attached to i-1".to_owned()));
        let several = only(&["vol-1", "vol-2"]).expect_err("which?");
        assert!(several.starts_with("vol-1, vol-2 are all tagged Name=db"), "{several}");
    }

    /// The file is the task's; of it only what is asked for here is read. Without one there are no
    /// volumes, and a broken one is said.
    #[test]
    fn volumes_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(FILE);
        assert_eq!(read(&file), Ok(BTreeMap::new()));
        let text = "[volumes.a]\nserial = \"x\"\nmount-point = \"/a\"\n\
            [volumes.b.tag]\nkey = \"Name\"\nvalue = \"b\"\n";
        fs::write(&file, text).expect("a file");
        let volumes = read(&file).expect("it is right");
        assert_eq!(volumes["a"].serial.as_deref(), Some("x"));
        assert_eq!(volumes["b"].tag.as_ref().map(|tag| tag.value.as_str()), Some("b"));
        fs::write(&file, "volumes = 1").expect("a file");
        assert!(read(&file).is_err());
    }
}
