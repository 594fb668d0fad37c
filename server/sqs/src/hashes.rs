//! MD5 hashes of bodies and attributes: clients compute them too, and compare.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fakemon_queue::queue::Attribute;
use md5::{Digest, Md5};
use std::collections::BTreeMap;

/// The system attribute that a sender may set.
pub(crate) const TRACE_HEADER: &str = "AWSTraceHeader";

pub(super) fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The MD5 of attributes: names, types and values, sorted by name, each with its length before it; none without
/// attributes.
pub(super) fn md5_of_attributes(attributes: &BTreeMap<String, Attribute>) -> Option<String> {
    (!attributes.is_empty()).then(|| md5_of(&attribute_bytes(attributes)))
}

/// The MD5 of the only system attribute that a sender may set.
pub(super) fn md5_of_trace(trace_header: Option<&str>) -> Option<String> {
    let trace = trace_header.map(Attribute::text)?;
    md5_of_attributes(&BTreeMap::from([(TRACE_HEADER.to_owned(), trace)]))
}

fn attribute_bytes(attributes: &BTreeMap<String, Attribute>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, attribute) in attributes {
        let (kind, value) = match attribute.is_binary() {
            true => (2, STANDARD.decode(&attribute.value).unwrap_or_default()),
            false => (1, attribute.value.as_bytes().to_vec()),
        };
        put(name.as_bytes(), &mut bytes);
        put(attribute.data_type.as_bytes(), &mut bytes);
        bytes.push(kind);
        put(&value, &mut bytes);
    }
    bytes
}

fn put(part: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(part);
}
