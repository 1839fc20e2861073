//! What comes with a call of what its payload digest is of: its arguments, where its surface has them kept.

use portcullis_protocol::{Digest, Payload};

/// What came with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// Nothing.
    Nothing,
    /// Something that the request does not commit to.
    Other,
    /// More than can be kept.
    TooMuch,
    /// What the request commits to.
    Own(Payload),
    /// It is not known, and taken for what the request commits to: only of a call that nobody decides.
    Assumed,
}

impl Brought {
    /// Holds what came against the digest that the request has of it.
    pub(crate) fn of(payload: Option<Payload>, committed: Option<&Digest>) -> Self {
        match payload {
            None => Self::Nothing,
            Some(payload) if !payload.can_be_kept() => Self::TooMuch,
            Some(payload) if Some(&payload.digest()) == committed => Self::Own(payload),
            Some(_) => Self::Other,
        }
    }

    /// Whether it is what the request commits to.
    pub(crate) const fn is_own(&self) -> bool {
        match self {
            Self::Own(_) | Self::Assumed => true,
            Self::Nothing | Self::Other | Self::TooMuch => false,
        }
    }

    pub(crate) const fn own(&self) -> Option<&Payload> {
        match self {
            Self::Own(payload) => Some(payload),
            Self::Assumed | Self::Nothing | Self::Other | Self::TooMuch => None,
        }
    }

    /// For the caller, why it cannot be kept.
    pub(crate) const fn told(&self) -> &'static str {
        match self {
            Self::Own(_) | Self::Assumed => "they are those that the request commits to",
            Self::Nothing => "they did not come with the request",
            Self::Other => "they are not those that the request commits to",
            Self::TooMuch => Payload::TOO_LONG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: usize) -> Payload {
        let [server, method, name] = ["srv", "tools/call", "write"].map(str::to_owned);
        Payload { server, method, name, arguments: "a".repeat(bytes), rest: String::new() }
    }

    #[test]
    fn only_what_the_request_commits_to_and_can_be_kept_is_its_own() {
        let held = |payload: &Payload, committed: Option<Digest>| {
            let brought = Brought::of(Some(payload.clone()), committed.as_ref());
            assert_eq!(brought.own(), brought.is_own().then_some(payload));
            brought
        };
        let short = payload(9);
        assert_eq!(held(&short, Some(short.digest())), Brought::Own(short.clone()));
        assert_eq!(held(&short, Some(payload(8).digest())), Brought::Other);
        assert_eq!(held(&short, None), Brought::Other, "it commits to nothing");
        let longest = payload(Payload::LONGEST - "srvtools/callwrite".len());
        assert!(held(&longest, Some(longest.digest())).is_own());
        let longer = payload(Payload::LONGEST - "srvtools/callwrite".len() + 1);
        assert_eq!(held(&longer, Some(longer.digest())), Brought::TooMuch);
        assert_eq!(Brought::of(None, Some(&short.digest())), Brought::Nothing);
    }
}
