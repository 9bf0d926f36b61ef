//! Generations, as Nix's own tools read them.

use super::fixture::{Host, release, run};
use std::fs;
use store::profile::Profile;

#[test]
fn generations_are_numbered_listed_by_nix_and_never_reused() {
    let host = Host::new();
    let profile = Profile::open(host.root.path(), "web").unwrap();
    assert_eq!(profile.current().unwrap(), None);
    assert_eq!((profile.next_number().unwrap(), profile.generations().unwrap().len()), (1, 0));
    let (v1, v2) = (release("v1"), release("v2"));
    assert_eq!(profile.commit(&v1).unwrap(), 1);
    assert_eq!(profile.commit(&v1).unwrap(), 1, "it points there already");
    assert_eq!(profile.commit(&v2).unwrap(), 2);
    assert_eq!(profile.commit(&v1).unwrap(), 3, "another time is another generation");
    let current = profile.current().unwrap().unwrap();
    assert_eq!((current.number, &current.path), (3, &v1));

    let link = profile.link();
    let listed = host.nix("nix-env", &["-p", link.to_str().unwrap(), "--list-generations"]);
    let numbers: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(numbers, ["1", "2", "3"], "{listed}");
    assert!(listed.lines().nth(2).unwrap().contains("(current)"), "{listed}");

    // Back to an old one, the newer ones removed: their numbers do not come again.
    assert_eq!(profile.select(1).unwrap().path, v1);
    for number in [2, 3] {
        fs::remove_file(link.with_file_name(format!("web-{number}-link"))).unwrap();
    }
    assert!(profile.select(3).is_err());
    assert_eq!(profile.commit(&v2).unwrap(), 4);
    let numbers: Vec<u64> =
        profile.generations().unwrap().iter().map(|generation| generation.number).collect();
    assert_eq!(numbers, [1, 4]);
}

#[test]
fn apps_whose_names_begin_alike_do_not_see_each_other() {
    let host = Host::new();
    let open = |app: &str| Profile::open(host.root.path(), app).unwrap();
    open("web").commit(&release("v1")).unwrap();
    open("web-2").commit(&release("v2")).unwrap();
    open("web-2").commit(&release("v1")).unwrap();
    assert_eq!(open("web").generations().unwrap().len(), 1);
    assert_eq!(open("web-2").generations().unwrap().len(), 2);
    fs::write(open("web").link().with_file_name("web-007-link"), "not ours").unwrap();
    assert_eq!(open("web").next_number().unwrap(), 2);
    assert!(Profile::open(host.root.path(), "../web").is_err());
}

/// Killed between its two renames, a commit is done again and ends the same.
#[test]
fn a_commit_that_was_cut_in_its_middle_is_made_anew() {
    let host = Host::new();
    let profile = Profile::open(host.root.path(), "web").unwrap();
    profile.commit(&release("v1")).unwrap();
    // The generation is there and the profile does not point to it.
    profile.commit(&release("v2")).unwrap();
    profile.select(1).unwrap();
    let current = profile.current().unwrap().unwrap();
    assert_eq!(current.path, release("v1"), "the old one serves until the last rename");
    assert_eq!(profile.commit(&release("v2")).unwrap(), 3);
    assert_eq!(profile.current().unwrap().unwrap().number, 3);
    let leftovers = fs::read_dir(profile.link().parent().unwrap()).unwrap();
    let names: Vec<_> = leftovers.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_str().unwrap().ends_with(".new")), "{names:?}");
    // Nix's own program goes on from there.
    let link = profile.link();
    let (success, said) =
        run(host.root.path(), "nix-env", &["-p", link.to_str().unwrap(), "--rollback"], "");
    assert!(success, "{said}");
    assert_eq!(profile.current().unwrap().unwrap().number, 2);
}

/// The system's profile lies where Nix has it. A generation is there before the profile points to
/// it, and can go as long as it does not.
#[test]
fn a_generation_of_the_system_is_added_selected_and_forgotten() {
    let host = Host::new();
    let profile = Profile::of_system(host.root.path());
    let (v1, v2) = (release("v1"), release("v2"));
    assert_eq!(profile.commit(&v1).unwrap(), 1);
    assert!(profile.link().ends_with("nix/var/nix/profiles/system"));
    assert_eq!(profile.add(&v2).unwrap(), 2);
    assert_eq!(profile.current().unwrap().unwrap().number, 1);
    assert!(profile.forget(1).is_err(), "the profile points to it");
    profile.forget(2).unwrap();
    profile.forget(2).unwrap();
    assert_eq!(profile.generations().unwrap().len(), 1);
    assert_eq!(profile.add(&v2).unwrap(), 3, "a number is never given again");
    assert_eq!(profile.select(3).unwrap().path, v2);
}
