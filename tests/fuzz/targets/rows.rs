//! Rows of the snapshot: damaged bytes are refused or read, and what is read is written and read the same.

#![no_main]

use fakemon_fbs::snapshot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(head) = snapshot::read_head(bytes) {
        assert_eq!(snapshot::read_head(&snapshot::write_head(&head)).expect("just written"), head);
    }
    if let Ok(player) = snapshot::read_player(bytes) {
        assert_eq!(snapshot::read_player(&snapshot::write_player(&player)).expect("just written"), player);
    }
    if let Ok(answers) = snapshot::read_answers(bytes) {
        assert_eq!(snapshot::read_answers(&snapshot::write_answers(&answers)).expect("just written"), answers);
    }
    let _ = (snapshot::read_fakemon(bytes), snapshot::read_caught(bytes));
});
