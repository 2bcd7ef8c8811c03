//! How a commit's events lie in a log row: each with its length before it, nothing else. Both backends use it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Packs events; no events are no bytes.
pub(super) fn pack(events: &[Bytes]) -> Bytes {
    let mut packed = BytesMut::with_capacity(events.iter().map(|event| 4 + event.len()).sum());
    for event in events {
        let length = u32::try_from(event.len()).expect("Commit::check bounds the bytes of all events");
        packed.put_u32(length);
        packed.put_slice(event);
    }
    packed.freeze()
}

/// Unpacks what [`pack`] made; `None` when it is cut off.
pub(super) fn unpack(mut packed: Bytes) -> Option<Vec<Bytes>> {
    let mut events = Vec::new();
    while !packed.is_empty() {
        if packed.len() < 4 {
            return None;
        }
        let length = packed.get_u32() as usize;
        if packed.len() < length {
            return None;
        }
        events.push(packed.split_to(length));
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_as_they_were_and_cut_ones_do_not() {
        let events = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(&[0, 255, 0])];
        let packed = pack(&events);
        assert_eq!(unpack(packed.clone()), Some(events));
        assert_eq!(unpack(pack(&[])), Some(vec![]));
        for length in [1, 3, 5, 9, packed.len() - 1] {
            assert_eq!(unpack(packed.slice(..length)), None, "{length} bytes");
        }
    }
}
