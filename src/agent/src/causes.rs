//! What errors come down to.

use std::error::Error;

/// The last of an error's causes: a client of HTTP names the address first, which whoever says the
/// error says himself, and which may be a secret.
pub fn innermost<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}
