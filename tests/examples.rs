//! The examples of the engine, as they stand: each asserts what it shows.

macro_rules! examples {
    ($($name:ident $path:literal)*) => {$(
        #[path = $path]
        mod $name;

        #[test]
        fn $name() {
            $name::main().unwrap();
        }
    )*};
}

examples! {
    race "../engine/examples/race.rs"
    crowd "../engine/examples/crowd.rs"
    rule_to_function "../engine/examples/rule_to_function.rs"
    retry_and_dead_letter "../engine/examples/retry_and_dead_letter.rs"
    time_travel "../engine/examples/time_travel.rs"
    what_if "../engine/examples/what_if.rs"
}
