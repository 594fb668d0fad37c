//! Blocks of the journal: damaged bytes are refused or read, never a panic; what is read has the positions it claims.

#![no_main]

use fakemon_fbs::journal::BlockReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(block) = BlockReader::new(bytes) else { return };
    let head = block.head();
    let mut expected = head.first_position;
    block.for_each(|position, _, _| {
        assert_eq!(position, expected);
        expected += 1;
    });
    assert_eq!(expected, head.first_position + u64::from(head.count));
    let in_sections: usize = block.sections().map(|(_, count)| count).sum();
    assert_eq!(in_sections, head.count as usize);
});
