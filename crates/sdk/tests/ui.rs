//! Misuse of permits that must not compile, each with what the compiler says about it.

use portcullis_sdk::{Attempt, Permit, Running};
use serde::de::DeserializeOwned;

#[test]
fn forging_copying_reusing_and_skipping_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

/// Names one implementation, and two as soon as the type can be read from bytes: then this file does not compile.
trait NotRead<Marker> {
    const HOLDS: () = ();
}

impl<T> NotRead<()> for T {}
impl<T: DeserializeOwned> NotRead<u8> for T {}

const _: () = <Permit as NotRead<_>>::HOLDS;
const _: () = <Running as NotRead<_>>::HOLDS;
const _: () = <Attempt as NotRead<_>>::HOLDS;
