//! Any bytes as user-data, and as the document of a release: no bytes may make the readers panic,
//! and what they take can be put into force.
#![no_main]

use libfuzzer_sys::fuzz_target;
use userdata::Purpose;

fuzz_target!(|bytes: &[u8]| {
    let _ = userdata::read_release("fuzz", bytes, "web");
    let Ok(document) = userdata::read("fuzz", bytes) else { return };
    match document.purpose {
        Purpose::Apps(apps) => {
            assert!(!apps.is_empty());
            for definition in apps.values().filter_map(|wish| wish.definition.as_ref()) {
                service::definition::parse_app("fuzz", definition).expect("sound");
            }
        }
        Purpose::Run(run) => assert!(run.exec[0].starts_with(run.closure())),
        Purpose::System(_) | Purpose::Image => {}
    }
});
