//! What looks like a key. Everybody who may describe an instance, and every process that reaches
//! the metadata service, reads user-data: a secret in it is none. It is found by its form, and what
//! is found is never repeated.

/// Something that looks like a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Where it begins, in bytes.
    pub offset: usize,
    /// What it looks like.
    pub what: &'static str,
}

/// How a key looks that its maker gave a beginning of its own.
struct Form {
    beginning: &'static str,
    /// How many letters follow at least.
    letters_min: usize,
    is_letter: fn(u8) -> bool,
    what: &'static str,
}

const fn form(
    beginning: &'static str,
    letters_min: usize,
    is_letter: fn(u8) -> bool,
    what: &'static str,
) -> Form {
    Form { beginning, letters_min, is_letter, what }
}

/// Forms that their makers publish so that scanners find such keys.
const FORMS: [Form; 17] = [
    form("AKIA", 16, is_base32, "an access key of AWS"),
    form("ASIA", 16, is_base32, "a temporary access key of AWS"),
    form("ghp_", 36, is_word, "a token of GitHub"),
    form("gho_", 36, is_word, "a token of GitHub"),
    form("ghs_", 36, is_word, "a token of GitHub"),
    form("github_pat_", 22, is_word, "a token of GitHub"),
    form("glpat-", 20, is_word, "a token of GitLab"),
    form("xoxb-", 20, is_word, "a token of Slack"),
    form("xoxp-", 20, is_word, "a token of Slack"),
    form("sk_live_", 16, is_word, "a secret key of Stripe"),
    form("rk_live_", 16, is_word, "a secret key of Stripe"),
    form("sk-ant-", 20, is_word, "an API key"),
    form("sk-proj-", 20, is_word, "an API key"),
    form("AIza", 35, is_word, "an API key of Google"),
    form("npm_", 36, is_word, "a token of npm"),
    form("dckr_pat_", 20, is_word, "a token of Docker"),
    form("AGE-SECRET-KEY-1", 50, is_word, "a secret key of age"),
];

/// Words in the name of a variable whose value is a secret.
const NAMES: [&str; 11] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "API_KEY",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "CREDENTIAL",
    "COOKIE",
];

/// Endings of such names under which nothing but the place of a secret stands.
const PLACES: [&str; 6] = ["_FILE", "_PATH", "_DIR", "_DIRECTORY", "_URL", "_NAME"];

/// Letters of a value in one piece from which on chance alone would hardly make it.
const RANDOM_LETTERS_MIN: usize = 32;

fn is_base32(byte: u8) -> bool {
    byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// All that looks like a key by itself, wherever it stands: also in a comment.
pub(crate) fn in_text(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (offset, _) in text.match_indices("PRIVATE KEY-----") {
        let line = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        if text[line..offset].contains("-----BEGIN ") {
            found.push(Finding { offset: line, what: "a private key" });
        }
    }
    for Form { beginning, letters_min, is_letter, what } in FORMS {
        for (offset, _) in text.match_indices(beginning) {
            let before = text[..offset].bytes().next_back();
            let rest = &text.as_bytes()[offset + beginning.len()..];
            let letters = rest.iter().take_while(|byte| is_letter(**byte)).count();
            if before.is_none_or(|byte| !is_word(byte)) && letters >= letters_min {
                found.push(Finding { offset, what });
            }
        }
    }
    found.extend(web_tokens(text));
    found.extend(passwords_in_urls(text));
    found.extend(nix_secret_keys(text));
    found.sort_by_key(|finding| finding.offset);
    found.dedup_by_key(|finding| finding.offset);
    found
}

/// JSON Web Tokens: three parts of base64url, the first of which is an object.
fn web_tokens(text: &str) -> impl Iterator<Item = Finding> {
    text.match_indices("eyJ").filter_map(|(offset, _)| {
        let token =
            text[offset..].split(|c: char| !c.is_ascii() || !(is_word(c as u8) || c == '.'));
        let parts: Vec<&str> = token.into_iter().next()?.split('.').collect();
        let sound = parts.len() == 3 && parts[..2].iter().all(|part| part.len() >= 8);
        sound.then_some(Finding { offset, what: "a JSON Web Token" })
    })
}

/// `scheme://user:password@host`.
fn passwords_in_urls(text: &str) -> impl Iterator<Item = Finding> {
    text.match_indices("://").filter_map(|(offset, mark)| {
        let rest = &text[offset + mark.len()..];
        let end = rest.find(|c: char| c.is_whitespace() || "/\"'?#<>".contains(c));
        let authority = &rest[..end.unwrap_or(rest.len())];
        let (user, _) = authority.rsplit_once('@')?;
        let (_, password) = user.split_once(':')?;
        let finding = Finding { offset, what: "a URL with a password in it" };
        (!password.is_empty()).then_some(finding)
    })
}

/// Keys that sign for a cache, as `nix-store --generate-binary-cache-key` writes them: 64 bytes in
/// base64, where a public one has 32.
fn nix_secret_keys(text: &str) -> impl Iterator<Item = Finding> {
    const LETTERS: usize = 88;
    text.match_indices(':').filter_map(|(offset, _)| {
        let rest = &text.as_bytes()[offset + 1..];
        let letters = rest.iter().take_while(|byte| is_base64(**byte)).count();
        let sound = letters == LETTERS && rest[..letters].ends_with(b"==");
        sound.then_some(Finding { offset, what: "a secret key of a binary cache" })
    })
}

/// What the value of a variable looks like by its name, or by being too random for anything else.
pub(crate) fn of_variable(name: &str, value: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase().replace('-', "_");
    let named = NAMES.iter().any(|word| upper.contains(word));
    let places = PLACES.iter().any(|ending| upper.ends_with(ending));
    if named && !places && !value.is_empty() {
        return Some("a secret, by the name of its variable");
    }
    let pieces = value.split(|c: char| !c.is_ascii() || !(is_base64(c as u8) || is_word(c as u8)));
    let random = pieces.into_iter().any(is_random);
    random.then_some("a key: it is long and random")
}

/// Long, without a structure, and of all kinds of letters, or of hexadecimal digits alone.
fn is_random(piece: &str) -> bool {
    let path = piece.matches('/').count() > piece.len() / RANDOM_LETTERS_MIN;
    if piece.len() < RANDOM_LETTERS_MIN || path {
        return false;
    }
    let count = |is: fn(&u8) -> bool| piece.bytes().filter(is).count();
    let (upper, lower, digits) =
        (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase), count(u8::is_ascii_digit));
    let mixed = upper >= 4 && lower >= 4 && digits >= 3;
    let hexadecimal = piece.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits >= 4;
    (mixed || hexadecimal) && distinct(piece) >= 10
}

