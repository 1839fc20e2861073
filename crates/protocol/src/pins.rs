//! Pins of tools: how a tool was defined when the bundle was signed, held against how its server defines it now.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::ids::{InvalidId, ToolName};
use crate::reason::ReasonCode;
use crate::request::Ask;

/// The tools that a bundle pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolPins {
    /// Whether tools of servers without pins are refused too.
    pub required: bool,
    /// The digest of each tool's definition. A server of which it has one tool has no other tools.
    pub tools: BTreeMap<ToolName, Digest>,
}

/// What a gate saw of a tool that is to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolSeen {
    /// Its server lists it once, under a name that no other resembles, and shows all of what it says: the digest of it.
    Defined(Digest),
    /// It could be taken for another tool, or says what people do not see.
    Ambiguous,
    /// Its server does not list it.
    Absent,
    /// The server has not said which tools it has, or not lately enough.
    Unknown,
}

/// How the arguments of a call fit the pinned definition of its tool, as a gate found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArgumentsSeen {
    /// They are right, and each key of them is declared.
    Fit,
    /// One has a key that the definition does not declare.
    Undeclared,
    /// One is not as the definition wants it.
    Unfit,
    /// The definition says it in a way that they cannot be held against.
    Unchecked,
}

/// The tool that is to be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalledTool {
    /// Its server's name and its own.
    pub name: ToolName,
    /// What the gate saw of it: the digest of its definition, `ambiguous`, `absent` or `unknown`.
    pub definition: ToolSeen,
    /// How the arguments fit the definition, where it is the pinned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<ArgumentsSeen>,
}

impl ToolPins {
    /// No pins, and none asked for.
    #[must_use]
    pub const fn none() -> Self {
        Self { required: false, tools: BTreeMap::new() }
    }

    /// Whether nothing is pinned, and no pins are asked for.
    #[must_use]
    pub fn say_nothing(&self) -> bool {
        !self.required && self.tools.is_empty()
    }

    /// The pinned tools of a server, by their own names.
    pub fn of<'a>(&'a self, server: &'a str) -> impl Iterator<Item = (&'a str, &'a Digest)> {
        self.tools.iter().filter_map(move |(tool, digest)| {
            let (of, name) = tool.parts();
            (of == server).then_some((name, digest))
        })
    }

    /// Whether calls of a server's tools are held against pins.
    #[must_use]
    pub fn bind(&self, server: &str) -> bool {
        self.required || self.of(server).next().is_some()
    }

    /// Whether a tool may be called with any arguments, as far as pins go.
    ///
    /// # Errors
    /// [`ReasonCode::ToolAmbiguous`] of any server's tool; where pins bind the server [`ReasonCode::ToolUnpinned`],
    /// [`ReasonCode::ToolDefinitionUnknown`] and [`ReasonCode::ToolDefinitionChanged`].
    pub fn judge(&self, called: &CalledTool) -> Result<(), ReasonCode> {
        if called.definition == ToolSeen::Ambiguous {
            return Err(ReasonCode::ToolAmbiguous);
        }
        if !self.bind(called.name.parts().0) {
            return Ok(());
        }
        let pin = self.tools.get(&called.name).ok_or(ReasonCode::ToolUnpinned)?;
        match called.definition {
            ToolSeen::Defined(digest) if digest == *pin => Ok(()),
            ToolSeen::Defined(_) | ToolSeen::Absent => Err(ReasonCode::ToolDefinitionChanged),
            ToolSeen::Ambiguous => Err(ReasonCode::ToolAmbiguous),
            ToolSeen::Unknown => Err(ReasonCode::ToolDefinitionUnknown),
        }
    }

    /// Whether a tool may be called with the arguments that a gate saw, as far as pins go.
    ///
    /// # Errors
    /// As [`Self::judge`], and then, where pins bind the server, [`ReasonCode::ToolArgumentsUndeclared`],
    /// [`ReasonCode::ToolArgumentsInvalid`] and [`ReasonCode::ToolArgumentsUnchecked`].
    pub fn judge_call(&self, called: &CalledTool) -> Result<(), ReasonCode> {
        self.judge(called)?;
        if !self.bind(called.name.parts().0) {
            return Ok(());
        }
        match called.arguments {
            Some(ArgumentsSeen::Fit) => Ok(()),
            Some(ArgumentsSeen::Undeclared) => Err(ReasonCode::ToolArgumentsUndeclared),
            Some(ArgumentsSeen::Unfit) => Err(ReasonCode::ToolArgumentsInvalid),
            // A gate that does not say did not look.
            Some(ArgumentsSeen::Unchecked) | None => Err(ReasonCode::ToolArgumentsUnchecked),
        }
    }

    /// Holds a request against the pins. One that a gate read by rules with pins, and that is no method's, says of its tool
    /// what the gate saw; what says nothing was seen by nobody.
    ///
    /// # Errors
    /// As [`Self::judge_call`].
    pub fn judge_ask(&self, ask: &Ask) -> Result<(), ReasonCode> {
        match &ask.tool {
            Some(called) => self.judge_call(called),
            None if ask.mapped_with.is_some() && !self.say_nothing() && !ask.is_of_method() => {
                Err(ReasonCode::ToolDefinitionUnknown)
            }
            None => Ok(()),
        }
    }
}

impl Ask {
    /// Whether its surface is one of a server's methods, `{server}.mcp.…`, which are no tools.
    fn is_of_method(&self) -> bool {
        let mut words = self.surface.as_str().split('.').skip(1);
        words.next() == Some("mcp") && words.next().is_some()
    }
}

impl fmt::Display for ToolSeen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defined(digest) => digest.fmt(formatter),
            Self::Ambiguous => formatter.write_str("ambiguous"),
            Self::Absent => formatter.write_str("absent"),
            Self::Unknown => formatter.write_str("unknown"),
        }
    }
}

impl FromStr for ToolSeen {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Ok(match text {
            "ambiguous" => Self::Ambiguous,
            "absent" => Self::Absent,
            "unknown" => Self::Unknown,
            digest => Self::Defined(digest.parse()?),
        })
    }
}

impl Serialize for ToolSeen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ToolSeen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "pins_tests.rs"]
mod tests;
