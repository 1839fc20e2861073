//! Who else could have put another program in a program's place.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::process::geteuid;

use crate::way::{Step, way};

/// Why a program is not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitProgram {
    /// It cannot be looked at.
    #[error("cannot be looked at: {0}")]
    Unseen(String),
    /// It is no file, or nobody may execute it.
    #[error("is not an executable file")]
    NotExecutable,
    /// Its group or everybody may write it.
    #[error("may be written by others; run `chmod go-w` on it")]
    Writable,
    /// Whoever owns a file may write it.
    #[error("belongs to user {0}, who is neither root nor the user of this process")]
    Owned(u32),
    /// Whoever may write a folder may put another program there, or another folder with one in it.
    #[error("lies behind `{}`, in which others may replace it; run `chmod go-w` on that", .0.display())]
    ReplaceableIn(PathBuf),
    /// So may the owner of a folder, and that of a symbolic link.
    #[error("lies behind `{}`, which belongs to user {owner}, who is neither root nor the user of this process", path.display())]
    BehindOwned {
        /// The folder or link.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
}

/// Whether a program may be run: an executable file that nobody may write, nor put another in the place of, but root and the
/// user of this process. So each folder that its path leads through is looked at, and each symbolic link, as OpenSSH does
/// with its files; in a folder with the sticky bit nobody may replace what is another's.
///
/// # Errors
/// [`UnfitProgram`], which reads on after the program's name.
pub fn fit_program(program: &Path) -> Result<(), UnfitProgram> {
    let steps = way(program).map_err(|error| UnfitProgram::Unseen(error.to_string()))?;
    let own = geteuid().as_raw();
    let (program, way) = steps.split_last().ok_or(UnfitProgram::NotExecutable)?;
    let mode = if program.kind == FileType::RegularFile { program.mode } else { 0 };
    judge(mode, program.owner, own)?;
    way.iter().try_for_each(|step| judge_step(step, own))
}

/// `mode` are the permission bits, none of what is no file.
const fn judge(mode: u32, owner: u32, own: u32) -> Result<(), UnfitProgram> {
    if mode & 0o111 == 0 {
        return Err(UnfitProgram::NotExecutable);
    }
    if mode & 0o022 != 0 {
        return Err(UnfitProgram::Writable);
    }
    if owner != 0 && owner != own {
        return Err(UnfitProgram::Owned(owner));
    }
    Ok(())
}

/// A folder or a symbolic link on the way to the program.
fn judge_step(step: &Step, own: u32) -> Result<(), UnfitProgram> {
    if step.owner != 0 && step.owner != own {
        return Err(UnfitProgram::BehindOwned { path: step.path.clone(), owner: step.owner });
    }
    // A link has no mode of its own.
    if step.kind != FileType::Symlink && step.mode & 0o022 != 0 && step.mode & 0o1000 == 0 {
        return Err(UnfitProgram::ReplaceableIn(step.path.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_program_that_somebody_else_could_write_was_run() {
        for (mode, owner, own, verdict) in [
            (0o755, 0, 1000, Ok(())),
            (0o700, 1000, 1000, Ok(())),
            (0o500, 0, 0, Ok(())),
            (0o644, 0, 0, Err(UnfitProgram::NotExecutable)),
            (0, 0, 0, Err(UnfitProgram::NotExecutable)),
            (0o775, 0, 0, Err(UnfitProgram::Writable)),
            (0o757, 0, 0, Err(UnfitProgram::Writable)),
            (0o755, 1001, 1000, Err(UnfitProgram::Owned(1001))),
            (0o755, 1000, 0, Err(UnfitProgram::Owned(1000))),
        ] {
            assert_eq!(judge(mode, owner, own), verdict, "{mode:o} of {owner}, run by {own}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fit_program(folder.path()), Err(UnfitProgram::NotExecutable), "a directory");
        assert!(matches!(fit_program(&folder.path().join("none")), Err(UnfitProgram::Unseen(_))));
    }

    #[test]
    fn who_could_replace_a_folder_on_the_way_was_not_asked_about() {
        let path = PathBuf::from("/opt");
        let replaceable = || Err(UnfitProgram::ReplaceableIn(path.clone()));
        let owned = |owner| Err(UnfitProgram::BehindOwned { path: path.clone(), owner });
        let (folder, link) = (FileType::Directory, FileType::Symlink);
        for (kind, mode, owner, own, verdict) in [
            (folder, 0o755, 0, 1000, Ok(())),
            (folder, 0o700, 1000, 1000, Ok(())),
            (folder, 0o1777, 0, 1000, Ok(())),
            (folder, 0o1775, 0, 0, Ok(())),
            (folder, 0o775, 0, 0, replaceable()),
            (folder, 0o757, 0, 0, replaceable()),
            (folder, 0o2775, 1000, 1000, replaceable()),
            (folder, 0o755, 1001, 1000, owned(1001)),
            (folder, 0o755, 1000, 0, owned(1000)),
            // Its owner may replace what lies in it, sticky or not.
            (folder, 0o1777, 1001, 1000, owned(1001)),
            (link, 0o777, 0, 1000, Ok(())),
            (link, 0o777, 1000, 1000, Ok(())),
            (link, 0o777, 1001, 1000, owned(1001)),
        ] {
            let step = Step { path: path.clone(), kind, mode, owner };
            assert_eq!(judge_step(&step, own), verdict, "{kind:?} {mode:o} of {owner}, run by {own}");
        }
    }

    #[test]
    fn a_program_in_a_folder_that_others_may_write_was_run() {
        let home = tempfile::tempdir().unwrap();
        let root = &home.path().canonicalize().unwrap();
        let mode = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let (outer, inner, open) = (root.join("outer"), root.join("outer/inner"), root.join("open"));
        [&outer, &inner, &open].into_iter().for_each(|folder| create_dir(folder).unwrap());
        let program = inner.join("program");
        write(&program, "").unwrap();
        mode(&program, 0o755);
        symlink(&outer, open.join("link")).unwrap();
        symlink(open.join("link/inner/program"), root.join("by-links")).unwrap();
        let ways = [program, root.join("by-links"), open.join("../outer/inner/program")];
        let said = || ways.each_ref().map(|program| fit_program(program));
        [&outer, &inner, &open].into_iter().for_each(|folder| mode(folder, 0o755));
        assert_eq!(said(), [Ok(()), Ok(()), Ok(())]);
        for (folder, seen) in [(&outer, [true; 3]), (&inner, [true; 3]), (&open, [false, true, true])] {
            for bits in [0o777, 0o775, 0o757] {
                mode(folder, bits);
                let refused = Err(UnfitProgram::ReplaceableIn(folder.clone()));
                let expected = seen.map(|seen| if seen { refused.clone() } else { Ok(()) });
                assert_eq!(said(), expected, "{} with {bits:o}", folder.display());
            }
            mode(folder, 0o1777);
            assert_eq!(said(), [Ok(()), Ok(()), Ok(())], "nobody replaces what is another's");
            mode(folder, 0o755);
        }
    }
}
