//! `portcullis bundle root`

use std::path::Path;
use std::process::ExitCode;

use portcullis_policy::{Root, RootChain};
use portcullis_protocol::Digest;
use portcullis_server::{config::read_chain, new_file, replace_file, sign_root};
use portcullis_verify::VerifierKey;

use crate::args::{RootCommand, RootSays};
use crate::commands::verify::read_key;
use crate::say;

pub(super) fn run(command: &RootCommand) -> ExitCode {
    match command {
        RootCommand::New { file, name, says } => done(new(file, name, says)),
        RootCommand::Next { file, says } => done(next(file, says)),
        RootCommand::Sign { file, key } => match sign_root(file, key) {
            Ok(version) => {
                say::line(&format!("signed root {version}"));
                ExitCode::SUCCESS
            }
            Err(error) => say::error(&error),
        },
        RootCommand::Show { file, root_pin, json } => show(file, root_pin.as_deref(), *json),
    }
}

fn done(said: Result<String, ExitCode>) -> ExitCode {
    match said {
        Ok(said) => {
            say::line(&said);
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn root(name: &str, version: u64, says: &RootSays) -> Result<Root, ExitCode> {
    let keys: Result<Vec<VerifierKey>, _> = says.key.iter().map(|key| read_key(key)).collect();
    let keys = keys.map_err(|error| say::misuse(&error))?;
    Root::new(name, version, &says.valid_until, says.threshold, keys)
        .map_err(|what| say::misuse(&format!("this is no root: {what}")))
}

fn new(file: &Path, name: &str, says: &RootSays) -> Result<String, ExitCode> {
    let root = root(name, 1, says)?;
    let digest = root.digest();
    new_file(file, RootChain::new(root).to_text().as_bytes()).map_err(|error| say::error(&error))?;
    let at = file.display();
    Ok(format!(
        "root 1 in {at}, {digest}\nSign it with `portcullis bundle root sign {at} --key FILE`, once for each key."
    ))
}

fn next(file: &Path, says: &RootSays) -> Result<String, ExitCode> {
    let mut chain = read_chain(file).map_err(|error| say::error(&error))?;
    let newest = chain.roots().last().map(|root| (root.name().to_owned(), root.version().saturating_add(1)));
    let (name, version) = newest.ok_or_else(|| say::misuse("the chain has no root"))?;
    chain.add(root(&name, version, says)?).map_err(|error| say::error(&error))?;
    replace_file(file, chain.to_text().as_bytes()).map_err(|error| say::error(&error))?;
    Ok(format!(
        "root {version} added; enough keys of root {} and of its own must sign it",
        version.saturating_sub(1)
    ))
}

fn show(file: &Path, pin: Option<&str>, json: bool) -> ExitCode {
    let chain = match read_chain(file) {
        Ok(chain) => chain,
        Err(error) => return say::error(&error),
    };
    let pin: Option<Digest> = match pin.map(str::parse).transpose() {
        Ok(pin) => pin,
        Err(error) => return say::error(&error),
    };
    let own = chain.roots().next().map(Root::digest);
    let verified = match pin.or(own) {
        Some(pin) => chain.verify(pin).map_err(|error| error.to_string()),
        None => Err("the chain has no root".to_owned()),
    };
    if json {
        let roots: Vec<_> = chain.roots().map(told).collect();
        let refused = verified.as_ref().err();
        say::line(
            &serde_json::json!({ "verified": refused.is_none(), "detail": refused, "roots": roots })
                .to_string(),
        );
        return if refused.is_none() { ExitCode::SUCCESS } else { ExitCode::from(say::FAILED) };
    }
    for root in chain.roots() {
        say::line(&format!("{} root {}\n{}", root.name(), root.version(), root.digest()));
        say::line(&format!("  until {}, {} of these keys:", root.valid_until(), root.threshold()));
        root.keys().iter().for_each(|key| say::line(&format!("  {key}")));
    }
    match verified {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => say::misuse(&error),
    }
}

fn told(root: &Root) -> serde_json::Value {
    let keys: Vec<_> = root.keys().iter().map(ToString::to_string).collect();
    serde_json::json!({
        "name": root.name(), "version": root.version(), "digest": root.digest(),
        "valid_until": root.valid_until(), "threshold": root.threshold(), "keys": keys,
    })
}
