//! JSON as RFC 8259 has it and its canonical form as RFC 8785 has it, slow and short: what the fast ones are held
//! against. Written from the two documents, and from nothing else.

/// A value; numbers as they are written, members as they come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads exactly one value.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text: Vec<char> = str::from_utf8(bytes).ok()?.chars().collect();
        let mut reader = Reader { text: &text, at: 0, depth: 0 };
        let value = reader.value()?;
        reader.space();
        (reader.at == text.len()).then_some(value)
    }

    /// The deepest nesting of arrays and objects; 0 for anything else.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => 0,
        }
    }

    /// Whether every object has each of its keys once.
    pub(crate) fn has_distinct_keys(&self) -> bool {
        match self {
            Self::Array(items) => items.iter().all(Self::has_distinct_keys),
            Self::Object(members) => members.iter().enumerate().all(|(at, (key, value))| {
                value.has_distinct_keys() && members[..at].iter().all(|(earlier, _)| earlier != key)
            }),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => true,
        }
    }

    /// Whether every number is an integer that a double holds, in the one spelling that RFC 8785 gives it.
    pub(crate) fn is_exact(&self) -> bool {
        match self {
            Self::Number(text) => {
                let value: Option<i64> = text.parse().ok();
                value.is_some_and(|value| value.unsigned_abs() < 1 << 53 && value.to_string() == *text)
            }
            Self::Array(items) => items.iter().all(Self::is_exact),
            Self::Object(members) => members.iter().all(|(_, value)| value.is_exact()),
            Self::Null | Self::Bool(_) | Self::Text(_) => true,
        }
    }

    /// RFC 8785, for values with distinct keys and exact numbers.
    pub(crate) fn canonical(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(text) => text.clone(),
            Self::Text(text) => quoted(text),
            Self::Array(items) => {
                format!("[{}]", items.iter().map(Self::canonical).collect::<Vec<_>>().join(","))
            }
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by_key(|(key, _)| key.encode_utf16().collect::<Vec<_>>());
                let members =
                    members.iter().map(|(key, value)| format!("{}:{}", quoted(key), value.canonical()));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// The same with another value in this place, if there is one.
    pub(crate) fn with(&self, path: &[&str], value: &Self) -> Self {
        let Some((key, rest)) = path.split_first() else { return value.clone() };
        let Self::Object(members) = self else { return self.clone() };
        let changed = |(name, old): &(String, Self)| {
            (name.clone(), if name == key { old.with(rest, value) } else { old.clone() })
        };
        Self::Object(members.iter().map(changed).collect())
    }

    /// The last member of this name, which is the one that most parsers keep.
    pub(crate) fn last(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// RFC 8785 section 3.2.2.2.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            '\u{8}' => quoted += "\\b",
            '\t' => quoted += "\\t",
            '\n' => quoted += "\\n",
            '\u{c}' => quoted += "\\f",
            '\r' => quoted += "\\r",
            c if c < ' ' => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// No bound of ours is as deep; what is deeper is refused here too, before the stack ends.
const DEEPEST: usize = 200;

struct Reader<'a> {
    text: &'a [char],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|c| " \t\n\r".contains(c)) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        word.chars().try_for_each(|c| self.take(c))?;
        Some(value)
    }

    fn value(&mut self) -> Option<Json> {
        self.space();
        match self.peek()? {
            'n' => self.word("null", Json::Null),
            't' => self.word("true", Json::Bool(true)),
            'f' => self.word("false", Json::Bool(false)),
            '"' => self.string().map(Json::Text),
            '[' => self.inner(Self::array),
            '{' => self.inner(Self::object),
            _ => self.number(),
        }
    }

    fn inner(&mut self, read: fn(&mut Self) -> Option<Json>) -> Option<Json> {
        if self.depth >= DEEPEST {
            return None;
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Some(value)
    }

    fn array(&mut self) -> Option<Json> {
        self.take('[')?;
        let mut items = Vec::new();
        self.space();
        if self.take(']').is_some() {
            return Some(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            if self.take(']').is_some() {
                return Some(Json::Array(items));
            }
            self.take(',')?;
        }
    }

    fn object(&mut self) -> Option<Json> {
        self.take('{')?;
        let mut members = Vec::new();
        self.space();
        if self.take('}').is_some() {
            return Some(Json::Object(members));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.take(':')?;
            members.push((key, self.value()?));
            self.space();
            if self.take('}').is_some() {
                return Some(Json::Object(members));
            }
            self.take(',')?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let c = self.peek()?;
            self.at += 1;
            match c {
                '"' => return String::from_utf16(&units).ok(),
                '\\' => units.push(self.escape()?),
                c if c < ' ' => return None,
                c => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
            }
        }
    }

    fn escape(&mut self) -> Option<u16> {
        let c = self.peek()?;
        self.at += 1;
        Some(match c {
            '"' => 0x22,
            '\\' => 0x5c,
            '/' => 0x2f,
            'b' => 8,
            'f' => 0xc,
            'n' => 0xa,
            'r' => 0xd,
            't' => 9,
            'u' => {
                let digits = self.text.get(self.at..self.at + 4)?.iter().map(|digit| digit.to_digit(16));
                self.at += 4;
                let value =
                    digits.collect::<Option<Vec<_>>>()?.iter().fold(0, |value, digit| value * 16 + digit);
                u16::try_from(value).ok()?
            }
            _ => return None,
        })
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        self.take('-');
        let digits = |reader: &mut Self| {
            let before = reader.at;
            while reader.peek().is_some_and(|c| c.is_ascii_digit()) {
                reader.at += 1;
            }
            (reader.at > before).then_some(())
        };
        if self.take('0').is_none() {
            digits(self)?;
        }
        if self.take('.').is_some() {
            digits(self)?;
        }
        if self.take('e').or_else(|| self.take('E')).is_some() {
            if self.take('+').is_none() {
                self.take('-');
            }
            digits(self)?;
        }
        Some(Json::Number(self.text[start..self.at].iter().collect()))
    }
}
