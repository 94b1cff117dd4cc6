//! Zigzag variable-length integers, as records use them.

/// Longest encoding of a 32-bit value.
pub(super) const MAX_LEN_32: usize = 5;
/// Longest encoding of a 64-bit value.
pub(super) const MAX_LEN_64: usize = 10;

/// Writes `value` at the start of `out` and returns how many bytes it took; `out` needs room for [`MAX_LEN_64`].
pub(super) fn put(out: &mut [u8], value: i64) -> usize {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut at = 0;
    while rest >= 0x80 {
        out[at] = (rest as u8 & 0x7f) | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

/// Appends `value` to `out`.
pub(super) fn push(out: &mut Vec<u8>, value: i64) {
    let mut scratch = [0; MAX_LEN_64];
    let len = put(&mut scratch, value);
    out.extend_from_slice(&scratch[..len]);
}

/// How many bytes `value` takes.
pub(super) fn len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads a value at `at` and moves `at` behind it; `None` when it is cut short or longer than 64 bits.
#[inline]
pub(super) fn get(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(unzigzag(u64::from(first)));
    }
    let mut value = u64::from(first & 0x7f);
    let mut shift = 7;
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(unzigzag(value));
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}
