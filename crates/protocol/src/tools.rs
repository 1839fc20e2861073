//! To which surface the calls of a tool belong.

use crate::canonical::{self, NotCanonical};
use crate::digest::{Digest, Domain};
use crate::ids::{ActionName, InvalidId, SurfaceName};
use crate::request::Resource;
use crate::surface::{SurfaceSpec, SurfaceTable};

/// The surface of what has none of its own, behind the server's name.
pub const UNKNOWN: &str = ".mcp.unknown";

impl SurfaceTable {
    /// Digest of all rules by which calls are read.
    ///
    /// # Errors
    /// If the table has no canonical form; then nothing is read by it.
    pub fn digest(&self) -> Result<Digest, NotCanonical> {
        Ok(Digest::of(Domain::Surfaces, &[&canonical::to_bytes(self)?]))
    }

    /// The surface of a tool, by its name as the server called `server` has it: the one that lists it, else the
    /// one called `{server}.{tool}`, declared or not. With `None` no call of it may run.
    #[must_use]
    pub fn surface_of_tool(&self, server: &str, tool: &str) -> Option<SurfaceName> {
        let mut listing = self.surfaces.iter().filter(|(_, spec)| spec.lists(server, tool));
        match (listing.next(), listing.next()) {
            (Some((surface, _)), None) => Some(surface.clone()),
            // No such bundle loads. A table that says so all the same gives nobody a choice.
            (Some(_), Some(_)) => None,
            (None, _) => self.surface_by_name(server, tool),
        }
    }

    /// `{server}.{tool}`, if the tool's name is one word of a surface. A surface that lists tools is a closed list:
    /// a tool that the server adds under the surface's name is not on it.
    fn surface_by_name(&self, server: &str, tool: &str) -> Option<SurfaceName> {
        if server.contains('.') || tool.contains('.') {
            return None;
        }
        let name: SurfaceName = match format!("{server}.{tool}").parse() {
            Ok(name) => name,
            Err(_) => return None,
        };
        let closed = self.surfaces.get(&name).is_some_and(|spec| !spec.tools.is_empty());
        (!closed).then_some(name)
    }
}

impl SurfaceSpec {
    /// The action of a tool's call on this surface: its only one, else the one of the surface's name.
    ///
    /// # Errors
    /// If the surface's name can be no action's.
    pub fn action_of_calls(&self, surface: &SurfaceName) -> Result<ActionName, InvalidId> {
        match self.actions.as_slice() {
            [only] => Ok(only.clone()),
            [] | [_, _, ..] => surface.as_str().parse(),
        }
    }

    /// The resource of a tool's call on this surface: the one that it declares, else the surface itself.
    #[must_use]
    pub fn resource_of_calls(&self, surface: &SurfaceName) -> Resource {
        match &self.resource {
            Some(declared) => declared.clone(),
            None => Resource { kind: "Surface".to_owned(), id: surface.to_string() },
        }
    }

    fn lists(&self, server: &str, tool: &str) -> bool {
        self.tools.iter().any(|listed| listed.as_str().split_once('/') == Some((server, tool)))
    }
}

#[cfg(test)]
#[path = "tools_tests.rs"]
mod tests;
