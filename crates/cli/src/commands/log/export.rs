//! `portcullis log export`

use std::path::Path;
use std::process::ExitCode;

use portcullis_server::{Config, Exported, export_log};

use crate::commands::{quoted, signer_of, view};
use crate::progress::Progress;
use crate::say;

pub(super) fn run(config: &Path, directory: &Path, (cosigned, from): (bool, u64), json: bool) -> ExitCode {
    let config = match Config::read(config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    let view = match view(&config, cosigned) {
        Ok(view) => view,
        Err(code) => return code,
    };
    if from > view.head().size() {
        let size = view.head().size();
        return say::misuse(&format!("--from {from} lies beyond the log, which has {size} records"));
    }
    let mut progress = match Progress::new("exporting file") {
        Ok(progress) => progress,
        Err(error) => return say::error(&error),
    };
    let exported = export_log(&view, (&config.log_key, &config.log_keys), directory, from, |done, total| {
        progress.step(done, total)
    });
    drop(progress);
    match exported {
        Ok(Exported { size, before, written }) if json => {
            let said = serde_json::json!({
                "log": config.log_key.name().as_str(), "size": size, "before": before, "written": written,
            });
            say::line(&said.to_string());
            ExitCode::SUCCESS
        }
        Ok(Exported { size, before, written }) => {
            let place = directory.display();
            say::line(&format!(
                "{size} records in {place}, {before} of them from before; {written} files written"
            ));
            let key = quoted(&signer_of(&config, view.head()).to_string());
            say::line(&format!("verify: portcullis log verify {place} --key {key}"));
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}
