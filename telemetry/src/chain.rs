//! Prints an error with all its sources, the one way errors reach a log.

use std::error::Error;
use std::fmt;

/// Displays an error and, after colons, what caused it.
pub struct Chain<'a>(&'a dyn Error);

/// `could not write object `a`: no space left on device`, for `error = %chain(&error)`.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> Chain<'a> {
    Chain(error)
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("could not write object `a`")]
    struct Write(#[source] io::Error);

    #[test]
    fn an_error_is_printed_with_its_sources() {
        let error = Write(io::Error::other("no space left"));
        assert_eq!(
            super::chain(&error).to_string(),
            "could not write object `a`: no space left"
        );
    }
}
