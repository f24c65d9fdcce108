//! The buckets of a client's network and of the wider networks around it.
//!
//! Not here: which networks those are (`model::network`), under which names they are kept
//! (`identity::fingerprint`). Invariants: tokens are taken from every level or the answer is a refusal; they are
//! taken from the narrowest level first, so that a client whose own network is refused takes nothing from its
//! neighbours; before that the wider levels are looked at, so that a network that is refused makes no buckets of
//! narrower ones: a /48 has 65,536 of those.

use smallvec::SmallVec;

use super::Quota;
use crate::model::{ClientIdentifier, NamedNetworks, Width};
use crate::policy::bucket::{Rate, Verdict};

/// What a network of a width may do, in quarters of what is set for one IPv4 address.
///
/// A crowd may sit behind one IPv4 address and in one IPv6 /64, so both have the whole number. A /56 and a
/// /48 have a little more, because they contain the narrower ones, and far less in proportion: a /48 has
/// 65,536 times the addresses of a /64 and twice its rate.
#[must_use]
pub fn quarters(width: Width) -> u32 {
    match width {
        Width::Address | Width::Net64 => 4,
        Width::Net56 => 6,
        Width::Net48 => 8,
    }
}

/// The networks of a client by name, the narrowest first: one of IPv4, three of IPv6.
#[derive(Clone, Debug)]
pub struct Networks(NamedNetworks);

impl Networks {
    /// These levels, with the multiple of the client's network (`NETWORK_LIMITS`).
    #[must_use]
    pub fn new(levels: impl Iterator<Item = (ClientIdentifier, Width)>, multiple: u32) -> Self {
        Self(NamedNetworks {
            levels: levels.collect(),
            multiple,
        })
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &NamedNetworks {
        &self.0
    }

    /// The same networks, with as much for each as for one that is not named: for what is no matter of how many people
    /// there are.
    #[must_use]
    pub fn unnamed(self) -> Self {
        Self(NamedNetworks {
            multiple: 1,
            ..self.0
        })
    }

    /// The name of the narrowest.
    #[must_use]
    pub fn narrowest(&self) -> Option<&ClientIdentifier> {
        self.0.levels.first().map(|(name, _)| name)
    }

    /// The buckets for one kind of thing, such as `rate:net`.
    #[must_use]
    pub fn buckets(&self, what: &str) -> NetworkBuckets {
        let key = |(name, width): &(ClientIdentifier, Width)| {
            let quarters = quarters(*width).saturating_mul(self.0.multiple);
            (format!("{what}:{name}").into(), quarters)
        };
        NetworkBuckets(self.0.levels.iter().map(key).collect())
    }

    /// Takes one token for a thing that is done seldom; what is done often keeps its
    /// [`NetworkBuckets`].
    pub async fn take(&self, quota: &dyn Quota, what: &str, rate: Rate) -> Verdict {
        match rate.is_off() {
            true => Verdict::Allowed {
                remaining: u32::MAX,
            },
            false => self.buckets(what).take(quota, rate, 1).await,
        }
    }
}

/// The keys of the buckets of a client's networks, each with its part of the rate.
#[derive(Clone, Debug)]
pub struct NetworkBuckets(SmallVec<[(Box<str>, u32); 1]>);

impl NetworkBuckets {
    /// In how many milliseconds so many tokens are there, when a level is known to refuse them now. Takes nothing.
    #[must_use]
    pub fn refuses(&self, quota: &dyn Quota, rate: Rate, tokens: u32) -> Option<u64> {
        let refused = |(key, quarters): &(Box<str>, u32)| {
            quota.refuses(key, rate.in_quarters(*quarters), tokens)
        };
        self.0.iter().filter_map(refused).max()
    }

    /// Takes so many tokens from each level. `rate` is that of one IPv4 address.
    pub async fn take(&self, quota: &dyn Quota, rate: Rate, tokens: u32) -> Verdict {
        for (key, quarters) in self.0.iter().skip(1).rev() {
            if let Some(retry_after_ms) = quota.refuses(key, rate.in_quarters(*quarters), tokens) {
                return Verdict::Refused { retry_after_ms };
            }
        }
        let mut left = u32::MAX;
        for (key, quarters) in &self.0 {
            let rate = rate.in_quarters(*quarters);
            match quota.take_several(key, rate, tokens).await {
                Verdict::Allowed { remaining } => left = left.min(remaining),
                refused @ Verdict::Refused { .. } => return refused,
            }
        }
        Verdict::Allowed { remaining: left }
    }

