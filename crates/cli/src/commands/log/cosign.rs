//! `portcullis log cosign`

use std::path::Path;
use std::process::ExitCode;

use portcullis_server::{Config, cosign};

use crate::say;

pub(super) fn run(config: &Path, key: Option<&Path>, json: bool) -> ExitCode {
    let config = match Config::read(config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    match cosign(&config, key) {
        Ok(head) => {
            let (size, root) = (head.size(), head.root().to_string());
            say::line(&if json {
                serde_json::json!({ "log": head.origin().as_str(), "size": size, "root": root }).to_string()
            } else {
                format!("cosigned: {size} records, root {root}")
            });
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}
