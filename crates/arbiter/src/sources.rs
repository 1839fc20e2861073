//! What a call was judged by of its bundle's sources of facts, and what that is worth when it is settled.

use std::sync::Arc;

use portcullis_policy::{Content, Exception, Gathered};
use portcullis_protocol::{
    Coverable, Digest, Excepted, Millis, SnapshotUse, Snapshots, SourceName, SurfaceName, Tier,
};

use crate::fact::{Fact, Policy, Sources};
use crate::limits::Room;
use crate::settle::{Health, PolicyNow};

/// What policy was asked with of sources of facts.
#[derive(Clone, Debug)]
pub(crate) struct Informed {
    /// What each gave, if all did.
    used: Fact<Snapshots>,
    /// Their entities by digest, to be kept with the first record that names them.
    kept: Vec<(Digest, Arc<[u8]>)>,
    /// The exception of the call's surface for facts that are stale.
    exception: Option<Exception>,
    /// Whether they are known to have had something else to say since: only of a call that is decided again.
    pub(crate) moved: bool,
}

impl Informed {
    /// Of a call without a bundle: nothing.
    pub(crate) const fn nothing() -> Self {
        Self { used: Fact::Unknown, kept: Vec::new(), exception: None, moved: false }
    }

    pub(crate) fn of(bundle: Content<'_>, facts: Option<&Gathered>, surface: &SurfaceName) -> Self {
        let exception = bundle.exception(surface, Coverable::FactStale).cloned();
        Self { exception, ..Self::of_no_surface(bundle, facts) }
    }

    /// What no exception covers.
    pub(crate) fn of_no_surface(bundle: Content<'_>, facts: Option<&Gathered>) -> Self {
        let used = match facts {
            Some(facts) => Fact::Known(facts.used().clone()),
            None if bundle.sources().is_empty() => Fact::Known(Snapshots::new()),
            None => Fact::Unknown,
        };
        let kept = facts.map_or_else(Vec::new, |facts| facts.kept().to_vec());
        Self { used, kept, exception: None, moved: false }
    }

    pub(crate) fn kept(&self) -> &[(Digest, Arc<[u8]>)] {
        &self.kept
    }

    /// What the record says of them.
    pub(crate) fn recorded(&self) -> Snapshots {
        match &self.used {
            Fact::Known(used) => used.clone(),
            Fact::Unknown => Snapshots::new(),
        }
    }

    /// Whether they are what a record says of them, or the same again at a later time.
    pub(crate) fn uphold(&self, recorded: &Snapshots) -> bool {
        match &self.used {
            Fact::Known(used) => upheld(recorded, used),
            Fact::Unknown => recorded.is_empty(),
        }
    }

    /// What is known of them, as of when they were asked.
    pub(crate) const fn used(&self) -> &Fact<Snapshots> {
        &self.used
    }

    /// How old they are at `now`, and beside what is on record. What is from the future has no age, and is not known.
    pub(crate) fn at(&self, now: Millis, room: Room<'_>) -> Fact<Sources> {
        let Fact::Known(used) = &self.used else { return Fact::Unknown };
        if used.values().any(|it| it.age_at(now).is_none()) {
            return Fact::Unknown;
        }
        let rolled_back = match room {
            Room::Of(standing) | Room::Taken(standing, _) => standing.is_past(used, now),
            // Then nothing is known of limits either, and nothing is permitted.
            Room::Unknown => false,
        };
        if rolled_back {
            return Fact::Known(Sources::RolledBack);
        }
        let stale = used.values().any(|it| it.is_stale_at(now));
        Fact::Known(if stale { Sources::Stale } else { Sources::Fresh })
    }

    /// Whether they still say what policy was asked with. Where no bundle is in force that is not asked: the policy
    /// precondition refuses.
    pub(crate) fn are_current(&self, health: &Health) -> bool {
        if !matches!(health.policy, Fact::Known(PolicyNow { policy: Policy::InForce(_), .. })) {
            return !self.moved;
        }
        let upheld = match (&self.used, &health.sources) {
            (Fact::Unknown, Fact::Unknown) => true,
            (Fact::Known(used), Fact::Known(now)) => upheld(used, now),
            (Fact::Known(_), Fact::Unknown) | (Fact::Unknown, Fact::Known(_)) => false,
        };
        !self.moved && upheld
    }

    /// The exception by which stale facts count all the same on a surface of this tier, if there is one that covers all of
    /// them. Only where something is stale is there one.
    pub(crate) fn excepted(&self, tier: Option<Tier>, now: Millis) -> Option<Excepted> {
        let lenient = tier.is_some_and(Tier::may_be_excepted);
        let Fact::Known(used) = &self.used else { return None };
        self.exception.as_ref().filter(|_| lenient)?.covering(used, now)
    }
}

/// Whether sources that said this say it still.
fn upheld(said: &Snapshots, now: &Snapshots) -> bool {
    let still =
        |(name, it): (&SourceName, &SnapshotUse)| now.get(name).is_some_and(|later| it.is_upheld_by(later));
    said.len() == now.len() && said.iter().all(still)
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
