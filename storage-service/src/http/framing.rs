//! The framing of `aws-chunked` bodies, followed before s3s parses them.
//!
//! s3s keeps a whole chunk in memory to verify its signature and believes any size up to 4 GiB. This walks the same
//! bytes, keeps none of them, and refuses a chunk, a chunk header or a trailer that is larger than it may be.

/// Longest chunk header: a size, the signature extension, a line end.
const MAX_HEAD: usize = 256;
/// Longest trailer, signature included.
const MAX_TRAILER: usize = 16 * 1024;

/// Where in the framing the next byte is.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    max_chunk: u64,
}

#[derive(Debug)]
enum State {
    /// Hexadecimal digits of a size; what follows them up to the line end is the signature's.
    Head {
        size: Option<u64>,
        len: usize,
        digits: bool,
        carriage: bool,
    },
    /// Data and the line end after it.
    Data {
        left: u64,
    },
    Trailer {
        len: usize,
    },
}

/// How a chunked body breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a chunk header has no size")]
    NoSize,
    #[error("a chunk header has more than {MAX_HEAD} bytes")]
    LongHead,
    #[error("a chunk has more than {max} bytes")]
    LargeChunk { max: u64 },
    #[error("the trailer has more than {MAX_TRAILER} bytes")]
    LongTrailer,
}

const HEAD: State = State::Head {
    size: None,
    len: 0,
    digits: true,
    carriage: false,
};

impl Framing {
    pub(crate) fn new(max_chunk: u64) -> Self {
        Self {
            state: HEAD,
            max_chunk,
        }
    }

    /// Follows the next bytes of the body, however they were cut.
    pub(crate) fn check(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while let Some((byte, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Data { left } => {
                    let step = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    *left -= step as u64;
                    if *left == 0 {
                        self.state = HEAD;
                    }
                    bytes = &bytes[step..];
                }
                State::Trailer { len } => {
                    *len += bytes.len();
                    return match *len > MAX_TRAILER {
                        true => Err(Malformed::LongTrailer),
                        false => Ok(()),
                    };
                }
                State::Head { .. } => {
                    self.head(*byte)?;
                    bytes = rest;
                }
            }
        }
        Ok(())
    }

    fn head(&mut self, byte: u8) -> Result<(), Malformed> {
        let State::Head {
            size,
            len,
            digits,
            carriage,
        } = &mut self.state
        else {
            return Ok(());
        };
        *len += 1;
        if *len > MAX_HEAD {
            return Err(Malformed::LongHead);
        }
        match char::from(byte).to_digit(16) {
            Some(digit) if *digits => {
                let grown = size.unwrap_or(0) * 16 + u64::from(digit);
                if grown > self.max_chunk {
                    return Err(Malformed::LargeChunk {
                        max: self.max_chunk,
                    });
                }
                *size = Some(grown);
            }
            _ => *digits = false,
        }
        let ends = *carriage && byte == b'\n';
        *carriage = byte == b'\r';
        if !ends {
            return Ok(());
        }
        self.state = match *size {
            None => return Err(Malformed::NoSize),
            Some(0) => State::Trailer { len: 0 },
            Some(size) => State::Data { left: size + 2 },
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
