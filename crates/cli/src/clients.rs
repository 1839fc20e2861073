//! Where clients of MCP servers keep their configurations.

use std::path::{Path, PathBuf};

/// What the name of a configuration's backup ends with, as `portcullis wrap` keeps it.
const BACKUP: &str = ".before-portcullis";
/// Below a user's home directory.
const OF_USERS: [&str; 16] = [
    ".claude.json",
    ".claude",
    ".config/Claude/claude_desktop_config.json",
    "Library/Application Support/Claude/claude_desktop_config.json",
    ".cursor/mcp.json",
    ".codeium/windsurf/mcp_config.json",
    ".codeium/mcp_config.json",
    ".config/Code/User/mcp.json",
    ".config/Code/User/settings.json",
    ".config/Code - Insiders/User/mcp.json",
    ".config/Code - Insiders/User/settings.json",
    "Library/Application Support/Code/User/mcp.json",
    "Library/Application Support/Code/User/settings.json",
    ".gemini/settings.json",
    ".codex/config.toml",
    ".config/zed/settings.json",
];
/// Below a project's directory.
const OF_PROJECTS: [&str; 5] =
    [".mcp.json", ".claude", ".cursor/mcp.json", ".vscode/mcp.json", ".vscode/settings.json"];

/// The configurations that are there. Whoever can write one can put another command in the gate's place.
pub(crate) fn configurations(home: Option<&Path>, project: &Path) -> Vec<PathBuf> {
    let of_users = home.into_iter().flat_map(|home| OF_USERS.map(|name| home.join(name)));
    let of_projects = OF_PROJECTS.map(|name| project.join(name));
    of_users.chain(of_projects).filter(|path| path.is_absolute() && is_there(path)).collect()
}

/// The backup of a configuration: beside it.
pub(crate) fn backup_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(BACKUP);
    name.into()
}

/// A configuration and its backup, wherever a link of its name leads: who could write the backup would write what comes
/// back.
pub(crate) fn with_backup(path: PathBuf) -> Vec<PathBuf> {
    let mut paths = vec![backup_of(&path)];
    // Where the link leads nowhere there is no backup either.
    paths.extend(path.canonicalize().iter().map(|real| backup_of(real)));
    paths.push(path);
    paths
}

/// One that cannot be looked at is taken to be there.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().map_or_else(|error| !is_absence(&error), |_| true)
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_of_home_and_project_is_found() {
        let (home, project) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(configurations(Some(home.path()), project.path()).is_empty());
        std::fs::create_dir_all(home.path().join(".cursor")).unwrap();
        std::fs::write(home.path().join(".cursor/mcp.json"), "{}").unwrap();
        std::os::unix::fs::symlink("nowhere", project.path().join(".mcp.json")).unwrap();
        // No directory on the way is no configuration.
        std::fs::write(project.path().join(".vscode"), "").unwrap();
        let found = configurations(Some(home.path()), project.path());
        assert_eq!(found, [home.path().join(".cursor/mcp.json"), project.path().join(".mcp.json")]);
        assert_eq!(configurations(None, project.path()), [project.path().join(".mcp.json")]);
    }

    #[test]
    fn a_backup_lies_beside_the_file_itself_and_is_looked_for_beside_a_link_too() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (link, real) = (folder.join(".mcp.json"), folder.join("kept.json"));
        std::fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let paths = with_backup(link.clone());
        let at = |name: &str| folder.join(name);
        assert_eq!(paths, [at(".mcp.json.before-portcullis"), at("kept.json.before-portcullis"), link]);
        let nowhere = folder.join("nowhere");
        assert_eq!(with_backup(nowhere.clone()), [at("nowhere.before-portcullis"), nowhere]);
    }
}
