//! One run of one target.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use super::Places;

/// What a target reads is mostly small; these read what is larger, or smaller. Largest input, in bytes.
const SIZES: [(&str, u32); 6] = [
    ("planted", 16),
    ("pack", 32_768),
    ("archive", 32_768),
    ("log", 16_384),
    ("receipt", 8192),
    ("proof", 8192),
];
/// Seconds after which an input counts as one that hangs.
const HANGS: u32 = 20;
/// Lines of the log that are shown of what was found.
const SHOWN: usize = 40;

/// How a run ended.
pub(super) enum Ending {
    /// Without a finding.
    Nothing { inputs: u64, kept: u64, edges: u64 },
    /// With an input that breaks something.
    Found { log: String, input: Option<PathBuf> },
}

/// A run.
pub(super) struct Run {
    pub(super) ending: Ending,
    pub(super) seconds: f64,
}

impl Run {
    /// Runs a target for so long.
    pub(super) fn of(places: &Places, target: &str, seconds: u64, seed: u32) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot fuzz `{target}`: {error}");
        let (corpus, found) = (places.work("corpus", target), places.work("found", target));
        if found.exists() {
            std::fs::remove_dir_all(&found).map_err(failed)?;
        }
        let logs = places.work("logs", "");
        for folder in [&corpus, &found, &logs] {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let log = logs.join(format!("{target}.log"));
        let (output, errors) = (File::create(&log).map_err(failed)?, File::options().append(true).open(&log));
        let mut command = places.command(target);
        command.arg(format!("-seed={seed}")).arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-timeout={HANGS}")).args(["-rss_limit_mb=2048", "-print_final_stats=1"]);
        command
            .arg(format!("-max_len={}", largest(target)))
            .arg(format!("-artifact_prefix={}/", found.display()));
        command.arg(&corpus).args(seeds(places, target));
        command.stdin(Stdio::null()).stdout(output).stderr(errors.map_err(failed)?);
        let start = Instant::now();
        let status = command.status().map_err(failed)?;
        let text = String::from_utf8_lossy(&std::fs::read(&log).map_err(failed)?).into_owned();
        let ending = match (status.success(), stats(&text)) {
            (true, Some((inputs, kept, edges))) => Ending::Nothing { inputs, kept, edges },
            (true, None) => {
                return Err(format!("`{target}` says nothing of what it did; see {}", log.display()));
            }
            (false, _) => Ending::Found { log: telling(&text), input: first_file(&found).map_err(failed)? },
        };
        Ok(Self { ending, seconds: start.elapsed().as_secs_f64() })
    }

    /// What people are told of it.
    pub(super) fn line(&self) -> String {
        match &self.ending {
            Ending::Nothing { inputs, kept, edges } => {
                format!(
                    "{:.0} s | inputs {inputs} | kept {kept} | edges {edges} | nothing found",
                    self.seconds
                )
            }
            Ending::Found { .. } => format!("{:.0} s | FOUND SOMETHING", self.seconds),
        }
    }
}

fn largest(target: &str) -> u32 {
    SIZES.iter().find(|(name, _)| *name == target).map_or(4096, |(_, bytes)| *bytes)
}

/// The folders that a target begins with: what is kept of earlier runs, and the vectors of its kind.
pub(super) fn seeds(places: &Places, target: &str) -> Vec<PathBuf> {
    let kinds: &[&str] = match target {
        "receipt" | "proof" => &["receipt"],
        "note" | "checkpoint" => &["checkpoint"],
        "pack" => &["pack"],
        _ => &[],
    };
    let vectors =
        kinds.iter().flat_map(|kind| ["valid", "tampered"].map(|verdict| Path::new(kind).join(verdict)));
    let vectors = vectors.map(|folder| places.root.join("vectors").join(folder));
    std::iter::once(places.kept(target)).chain(vectors).filter(|folder| folder.is_dir()).collect()
}

fn first_file(folder: &Path) -> std::io::Result<Option<PathBuf>> {
    std::fs::read_dir(folder)?.next().transpose().map(|entry| entry.map(|entry| entry.path()))
}

/// How many inputs were tried, how many of them were new, and how many edges of the program they reached.
fn stats(log: &str) -> Option<(u64, u64, u64)> {
    let of = |name: &str| log.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    let edges = log.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once(" cov: ")?;
        rest.split(' ').next()?.parse().ok()
    });
    Some((of("stat::number_of_executed_units:")?, of("stat::new_units_added:")?, edges?))
}

/// The part of a log that says what was found: from the panic's message on.
fn telling(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let start =
        lines.iter().position(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"));
    let start = start.unwrap_or_else(|| lines.len().saturating_sub(SHOWN));
    lines.iter().skip(start).take(SHOWN).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{largest, stats, telling};

    const LOG: &str = "INFO: Seed: 7\n#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 30Mb\n\
        #900\tDONE   cov: 345 ft: 600 corp: 20/90b lim: 4 exec/s: 450 rss: 31Mb\nDone 900 runs in 2 second(s)\n\
        stat::number_of_executed_units: 900\nstat::average_exec_per_sec:     450\nstat::new_units_added:          19\n";

    #[test]
    fn what_libfuzzer_counts_is_read() {
        assert_eq!(stats(LOG), Some((900, 19, 345)));
        assert_eq!(stats("Done"), None);
        assert_eq!(largest("json"), 4096);
    }

    #[test]
    fn what_was_found_is_shown_from_its_message_on() {
        let log = format!(
            "{LOG}thread '<unnamed>' panicked at src/x.rs:1:1:\nforged\n==1== ERROR: libFuzzer: deadly signal\n"
        );
        assert!(telling(&log).starts_with("thread '<unnamed>' panicked"), "{}", telling(&log));
        assert!(telling(LOG).contains("DONE"));
    }
}
