//! API keys: a request with one (`x-api-key`) is admitted if the key is valid, within the bounds of its usage plan,
//! which count events: a rate with a burst, and a quota per day, week or month.
//!
//! A batch larger than the rest of the burst passes, and later requests wait longer; a quota is never exceeded. The
//! usage of a key is written before its request is executed, and synced before the answer: neither a kill nor a power
//! cut loses it.
//!
//! ```text
//! note   usage/PLAN/KEY/DAY (of 1970, five digits)   events (8)
//! ```

use crate::Api;
use axum::http::StatusCode;
use fakemon_engine::Engine;
use fakemon_engine::wall_clock;
use fakemon_http::refusal::Refusal;
use fakemon_model::ids::Timestamp;
use fakemon_resource::inbound::{ApiKey, Period, Quota, Throttle, UsagePlan};
use fakemon_resource::resource::Tags;
use fakemon_resource::{GAME_BUS, Registry};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use subtle::ConstantTimeEq as _;

/// The header with the key.
pub const HEADER: &str = "x-api-key";
/// Days for which usage is kept.
const DAYS_MAX: u32 = 90;
/// Name of the hash key in the secret store.
pub(super) const PEPPER: &str = "api-keys";
const NOTES: &str = "usage/";
/// Longest key and value, in bytes.
const VALUE_BYTES_MAX: usize = 128;

/// Name of the hash of a key's value in the secret store.
pub fn secret_name(id: &str) -> String {
    format!("api-key/{id}")
}

/// Name of the value itself in the secret store; it can be shown again.
pub(super) fn value_name(id: &str) -> String {
    format!("api-key-value/{id}")
}

/// The hash of a value, keyed with the pepper: without it, values cannot be guessed offline.
pub fn hash(pepper: &str, value: &str) -> String {
    blake3::keyed_hash(blake3::hash(pepper.as_bytes()).as_bytes(), value.as_bytes()).to_hex().to_string()
}

/// The id of the key with such a hash, so that a value leads to its key.
pub fn id(hash: &str) -> &str {
    hash.get(..10).unwrap_or_default()
}

/// The caller of a request with a valid API key.
#[derive(Clone, Debug)]
pub struct Caller {
    key: String,
    buses: Option<Vec<String>>,
    sources: Option<Vec<String>>,
}

impl Caller {
    fn new(key: &ApiKey) -> Caller {
        let list = |tag: &str| key.tags.get(tag).map(|names| words(names));
        Caller { key: key.id.clone(), buses: list("fakemon:bus"), sources: list("fakemon:source") }
    }

    /// Whether the key may put an event of a source on a bus.
    pub fn may(&self, bus: &str, source: &str) -> Result<(), Refusal> {
        for (field, said, bound) in [("bus", bus, &self.buses), ("source", source, &self.sources)] {
            if bound.as_ref().is_some_and(|bound| !bound.iter().any(|one| one == said)) {
                let message =
                    format!("this API key is not for the {field} {said}: its tag fakemon:{field} names others");
                return Err(Refusal::forbidden("not_allowed", field, message));
            }
        }
        Ok(())
    }

    /// The same for a spawn, which goes into the game.
    pub fn may_spawn(&self, source: &str) -> Result<(), Refusal> {
        self.may(GAME_BUS, source)
    }

    /// Counts the further events of a request; `admit` counted the first.
    pub fn charge(&self, api: &Api, events: u64) -> Result<(), Refusal> {
        if events == 0 {
            return Ok(());
        }
        let registry = api.engine.registry();
        let key = registry.api_keys.get(&self.key).ok_or_else(forbidden)?;
        api.meters.charge(&api.engine, &registry, key, events, true)
    }
}

/// Splits the names in a tag at spaces and commas.
fn words(names: &str) -> Vec<String> {
    names.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Whether the tags that bound a key are valid.
pub(super) fn tags_are_sound(tags: &Tags) -> bool {
    ["fakemon:bus", "fakemon:source"].iter().all(|tag| tags.get(*tag).is_none_or(|names| !words(names).is_empty()))
}

fn forbidden() -> Refusal {
    let message = "the API key in the header x-api-key is not known here, or not enabled";
    Refusal::new(StatusCode::FORBIDDEN, "unknown_api_key", message)
}

/// Admits a request by its key, and counts its first event.
pub fn admit(api: &Api, value: &[u8]) -> Result<Caller, Refusal> {
    let value =
        std::str::from_utf8(value).ok().filter(|value| value.len() <= VALUE_BYTES_MAX).ok_or_else(forbidden)?;
    let registry = api.engine.registry();
    let key = find(&api.engine, &registry, value).filter(|key| key.enabled).ok_or_else(forbidden)?;
    api.meters.charge(&api.engine, &registry, key, 1, false)?;
    Ok(Caller::new(key))
}

/// Finds the key with this value.
fn find<'r>(engine: &Engine, registry: &'r Registry, value: &str) -> Option<&'r ApiKey> {
    let secret = |name: &str| {
        let held: Value = serde_json::from_slice(&engine.secrets().get(name).ok()??).ok()?;
        held.as_str().map(str::to_owned)
    };
    let hash = hash(&secret(PEPPER)?, value);
    let key = registry.api_keys.get(id(&hash))?;
    bool::from(secret(&secret_name(&key.id))?.as_bytes().ct_eq(hash.as_bytes())).then_some(key)
}

