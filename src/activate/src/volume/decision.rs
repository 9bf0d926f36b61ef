//! What is done with a volume, by what it holds. Pure.
//!
//! | it holds | and | then |
//! |---|---|---|
//! | nothing | `make` is given | the file system is made |
//! | nothing | `make` is empty | refused: it is to be there already |
//! | our own unfinished file system | | made again |
//! | a file system of the kind | its label is the one asked for, if any | mounted |
//! | … with errors recorded | `check` is given | checked, then mounted |
//! | anything else | | refused: it is somebody's |
//!
//! What is refused is not written to, and stays so until a person decides.

use super::settings::Volume;
use disk::content::Content;
use disk::superblock::Usage;

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its file system is made, then mounted.
    Make,
    /// It is mounted.
    Mount {
        /// After a check: it recorded errors.
        checked_before: bool,
    },
    /// It is left alone.
    Refuse {
        /// Why.
        reason: String,
        /// What a person can do.
        cure: String,
    },
}

/// Decides.
#[must_use]
pub fn decide(content: &Content, volume: &Volume) -> Decision {
    let wanted = &volume.file_system;
    let refuse = |reason: String, cure: &str| Decision::Refuse { reason, cure: cure.to_owned() };
    match content {
        Content::Blank | Content::Unfinished if volume.make.is_empty() => refuse(
            format!("it holds {content}, and is not to be made here"),
            "attach the volume that holds the data, or set rollinit.volumes.NAME.make",
        ),
        Content::Blank | Content::Unfinished => Decision::Make,
        Content::Superblock(found) if found.usage == Usage::FileSystem && found.kind == wanted => {
            match &volume.label {
                Some(label) if found.label.as_ref() != Some(label) => refuse(
                    format!("it holds {found}, and is to be called {label}"),
                    "attach the volume of that name, or set its label to what it is called",
                ),
                _ => {
                    let checked_before = found.has_errors && !volume.check.is_empty();
                    Decision::Mount { checked_before }
                }
            }
        }
        Content::Superblock(_) | Content::Foreign(_) => refuse(
            format!("it holds {content}, and is to hold {wanted}"),
            "attach another volume, set its fileSystem to what is there, or, if nobody needs \
             what it holds, overwrite its first and last 5 MiB with zeros",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::superblock::Superblock;

    fn volume() -> Volume {
        Volume {
            serial: Some("s".to_owned()),
            tag: None,
            mount_point: "/data".into(),
            file_system: "ext4".to_owned(),
            label: None,
            options: Vec::new(),
            make: vec!["mke2fs".to_owned()],
            check: vec!["e2fsck".to_owned()],
            wait_s: 1,
        }
    }

    fn holding(kind: &'static str, label: Option<&str>, has_errors: bool) -> Content {
        let usage = if kind == "swap" { Usage::Swap } else { Usage::FileSystem };
        let label = label.map(str::to_owned);
        Content::Superblock(Superblock { kind, usage, label, uuid: None, bytes: None, has_errors })
    }

    /// Only what is blank, or was being made by us, is ever written to.
    #[test]
    fn only_the_blank_is_made() {
        let volume = volume();
        assert_eq!(decide(&Content::Blank, &volume), Decision::Make);
        assert_eq!(decide(&Content::Unfinished, &volume), Decision::Make);
        let foreign = Content::Foreign("a partition table (GPT)".to_owned());
        for content in [foreign, holding("xfs", None, false), holding("swap", None, false)] {
            let Decision::Refuse { reason, .. } = decide(&content, &volume) else {
                panic!("{content} is somebody's")
            };
            assert!(reason.starts_with(&format!("it holds {content}")), "{reason}");
        }
        let never = Volume { make: Vec::new(), ..volume };
        assert!(matches!(decide(&Content::Blank, &never), Decision::Refuse { .. }));
    }

    /// A file system of the kind is mounted, under its name if one is asked for, and after a check
    /// if it asks for one and there is a way.
    #[test]
    fn what_is_there_is_mounted() {
        let mount = |checked_before| Decision::Mount { checked_before };
        let volume = volume();
        assert_eq!(decide(&holding("ext4", None, false), &volume), mount(false));
        assert_eq!(decide(&holding("ext4", Some("x"), true), &volume), mount(true));
        let unchecked = Volume { check: Vec::new(), ..volume.clone() };
        assert_eq!(decide(&holding("ext4", None, true), &unchecked), mount(false));
        let named = Volume { label: Some("db".to_owned()), ..volume };
        assert_eq!(decide(&holding("ext4", Some("db"), false), &named), mount(false));
        for label in [None, Some("dbb")] {
            let decision = decide(&holding("ext4", label, false), &named);
            assert!(matches!(decision, Decision::Refuse { .. }), "{label:?}");
        }
    }
}
