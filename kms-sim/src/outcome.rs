//! How a request ended, as the log and the counters tell it.

use crate::error::ErrorCode;

/// An ending without an answer of KMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cut {
    /// Never answered, and the work was not done.
    TimeoutBefore,
    /// Never answered, but the work was done.
    TimeoutAfter,
    /// The connection was dropped, and the work was not done.
    DisconnectBefore,
    /// The connection was dropped after the work was done.
    DisconnectAfter,
    /// Something on the way answered `200` with a page of its own, and the work was not done.
    JunkBefore,
    /// The same after the work was done.
    JunkAfter,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::TimeoutBefore,
        Self::TimeoutAfter,
        Self::DisconnectBefore,
        Self::DisconnectAfter,
        Self::JunkBefore,
        Self::JunkAfter,
    ];

    /// The word in the configuration, the log and the counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TimeoutBefore => "timeout_before",
            Self::TimeoutAfter => "timeout_after",
            Self::DisconnectBefore => "disconnect_before",
            Self::DisconnectAfter => "disconnect_after",
            Self::JunkBefore => "junk_before",
            Self::JunkAfter => "junk_after",
        }
    }

    /// Whether the request takes effect although nobody hears of it.
    pub const fn works(self) -> bool {
        match self {
            Self::TimeoutBefore | Self::DisconnectBefore | Self::JunkBefore => false,
            Self::TimeoutAfter | Self::DisconnectAfter | Self::JunkAfter => true,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It arrived and nothing is decided yet.
    Pending,
    /// It was granted.
    Ok,
    /// It was refused.
    Refused(ErrorCode),
    /// It was not answered, on purpose.
    Cut(Cut),
}

impl Outcome {
    /// How many there are.
    pub(crate) const COUNT: usize = 2 + Cut::ALL.len() + ErrorCode::COUNT;

    /// All of them, each at its [`Self::index`].
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [Self::Pending, Self::Ok]
            .into_iter()
            .chain(Cut::ALL.into_iter().map(Self::Cut))
            .chain(ErrorCode::ALL.into_iter().map(Self::Refused))
    }

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Pending => 0,
            Self::Ok => 1,
            Self::Cut(cut) => 2 + cut as usize,
            Self::Refused(code) => 2 + Cut::ALL.len() + code as usize,
        }
    }

    /// The HTTP status of the answer; 0 when there was none.
    pub const fn status(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::Refused(code) => code.status(),
            Self::Pending | Self::Cut(_) => 0,
        }
    }

    /// The log's `error`: the code, or how the answer was withheld.
    pub const fn error(self) -> Option<&'static str> {
        match self {
            Self::Pending | Self::Ok => None,
            Self::Refused(code) => Some(code.name()),
            Self::Cut(cut) => Some(cut.name()),
        }
    }

    /// The word in the counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ok => "ok",
            Self::Refused(code) => code.name(),
            Self::Cut(cut) => cut.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        let all: Vec<Outcome> = Outcome::all().collect();
        assert_eq!(all.len(), Outcome::COUNT);
        for (at, outcome) in all.into_iter().enumerate() {
            assert_eq!(outcome.index(), at, "{outcome:?}");
        }
    }
}
