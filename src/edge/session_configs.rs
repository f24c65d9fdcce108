//! What sessions are made with: few configurations that all sessions share, because thousands are made alike.
//!
//! Not here: what they say (`session::contract`). Invariant: no client has less time than the settings say.

use std::sync::Arc;
use std::time::Duration;

use crate::session::SessionConfig;
use crate::stomp::Version;

/// How many different timeouts there are: clients that are late together are closed in as many groups.
const SPREADS: u32 = 32;

/// The configurations by subprotocol, by whether silence can be broken by asking, and by the time that a client has.
#[derive(Debug)]
pub(super) struct SessionConfigs(Vec<(Option<Version>, bool, Vec<Arc<SessionConfig>>)>);

impl SessionConfigs {
    pub(super) fn new(settings: &SessionConfig) -> Self {
        let mut configs = Vec::new();
        for subprotocol in [
            None,
            Some(Version::V1_0),
            Some(Version::V1_1),
            Some(Version::V1_2),
        ] {
            for answers_pings in [true, false] {
                let mut config = settings.clone();
                config.subprotocol = subprotocol;
                if !answers_pings {
                    // Silence proves nothing there; the kernel finds out whether the line is dead.
                    config.idle_timeout = Duration::ZERO;
                }
                let spread = (0..SPREADS).map(|step| Arc::new(spread(&config, step)));
                configs.push((subprotocol, answers_pings, spread.collect()));
            }
        }
        Self(configs)
    }

    /// The configuration of a new session, with one of the timeouts at random.
    pub(super) fn pick(
        &self,
        subprotocol: Option<Version>,
        answers_pings: bool,
    ) -> Option<Arc<SessionConfig>> {
        let mut configs = self.0.iter();
        let (.., spread) = configs
            .find(|(version, pings, _)| (*version, *pings) == (subprotocol, answers_pings))?;
        let config = spread.get(rand::random_range(0..spread.len()))?;
        Some(Arc::clone(config))
    }
}

/// The configuration with up to half as much time again for a CONNECT, a frame and a transaction. Thousands of clients that are
/// cut in the same second for being late come back in the same second, and for as long as that takes everybody else waits.
fn spread(config: &SessionConfig, step: u32) -> SessionConfig {
    let more = |timeout: Duration| timeout + timeout / (2 * SPREADS) * step;
    let mut config = config.clone();
    config.connect_timeout = more(config.connect_timeout);
    config.partial_frame_timeout = more(config.partial_frame_timeout);
    config.transactions.idle = more(config.transactions.idle);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_are_late_together_are_not_cut_in_the_same_second() {
        let settings = SessionConfig::default();
        let configs = SessionConfigs::new(&settings);
        let picked: Vec<_> = (0..1_000)
            .map(|_| configs.pick(Some(Version::V1_2), true).unwrap())
            .collect();
        let spread_over = |timeout: fn(&SessionConfig) -> Duration| {
            let least = timeout(&settings);
            // Ten parts of the time that is added at most.
            let mut parts = [0; 10];
            for config in &picked {
                let more = timeout(config) - least;
                let part = more.as_millis() * 20 / least.as_millis();
                parts[usize::try_from(part).unwrap()] += 1;
            }
            assert!(
                parts.iter().all(|part| (40..250).contains(part)),
                "{parts:?}"
            );
        };
        spread_over(|config| config.connect_timeout);
        spread_over(|config| config.partial_frame_timeout);
        spread_over(|config| config.transactions.idle);
    }
}
