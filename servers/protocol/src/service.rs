//! What a server does besides echoing and broadcasting; all of it is off by default.

use std::time::Duration;

use crate::work::Work;

/// The optional clauses of the specification, with their parameters. The default is none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// CPU time that a message costs before it is echoed (W1).
    pub work: Work,
    /// Time that a client has for its part of the handshake (H2); `None` without handshake.
    pub handshake: Option<Duration>,
    /// How long a client may be silent (T1); `None` for ever.
    pub idle_timeout: Option<Duration>,
}

/// A part of [`Service`] that a server may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// W1 and W2.
    Work,
    /// H1 to H8.
    Handshake,
    /// T1 to T3.
    IdleTimeout,
}

impl Feature {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Work, Self::Handshake, Self::IdleTimeout];

    /// The option that turns it on.
    pub fn option(self) -> &'static str {
        match self {
            Self::Work => "--work",
            Self::Handshake => "--handshake",
            Self::IdleTimeout => "--idle-timeout",
        }
    }

    /// The first letter of its clauses.
    pub fn letter(self) -> char {
        match self {
            Self::Work => 'W',
            Self::Handshake => 'H',
            Self::IdleTimeout => 'T',
        }
    }
}

impl Service {
    /// Only work.
    pub const fn working(work: Work) -> Self {
        Self { work, handshake: None, idle_timeout: None }
    }

    /// What is asked for.
    pub fn features(&self) -> impl Iterator<Item = Feature> + use<> {
        let Self { work, handshake, idle_timeout } = *self;
        let wanted = [
            (Feature::Work, !work.is_none()),
            (Feature::Handshake, handshake.is_some()),
            (Feature::IdleTimeout, idle_timeout.is_some()),
        ];
        wanted.into_iter().filter_map(|(feature, wanted)| wanted.then_some(feature))
    }

    /// The options of a server's command line that ask for it.
    pub fn options(&self) -> Vec<String> {
        let time = |duration: Duration| humantime::format_duration(duration).to_string().replace(' ', "");
        let value = |feature| match feature {
            Feature::Work => self.work.to_string(),
            Feature::Handshake => self.handshake.map(time).unwrap_or_default(),
            Feature::IdleTimeout => self.idle_timeout.map(time).unwrap_or_default(),
        };
        self.features().flat_map(|feature| [feature.option().to_owned(), value(feature)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_becomes_an_option() {
        assert_eq!(Service::default().options(), [""; 0]);
        let service = Service {
            work: "2us,1%:20ms".parse().unwrap(),
            handshake: Some(Duration::from_millis(1_500)),
            idle_timeout: Some(Duration::from_secs(30)),
        };
        let words = ["--work", "2us,1%:20ms", "--handshake", "1s500ms", "--idle-timeout", "30s"];
        assert_eq!(service.options(), words);
        assert!(service.features().eq(Feature::ALL.iter().copied()));
        let working = Service::working(Work::each(Duration::from_micros(5)));
        assert_eq!(working.options(), ["--work", "5us"]);
    }

    #[test]
    fn the_clauses_of_every_feature_are_specified() {
        let specification = include_str!("../SPEC.md");
        for feature in Feature::ALL {
            assert!(specification.contains(&format!("**{}1 ", feature.letter())), "{feature:?}");
            assert!(specification.contains(&format!("`{}", feature.option())), "{feature:?}");
        }
    }
}
