//! Every bound of the engine, in one place, related to each other at compile time. A full queue is an answer
//! (`throttled`), never a wait and never growth.

/// Attempts that wait for one shard. Bounds the wait of an accepted attempt: at a million a second this is 16 ms.
pub const MAILBOX_ATTEMPTS: usize = 16_384;
/// Spawns and vanishings that wait for one shard; they are decided after the attempts.
pub const MAILBOX_WORLD: usize = 8_192;
/// Attempts that a shard decides in one turn.
pub const TURN_ATTEMPTS_MAX: usize = 4_096;
/// Spawns and vanishings that a shard decides in one turn: few, so that attempts wait for few.
pub const TURN_WORLD_MAX: usize = 256;
/// Turns, over all shards, that wait for the journal.
pub const JOURNAL_TURNS: usize = 256;
/// New names that wait for the journal; those of all species and of the opening wait at once.
pub const JOURNAL_NAMES: usize = 8_192;
/// Events in one group, not counting new names: one write, one sync, one record.
pub const GROUP_EVENTS_MAX: usize = 65_536;
/// Bytes of events without a fixed size in one group, about; a group is written as a whole.
pub const GROUP_TEXT_BYTES_MAX: usize = 16 << 20;
/// Events or changes that are put at once.
pub const PUT_EVENTS_MAX: usize = 1_000;
/// Bytes of events or changes that are put at once, about.
pub const PUT_BYTES_MAX: usize = 4 << 20;
/// Commands that one client may have without an answer.
pub const CLIENT_IN_FLIGHT_MAX: usize = 65_536;
/// Answers that a player's ledger holds in memory once they are in the snapshot too.
pub const LEDGER_RECENT_ANSWERS: usize = 64;
/// Events by which the snapshot may lag behind before attempts are throttled: ledgers hold their answers until then,
/// in 32 bytes each.
pub const SNAPSHOT_LAG_MAX: u64 = 16_000_000;
/// Look-ups in the archive (collections, answers from long ago) that wait for the reader.
pub const READER_REQUESTS: usize = 4_096;
/// Batches of changes of the world that wait for one subscriber before it has to look again.
pub const SUBSCRIPTION_BATCHES: usize = 1_024;
/// Entries of a collection in one answer.
pub const COLLECTION_PAGE: usize = 10_000;
/// Fakémon in one answer to a look.
pub const LOOK_FAKEMON_MAX: usize = 1_000;
/// How far a player can look, in metres.
pub const LOOK_RADIUS_M_MAX: f64 = 5_000.0;
/// A player's name, in bytes.
pub const PLAYER_NAME_BYTES_MAX: usize = 64;
/// A species' name, in bytes.
pub const SPECIES_NAME_BYTES_MAX: usize = 64;
/// Species in a table.
pub const SPECIES_MAX: usize = 4_096;
/// How long a fakémon may stay, in seconds: ten years.
pub const LIFETIME_S_MAX: u64 = 10 * 366 * 86_400;
/// Bytes of an event pattern.
pub const PATTERN_BYTES_MAX: usize = 4_096;
/// Rules of one bus.
pub const RULES_OF_BUS_MAX: usize = 10_000;
/// Targets of one rule.
pub const TARGETS_OF_RULE_MAX: usize = 1_000;
/// Answer webhooks: each has a lane of its own.
pub const ANSWER_WEBHOOKS_MAX: usize = 10_000;
/// Players of one answer webhook.
pub const ANSWER_PLAYERS_OF_ONE_MAX: usize = 10_000;
/// Players of all answer webhooks together.
pub const ANSWER_PLAYERS_MAX: usize = 1_000_000;
/// Files that the databases of a data directory have open at once, of a process with many descriptors.
pub const OPEN_TABLES_MAX: usize = 800;
/// The fewest that one database has open: RocksDB accepts no smaller limit.
pub const OPEN_TABLES_MIN: usize = 20;
/// Shards.
pub const CORES_MAX: usize = 256;
/// Clients (threads that submit).
pub const CLIENTS_MAX: usize = 1_024;
/// Characters of a schema.
pub const SCHEMA_CHARS_MAX: usize = 100_000;
/// Parts of a schema: subschemas, in all.
pub const SCHEMA_PARTS_MAX: usize = 10_000;
/// Regular expressions of a schema, each of at most [`SCHEMA_PATTERN_BYTES_MAX`] when compiled.
pub const SCHEMA_PATTERNS_MAX: usize = 64;
/// Bytes of a compiled regular expression.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = 256 << 10;
/// Steps that checking one event against its schema may take: some 100 µs.
pub const SCHEMA_STEPS_MAX: u32 = 50_000;
/// How deep checking may nest; the stack of a thread holds it many times over.
pub const SCHEMA_NESTING_MAX: u32 = 400;
/// Bytes of compiled schemas that are kept, about.
pub const SCHEMA_CACHE_BYTES_MAX: usize = 256 << 20;
/// Tags of one resource.
pub const TAGS_MAX: usize = 50;
/// API keys.
pub const API_KEYS_MAX: usize = 10_000;
/// Usage plans of API keys.
pub const USAGE_PLANS_MAX: usize = 300;
/// Schedules of all groups together.
pub const SCHEDULES_MAX: usize = 1_000_000;
/// Groups of schedules.
pub const SCHEDULE_GROUPS_MAX: usize = 500;
/// Partner event sources.
pub const EVENT_SOURCES_MAX: usize = 10_000;
/// Webhooks of partners.
pub const PARTNER_WEBHOOKS_MAX: usize = 1_000;
/// Resource policies of log groups, as with the service.
pub const LOG_POLICIES_MAX: usize = 10;
/// Schema registries.
pub const SCHEMA_REGISTRIES_MAX: usize = 100;
/// Schemas of a registry.
pub const SCHEMAS_MAX: usize = 1_000;
/// Versions of a schema.
pub const SCHEMA_VERSIONS_MAX: usize = 100;
/// Bytes of all versions of all schemas.
pub const SCHEMA_BYTES_MAX: usize = 256 << 20;
/// Discoverers: one for each bus.
pub const DISCOVERERS_MAX: usize = 100;
/// How deep a discovered schema describes what is nested; below, anything goes.
pub const SHAPE_DEPTH_MAX: usize = 16;
/// Properties of an object; one that has more is a map.
pub const SHAPE_PROPERTIES_MAX: usize = 128;
/// Parts of a discovered schema.
pub const SHAPE_PARTS_MAX: usize = 1_000;

const _: () = {
    assert!(SCHEMA_CHARS_MAX * 4 * 2 < PUT_BYTES_MAX, "a schema, escaped in JSON, must fit into a change");
    assert!(TURN_ATTEMPTS_MAX + TURN_WORLD_MAX <= GROUP_EVENTS_MAX, "a turn must fit into a group");
    assert!(JOURNAL_NAMES > SPECIES_MAX + 1, "a server opens with the names of all species");
    assert!(TURN_ATTEMPTS_MAX <= MAILBOX_ATTEMPTS, "a turn takes from one mailbox");
    assert!(SPECIES_MAX < u16::MAX as usize, "the last number means: unknown species");
    assert!(CORES_MAX <= u16::MAX as usize, "a section names its shard in 16 bits");
};

/// The most files that the four databases of a data directory may have open together, in a process with this many
/// descriptors. The rest is for connections and threads.
pub fn open_tables(descriptors: usize) -> usize {
    (descriptors / 4).clamp(4 * OPEN_TABLES_MIN, OPEN_TABLES_MAX)
}
