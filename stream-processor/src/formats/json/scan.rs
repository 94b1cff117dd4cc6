//! Walks JSON text without making anything of it; whatever it passes over has been checked to be JSON.

/// The text is not JSON, at this byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) usize);

/// What kind of value was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    True,
    False,
    Number,
    /// The span is that between the quotes.
    Text {
        /// Has escapes to undo.
        escaped: bool,
    },
    Object,
    Array,
}

/// A place in a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
    /// Strings may have control characters that are not escaped.
    control_characters: bool,
}

/// How many bytes come before the first quote, backslash or control character; eight at a time, because most strings
/// are too short for the call of a vectorised search to pay.
#[inline]
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut at = 0;
    while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        let quote = zero(word ^ (ONES * 0x22));
        let backslash = zero(word ^ (ONES * 0x5c));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let special = (quote | backslash | control) & HIGHS;
        if special != 0 {
            // The lowest mark is exact: borrows only reach bytes above it.
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let rest = &text[at..];
    at + rest.iter().position(special).unwrap_or(rest.len())
}

/// Containers in containers; deeper text is refused.
const DEPTH: usize = 200;

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Scanner {
            text,
            at: 0,
            control_characters: false,
        }
    }

    /// A scanner of what Flink's format takes: Jackson with `ALLOW_UNESCAPED_CONTROL_CHARS`.
    pub(crate) fn of_record(text: &'a [u8]) -> Self {
        Scanner {
            control_characters: true,
            ..Scanner::new(text)
        }
    }

    /// The next byte, 0 at the end.
    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Passes over white space.
    #[inline]
    pub(crate) fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Passes over `byte`, which must be next.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() == byte {
            self.at += 1;
            return Ok(());
        }
        Err(Malformed(self.at))
    }

    /// Passes over `literal` if it is next.
    #[inline]
    pub(crate) fn take(&mut self, literal: &[u8]) -> bool {
        let taken = self.text[self.at.min(self.text.len())..].starts_with(literal);
        if taken {
            self.at += literal.len();
        }
        taken
    }

    /// An integer of at most 18 digits that is a whole value; does not move otherwise.
    #[inline]
    pub(crate) fn integer(&mut self) -> Option<i64> {
        let mut at = self.at;
        let negative = self.peek() == b'-';
        at += usize::from(negative);
        let begin = at;
        let mut value = 0i64;
        while let Some(digit) = self.text.get(at).filter(|byte| byte.is_ascii_digit()) {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            at += 1;
        }
        let n_digits = at - begin;
        let leading_zero = n_digits > 1 && self.text[begin] == b'0';
        let ends = matches!(
            self.text.get(at),
            None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')
        );
        if n_digits == 0 || n_digits > 18 || leading_zero || !ends {
            return None;
        }
        self.at = at;
        Some(if negative { -value } else { value })
    }

    /// Passes over a string; gives what is between the quotes and whether it has escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<(&'a [u8], bool), Malformed> {
        self.expect(b'"')?;
        let begin = self.at;
        let mut escaped = false;
        loop {
            self.at += plain(&self.text[self.at..]);
            match self.text.get(self.at) {
                Some(b'"') => {
                    let content = &self.text[begin..self.at];
                    self.at += 1;
                    return Ok((content, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) if self.control_characters => self.at += 1,
                _ => return Err(Malformed(self.at)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        let here = self.at;
        match self.text.get(here + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let hex = self.text.get(here + 2..here + 6);
                if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(Malformed(here));
                }
                self.at += 6;
            }
            _ => return Err(Malformed(here)),
        }
        Ok(())
    }

    /// Passes over the value of a whole text, of which Jackson does not look at the rest; but a number it wants to end.
    pub(crate) fn document(&mut self) -> Result<(&'a [u8], Kind), Malformed> {
        let value = self.value()?;
        match (value.1, self.text.get(self.at)) {
            (Kind::Number, Some(next)) if !b" \n\r\t".contains(next) => Err(Malformed(self.at)),
            _ => Ok(value),
        }
    }

    /// Passes over any value; gives its text (of a string: between the quotes) and kind.
    pub(crate) fn value(&mut self) -> Result<(&'a [u8], Kind), Malformed> {
        self.nested_value(0)
    }

    fn nested_value(&mut self, depth: usize) -> Result<(&'a [u8], Kind), Malformed> {
        self.space();
        let begin = self.at;
        let kind = match self.peek() {
            b'"' => {
                let (text, escaped) = self.string()?;
                return Ok((text, Kind::Text { escaped }));
            }
            b'{' => {
                self.container(b'}', depth)?;
                Kind::Object
            }
            b'[' => {
                self.container(b']', depth)?;
                Kind::Array
            }
            b'n' => self.word(b"null", Kind::Null)?,
            b't' => self.word(b"true", Kind::True)?,
            b'f' => self.word(b"false", Kind::False)?,
            _ => {
                self.number()?;
                Kind::Number
            }
        };
        Ok((&self.text[begin..self.at], kind))
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Kind, Malformed> {
        let here = self.at;
        let ends = !self
            .text
            .get(here + word.len())
            .is_some_and(u8::is_ascii_alphanumeric);
        if self.take(word) && ends {
            return Ok(kind);
        }
        Err(Malformed(here))
    }

    fn container(&mut self, close: u8, depth: usize) -> Result<(), Malformed> {
        if depth >= DEPTH {
            return Err(Malformed(self.at));
        }
        let skip = |scanner: &mut Self| scanner.nested_value(depth + 1).map(|_| ());
        if close == b'}' {
            self.members(|scanner, _, _| skip(scanner))
        } else {
            self.items(skip)
        }
    }

    /// Passes over the object that is next. `read` gets the scanner before each value, the name as it stands there,
    /// and whether the name has escapes; it has to pass over the value.
    #[inline]
    pub(crate) fn members<E: From<Malformed>>(
        &mut self,
        mut read: impl FnMut(&mut Self, &'a [u8], bool) -> Result<(), E>,
    ) -> Result<(), E> {
        self.entries(|scanner| {
            let (name, escaped) = scanner.name()?;
            read(scanner, name, escaped)
        })
    }

    /// Passes over the object that is next; `read` has to pass over each name and its value.
    #[inline]
    pub(crate) fn entries<E: From<Malformed>>(
        &mut self,
        read: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{')?;
        self.separated(b'}', read)
    }

    /// Passes over a name and its colon; gives the name as it stands there and whether it has escapes.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<(&'a [u8], bool), Malformed> {
        let name = self.string()?;
        self.space();
        self.expect(b':')?;
        Ok(name)
    }

    /// Passes over a name and its colon if they are next, without blanks; `name` has nothing that needs an escape.
    #[inline]
    pub(crate) fn take_name(&mut self, name: &[u8]) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let behind = rest.get(name.len() + 1..name.len() + 3);
        let taken = behind == Some(b"\":") && rest[0] == b'"' && rest[1..=name.len()] == *name;
        if taken {
            self.at += name.len() + 3;
        }
        taken
    }

    /// Passes over the array that is next; `read` has to pass over each item.
    #[inline]
    pub(crate) fn items<E: From<Malformed>>(
        &mut self,
        read: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[')?;
        self.separated(b']', read)
    }

    #[inline]
    fn separated<E: From<Malformed>>(
        &mut self,
        close: u8,
        mut read: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.space();
        if self.peek() == close {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            read(self)?;
            self.space();
            if self.peek() == close {
                self.at += 1;
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        let begin = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        let whole = self.digits();
        let leading_zero = whole > 1 && self.text[self.at - whole] == b'0';
        if whole == 0 || leading_zero {
            return Err(Malformed(begin));
        }
        if self.peek() == b'.' {
            self.at += 1;
            if self.digits() == 0 {
                return Err(Malformed(self.at));
            }
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(Malformed(self.at));
            }
        }
        match self.peek() {
            byte if byte.is_ascii_alphanumeric() || byte == b'.' => Err(Malformed(self.at)),
            _ => Ok(()),
        }
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at - begin
    }
}
