//! Facts about digests, against published check values and against themselves.

use proptest::prelude::*;

use super::*;
use crate::store::record::{Content, UnixMillis};

fn digests(bytes: &[u8], algorithm: Algorithm) -> Digests {
    let mut digester = Digester::new(Some(algorithm));
    digester.update(bytes);
    digester.finish()
}

fn part(number: u16, bytes: &[u8], algorithm: Algorithm) -> Part {
    let digests = digests(bytes, algorithm);
    Part {
        number,
        size: digests.len,
        etag: digests.etag(),
        modified: UnixMillis(0),
        content: Content::Empty,
        crc64: digests.crc64,
        checksum: Some(digests.checksum),
    }
}

#[test]
fn digests_equal_the_published_check_values() {
    let value = |algorithm| digests(b"123456789", algorithm).checksum.value;
    let encoded = |raw: &[u8]| BASE64.encode(raw);
    assert_eq!(
        value(Algorithm::Crc32),
        encoded(&0xCBF4_3926_u32.to_be_bytes())
    );
    assert_eq!(
        value(Algorithm::Crc32c),
        encoded(&0xE306_9283_u32.to_be_bytes())
    );
    assert_eq!(
        value(Algorithm::Crc64Nvme),
        encoded(&0xAE8B_1486_0A79_9888_u64.to_be_bytes())
    );
    assert_eq!(value(Algorithm::Sha1), "98O8HYCOBHMq32eZZczDTKeuNEE=");
    assert_eq!(
        value(Algorithm::Sha256),
        "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="
    );
    assert_eq!(
        digests(b"", Algorithm::Crc64Nvme).etag(),
        "d41d8cd98f00b204e9800998ecf8427e"
    );
}

#[test]
fn bytes_that_are_not_what_was_said_are_refused() {
    let digests = digests(b"abc", Algorithm::Crc32);
    let check = |expected: Expected| digests.check(&expected).map_err(|error| error.to_string());
    let good = digests.checksum.value.clone();
    let right = Expected {
        len: Some(3),
        md5: Some(BASE64.encode(digests.md5)),
        checksum: Some((Algorithm::Crc32, good.clone())),
    };
    assert_eq!(check(right), Ok(()));
    let long = Expected {
        len: Some(4),
        ..Expected::default()
    };
    assert_eq!(
        check(long),
        Err("the body has 3 bytes where 4 were announced".to_owned())
    );
    let other = Expected {
        checksum: Some((Algorithm::Sha1, good)),
        ..Expected::default()
    };
    assert!(check(other).is_err());
    let md5 = Expected {
        md5: Some("AAAA".into()),
        ..Expected::default()
    };
    assert_eq!(
        check(md5),
        Err("`AAAA` is not the Content-MD5 of the data received".to_owned())
    );
}

proptest! {
    /// The CRC of the whole is the combination of the parts' CRCs, wherever they were cut.
    #[test]
    fn full_object_checksums_do_not_depend_on_the_cuts(
        bytes in proptest::collection::vec(any::<u8>(), 1..2000),
        cut in 0usize..2000,
    ) {
        let cut = cut % bytes.len();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let parts = [part(1, &bytes[..cut], algorithm), part(2, &bytes[cut..], algorithm)];
            let combined = combined_checksum(&parts, algorithm, ChecksumKind::FullObject).unwrap();
            prop_assert_eq!(combined.value, digests(&bytes, algorithm).checksum.value);
        }
    }
}

#[test]
fn sha_checksums_have_no_full_object_form() {
    let parts = [part(1, b"a", Algorithm::Sha256)];
    assert!(combined_checksum(&parts, Algorithm::Sha256, ChecksumKind::FullObject).is_none());
    let composite = combined_checksum(&parts, Algorithm::Sha256, ChecksumKind::Composite).unwrap();
    assert!(composite.value.ends_with("-1"), "{}", composite.value);
}
