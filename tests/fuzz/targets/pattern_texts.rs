//! Texts as patterns and events, as they come from outside: nothing panics, and `explain` agrees with `matches`.

#![no_main]

use fakemon_pattern::pattern::Pattern;
use fakemon_pattern::raw;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (pattern, event) = input;
    let _ = (raw::check_detail(event), raw::check_member(event));
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let matches = pattern.matches(event.as_bytes());
    let explained = pattern.explain(event.as_bytes());
    match (matches, explained) {
        (Ok(matches), Ok(explained)) => {
            assert_eq!(matches, explained.matches);
            let met = |alternative: usize| {
                explained.fields.iter().filter(|field| field.alternative == alternative).all(|field| field.met)
            };
            let alternatives = explained.fields.iter().map(|field| field.alternative + 1).max().unwrap_or(1);
            assert!(!matches || (0..alternatives).any(met), "it matches, but no alternative is met");
        }
        (Err(_), Err(_)) => {}
        (matches, explained) => panic!("{matches:?} {explained:?}"),
    }
});
