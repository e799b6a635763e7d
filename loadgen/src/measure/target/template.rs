//! The command line of a guest, with placeholders for values that only the generator knows.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    net::SocketAddr,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    time::Duration,
};

use protocol::Feature;

use super::{GuestCommand, OWN_EXECUTABLE};

/// A program and its arguments, in which `{addr}` and the other placeholders are filled in; `{{` and
/// `}}` are the braces themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Word>);

type Word = Vec<Part>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Value(Placeholder),
}

/// A value that only the generator knows. It is written in braces: `{addr}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// The address to listen on.
    Addr,
    /// Time between two status lines, in milliseconds; 0 for none.
    StatusInterval,
    /// Connections that the server must take.
    MaxConnections,
    /// The parameter of an option of the specification; 0 if it is off.
    Of(Feature),
}

impl Placeholder {
    const ALL: [Self; 6] = [
        Self::Addr,
        Self::StatusInterval,
        Self::MaxConnections,
        Self::Of(Feature::Work),
        Self::Of(Feature::Handshake),
        Self::Of(Feature::IdleTimeout),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Addr => "addr",
            Self::StatusInterval => "status_interval_ms",
            Self::MaxConnections => "max_connections",
            Self::Of(Feature::Work) => "work",
            Self::Of(Feature::Handshake) => "handshake_ms",
            Self::Of(Feature::IdleTimeout) => "idle_timeout_ms",
        }
    }

    fn value(self, values: &GuestCommand) -> String {
        let ms = |duration: Duration| duration.as_millis().to_string();
        match self {
            Self::Addr => SocketAddr::new(values.listen, 0).to_string(),
            Self::StatusInterval => ms(values.status_interval),
            Self::MaxConnections => values.max_connections.to_string(),
            Self::Of(Feature::Work) => values.service.work.to_string(),
            Self::Of(Feature::Handshake) => ms(values.service.handshake.unwrap_or_default()),
            Self::Of(Feature::IdleTimeout) => ms(values.service.idle_timeout.unwrap_or_default()),
        }
    }
}

/// As it is written.
impl fmt::Display for Placeholder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{{{}}}", self.name())
    }
}

impl Template {
    /// Splits a command line into words as a shell does; no shell is started. It need not be UTF-8, as no path need be.
    ///
    /// # Errors
    /// If there is no word, a quote is not closed, or a placeholder is not known.
    pub(crate) fn parse(text: impl AsRef<OsStr>) -> Result<Self, String> {
        // One character per byte: the syntax of a shell is ASCII, and no byte of another character looks like it.
        let text: String = text.as_ref().as_bytes().iter().map(|byte| char::from(*byte)).collect();
        let words = shell_words::split(&text).map_err(|error| error.to_string())?;
        if words.is_empty() {
            return Err("it names no program; write for example 'python3 server.py {addr}'".to_owned());
        }
        words.iter().map(|word| parts(&bytes(word))).collect::<Result<_, _>>().map(Self)
    }

    /// This executable with these arguments, taken as they are.
    pub(crate) fn own(arguments: &[&str]) -> Self {
        let words = [OWN_EXECUTABLE].into_iter().chain(arguments.iter().copied());
        Self(words.map(|word| vec![Part::Text(word.into())]).collect())
    }

    /// Name of the program, for messages.
    pub(super) fn name(&self) -> String {
        match self.0[0][..] {
            [Part::Text(ref program)] if program == OWN_EXECUTABLE.as_bytes() => "loadgen fault-server".to_owned(),
            _ => String::from_utf8_lossy(&self.program()).into_owned(),
        }
    }

    /// The regular files that the words name, the program looked up as it will be, each with its word.
    pub(crate) fn files(&self) -> Vec<(String, PathBuf)> {
        let words = self.0.iter().enumerate().filter_map(|(index, word)| match &word[..] {
            [Part::Text(text)] => Some((index, OsStr::from_bytes(text))),
            _ => None,
        });
        let found = words.filter_map(|(index, word)| {
            let is_looked_up = index == 0 && !word.as_bytes().contains(&b'/');
            let folders = if is_looked_up { std::env::var_os("PATH")? } else { OsString::from(".") };
            let file = std::env::split_paths(&folders).map(|folder| folder.join(word)).find(|file| file.is_file())?;
            Some((word.to_string_lossy().into_owned(), file))
        });
        found.collect()
    }

    /// The first word, with placeholders as they are written.
    fn program(&self) -> Vec<u8> {
        let parts = self.0[0].iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(placeholder) => placeholder.to_string().into_bytes(),
        });
        parts.flatten().collect()
    }

    /// Whether the command line has this placeholder.
    pub(crate) fn takes(&self, placeholder: Placeholder) -> bool {
        self.0.iter().flatten().any(|part| *part == Part::Value(placeholder))
    }

    /// The words with everything filled in, at least one.
    pub(super) fn fill(&self, values: &GuestCommand) -> Vec<OsString> {
        let fill = |word: &Word| {
            let parts = word.iter().map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Value(placeholder) => placeholder.value(values).into_bytes(),
            });
            OsString::from_vec(parts.flatten().collect())
        };
        self.0.iter().map(fill).collect()
    }
}

