//! Who has to sign the releases that a document names.

use crate::{PERSONS_MAX, Signers};
use service::definition::document::{Fault, File, Section, strings};

/// Reads `signers = ["PERSON KEYTYPE BASE64", …]` and `threshold = 2`.
pub(crate) fn signers(file: &mut File, root: &mut Section) -> Option<Signers> {
    let at = root.place_of("signers");
    let threshold_at = root.place_of("threshold");
    let lines = strings(file, root, "signers", PERSONS_MAX);
    let cure = "write threshold = 2: how many persons have to sign";
    let threshold = root.value::<u64>(file, "threshold", cure);
    let Some(at) = at else {
        if let Some(at) = threshold_at {
            let cure = "write signers = [\"alice ssh-ed25519 AAAA…\", …] too";
            file.fault(&at, Fault::new("a threshold, and nobody may sign", cure));
        }
        return None;
    };
    let cure = "write \"PERSON KEYTYPE BASE64\", a line of ssh-keygen's allowed signers";
    for line in &lines {
        if let Err(error) = release::Signers::read(line.get_ref()) {
            file.fault(&line.span(), Fault::new(error.reason, cure));
            return None;
        }
    }
    let text: String = lines.iter().map(|line| format!("{}\n", line.get_ref())).collect();
    let persons = match release::Signers::read(&text) {
        Ok(signers) => signers.persons().len(),
        Err(error) => {
            let line = error.line.checked_sub(1).and_then(|index| lines.get(index));
            let span = line.map_or_else(|| at.clone(), |line| line.span());
            file.fault(&span, Fault::new(error.reason, cure));
            return None;
        }
    };
    let due = threshold.as_ref().map_or(1, |threshold| *threshold.get_ref());
    let due = usize::try_from(due).unwrap_or(usize::MAX);
    if due == 0 || due > persons {
        let span = threshold.map_or(at, |threshold| threshold.span());
        let message = format!("{due} of {persons} persons cannot sign");
        file.fault(&span, Fault::new(message, "write a number from 1 to that of the persons"));
        return None;
    }
    Some(Signers { text, threshold: due })
}
