//! Facts about chunk framing, and a fuzz target for it.

use proptest::prelude::*;

use super::*;

fn follow(bytes: &[u8], cut: usize) -> Result<(), Malformed> {
    let mut framing = Framing::new(1000);
    for piece in bytes.chunks(cut.max(1)) {
        framing.check(piece)?;
    }
    Ok(())
}

#[test]
fn oversized_pieces_are_refused() {
    assert_eq!(
        follow(b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n", 3),
        Ok(())
    );
    let large = b"3e9;chunk-signature=00\r\n";
    assert_eq!(follow(large, 1), Err(Malformed::LargeChunk { max: 1000 }));
    assert_eq!(
        follow(b"ffffffffffffffffffff\r\n", 4),
        Err(Malformed::LargeChunk { max: 1000 })
    );
    assert_eq!(
        follow(b";chunk-signature=00\r\n", 9),
        Err(Malformed::NoSize)
    );
    assert_eq!(follow(&[b'0'; 300], 7), Err(Malformed::LongHead));
    let mut trailer = b"0\r\n".to_vec();
    trailer.resize(MAX_TRAILER + 10, b'a');
    assert_eq!(follow(&trailer, 1000), Err(Malformed::LongTrailer));
}

/// Any bytes at all: no panic, no endless loop, the same judgement however they were cut.
fn fuzz(bytes: &[u8], cut: usize) {
    assert_eq!(
        follow(bytes, cut).is_ok(),
        follow(bytes, bytes.len()).is_ok(),
        "{bytes:?} {cut}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_judged_the_same_however_they_are_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 1usize..50,
    ) {
        fuzz(&bytes, cut);
    }

    /// Bytes that look like chunks, some of them damaged.
    #[test]
    fn damaged_chunks_are_judged_the_same_however_they_are_cut(
        chunks in proptest::collection::vec(0usize..300, 0..5),
        damage in proptest::option::of((0usize..900, any::<u8>())),
        cut in 1usize..50,
    ) {
        let mut bytes = Vec::new();
        for len in chunks.into_iter().chain([0]) {
            bytes.extend(format!("{len:x};chunk-signature={:064}\r\n", 7).into_bytes());
            bytes.extend(vec![b'x'; len]);
            bytes.extend(b"\r\n");
        }
        match damage {
            None => prop_assert_eq!(follow(&bytes, cut), Ok(())),
            Some((at, byte)) => {
                let at = at % bytes.len();
                bytes[at] = byte;
                fuzz(&bytes, cut);
            }
        }
    }
}
