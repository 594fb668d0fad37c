//! Expressions compared with an evaluator that looks at every minute; clock changes; fired and missed due times.

use super::timetable::{Fire, Over, Standing, Timetable};
use super::*;
use fakemon_model::dice::Dice;
use fakemon_model::ids::Timestamp;
use jiff::civil::{DateTime, Weekday};

/// The revision of what is put into a timetable.
const FIRST: Timestamp = Timestamp(1);

fn at(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().unwrap();
    Timestamp(u64::try_from(moment.as_nanosecond()).unwrap())
}

fn shown(moments: impl IntoIterator<Item = Timestamp>) -> Vec<String> {
    moments.into_iter().map(|moment| moment.to_string().replace(".000000000", "")).collect()
}

fn timing(expression: &str, zone: &str) -> Timing {
    let (expression, zone) = (Expression::parse(expression).unwrap(), super::zone(zone).unwrap());
    Timing { expression, zone, start: None, end: None, window_ns: 0, seed: 7 }
}

/// The next `count` due times.
fn due(timing: &Timing, after: &str, count: usize) -> Vec<String> {
    let (mut due, mut moment) = (Vec::new(), at(after));
    while due.len() < count
        && let Some(next) = timing.next(Timestamp(0), moment)
    {
        due.push(next);
        moment = next;
    }
    shown(due)
}

/// Whether a field matches a value, evaluated directly.
fn means(field: &str, value: i64, min: i64, max: i64, words: &[&str]) -> bool {
    let number = |text: &str| {
        let word = words.iter().position(|word| *word == text).map(|at| at as i64 + 1);
        word.unwrap_or_else(|| text.parse().unwrap())
    };
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, ""));
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (min, max),
            Some((from, to)) => (number(from), number(to)),
            None if step.is_empty() => (number(range), number(range)),
            None => (number(range), max),
        };
        let step = if step.is_empty() { 1 } else { number(step) };
        let (mut walked, mut steps) = (from, 0);
        loop {
            if walked == value && steps % step == 0 {
                return true;
            }
            if walked == to {
                return false;
            }
            walked = if walked == max { min } else { walked + 1 };
            steps += 1;
        }
    })
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Whether a cron expression matches the day of a minute, evaluated directly.
fn means_day(day: &str, weekday: &str, moment: DateTime) -> bool {
    let date = moment.date();
    let is_free = |day: jiff::civil::Date| matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
    let nearest = |to: i64| {
        let in_month = (1..=i64::from(date.days_in_month())).map(|day| date.with().day(day as i8).build().unwrap());
        let work = in_month.filter(|day| !is_free(*day));
        // With two equally near weekdays the earlier would match, but that never happens: one end of a weekend is
        // always nearer.
        work.min_by_key(|day| (i64::from(day.day()) - to).abs()).unwrap() == date
    };
    if weekday == "?" {
        return day.split(',').any(|part| match part {
            "L" => date.day() == date.days_in_month(),
            "LW" => nearest(i64::from(date.days_in_month())),
            _ => match part.strip_suffix('W') {
                Some(to) => {
                    let to: i64 = to.parse().unwrap();
                    to <= i64::from(date.days_in_month()) && nearest(to)
                }
                None => means(part, i64::from(date.day()), 1, 31, &[]),
            },
        });
    }
    let today = i64::from(date.weekday().to_sunday_one_offset());
    if let Some((wanted, number)) = weekday.split_once('#') {
        let number: i8 = number.parse().unwrap();
        return means(wanted, today, 1, 7, &WEEKDAYS) && (date.day() - 1) / 7 + 1 == number;
    }
    weekday.split(',').any(|part| match part.strip_suffix('L') {
        Some("") => today == 7,
        Some(wanted) => means(wanted, today, 1, 7, &WEEKDAYS) && date.day() + 7 > date.days_in_month(),
        None => means(part, today, 1, 7, &WEEKDAYS),
    })
}

fn is_meant(expression: &str, moment: DateTime) -> bool {
    let fields: Vec<&str> = expression.split(' ').collect();
    means(fields[0], i64::from(moment.minute()), 0, 59, &[])
        && means(fields[1], i64::from(moment.hour()), 0, 23, &[])
        && is_meant_day(expression, moment)
}

