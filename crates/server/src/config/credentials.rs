//! Who has a token, and where the own one lies.

use std::collections::BTreeSet;
use std::path::Path;

use portcullis_protocol::{AgentId, Digest, Millis, OperatorId, PrincipalId};
use portcullis_sdk::Token;

use super::{
    AgentSection, AuditorConfig, Config, ConfigError, OperatorsSection, SubjectConfig, parse, value,
};

/// An agent's credential, as kept at rest.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The agent.
    pub agent: AgentId,
    /// Digest of its static token, if it has one.
    pub token: Option<Digest>,
    /// Which access tokens of an identity provider name it, if some do.
    pub subject: Option<SubjectConfig>,
    /// When its credentials expire, at the latest.
    pub expires: Option<Millis>,
    /// For whom they let the agent act; for nobody, if there is none.
    pub acts_for: BTreeSet<PrincipalId>,
}

/// An operator's credential, as kept at rest.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// The operator.
    pub operator: OperatorId,
    /// Digest of its token.
    pub token: Digest,
    /// When the token expires.
    pub expires: Option<Millis>,
}

impl Config {
    pub(super) fn agents(&self) -> Result<Vec<AgentConfig>, ConfigError> {
        let agent = |(name, section): (&String, &AgentSection)| {
            let subject = SubjectConfig::read(section)?;
            if section.token.is_none() && subject.is_none() {
                let error = "or `subject` must be given, or nobody is this agent; `portcullis keys agent` makes a token";
                return Err(value("agents.token", &error));
            }
            let mut acts_for = principals(section.acts_for.as_deref().unwrap_or_default())?;
            acts_for.extend(subject.iter().flat_map(|subject| subject.subs.values().flatten().cloned()));
            Ok(AgentConfig {
                agent: parse("agents", name)?,
                token: section.token.as_deref().map(|token| parse("agents.token", token)).transpose()?,
                subject,
                expires: section.expires_ms.map(Millis),
                acts_for,
            })
        };
        let agents = self.file.agents.iter().map(agent).collect::<Result<Vec<_>, _>>()?;
        refuse_chains(&agents)?;
        Ok(agents)
    }

    pub(super) fn operators(&self) -> Result<Vec<OperatorConfig>, ConfigError> {
        let operator = |(name, section): (&String, &OperatorsSection)| {
            Ok(OperatorConfig {
                operator: parse("operators", name)?,
                token: parse("operators.token", &section.token)?,
                expires: section.expires_ms.map(Millis),
            })
        };
        self.file.operators.iter().map(operator).collect()
    }

    /// An operator's token: from this file, or from the one that the configuration names.
    ///
    /// # Errors
    /// [`ConfigError`] if none is named, or it cannot be read.
    pub fn operator_token(&self, file: Option<&Path>) -> Result<Token, ConfigError> {
        match file {
            Some(file) => read_token("operator.token_file", file),
            None => {
                let operator = Self::section(self.file.operator.as_ref(), "operator")?;
                read_token("operator.token_file", &self.at(&operator.token_file))
            }
        }
    }
}

fn principals(names: &[String]) -> Result<BTreeSet<PrincipalId>, ConfigError> {
    let parsed: BTreeSet<PrincipalId> =
        names.iter().map(|name| parse("agents.acts_for", name)).collect::<Result<_, _>>()?;
    if parsed.len() < names.len() {
        let error = "names one twice";
        return Err(ConfigError::Value { key: "agents.acts_for", error: error.into() });
    }
    Ok(parsed)
}

/// One who acts for somebody is acted for by nobody: what the last one in a chain does would be told of the one before
/// it alone, and labels would not come to the person at its end.
fn refuse_chains(agents: &[AgentConfig]) -> Result<(), ConfigError> {
    let acting = agents.iter().filter(|agent| !agent.acts_for.is_empty());
    let acting: BTreeSet<_> = acting.map(|agent| PrincipalId::from(&agent.agent)).collect();
    for agent in agents {
        if let Some(between) = agent.acts_for.intersection(&acting).next() {
            let error = format!(
                "`{}` would act for `{between}`, which acts for others itself; name the person or agent at the end of the \
                 chain",
                agent.agent
            );
            return Err(ConfigError::Value { key: "agents.acts_for", error });
        }
    }
    Ok(())
}

/// A token that named two would not tell who asks, and one of an agent and an operator would make the agent one.
pub(super) fn distinct(
    agents: &[AgentConfig],
    operators: &[OperatorConfig],
    auditors: &[AuditorConfig],
) -> Result<(), ConfigError> {
    let of_agents: Vec<_> = agents.iter().filter_map(|agent| agent.token).collect();
    let all = of_agents.len();
    let of_agents: BTreeSet<_> = of_agents.into_iter().collect();
    if of_agents.len() < all {
        let error = "two agents have one token, so it would not tell who asks; make each its own";
        return Err(ConfigError::Value { key: "agents.token", error: error.into() });
    }
    let of_operators: BTreeSet<_> = operators.iter().map(|operator| operator.token).collect();
    let of_others = of_agents.into_iter().chain(auditors.iter().map(|auditor| auditor.token)).collect();
    if of_operators.len() < operators.len() || !of_operators.is_disjoint(&of_others) {
        let error = "an operator's token must be nobody else's, least of all an agent's; make another";
        return Err(ConfigError::Value { key: "operators.token", error: error.into() });
    }
    Ok(())
}

/// Refuses a secret that others than its owner may read or write.
pub(super) fn refuse_exposed(key: &'static str, path: &Path) -> Result<(), ConfigError> {
    use std::os::unix::fs::MetadataExt;
    let failed = |error: String| ConfigError::Value { key, error };
    let metadata =
        std::fs::metadata(path).map_err(|error| failed(format!("`{}`: {error}", path.display())))?;
    if metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(failed(format!("`{0}` is open to others; run `chmod 600 {0}`", path.display())))
}

/// Reads a token file, which only its owner may read.
pub(super) fn read_token(key: &'static str, path: &Path) -> Result<Token, ConfigError> {
    refuse_exposed(key, path)?;
    let failed = |error: String| ConfigError::Value { key, error };
    let text =
        std::fs::read_to_string(path).map_err(|error| failed(format!("`{}`: {error}", path.display())))?;
    let token = Token::new(&zeroize::Zeroizing::new(text));
    if token.reveal().is_empty() { Err(failed(format!("`{}` is empty", path.display()))) } else { Ok(token) }
}
