//! Messages of players in both formats: nothing panics, and what JSON says, FlatBuffers says too.

#![no_main]

use fakemon_fbs::play::{self, Writer};
use fakemon_protocol::{Request, flat, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = flat::read(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(request) = json::read(text) else { return };
    let same = match request {
        Request::Look { place, radius_m } => play::Request::Look { lat: place.lat(), lon: place.lon(), radius_m },
        Request::Attempt { attempt_id, fakemon_id, place } => play::Request::Attempt {
            attempt_id: attempt_id.0,
            fakemon_id: fakemon_id.0,
            lat: place.lat(),
            lon: place.lon(),
        },
        Request::Collection { before } => play::Request::Collection { before: before.map_or(0, |before| before.0) },
        Request::Resume { position } => play::Request::Resume { position: position.0 },
    };
    let mut writer = Writer::default();
    assert_eq!(flat::read(writer.request(&same)).expect("both formats allow the same"), request);
});
