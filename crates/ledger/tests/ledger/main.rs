//! The ledger through its public API: real files, real SQLite, a clock and surroundings that the test controls.

#[cfg(test)]
mod abandoned;
#[cfg(test)]
mod archive;
#[cfg(test)]
mod attempts;
#[cfg(test)]
mod check;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod erasures;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod held;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod labels;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod principals;
#[cfg(test)]
mod pulled;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod released;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod scrub;
#[cfg(test)]
mod shadow;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod signers;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod spool;
#[cfg(test)]
mod succession;
#[cfg(test)]
mod tampered;
#[cfg(test)]
mod vault;
#[cfg(test)]
mod view;
#[cfg(test)]
mod watched;