/// Usage of keys, in events.
#[derive(Default)]
pub struct Meters(Mutex<State>);

#[derive(Default)]
struct State {
    /// By plan and key.
    used: HashMap<(String, String), Days>,
    /// By key.
    buckets: HashMap<String, Bucket>,
}

/// Events by day since 1970.
type Days = BTreeMap<u32, u64>;

/// Tokens that flow in at a rate, up to a burst; a batch may leave a debt.
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Meters {
    /// Loads the stored usage; deletes that of keys that no longer exist.
    pub fn load(engine: &Engine) -> anyhow::Result<Meters> {
        let registry = engine.registry();
        let (mut state, mut gone) = (State::default(), Vec::new());
        engine.notes().visit(NOTES, &mut |note, value| match read(note, value) {
            Some((plan, key, day, used))
                if registry.api_keys.contains_key(key) && registry.usage_plans.contains_key(plan) =>
            {
                state.used.entry((plan.to_owned(), key.to_owned())).or_default().insert(day, used);
            }
            _ => gone.push((note.to_owned(), None)),
        })?;
        engine.notes().set(gone).map_err(anyhow::Error::msg)?;
        Ok(Meters(Mutex::new(state)))
    }

    /// Removes all.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Events of a key by day, both days included: used, and left of the quota.
    pub fn usage(&self, plan: &UsagePlan, key: &str, from: Date, to: Date) -> Vec<[i64; 2]> {
        let state = self.state();
        let none = Days::new();
        let days = state.used.get(&(plan.id.clone(), key.to_owned())).unwrap_or(&none);
        let shown = |day: u32| {
            let used = days.get(&day).copied().unwrap_or_default();
            let left = plan.quota.map_or(-1, |quota| {
                let so_far: u64 = days.range(begins(quota, day)..=day).map(|(_, used)| used).sum();
                i64::try_from(quota.limit.saturating_sub(so_far)).unwrap_or(i64::MAX)
            });
            [i64::try_from(used).unwrap_or(i64::MAX), left]
        };
        (number(from)..=number(to)).map(shown).collect()
    }

    /// Counts events of a key, if its plan allows; with `is_in`, a request admitted already, only the quota can
    /// refuse.
    fn charge(
        &self,
        engine: &Engine,
        registry: &Registry,
        key: &ApiKey,
        events: u64,
        is_in: bool,
    ) -> Result<(), Refusal> {
        let Some(plan) = key.usage_plan.as_ref().and_then(|plan| registry.usage_plans.get(plan)) else {
            return Ok(()); // a key without a plan has no bounds
        };
        let now = wall_clock();
        let day = number(date(now));
        let mut state = self.state();
        let days = state.used.entry((plan.id.clone(), key.id.clone())).or_default();
        if let Some(quota) = plan.quota {
            let used: u64 = days.range(begins(quota, day)..=day).map(|(_, used)| used).sum();
            if used.saturating_add(events) > quota.limit {
                return Err(exceeded(quota, now));
            }
        }
        if let Some(throttle) = plan.throttle {
            let bucket = state.buckets.entry(key.id.clone());
            // What lasts goes by the engine's time; days are the wall clock's.
            let now = engine.now();
            let bucket = bucket.or_insert(Bucket { tokens: f64::from(throttle.burst), at: now });
            bucket.take(throttle, now, events, is_in)?;
        }
        let days = state.used.entry((plan.id.clone(), key.id.clone())).or_default();
        let used = days.entry(day).or_default();
        *used = used.saturating_add(events);
        let mut notes = vec![(note(&plan.id, &key.id, day), Some(used.to_be_bytes().to_vec()))];
        while let Some(old) = days.keys().next().copied().filter(|old| day - old.min(&day) > DAYS_MAX) {
            days.remove(&old);
            notes.push((note(&plan.id, &key.id, old), None));
        }
        state.forget_the_gone(registry);
        engine.notes().set(notes).map_err(|error| Refusal::stopped(Some(error)))
    }
}

impl State {
    /// Removes the usage of deleted keys when there are more entries than twice the keys, and 64.
    fn forget_the_gone(&mut self, registry: &Registry) {
        let most = 2 * registry.api_keys.size() + 64;
        if self.used.len() > most || self.buckets.len() > most {
            self.used.retain(|(_, key), _| registry.api_keys.contains_key(key));
            self.buckets.retain(|key, _| registry.api_keys.contains_key(key));
        }
    }
}

