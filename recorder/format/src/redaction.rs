//! Whose values nobody shall have: fields are told by their names alone.
//!
//! The rule: a name of five letters or more is looked for anywhere in a field's name, a
//! shorter one as whole words of it, in one number or several; upper and lower case, and
//! what separates words, do not count.
//!
//! So `token` denies `accessToken`, `x-csrf-token` and `tokens_used`, and `auth` denies
//! `proxy.auth` and not `author`. Who reads a number too few misses a number, who reads a
//! token has an account: where a name is in doubt, it is denied. What must be seen all the
//! same is spared by its whole name.
//!
//! Nothing here allocates while it is asked: what logs first may be a signal handler, in
//! the middle of the allocator.

/// The names that are denied unless somebody says otherwise.
pub const DENIED: [&str; 33] = [
    "password",
    "passwd",
    "pwd",
    "dbpwd",
    "userpwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "authorization",
    "auth",
    "authkey",
    "authheader",
    "bearer",
    "jwt",
    "otp",
    "cookie",
    "csrf",
    "xsrf",
    "sessionid",
    "sessionkey",
    "sid",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "masterkey",
    "connectionstring",
    "creditcard",
    "cardnumber",
    "ssn",
];

/// From how many letters on a name is looked for anywhere.
const ANYWHERE: usize = 5;

/// Which names are denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    defaults: bool,
    added: Vec<String>,
    spared: Vec<String>,
}

/// Those of [`DENIED`].
impl Default for Names {
    fn default() -> Names {
        Names {
            defaults: true,
            ..Names::none()
        }
    }
}

impl Names {
    /// No name is denied.
    pub fn none() -> Names {
        Names {
            defaults: false,
            added: Vec::new(),
            spared: Vec::new(),
        }
    }

    /// Denies another name; `false` if it has neither letters nor digits, and is none.
    pub fn deny(&mut self, name: &str) -> bool {
        keep(&mut self.added, name)
    }

    /// Spares a field of just this name, as far as letters and digits tell; `false` if it
    /// has none.
    pub fn spare(&mut self, name: &str) -> bool {
        keep(&mut self.spared, name)
    }

    /// Whether no field can be denied.
    pub fn are_none(&self) -> bool {
        !self.defaults && self.added.is_empty()
    }

    /// Whether the value of a field of this name is not to be had.
    pub fn deny_field(&self, field: &str) -> bool {
        let defaults = DENIED.iter().copied().filter(|_| self.defaults);
        let mut denied = defaults.chain(self.added.iter().map(String::as_str));
        let is_spared = |spared: &String| letters(field).eq(spared.chars());
        denied.any(|name| is_in(name, field)) && !self.spared.iter().any(is_spared)
    }
}

fn keep(names: &mut Vec<String>, name: &str) -> bool {
    let letters: String = letters(name).collect();
    let any = !letters.is_empty();
    if any {
        names.push(letters);
    }
    any
}

/// The letters and digits of a name, in lower case.
fn letters(name: &str) -> impl Iterator<Item = char> {
    let counts = name.chars().filter(|c| c.is_alphanumeric());
    counts.flat_map(char::to_lowercase)
}

/// Whether `name`, which is letters in lower case, is in the name of a field.
fn is_in(name: &str, field: &str) -> bool {
    let anywhere = name.chars().count() >= ANYWHERE;
    let first = name.chars().next();
    let begins = |&(_, c): &(usize, char)| c.to_lowercase().next() == first;
    field.char_indices().filter(begins).any(|(at, _)| {
        let end = end_of(name, field, at);
        end.is_some_and(|end| anywhere || (is_edge(field, at) && ends_word(field, end)))
    })
}

/// Where `name` ends if it begins in `field` at `at`.
fn end_of(name: &str, field: &str, at: usize) -> Option<usize> {
    let mut expected = name.chars();
    for (offset, c) in field.get(at..)?.char_indices() {
        if !c.is_alphanumeric() {
            continue;
        }
        if !c.to_lowercase().all(|c| expected.next() == Some(c)) {
            return None;
        }
        if expected.as_str().is_empty() {
            return Some(at + offset + c.len_utf8());
        }
    }
    None
}

