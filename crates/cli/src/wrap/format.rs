//! Which client reads a file, and where in it the servers stand.

use std::ffi::OsStr;
use std::path::Path;

use clap::ValueEnum;

/// Stands for every member in a [`Format::sections`].
pub(crate) const EACH: &str = "*";

/// The form of a client's configuration. docs/clients.md names what each was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// `claude_desktop_config.json`
    ClaudeDesktop,
    /// `.mcp.json` of a project
    ClaudeCode,
    /// `.claude.json`, with the servers of the user and of each project
    ClaudeCodeUser,
    /// `mcp.json` below `.cursor`
    Cursor,
    /// `mcp.json` below `.vscode` or of a user's profile
    Vscode,
    /// `settings.json` of VS Code, with `mcp.servers`
    VscodeSettings,
    /// `mcp_config.json`
    Windsurf,
}

/// What a path ends with.
fn word(path: Option<&Path>) -> Option<&str> {
    path.and_then(Path::file_name).and_then(OsStr::to_str)
}

impl Format {
    /// The form of a file that is called so. The path is absolute.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let above = word(path.parent());
        // `profiles/ID/mcp.json` is another profile's.
        let of_user = above == Some("User") || word(path.ancestors().nth(2)) == Some("profiles");
        match (word(Some(path))?, above) {
            ("claude_desktop_config.json", _) => Some(Self::ClaudeDesktop),
            (".mcp.json", _) => Some(Self::ClaudeCode),
            (".claude.json", _) => Some(Self::ClaudeCodeUser),
            ("mcp_config.json", _) => Some(Self::Windsurf),
            ("mcp.json", Some(".cursor")) => Some(Self::Cursor),
            ("mcp.json", Some(".vscode")) => Some(Self::Vscode),
            ("mcp.json", _) if of_user => Some(Self::Vscode),
            ("settings.json", Some(".vscode")) => Some(Self::VscodeSettings),
            ("settings.json", _) if of_user => Some(Self::VscodeSettings),
            _ => None,
        }
    }

    /// As it is called on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude-desktop",
            Self::ClaudeCode => "claude-code",
            Self::ClaudeCodeUser => "claude-code-user",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::VscodeSettings => "vscode-settings",
            Self::Windsurf => "windsurf",
        }
    }

    /// The ways from the root to the objects that name servers; [`EACH`] is every member.
    pub(crate) const fn sections(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::ClaudeDesktop | Self::ClaudeCode | Self::Cursor | Self::Windsurf => &[&["mcpServers"]],
            Self::ClaudeCodeUser => &[&["mcpServers"], &["projects", EACH, "mcpServers"]],
            Self::Vscode => &[&["servers"]],
            Self::VscodeSettings => &[&["mcp", "servers"], &["mcp.servers"]],
        }
    }

    /// A member of the root that only another form has. Where it is, the file is not what its name says.
    pub(crate) const fn foreign(self) -> &'static str {
        match self {
            Self::ClaudeDesktop | Self::ClaudeCode | Self::ClaudeCodeUser | Self::Cursor | Self::Windsurf => {
                "servers"
            }
            Self::Vscode | Self::VscodeSettings => "mcpServers",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_known_by_the_files_name_and_place_and_by_nothing_else() {
        let cases = [
            ("/h/.config/Claude/claude_desktop_config.json", Some(Format::ClaudeDesktop)),
            ("/p/.mcp.json", Some(Format::ClaudeCode)),
            ("/h/.claude.json", Some(Format::ClaudeCodeUser)),
            ("/p/.cursor/mcp.json", Some(Format::Cursor)),
            ("/p/.vscode/mcp.json", Some(Format::Vscode)),
            ("/h/.config/Code/User/mcp.json", Some(Format::Vscode)),
            ("/h/.config/Code/User/profiles/a1/mcp.json", Some(Format::Vscode)),
            ("/p/.vscode/settings.json", Some(Format::VscodeSettings)),
            ("/h/.config/Code/User/settings.json", Some(Format::VscodeSettings)),
            ("/h/.codeium/windsurf/mcp_config.json", Some(Format::Windsurf)),
            ("/p/mcp.json", None),
            ("/h/.gemini/settings.json", None),
            ("/p/.Cursor/mcp.json", None),
            ("/", None),
        ];
        for (path, expected) in cases {
            assert_eq!(Format::of(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn forms_are_called_as_the_command_line_calls_them() {
        for format in Format::value_variants() {
            assert_eq!(format.to_possible_value().unwrap().get_name(), format.name());
        }
    }
}
