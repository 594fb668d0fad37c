//! Matching by records, compared with matching the JSON of the same events.

use super::*;
use crate::keys_of;
use fakemon_capture::decision::record::attempt_record;
use fakemon_model::dice::Dice;
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Outcome};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position, ShardId, SpeciesId, Timestamp};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;

const PLAYERS: usize = 3_000;
const SPECIES: [&str; 3] = ["Aquafin", "Blazeling", ""];

struct Book;

impl Names for Book {
    fn player(&self, player: PlayerId) -> Option<Text<'_>> {
        (!player.0.is_multiple_of(5)).then(|| Text::Made(format!("p{}", player.0)))
    }

    fn species(&self, species: SpeciesId) -> Option<Text<'_>> {
        SPECIES.get(usize::from(species.0)).filter(|name| !name.is_empty()).map(|name| Text::Known(name))
    }

    fn json(&self, told: &Told<'_>) -> String {
        let text = |text: Text<'_>| match text {
            Text::Known(text) => text.to_owned(),
            Text::Made(text) => text,
            _ => unreachable!("there is no other here"),
        };
        told.envelope(|player| self.player(player).map(text), |species| self.species(species).map(text))
    }
}

fn event(dice: &mut Dice) -> Event {
    let fakemon_id = FakemonId(1 + dice.below(2_000) as u64);
    let species = SpeciesId(dice.below(3) as u16);
    let place = Place { lat_e7: dice.below(900_000_000) as i32, lon_e7: 0 };
    let at = Timestamp(1_000_000_000 + dice.below(1_000) as u64);
    match dice.below(10) {
        0 => Event::Appeared { fakemon_id, species, place, catch_rate: CatchRate::ALWAYS, at, vanishes_at: at },
        1 => Event::Vanished { fakemon_id, species, place, at, vanishes_at: at },
        _ => {
            let player = PlayerId(1 + dice.below(PLAYERS) as u32);
            let attempt_id = AttemptId(dice.below(9) as u64);
            let attempt = CaptureAttempt { player, attempt_id, fakemon_id, place, received_at: at };
            let outcome = dice.of(&Outcome::ALL);
            Event::Attempt(DecidedAttempt { attempt, outcome, species, queued_after_ns: 0, decided_after_ns: 0 })
        }
    }
}

/// The record of an attempt in the journal.
fn attempt(event: &Event) -> Option<Attempt> {
    match event {
        Event::Attempt(decided) => Some(attempt_record(decided)),
        _ => None,
    }
}

#[test]
fn records_are_decided_as_their_json_is() {
    let of_players = [
        r#"{"detail":{"player":["p7","p11"]}}"#,
        r#"{"detail-type":["fakemon.capture_attempt"],"detail":{"player":[{"prefix":"p9"}]}}"#,
        r#"{"detail":{"player":[null],"species":["Aquafin"]}}"#,
        r#"{"detail":{"reason":["already_captured"],"player":[{"anything-but":{"suffix":"1"}}]}}"#,
        r#"{"source":["fakemon.world"],"detail":{"player":[{"exists":false}]}}"#,
    ];
    let of_fakemon = [
        r#"{"detail":{"fakemon_id":["7","77","777"]}}"#,
        r#"{"detail-type":["fakemon.appeared"],"detail":{"fakemon_id":[{"suffix":"3"}]}}"#,
    ];
    let fixed = [r#"{"detail-type":["fakemon.capture_succeeded"]}"#, r#"{"detail":{"species":["Blazeling"]}}"#];
    let others = [r#"{"detail":{"lat":[{"numeric":[">",45]}]}}"#, r#"{"detail":{"player":["p1"],"shard":[1]}}"#];
    let sets = [
        of_players.to_vec(),
        of_fakemon.to_vec(),
        fixed.to_vec(),
        [&of_players[..], &fixed].concat(),
        [&of_fakemon[..], &fixed].concat(),
        [&of_players[..], &of_fakemon, &fixed, &others].concat(),
    ];
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut dice = Dice(seed);
    for set in sets {
        let mut filter = Filter::of_patterns(set.iter().map(|text| (*text, *text)), &mut Patterns::default());
        let (mut matched_any, mut passed_over) = (0, 0);
        for position in 1..20_000 {
            let event = event(&mut dice);
            for key in keys_of(Position(position), &event) {
                let (shard, committed_at) = (ShardId((position % 2) as u16), Timestamp(position));
                let told = crate::told(key, shard, committed_at, &event, None);
                let json = Book.json(&told);
                let is_passed_over = attempt(&event).is_some_and(|attempt| filter.passes_over(&attempt));
                passed_over += usize::from(is_passed_over);
                let expected = filter.matches_json(&event, &json).to_vec();
                let mut made = None;
                assert_eq!(filter.matches(&told, &Book, &mut made), expected, "seed {seed}: {set:?} and {json}");
                assert!(made.is_none(), "nobody asked for JSON");
                assert!(!is_passed_over || expected.is_empty(), "seed {seed}: {set:?} wants {json}");
                matched_any += usize::from(!expected.is_empty());
            }
        }
        assert!(matched_any > 0, "seed {seed}: {set:?} matched nothing");
        let asks_for_one = set == of_players || set == of_fakemon;
        assert_eq!(passed_over > 0, asks_for_one, "seed {seed}: {set:?} passed over {passed_over}");
    }
}