impl Bucket {
    fn take(&mut self, throttle: Throttle, now: Timestamp, events: u64, is_in: bool) -> Result<(), Refusal> {
        let Throttle { rate_per_s, burst } = throttle;
        #[expect(clippy::cast_precision_loss, reason = "nobody counts nanoseconds of a rate")]
        let passed_s = now.ns_since(self.at) as f64 / 1e9;
        self.tokens = (self.tokens + passed_s * rate_per_s).min(f64::from(burst));
        self.at = now;
        if self.tokens < 1.0 && !is_in {
            let wait_s = if rate_per_s > 0.0 { (1.0 - self.tokens) / rate_per_s } else { 3_600.0 };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            return Err(Refusal::throttled((wait_s * 1_000.0).clamp(1.0, 3_600_000.0) as u32));
        }
        #[expect(clippy::cast_precision_loss, reason = "a request has few events")]
        let events = events as f64;
        self.tokens -= events;
        Ok(())
    }
}

fn exceeded(quota: Quota, now: Timestamp) -> Refusal {
    let today = number(date(now));
    let next = (today + 1..today + 33).find(|day| begins(quota, *day) == *day).unwrap_or(today + 1);
    let wait_ms = (u64::from(next) * 86_400_000).saturating_sub(now.0 / 1_000_000);
    Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        "LimitExceededException",
        format!("Limit Exceeded: the usage plan of this API key has a quota of {} events", quota.limit),
    )
    .after_ms(u32::try_from(wait_ms).unwrap_or(u32::MAX))
}

/// The day on which the period of a day began.
fn begins(quota: Quota, day: u32) -> u32 {
    let date = Date::new(1970, 1, 1).expect("it was a day").saturating_add(jiff::Span::new().days(i64::from(day)));
    let day_of_month = u32::from(date.day().unsigned_abs());
    let since = match quota.period {
        Period::Day => 0,
        Period::Week => (date.weekday().to_sunday_zero_offset().unsigned_abs() as u32 + 7 - quota.offset_days) % 7,
        Period::Month if day_of_month > quota.offset_days => day_of_month - 1 - quota.offset_days,
        Period::Month => {
            let before = date.first_of_month().yesterday().map_or(31, |last| u32::from(last.day().unsigned_abs()));
            before - 1 - quota.offset_days + day_of_month
        }
    };
    day.saturating_sub(since)
}

/// The day of a moment, in UTC.
pub fn date(at: Timestamp) -> Date {
    let at = jiff::Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).date()
}

/// Days since 1970.
fn number(date: Date) -> u32 {
    let first = Date::new(1970, 1, 1).expect("it was a day");
    date.since(first).map_or(0, |span| u32::try_from(span.get_days()).unwrap_or_default())
}

fn note(plan: &str, key: &str, day: u32) -> String {
    format!("{NOTES}{plan}/{key}/{day:05}")
}

fn read<'n>(note: &'n str, value: &[u8]) -> Option<(&'n str, &'n str, u32, u64)> {
    let mut parts = note.strip_prefix(NOTES)?.split('/');
    let (plan, key, day) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    Some((plan, key, day, u64::from_be_bytes(value.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> u32 {
        number(text.parse().unwrap())
    }

    #[test]
    fn periods_begin_where_the_calendar_and_the_offset_say() {
        let begin = |period, offset_days, at: &str| begins(Quota { limit: 1, offset_days, period }, day(at));
        assert_eq!(begin(Period::Day, 0, "2026-11-25"), day("2026-11-25"));
        // The 25th of November 2026 is a Wednesday.
        assert_eq!(begin(Period::Week, 0, "2026-11-25"), day("2026-11-22"));
        assert_eq!(begin(Period::Week, 0, "2026-11-22"), day("2026-11-22"));
        assert_eq!(begin(Period::Week, 1, "2026-11-22"), day("2026-11-16"));
        assert_eq!(begin(Period::Week, 3, "2026-11-25"), day("2026-11-25"));
        assert_eq!(begin(Period::Month, 0, "2026-11-25"), day("2026-11-01"));
        assert_eq!(begin(Period::Month, 9, "2026-11-10"), day("2026-11-10"));
        assert_eq!(begin(Period::Month, 9, "2026-11-09"), day("2026-10-10"));
        assert_eq!(begin(Period::Month, 27, "2026-03-05"), day("2026-02-28"));
    }

    #[test]
    fn a_bucket_lets_a_burst_pass_then_its_rate_and_debts_are_paid() {
        let throttle = Throttle { rate_per_s: 10.0, burst: 5 };
        let at = |ms: u64| Timestamp(ms * 1_000_000);
        let mut bucket = Bucket { tokens: 5.0, at: at(0) };
        for _ in 0..5 {
            assert!(bucket.take(throttle, at(0), 1, false).is_ok());
        }
        assert!(bucket.take(throttle, at(99), 1, false).is_err());
        assert!(bucket.take(throttle, at(100), 1, false).is_ok());
        assert!(bucket.take(throttle, at(100), 20, true).is_ok(), "a batch passes");
        assert!(bucket.take(throttle, at(2_190), 1, false).is_err(), "and is paid for");
        assert!(bucket.take(throttle, at(2_201), 1, false).is_ok());
        assert!(bucket.take(throttle, at(1_000_000), 5, false).is_ok());
        assert!(bucket.take(throttle, at(1_000_000), 1, false).is_err(), "no more than a burst is saved up");
    }
}