fn distinct(piece: &str) -> usize {
    let mut seen = [false; 256];
    piece.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    seen.iter().filter(|seen| **seen).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(text: &str) -> Vec<&'static str> {
        in_text(text).into_iter().map(|finding| finding.what).collect()
    }

    /// One of each form, put together here so that no scanner takes this file for a leak, is found
    /// in a value, in a comment and at the end of the text.
    #[test]
    fn every_form_is_found() {
        for Form { beginning, letters_min: letters, is_letter, what: expected } in FORMS {
            let letter = if is_letter(b'a') { "a" } else { "A" };
            let key = format!("{beginning}{}", letter.repeat(letters));
            for text in [format!("x = \"{key}\"\n"), format!("# {key}"), key.clone()] {
                assert_eq!(what(&text), [expected], "{text}");
            }
            let short = format!("{beginning}{}", letter.repeat(letters - 1));
            assert_eq!(what(&short), [""; 0], "{short}");
        }
        let kinds = ["", "RSA ", "OPENSSH ", "EC "];
        for kind in kinds {
            let text = format!("key = '''\n-----BEGIN {kind}PRIVATE KEY-----\nMII'''");
            assert_eq!(in_text(&text), [Finding { offset: 10, what: "a private key" }]);
        }
        let part = "abcdefgh1";
        assert_eq!(what(&format!("eyJ{part}.{part}.{part}")), ["a JSON Web Token"]);
        assert_eq!(what("postgres://web:hunter2@db/x"), ["a URL with a password in it"]);
        let secret = format!("cache-1:{}==", "A".repeat(86));
        assert_eq!(what(&secret), ["a secret key of a binary cache"]);
    }

    /// What hosts are really told is no secret: paths, public keys, addresses, names, digests of
    /// images, numbers.
    #[test]
    fn what_is_no_secret_passes() {
        let public = format!("cache.example.org-1:{}=", "A1b2".repeat(10) + "A1b");
        for text in [
            "/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-storefront-1.2.3/bin/serve",
            &public,
            "https://cache.example.org/a?b=c",
            "https://user@cache.example.org",
            "s3://releases/web/production.toml",
            "MAKIA0123456789ABCDEFG",
            "-----BEGIN CERTIFICATE-----",
        ] {
            assert_eq!(what(text), [""; 0], "{text}");
        }
        for (name, value) in [
            ("PHX_HOST", "shop.example.org"),
            ("DATABASE_URL", "postgres://db.internal.example.org:5432/storefront_production"),
            ("SECRET_KEY_FILE", "/run/rollinit/credentials/web/key"),
            ("TOKEN_URL", "https://login.example.org/oauth2/token"),
            ("PASSWORD", ""),
            ("ASSETS", "/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-assets/share"),
            ("QUEUE", "arn:aws:sqs:eu-central-1:123456789012:orders-production-incoming"),
            ("POOL_SIZE", "20"),
        ] {
            assert_eq!(of_variable(name, value), None, "{name}");
        }
    }

    /// By its name, whatever it holds; by its looks, whatever its name.
    #[test]
    fn secret_variables() {
        for name in ["DB_PASSWORD", "secret-key-base", "GITHUB_TOKEN", "MY_API_KEY"] {
            assert!(of_variable(name, "hunter2").is_some(), "{name}");
        }
        let mixed = "kJ8sL2mQ9xT4vB7nR1cY6wE3zA5dF0gH8jK2lP4o";
        let hexadecimal = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        for value in [mixed, hexadecimal] {
            assert!(of_variable("SALT", value).is_some(), "{value}");
        }
    }
}