fn is_meant_day(expression: &str, moment: DateTime) -> bool {
    let fields: Vec<&str> = expression.split(' ').collect();
    means(fields[3], i64::from(moment.month()), 1, 12, &MONTHS)
        && means(fields[5], i64::from(moment.year()), 1970, 2199, &[])
        && means_day(fields[2], fields[4], moment)
}

fn any_expression(dice: &mut Dice) -> String {
    let minute = dice.of(&["0", "*", "*/15", "5,35", "50-10/7", "0-59/13", "59", "30-30", "1/29"]);
    let hour = dice.of(&["0", "*", "*/6", "22-2", "8-17", "13-13", "3,4/9", "23"]);
    let month = dice.of(&["*", "2", "FEB-NOV/3", "NOV-FEB", "DEC", "1,6,12"]);
    let year = dice.of(&["*", "2024/4", "2025-2026", "2027,2024"]);
    let (day, weekday) = match dice.below(2) {
        0 => (dice.of(&["*", "1", "31", "L", "LW", "15W", "1W", "30W,L", "29", "28-3", "*/10", "1-31/30"]), "?"),
        _ => ("?", dice.of(&["*", "MON-FRI", "FRI-MON", "6L", "SAT#3", "2#5", "L", "1,7", "SUN", "2/3", "1L,7L"])),
    };
    format!("{minute} {hour} {day} {month} {weekday} {year}")
}

#[test]
fn cron_means_what_every_minute_says() {
    let seed = 20_261_124;
    let mut dice = Dice(seed);
    for _ in 0..300 {
        let expression = any_expression(&mut dice);
        let cron = super::cron::Cron::parse(&expression).unwrap_or_else(|_| panic!("{expression}"));
        let begin: DateTime = "2024-01-01T00:00:00".parse().unwrap();
        let begin = begin + jiff::Span::new().minutes(dice.below(3 * 365 * 1_440) as i64);
        for (way, step) in [(super::cron::Way::Later, 1), (super::cron::Way::Earlier, -1)] {
            let found = cron.minutes(begin, way).next();
            // Days that do not match are skipped as a whole, so that years are searched fast.
            let mut walked = begin;
            for _ in 0..4_000 {
                if is_meant(&expression, walked) {
                    assert_eq!(found, Some(walked), "seed {seed}: {expression} from {begin}");
                    break;
                }
                let is_day_meant = is_meant_day(&expression, walked);
                walked = match way {
                    _ if is_day_meant => walked + jiff::Span::new().minutes(step),
                    super::cron::Way::Later => walked.date().tomorrow().unwrap().at(0, 0, 0, 0),
                    super::cron::Way::Earlier => walked.date().yesterday().unwrap().at(23, 59, 0, 0),
                };
            }
            let is_beyond = found.is_none_or(|found| (found - walked).is_negative() == (step < 0) || found == walked);
            assert!(is_beyond, "seed {seed}: {expression} from {begin}: {found:?}, but not before {walked}");
        }
    }
}