/// Whether a word ends here, or behind the `s` of several.
fn ends_word(field: &str, at: usize) -> bool {
    let several = field[at..].starts_with(['s', 'S']) && is_edge(field, at + 1);
    is_edge(field, at) || several
}

/// Whether a word begins or ends before this byte: beside what is neither letter nor
/// digit, between the two, at a capital behind a small letter, and at the last of several
/// capitals if a small letter follows.
fn is_edge(field: &str, at: usize) -> bool {
    let (before, behind) = field.split_at(at);
    let mut next = behind.chars();
    let (Some(last), Some(first)) = (before.chars().next_back(), next.next()) else {
        return true;
    };
    let ends = |c: char| !c.is_alphanumeric();
    let hump = first.is_uppercase()
        && (!last.is_uppercase() || next.next().is_some_and(char::is_lowercase));
    ends(last) || ends(first) || last.is_numeric() != first.is_numeric() || hump
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(names: &[&str]) -> Names {
        let mut all = Names::none();
        assert!(names.iter().all(|name| all.deny(name)));
        all
    }

    #[test]
    fn names_that_speak_of_secrets_are_denied_however_they_are_written() {
        let names = Names::default();
        for field in [
            "password",
            "PASSWORD",
            "userPassword",
            "newpassword2",
            "db.passwd",
            "pwd",
            "old_pwd",
            "secret",
            "client-secret",
            "token",
            "access_token",
            "tokens",
            "tokens_used",
            "Authorization",
            "proxy-authorization",
            "auth",
            "http.auth",
            "cookie",
            "set-cookie",
            "api_key",
            "apikey",
            "X-Api-Key",
            "APIKey",
            "private_key",
            "ssh.private.key",
            "credential",
            "credentials",
            "session_id",
            "sessionId",
            "connect.sid",
            "SSN",
            "r#token",
        ] {
            assert!(names.deny_field(field), "{field}");
        }
        for name in DENIED {
            assert!(names.deny_field(name), "{name}");
            assert!(letters(name).eq(name.chars()), "{name}");
        }
    }

    #[test]
    fn other_names_are_not() {
        let names = Names::default();
        for field in [
            "",
            "message",
            "user_id",
            "author",
            "authority",
            "authenticated",
            "inside",
            "class_name",
            "session",
            "key",
            "log.target",
            "log.module_path",
            "log.file",
            "log.line",
        ] {
            assert!(!names.deny_field(field), "{field}");
        }
        assert!(!Names::none().deny_field("password"));
    }

    #[test]
    fn short_names_are_whole_words_and_long_ones_anything() {
        let names = added(&["ip", "age", "Client-Address", "oauth2"]);
        for field in [
            "ip",
            "peer_ip",
            "peerIp",
            "peerIP",
            "ip_of_peer",
            "IPs",
            "ip4",
            "IPAddress",
            "age",
            "ages",
            "clientaddress",
            "the_client_addresses",
            "oauth2",
            "oauth.2",
        ] {
            assert!(names.deny_field(field), "{field}");
        }
        for field in [
            "zip",
            "description",
            "page",
            "message",
            "i",
            "agent",
            "oauth",
        ] {
            assert!(!names.deny_field(field), "{field}");
        }
    }

    #[test]
    fn what_is_spared_is_so_by_its_whole_name() {
        let mut names = Names::default();
        assert!(names.spare("tokens_used"));
        assert!(!names.deny_field("tokens_used") && !names.deny_field("tokensUsed"));
        assert!(names.deny_field("all_tokens_used") && names.deny_field("token"));
    }

    #[test]
    fn what_has_no_letter_is_no_name() {
        let mut names = Names::none();
        assert!(!names.deny("") && !names.deny("-_.") && !names.spare(" "));
        assert!(names.are_none() && !names.deny_field("") && !names.deny_field("-"));
        assert!(!added(&["ip"]).are_none() && !Names::default().are_none());
    }

    #[test]
    fn any_field_is_told() {
        let names = added(&["ss", "ß", "straße"]);
        for field in ["straße", "STRASSE", "STRAßE", "ß", "é", "İss", "a\u{301}ß"] {
            let _ = names.deny_field(field);
        }
        assert!(names.deny_field("Straße") && names.deny_field("ß"));
    }
}
