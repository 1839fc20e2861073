//! The gate in front of a real process that records what reaches it. What ran is told by that record alone.

#[cfg(test)]
mod arbiter;
#[cfg(test)]
mod arbiters;
#[cfg(test)]
mod arguments;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod confined;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod door;
#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod endpoint_attacks;
#[cfg(test)]
mod held;
#[cfg(test)]
mod junction;
#[cfg(test)]
mod junction_attacks;
#[cfg(test)]
mod junction_endpoint;
#[cfg(test)]
mod leased;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod mapping;
#[cfg(test)]
mod permits;
#[cfg(test)]
mod pins;
#[cfg(test)]
mod questions;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod several;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod support;
#[cfg(test)]
mod upstreams;
#[cfg(test)]
mod vault;
#[cfg(test)]
mod visible;
#[cfg(test)]
mod web;

/// How long a test waits for what must happen.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
