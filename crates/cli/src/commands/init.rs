//! `portcullis init`

use std::process::ExitCode;

use portcullis_server::init;

use crate::args::InitArgs;
use crate::say;

pub(crate) fn run(args: &InitArgs) -> ExitCode {
    match init(&args.directory) {
        Ok(made) => {
            say::line(&format!("configuration  {}", made.config.display()));
            say::line(&format!("log key        {}", made.log_key));
            say::line(&format!("bundle         {}", made.pin));
            say::line("");
            say::line("Agent `assistant` may read over the tool server `files`, and nothing else. Try it:");
            say::line(&format!(
                "  portcullis mcp --config {} -- npx -y @modelcontextprotocol/server-filesystem DIR",
                made.config.display()
            ));
            say::line(
                "Policy is in `bundle/`; after a change run `portcullis bundle sign` and `portcullis bundle pin`.",
            );
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}
