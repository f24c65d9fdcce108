//! Interests in patterns: all of them in one hash, read anew only when it changed.
//!
//! Not here: interests in names (`keys`, `read`). Invariant: the table and the version that it is
//! known by are read in one command and change in one script, so that a version names one table
//! only; whether an entry counts hangs on leases that were read after the version.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::read::Wanted;
use super::{CHUNK, RedisLocation, keys};
use crate::location::{LocationError, counts_for_patterns};
use crate::model::{Destination, Pattern};

/// The interests in patterns as they were at one version.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// None as long as nobody has ever wanted a pattern.
    version: Option<String>,
    patterns: BTreeMap<Pattern, Vec<Wanted>>,
}

impl Table {
    /// Makes a table of the fields of the hash. What cannot be read is left out: a newer version of
    /// this program may have written it.
    fn new(fields: Vec<(String, String)>) -> Self {
        let mut table = Self::default();
        for (field, value) in fields {
            if field == keys::VERSION {
                table.version = Some(value);
            } else if let Some((pattern, node, incarnation)) = keys::read_pattern(&field, &value) {
                let wanted = Wanted {
                    field,
                    node,
                    incarnation,
                };
                table.patterns.entry(pattern).or_default().push(wanted);
            } else {
                tracing::debug!("an interest in a pattern cannot be read");
            }
        }
        table
    }

    /// Who wants this destination by a pattern, dead or alive.
    pub(super) fn wanted_by(&self, destination: &Destination) -> Vec<Wanted> {
        if self.patterns.is_empty() || !counts_for_patterns(destination) {
            return Vec::new();
        }
        let text = destination.to_string();
        let matching = self.patterns.iter().filter(|(p, _)| p.matches(&text));
        matching.flat_map(|(_, wanted)| wanted).cloned().collect()
    }
}

impl RedisLocation {
    /// The table of this version: the one of the last look-up, or a new one.
    pub(super) async fn patterns(
        &self,
        version: Option<String>,
    ) -> Result<Arc<Table>, LocationError> {
        if version.is_none() {
            return Ok(Arc::default());
        }
        let known = Arc::clone(&self.patterns.lock().unwrap_or_else(PoisonError::into_inner));
        if known.version == version {
            return Ok(known);
        }
        let mut commands = redis::pipe();
        commands.hgetall(keys::PATTERNS);
        let (fields,) = self.link.pipeline("patterns", &commands).await?;
        let table = Arc::new(Table::new(fields));
        *self.patterns.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&table);
        Ok(table)
    }

    /// Records interests in patterns. Returns those that there is no room for.
    pub(super) async fn want_patterns(
        &self,
        wants: &[(Pattern, u64)],
    ) -> Result<Vec<Destination>, LocationError> {
        let mut refused = Vec::new();
        for chunk in wants.chunks(CHUNK) {
            let mut call = self.scripts.want_patterns.prepare_invoke();
            call.key(keys::lease(&self.node))
                .key(keys::PATTERNS)
                .arg(self.node.as_str())
                .arg(self.incarnation.to_string())
                .arg(keys::REGISTRATION_SECONDS)
                .arg(self.settings.patterns_max)
                .arg(keys::NODE_PREFIX)
                .arg(token());
            for (pattern, generation) in chunk {
                call.arg(pattern.as_str()).arg(*generation);
            }
            // Counted from one; zero says that nothing was recorded at all.
            let places: Vec<usize> = self.link.script("want", &call).await?;
            for place in places {
                let Some((pattern, _)) = place.checked_sub(1).and_then(|place| chunk.get(place))
                else {
                    return Err(LocationError::superseded(&self.node));
                };
                refused.push(Destination::Topic(pattern.as_str().into()));
            }
        }
        Ok(refused)
    }

    /// Withdraws interests in patterns.
    pub(super) async fn unwant_patterns(
        &self,
        wants: &[(Pattern, u64)],
    ) -> Result<(), LocationError> {
        for chunk in wants.chunks(CHUNK) {
            let mut call = self.scripts.unwant_patterns.prepare_invoke();
            call.key(keys::PATTERNS)
                .arg(self.node.as_str())
                .arg(self.incarnation.to_string())
                .arg(token());
            for (pattern, generation) in chunk {
                call.arg(pattern.as_str()).arg(*generation);
            }
            self.link.script::<()>("unwant", &call).await?;
        }
        Ok(())
    }
}

/// Names a change of the table. A counter would not do: a flush or a fail-over sets it back, and the
/// same number would name another table.
pub(super) fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}
