//! Value in quotation marks or brackets, which may take several lines. Pure.

/// Marks and brackets that are open.
#[derive(Default)]
pub(super) struct Brackets {
    /// Characters that close the brackets, outermost first.
    closing: Vec<char>,
    quote: Option<char>,
    /// Last character that is not a blank.
    last: char,
    /// True after a text in quotation marks and its colon, as in `"a":"b"`.
    follows_quoted: bool,
}

impl Brackets {
    /// Reads a line. Returns the position after the value; `None` if the value goes on in the next line.
    ///
    /// # Errors
    /// A bracket closes none that is open.
    pub(super) fn read(&mut self, text: &str) -> Result<Option<usize>, &'static str> {
        let mut before = ' ';
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            match (self.quote, character) {
                (Some('"'), '\\') => {
                    characters.next();
                }
                // In single quotation marks, two of them are one.
                (Some('\''), '\'') if characters.next_if(|(_, next)| *next == '\'').is_some() => {}
                (Some(open), _) if open == character => {
                    (self.quote, self.follows_quoted) = (None, true);
                }
                (Some(_), _) => {}
                (None, '#') if before.is_whitespace() => break,
                (None, _) => self.read_outside_quotes(before, character)?,
            }
            if self.quote.is_none() && !character.is_whitespace() {
                self.last = character;
            }
            before = character;
            if self.quote.is_none() && self.closing.is_empty() {
                return Ok(Some(at + character.len_utf8()));
            }
        }
        Ok(None)
    }

    fn read_outside_quotes(&mut self, before: char, character: char) -> Result<(), &'static str> {
        match character {
            '"' | '\'' if self.may_quote(before) => self.quote = Some(character),
            '[' => self.closing.push(']'),
            '{' => self.closing.push('}'),
            ']' | '}' if self.closing.pop() != Some(character) => return Err("a bracket has no partner"),
            _ => {}
        }
        self.follows_quoted &= character == ':' || character.is_whitespace();
        Ok(())
    }

    /// True where a value or a key may begin. Elsewhere a quotation mark is a character of a plain text.
    fn may_quote(&self, before: char) -> bool {
        match self.last {
            '[' | '{' | ',' => true,
            ':' => before.is_whitespace() || self.follows_quoted,
            _ => self.closing.is_empty(),
        }
    }
}