#[test]
fn days_are_those_that_aws_documents() {
    for (expression, expected) in [
        ("cron(0 10 * * ? *)", ["2026-11-25T10:00:00Z", "2026-11-26T10:00:00Z"]),
        ("cron(15 10 ? * 6L 2026-2027)", ["2026-11-27T10:15:00Z", "2026-12-25T10:15:00Z"]),
        ("cron(0 2 ? * SAT#3 *)", ["2026-12-19T02:00:00Z", "2027-01-16T02:00:00Z"]),
        ("cron(0/5 8-17 ? * MON-FRI *)", ["2026-11-25T08:00:00Z", "2026-11-25T08:05:00Z"]),
        ("cron(0 9 LW * ? *)", ["2026-11-30T09:00:00Z", "2026-12-31T09:00:00Z"]),
        ("cron(0 9 1W * ? *)", ["2026-12-01T09:00:00Z", "2027-01-01T09:00:00Z"]),
        ("cron(0 0 29 2 ? *)", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("cron(59 23 L 2 ? *)", ["2027-02-28T23:59:00Z", "2028-02-29T23:59:00Z"]),
    ] {
        assert_eq!(due(&timing(expression, "UTC"), "2026-11-25T00:00:30Z", 2), expected, "{expression}");
    }
}

#[test]
fn what_never_comes_costs_microseconds() {
    for never in
        ["cron(0 0 31 2 ? *)", "cron(0 0 30 FEB ? 2199)", "cron(0 0 ? 2 7#5 2100-2199/7)", "cron(* * * * ? 1970)"]
    {
        let timing = timing(never, "Europe/Madrid");
        // A search through minutes would not end here.
        for _ in 0..1_000 {
            assert!(timing.next(Timestamp(0), at("2026-11-25T00:00:00Z")).is_none(), "{never}");
        }
    }
    let last = due(&timing("cron(59 23 31 12 ? 2199)", "UTC"), "2026-11-25T00:00:00Z", 2);
    assert_eq!(last, ["2199-12-31T23:59:00Z"]);
}

#[test]
fn a_skipped_time_is_not_due_and_one_that_comes_twice_is_due_once() {
    for (zone, expression, after, expected) in [
        // 29 March 2026, 2:00 becomes 3:00; 25 October, 3:00 becomes 2:00.
        (
            "Europe/Madrid",
            "cron(30 2 * * ? *)",
            "2026-03-28T12:00:00Z",
            ["2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"],
        ),
        (
            "Europe/Madrid",
            "cron(30 2 * * ? *)",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        (
            "America/New_York",
            "cron(30 1 * * ? *)",
            "2026-11-01T00:00:00Z",
            ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        ),
        (
            "America/New_York",
            "cron(0 2 * * ? *)",
            "2026-03-08T00:00:00Z",
            ["2026-03-09T06:00:00Z", "2026-03-10T06:00:00Z"],
        ),
        // A change of half an hour.
        (
            "Australia/Lord_Howe",
            "cron(15 2 * * ? *)",
            "2026-10-03T00:00:00Z",
            ["2026-10-04T15:15:00Z", "2026-10-05T15:15:00Z"],
        ),
        (
            "Australia/Lord_Howe",
            "cron(45 1 * * ? *)",
            "2026-04-04T00:00:00Z",
            ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"],
        ),
        // A change at midnight: the day begins at 1:00.
        (
            "Africa/Cairo",
            "cron(0 0 * * ? *)",
            "2026-04-23T00:00:00Z",
            ["2026-04-24T21:00:00Z", "2026-04-25T21:00:00Z"],
        ),
        // A day that does not exist: 30 December 2011.
        ("Pacific/Apia", "cron(0 12 30,31 12 ? 2011)", "2011-12-01T00:00:00Z", ["2011-12-30T22:00:00Z", ""]),
        (
            "Asia/Kolkata",
            "cron(0 0 1 * ? *)",
            "2026-11-25T00:00:00Z",
            ["2026-11-30T18:30:00Z", "2026-12-31T18:30:00Z"],
        ),
    ] {
        let found = due(&timing(expression, zone), after, 2);
        let expected: Vec<&str> = expected.into_iter().filter(|text| !text.is_empty()).collect();
        assert_eq!(found, expected, "{zone} {expression}");
    }
    // Every quarter of an hour, except in the repeated hour.
    let quarters = due(&timing("cron(0/15 * * * ? *)", "Europe/Madrid"), "2026-10-25T00:40:00Z", 2);
    assert_eq!(quarters, ["2026-10-25T00:45:00Z", "2026-10-25T02:00:00Z"]);
    let once = due(&timing("at(2026-03-29T02:30:00)", "Europe/Madrid"), "2026-03-01T00:00:00Z", 2);
    assert_eq!(once, ["2026-03-29T01:30:00Z"]);
    // Days of rates have 24 hours.
    let daily = Timing { start: Some(at("2026-03-28T12:00:00Z")), ..timing("rate(1 day)", "Europe/Madrid") };
    assert_eq!(due(&daily, "2026-03-01T00:00:00Z", 2), ["2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"]);
}

#[test]
fn looking_back_finds_what_looking_ahead_found() {
    let seed = 7_202_611;
    let mut dice = Dice(seed);
    let zones = ["UTC", "Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kolkata"];
    for _ in 0..200 {
        let expression = match dice.below(4) {
            0 => "rate(37 minutes)".into(),
            1 => "cron(*/20 * * * ? *)".into(),
            _ => format!("cron({})", any_expression(&mut dice)),
        };
        let zone = dice.of(&zones);
        let timing = timing(&expression, zone);
        // Around the end of summer time in most of these zones.
        let begin = at("2026-10-20T00:00:00Z").plus_ns(dice.below(14 * 86_400) as u64 * 1_000_000_000);
        let mut ahead = vec![begin];
        while ahead.len() < 40
            && let Some(next) = timing.next(Timestamp(0), ahead[ahead.len() - 1])
        {
            ahead.push(next);
        }
        let last = ahead[ahead.len() - 1];
        let mut back: Vec<Timestamp> = timing.earlier(Timestamp(0), last).take_while(|due| *due > begin).collect();
        back.reverse();
        assert_eq!(shown(back), shown(ahead.drain(1..)), "seed {seed}: {expression} {zone} from {begin}");
    }
}

#[test]
fn dates_bound_a_schedule_and_a_window_moves_it_no_further_than_the_next_time() {
    let mut bounded = timing("rate(10 minutes)", "UTC");
    (bounded.start, bounded.end) = (Some(at("2026-11-25T12:00:00Z")), Some(at("2026-11-25T12:20:00Z")));
    assert_eq!(
        due(&bounded, "2026-11-25T11:00:00Z", 9),
        ["2026-11-25T12:00:00Z", "2026-11-25T12:10:00Z", "2026-11-25T12:20:00Z"]
    );
    // Rates count from the creation; the first due time is one period later.
    let since = at("2026-11-25T11:59:30Z");
    let unbounded = timing("rate(10 minutes)", "UTC");
    assert_eq!(shown(unbounded.next(since, since)), ["2026-11-25T12:09:30Z"]);
    let window = Timing { window_ns: 3_600_000_000_000, ..timing("cron(* * * * ? *)", "UTC") };
    let minute = at("2026-11-25T12:00:00Z");
    let moved: Vec<u64> = (0..100)
        .map(|minutes| {
            let due = minute.plus_ns(minutes * 60_000_000_000);
            window.fires_at(since, due).ns_since(due)
        })
        .collect();
    assert!(moved.iter().all(|ns| *ns < 60_000_000_000), "{moved:?}");
    assert!(moved.iter().collect::<std::collections::BTreeSet<_>>().len() > 90, "one is like the other: {moved:?}");
    let once_late = timing("at(2026-11-25T11:58:45)", "UTC");
    assert_eq!(shown(once_late.next(since, Timestamp(0))), ["2026-11-25T11:58:45Z"], "less than a minute too late");
    assert_eq!(once_late.next(since.plus_ns(60_000_000_000), Timestamp(0)), None);
}

fn standing(since: &str) -> impl FnOnce() -> Standing + use<> {
    let since = at(since);
    move || Standing { since, fired: Timestamp(0) }
}

fn fired(fires: &[Fire]) -> Vec<String> {
    fires.iter().map(|fire| format!("{} {}", fire.key, shown([fire.due])[0])).collect()
}

#[test]
fn what_is_due_fires_once_in_order_and_goes_on_from_there() {
    let mut table = Timetable::default();
    table.put("b", timing("cron(0 * * * ? *)", "UTC"), FIRST, standing("2026-11-25T10:30:00Z"));
    table.put("a", timing("cron(0 11 * * ? *)", "UTC"), FIRST, standing("2026-11-25T10:30:00Z"));
    table.put("once", timing("at(2026-11-25T10:59:59)", "UTC"), FIRST, standing("2026-11-25T10:30:00Z"));
    let skip = |_: &str| Missed::Skip;
    let take = |table: &mut Timetable, now: &str| table.take(at(now), Timestamp(0), 10, &skip).fires;
    assert_eq!(fired(&take(&mut table, "2026-11-25T10:59:58Z")), [""; 0]);
    let fires = take(&mut table, "2026-11-25T11:00:00Z");
    let expected = ["once 2026-11-25T10:59:59Z", "a 2026-11-25T11:00:00Z", "b 2026-11-25T11:00:00Z"];
    assert_eq!(fired(&fires), expected);
    assert_eq!(fires.iter().map(|fire| fire.completes).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(fired(&take(&mut table, "2026-11-25T11:00:01Z")), [""; 0]);
    // The same once more changes nothing; other times count from then on.
    table.put("b", timing("cron(0 * * * ? *)", "UTC"), FIRST, || panic!("its times are the same"));
    table.put("b", timing("cron(30 * * * ? *)", "UTC"), FIRST, standing("2026-11-25T11:40:00Z"));
    assert_eq!(fired(&take(&mut table, "2026-11-25T12:30:00Z")), ["b 2026-11-25T12:30:00Z"]);
    table.remove("a");
    assert_eq!(fired(&take(&mut table, "2026-11-26T11:00:00Z"))[0], "b 2026-11-25T13:30:00Z");
}

#[test]
fn what_the_journal_says_has_fired_does_not_fire_again() {
    let mut table = Timetable::default();
    table.put("a", timing("rate(1 hour)", "UTC"), FIRST, standing("2026-11-25T10:00:00Z"));
    assert!(table.fired("a", at("2026-11-25T12:00:00Z"), at("2027-01-01T00:00:00Z")).is_some());
    assert!(table.fired("gone", at("2026-11-25T12:00:00Z"), at("2027-01-01T00:00:00Z")).is_none());
    // What was taken counts as fired only once it is in the journal.
    let taken = table.take(at("2026-11-25T15:30:00Z"), at("2026-11-25T15:30:00Z"), 10, &|_| Missed::All);
    assert_eq!(taken.fires.len(), 3);
    let noted = table.fired("a", at("2026-11-25T13:00:00Z"), at("2027-01-01T00:00:00Z")).unwrap();
    assert_eq!(noted.fired, at("2026-11-25T13:00:00Z"));
    let noted = table.put("a", timing("rate(2 hours)", "UTC"), FIRST, standing("2026-11-25T15:45:00Z"));
    assert_eq!(noted.fired, at("2026-11-25T13:00:00Z"));
    let mut table = Timetable::default();
    table.put("a", timing("rate(1 hour)", "UTC"), FIRST, standing("2026-11-25T10:00:00Z"));
    assert!(table.fired("a", at("2026-11-25T12:00:00Z"), at("2027-01-01T00:00:00Z")).is_some());
    let taken = table.take(at("2026-11-25T13:00:00Z"), Timestamp(0), 10, &|_| Missed::All);
    assert_eq!(fired(&taken.fires), ["a 2026-11-25T13:00:00Z"]);
}

#[test]
fn what_was_missed_is_skipped_or_caught_up_as_the_schedule_says() {
    for (wants, expected) in [
        (Missed::Skip, &["a 2026-11-25T14:00:00Z"][..]),
        (Missed::Last, &["a 2026-11-25T13:00:00Z", "a 2026-11-25T14:00:00Z"][..]),
        (
            Missed::All,
            &["a 2026-11-25T11:00:00Z", "a 2026-11-25T12:00:00Z", "a 2026-11-25T13:00:00Z", "a 2026-11-25T14:00:00Z"]
                [..],
        ),
    ] {
        let mut table = Timetable::default();
        table.put("a", timing("rate(1 hour)", "UTC"), FIRST, standing("2026-11-25T10:00:00Z"));
        let (now, opened) = (at("2026-11-25T14:00:00Z"), at("2026-11-25T13:59:00Z"));
        let taken = table.take(now, opened, 10, &|_| wants);
        assert_eq!(fired(&taken.fires), expected, "{wants:?}");
        let [missed] = &taken.missed[..] else { panic!("{taken:?}") };
        assert_eq!(shown([missed.first, missed.last]), ["2026-11-25T11:00:00Z", "2026-11-25T13:00:00Z"]);
        assert_eq!((missed.count, missed.caught_up), (3, expected.len() - 1));
    }
    // A year of minutes: the number is bounded, and the newest are kept.
    let mut table = Timetable::default();
    table.put("a", timing("cron(* * * * ? *)", "Europe/Madrid"), FIRST, standing("2025-11-25T10:00:00Z"));
    let opened = at("2026-11-25T13:59:00Z");
    let taken = table.take(opened, opened, 10, &|_| Missed::All);
    assert_eq!((taken.fires.len(), taken.missed[0].count), (1_000, 1_000));
    assert_eq!(fired(&taken.fires[999..]), ["a 2026-11-25T13:59:00Z"]);
    assert_eq!(shown(table.next_at()), ["2026-11-25T14:00:00Z"]);
    // What is over before it began is said once.
    table.put("never", timing("cron(0 0 31 2 ? *)", "UTC"), FIRST, standing("2026-11-25T10:00:00Z"));
    assert_eq!(
        table.take(opened, opened, 10, &|_| Missed::All).over,
        [Over { key: "never".into(), revision: FIRST }]
    );
    assert_eq!(table.take(opened, opened, 10, &|_| Missed::All), Now::default());
}

/// A schedule may be changed at the moment at which it is over: the end has to name the revision that it is of.
#[test]
fn what_is_taken_names_the_revision_that_it_was_of() {
    let (early, late) = (at("2026-11-25T11:00:00Z"), at("2026-11-25T12:00:00Z"));
    let skip = |_: &str| Missed::Skip;
    let once = || timing("at(2026-11-25T11:00:00)", "UTC");
    let mut table = Timetable::default();
    table.put("once", once(), FIRST, standing("2026-11-25T10:30:00Z"));
    table.put("never", timing("cron(0 0 31 2 ? *)", "UTC"), FIRST, standing("2026-11-25T10:30:00Z"));
    table.put("once", once(), Timestamp(2), || panic!("its times are the same"));
    table.put("never", timing("cron(0 12 * * ? *)", "UTC"), Timestamp(2), standing("2026-11-25T10:30:00Z"));
    let taken = table.take(early, Timestamp(0), 10, &skip);
    assert_eq!(taken.over, [Over { key: "never".into(), revision: FIRST }]);
    assert_eq!(taken.fires.iter().map(|fire| fire.revision).collect::<Vec<_>>(), [Timestamp(2)]);
    let missed = table.take(late, late, 10, &skip).missed;
    assert_eq!(missed.iter().map(|missed| missed.revision).collect::<Vec<_>>(), [Timestamp(2)]);
}

/// Two hours ahead for a while: what fired then holds up nothing afterwards, also not what a restart reads; what is
/// due once does not fire again.
#[test]
fn a_clock_that_was_wrong_holds_up_nothing_once_it_is_right() {
    let mut timetable = Timetable::default();
    for (key, expression) in [("c", "cron(* * * * ? *)"), ("o", "at(2026-03-01T13:00:00)"), ("r", "rate(1 minute)")] {
        timetable.put(key, timing(expression, "UTC"), FIRST, standing("2026-03-01T12:00:00Z"));
    }
    let (right, wrong) = (at("2026-03-01T12:00:30Z"), at("2026-03-01T14:00:30Z"));
    let taken = timetable.take(wrong, wrong, 100, &|_| Missed::Last);
    assert_eq!(fired(&taken.fires), ["c 2026-03-01T14:00:00Z", "r 2026-03-01T14:00:00Z", "o 2026-03-01T13:00:00Z"]);
    let stood: Vec<(String, Standing)> = taken
        .fires
        .iter()
        .map(|fire| (fire.key.to_string(), timetable.fired(&fire.key, fire.due, wrong).unwrap()))
        .collect();
    timetable.turn_back(right);
    let after = |timetable: &mut Timetable| {
        let taken = timetable.take(at("2026-03-01T12:01:00Z"), Timestamp(0), 100, &|_| Missed::Last);
        fired(&taken.fires)
    };
    assert_eq!(after(&mut timetable), ["c 2026-03-01T12:01:00Z", "r 2026-03-01T12:01:00Z"]);

    let mut opened = Timetable::default();
    for (key, standing) in stood {
        let expression = match key.as_str() {
            "c" => "cron(* * * * ? *)",
            "o" => "at(2026-03-01T13:00:00)",
            _ => "rate(1 minute)",
        };
        let timing = timing(expression, "UTC");
        let corrected = standing.corrected(&timing, right);
        opened.put(&key, timing, FIRST, || corrected);
    }
    assert_eq!(after(&mut opened), ["c 2026-03-01T12:01:00Z", "r 2026-03-01T12:01:00Z"]);
    // A clock that is slightly behind waits, so nothing fires twice.
    let near = Standing { since: at("2026-03-01T12:00:00Z"), fired: at("2026-03-01T12:01:00Z") };
    assert_eq!(near.corrected(&timing("rate(1 minute)", "UTC"), right), near);
}