fn bytes(word: &str) -> Vec<u8> {
    // They came from bytes.
    word.chars().map(|byte| byte as u8).collect()
}

/// Takes a word apart at its placeholders. A brace that opens nothing stands for itself.
fn parts(mut word: &[u8]) -> Result<Word, String> {
    let (mut parts, mut text) = (Vec::new(), Vec::new());
    while let Some(byte) = word.first() {
        let name = word.strip_prefix(b"{").and_then(|rest| rest.split(|byte| *byte == b'}').next().zip(Some(rest)));
        let name = name.filter(|(name, rest)| name.len() < rest.len()).map(|(name, _)| name);
        if word.starts_with(b"{{") || word.starts_with(b"}}") {
            text.push(*byte);
            word = &word[2..];
        } else if let Some(name) = name {
            let known = Placeholder::ALL.into_iter().find(|known| known.name().as_bytes() == name);
            let known = known.ok_or_else(|| unknown(name))?;
            parts.extend([Part::Text(std::mem::take(&mut text)), Part::Value(known)]);
            word = &word[name.len() + 2..];
        } else {
            text.push(*byte);
            word = &word[1..];
        }
    }
    parts.push(Part::Text(text));
    Ok(parts)
}

fn unknown(name: &[u8]) -> String {
    let (name, known) = (String::from_utf8_lossy(name), Placeholder::ALL.map(|known| known.to_string()).join(", "));
    format!("{{{name}}} is no placeholder; there are {known}, and a brace that is meant is written twice: {{{{ or }}}}")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use protocol::{Service, work::Work};

    use super::*;

    fn words(text: impl AsRef<OsStr>) -> Vec<OsString> {
        filled_by(Template::parse(text).unwrap())
    }

    fn filled_by(template: Template) -> Vec<OsString> {
        let service = Service {
            work: Work::each(Duration::from_micros(5)),
            handshake: Some(Duration::from_millis(100)),
            idle_timeout: None,
        };
        let command = GuestCommand {
            template: template.clone(),
            listen: Ipv4Addr::LOCALHOST.into(),
            status_interval: Duration::from_millis(10),
            max_connections: 7,
            service,
            cpus: Vec::new(),
            padding_bytes: 0,
        };
        template.fill(&command)
    }

    fn filled(text: &str) -> Vec<String> {
        words(text).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn placeholders_are_filled_in() {
        let words = filled("serve --to={addr} '{status_interval_ms}ms/{max_connections}' plain");
        assert_eq!(words, ["serve", "--to=127.0.0.1:0", "10ms/7", "plain"]);
        assert_eq!(filled("{work} {handshake_ms} {idle_timeout_ms}"), ["5us", "100", "0"]);
        assert!(Template::parse("serve {addr}").unwrap().takes(Placeholder::Addr));
        assert!(!Template::parse("serve {{addr}}").unwrap().takes(Placeholder::Addr));
    }

    #[test]
    fn a_brace_that_is_meant_is_written_twice() {
        let words = filled(r#"serve '{{"listen":"{addr}","nested":{{"a":1}}}}' '${{HOME}}' '{{{addr}}}' 'a{b' 'c}d'"#);
        let expected =
            ["serve", r#"{"listen":"127.0.0.1:0","nested":{"a":1}}"#, "${HOME}", "{127.0.0.1:0}", "a{b", "c}d"];
        assert_eq!(words, expected);
    }

    #[test]
    fn an_unknown_placeholder_is_answered_with_the_known_ones_and_how_to_write_a_brace() {
        for text in [r#"serve '{"listen":1}'"#, "serve '${HOME}'", "serve {adr}", "serve {}"] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains("{addr}, {status_interval_ms}") && error.contains("{{ or }}"), "{text}: {error}");
        }
    }

    #[test]
    fn a_command_line_that_is_not_utf_8_keeps_its_bytes() {
        let text = OsStr::from_bytes(b"./caf\xe9 '{addr} \xff' \xc3\xa0\xc2\x85");
        let words = words(text);
        let expected: [&[u8]; 3] = [b"./caf\xe9", b"127.0.0.1:0 \xff", "\u{e0}\u{85}".as_bytes()];
        assert_eq!(words, expected.map(OsStr::from_bytes));
    }

    #[test]
    fn the_program_is_found_where_a_shell_finds_it_and_a_script_where_it_is() {
        let names = |text: &str| -> Vec<String> {
            Template::parse(text).unwrap().files().into_iter().map(|(word, _)| word).collect()
        };
        assert_eq!(names("sh Cargo.toml src --config=Cargo.toml {addr} nothing-there"), ["sh", "Cargo.toml"]);
        assert_eq!(names("/bin/sh -c 'exec x'"), ["/bin/sh"]);
        assert_eq!(names("Cargo.toml"), [""; 0], "a program without a slash is looked up in PATH");
    }

    #[test]
    fn the_own_executable_is_no_template() {
        let words = filled_by(Template::own(&["fault-server", "{x}"]));
        assert_eq!(words, [OWN_EXECUTABLE, "fault-server", "{x}"]);
    }
}