    /// The keys with what each may have of a limit that is a number of things in a time.
    pub fn limits(&self, max: u32) -> impl Iterator<Item = (&str, u32)> {
        let part = move |quarters: u32| u64::from(max) * u64::from(quarters) / 4;
        self.0.iter().map(move |(key, quarters)| {
            let max = u32::try_from(part(*quarters)).unwrap_or(u32::MAX);
            (&**key, max)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{MemoryQuota, QuotaSettings};

    const RATE: Rate = Rate {
        capacity: 10,
        per_10_min: 1,
    };

    fn name(byte: u8) -> ClientIdentifier {
        ClientIdentifier::from_mac(&[byte; 32])
    }

    /// An IPv6 client: the /64 of this number, in a /56 and a /48 that all share.
    fn v6(number: u8) -> Networks {
        let levels = [
            (name(number), Width::Net64),
            (name(200), Width::Net56),
            (name(201), Width::Net48),
        ];
        Networks::new(levels.into_iter(), 1)
    }

    async fn drain(quota: &MemoryQuota, networks: &Networks) -> u32 {
        let buckets = networks.buckets("test");
        let mut taken = 0;
        while let Verdict::Allowed { .. } = buckets.take(quota, RATE, 1).await {
            taken += 1;
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn wider_networks_have_levels_of_their_own() {
        let quota = MemoryQuota::new(QuotaSettings::default());
        assert_eq!(drain(&quota, &v6(1)).await, 10, "a /64");
        assert_eq!(drain(&quota, &v6(2)).await, 5, "the rest of its /56");
        let elsewhere = [
            (name(3), Width::Net64),
            (name(199), Width::Net56),
            (name(201), Width::Net48),
        ];
        let elsewhere = Networks::new(elsewhere.into_iter(), 1);
        assert_eq!(drain(&quota, &elsewhere).await, 5, "the rest of its /48");
    }

    /// The client of an IPv6 /48 with this /64; none of two shares a /56.
    fn rented(number: u16) -> Networks {
        let name = |kind: u8, number: u16| {
            let mut mac = [kind; 32];
            mac[..2].copy_from_slice(&number.to_be_bytes());
            ClientIdentifier::from_mac(&mac)
        };
        let levels = [
            (name(1, number), Width::Net64),
            (name(2, number), Width::Net56),
            (name(3, 0), Width::Net48),
        ];
        Networks::new(levels.into_iter(), 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_48_that_is_refused_makes_no_buckets() {
        let quota = MemoryQuota::new(QuotaSettings::default());
        let mut taken = 0;
        for number in 0..=u16::MAX {
            let verdict = rented(number).take(&quota, "test", RATE).await;
            taken += u32::from(matches!(verdict, Verdict::Allowed { .. }));
        }
        assert_eq!(taken, 20, "twice an address");
        assert_eq!(
            quota.len(),
            41,
            "two of each that got in, and one of the /48"
        );
    }

    /// With the limits of the documentation: what one /48 can do in an hour fills no bucket of another network.
    #[tokio::test(start_paused = true)]
    async fn a_48_refills_no_bucket_of_others() {
        let per_min = |per_min: u32| Rate::on_average(per_min, per_min.div_ceil(6));
        let in_ten_minutes = |number| Rate {
            capacity: number,
            per_10_min: number,
        };
        let (register, http) = (in_ten_minutes(300), per_min(60_000));
        let quota = MemoryQuota::new(QuotaSettings::default());
        let victim = Networks::new([(name(9), Width::Address)].into_iter(), 1);
        for _ in 0..300 {
            let taken = victim.take(&quota, "register", register).await;
            assert!(matches!(taken, Verdict::Allowed { .. }));
        }
        let mut made = 0_u64;
        for number in 0..240_000_u32 {
            let client = rented(u16::try_from(number % 65_536).unwrap());
            let _ = client.take(&quota, "register", register).await;
            if let Verdict::Allowed { .. } = client.take(&quota, "http:net", http).await {
                // Each request presents another secret, which has a bucket of its own.
                quota
                    .take(&format!("http:token:{made}"), in_ten_minutes(100))
                    .await;
                made += 1;
            }
            if number % 2_000 == 0 {
                // 2,000 a second, as fast as the /48 may.
                tokio::time::advance(std::time::Duration::from_secs(1)).await;
            }
        }
        assert!(made > 200_000, "{made} keys, more than the table holds");
        assert!(quota.len() <= QuotaSettings::default().keys_max);
        let verdict = victim.take(&quota, "register", register).await;
        let Verdict::Allowed { remaining } = verdict else {
            panic!("two minutes have passed");
        };
        assert!(
            remaining <= 61,
            "{remaining}: one in two seconds comes back"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_named_network_has_a_multiple() {
        let quota = MemoryQuota::new(QuotaSettings::default());
        let one = |multiple| Networks::new([(name(1), Width::Address)].into_iter(), multiple);
        assert_eq!(drain(&quota, &one(3)).await, 30);
        let limits: Vec<u32> = one(3).buckets("x").limits(5).map(|(_, max)| max).collect();
        assert_eq!(limits, [15]);
        let off = Rate {
            capacity: 0,
            per_10_min: 0,
        };
        assert!(matches!(
            one(1).take(&quota, "x", off).await,
            Verdict::Allowed { .. }
        ));
    }
}
