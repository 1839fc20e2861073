//! How the endpoint reads the headers of a request, and its body by them: nobody else's business, and so not public.

#[path = "../../crates/gate/src/endpoint/era.rs"]
mod era;
#[path = "../../crates/gate/src/endpoint/guard.rs"]
mod guard;
#[path = "targets/headers.rs"]
pub(crate) mod headers;

/// What stands in for the endpoint's refusals: nothing is read of them.
mod refused {
    use hyper::StatusCode;
    use portcullis_protocol::ReasonCode;

    use crate::message::{Defect, Id};

    #[derive(Debug)]
    pub(super) struct Refused;

    impl Refused {
        pub(super) fn new(_: StatusCode, _: ReasonCode, _: &str) -> Self {
            Self
        }

        pub(super) fn mismatch(_: &str) -> Self {
            Self
        }

        pub(super) fn parameters(_: &str) -> Self {
            Self
        }

        pub(super) fn revision(_: &str, _: &[&str]) -> Self {
            Self
        }

        pub(super) fn method(_: &str) -> Self {
            Self
        }

        pub(super) fn defect(_: &Defect) -> Self {
            Self
        }

        pub(super) fn to(self, _: &Id) -> Self {
            self
        }
    }
}
