//! JSON as sub-document commands edit it: members keep their order and leaves keep their text, so that what a command
//! does not name stays as it was written.

use crate::wire::Status;

/// Deeper documents are refused (couchbase's `subjson` subdoc/path.h, `MAX_COMPONENTS`).
const DEPTH_MAX: usize = 32;
/// Longer paths are refused: one component is the root.
const STEPS_MAX: usize = DEPTH_MAX - 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    /// Keys as they were written, with their escapes.
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    /// A string, a number, true, false or null.
    Leaf(String),
}

/// One component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    /// -1 is the last element.
    Index(i64),
}

/// Why a text is not taken.
enum Flaw {
    NotJson,
    TooDeep,
}

impl Json {
    /// A document that a path is looked for in.
    pub(crate) fn document(text: &[u8]) -> Result<Self, Status> {
        Self::parse(text, DEPTH_MAX).map_err(|flaw| match flaw {
            Flaw::NotJson => Status::DOC_NOT_JSON,
            Flaw::TooDeep => Status::DOC_TOO_DEEP,
        })
    }

    /// A value that is put at the end of a path of so many steps (subdoc/operations.cc, `get_maxdepth`).
    pub(crate) fn value(text: &[u8], steps: usize) -> Result<Self, Status> {
        Self::parse(text, DEPTH_MAX.saturating_sub(steps)).map_err(|flaw| match flaw {
            Flaw::NotJson => Status::VALUE_CANNOT_INSERT,
            Flaw::TooDeep => Status::VALUE_TOO_DEEP,
        })
    }

    /// Values separated by commas, as commands on arrays take them, and at least one.
    pub(crate) fn values(text: &[u8], steps: usize) -> Result<Vec<Self>, Status> {
        match Self::value(&[b"[", text, b"]"].concat(), steps)? {
            Self::Array(items) if !items.is_empty() => Ok(items),
            Self::Array(_) | Self::Object(_) | Self::Leaf(_) => Err(Status::VALUE_CANNOT_INSERT),
        }
    }

    fn parse(text: &[u8], depth: usize) -> Result<Self, Flaw> {
        // The checker of the whole grammar, escapes and numbers included.
        serde_json::from_slice::<serde::de::IgnoredAny>(text).map_err(|_| Flaw::NotJson)?;
        let text = std::str::from_utf8(text).map_err(|_| Flaw::NotJson)?;
        Parser { text, at: 0 }.value(depth).ok_or(Flaw::TooDeep)
    }

    pub(crate) fn text(&self) -> Vec<u8> {
        let mut out = String::new();
        self.write(&mut out);
        out.into_bytes()
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Leaf(text) => out.push_str(text),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push('"');
                    out.push_str(key);
                    out.push_str("\":");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// The value that a path names.
    pub(crate) fn find(&self, path: &[Step]) -> Result<&Self, Status> {
        path.iter().try_fold(self, |value, step| match (value, step) {
            (Self::Object(members), Step::Key(key)) => {
                members.iter().find(|(name, _)| name == key).map(|(_, value)| value).ok_or(Status::PATH_NOT_FOUND)
            }
            (Self::Array(items), Step::Index(index)) => {
                place(*index, items.len()).and_then(|at| items.get(at)).ok_or(Status::PATH_NOT_FOUND)
            }
            _ => Err(Status::PATH_MISMATCH),
        })
    }

    /// As [`Self::find`], for editing; missing objects on the way are made when `makes_way`.
    pub(crate) fn find_mut(&mut self, path: &[Step], makes_way: bool) -> Result<&mut Self, Status> {
        let mut value = self;
        for step in path {
            value = match (value, step) {
                (Self::Object(members), Step::Key(key)) => {
                    if !members.iter().any(|(name, _)| name == key) {
                        if !makes_way {
                            return Err(Status::PATH_NOT_FOUND);
                        }
                        members.push((key.clone(), Self::Object(Vec::new())));
                    }
                    let found = members.iter_mut().find(|(name, _)| name == key);
                    found.map(|(_, value)| value).ok_or(Status::PATH_NOT_FOUND)?
                }
                (Self::Array(items), Step::Index(index)) => {
                    let at = place(*index, items.len()).ok_or(Status::PATH_NOT_FOUND)?;
                    items.get_mut(at).ok_or(Status::PATH_NOT_FOUND)?
                }
                _ => return Err(Status::PATH_MISMATCH),
            };
        }
        Ok(value)
    }
}

/// The position that an index names in an array.
pub(crate) fn place(index: i64, length: usize) -> Option<usize> {
    if index < 0 { length.checked_sub(1) } else { usize::try_from(index).ok().filter(|at| *at < length) }
}

/// Reads a path as N1QL writes it: names, `.`, `[index]`, backticks around special names (docs/SubDocument.md, "Path"; `subjson`
/// subdoc/path.cc).
pub(crate) fn parse_path(path: &str) -> Result<Vec<Step>, Status> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']').ok_or(Status::PATH_INVALID)?;
            let index: i64 = index.parse().map_err(|_| Status::PATH_INVALID)?;
            if index < -1 {
                return Err(Status::PATH_INVALID);
            }
            steps.push(Step::Index(index));
            rest = next_component(after)?;
        } else {
            let (name, after) = name(rest)?;
            steps.push(Step::Key(name));
            rest = next_component(after)?;
        }
    }
    if steps.len() > STEPS_MAX { Err(Status::PATH_TOO_BIG) } else { Ok(steps) }
}

/// What follows a component: nothing, an index, or a dot and perhaps a name.
fn next_component(after: &str) -> Result<&str, Status> {
    match after.strip_prefix('.') {
        Some(rest) => Ok(rest),
        None if after.is_empty() || after.starts_with('[') => Ok(after),
        None => Err(Status::PATH_INVALID),
    }
}

fn name(text: &str) -> Result<(String, &str), Status> {
    let Some(mut quoted) = text.strip_prefix('`') else {
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let is_right = !name.is_empty() && !name.contains(']') && is_key(name);
        return if is_right { Ok((name.into(), rest)) } else { Err(Status::PATH_INVALID) };
    };
    let mut name = String::new();
    loop {
        let (part, rest) = quoted.split_once('`').ok_or(Status::PATH_INVALID)?;
        name.push_str(part);
        // Two backticks are one.
        match rest.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                quoted = more;
            }
            None if name.is_empty() || !is_key(&name) => return Err(Status::PATH_INVALID),
            None => return Ok((name, rest)),
        }
    }
}

/// Whether a name is what JSON has between quotes, without escapes of code points.
fn is_key(name: &str) -> bool {
    let mut is_escaped = false;
    for byte in name.bytes() {
        let is_right = if is_escaped { b"\"/\\bfnrt".contains(&byte) } else { byte != b'"' && byte >= 0x1f };
        if !is_right {
            return false;
        }
        is_escaped = !is_escaped && byte == b'\\';
    }
    !is_escaped
}

/// Reads text that has been checked.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips spaces and the byte, when it is next.
    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.at += 1;
        }
        is_next
    }

    /// A value of at most so many levels.
    fn value(&mut self, depth: usize) -> Option<Json> {
        let inner = depth.checked_sub(1)?;
        if self.eat(b'[') {
            let mut items = Vec::new();
            while !self.eat(b']') {
                items.push(self.value(inner)?);
                self.eat(b',');
            }
            return Some(Json::Array(items));
        }
        if self.eat(b'{') {
            let mut members = Vec::new();
            while !self.eat(b'}') {
                self.space();
                let key = self.string()?;
                let key = key.get(1..key.len().checked_sub(1)?)?.to_owned();
                self.eat(b':');
                members.push((key, self.value(inner)?));
                self.eat(b',');
            }
            return Some(Json::Object(members));
        }
        if self.peek() == Some(b'"') {
            return Some(Json::Leaf(self.string()?.to_owned()));
        }
        let rest = self.text.get(self.at..)?;
        let end = rest.find(|one: char| ",]}".contains(one) || one.is_ascii_whitespace()).unwrap_or(rest.len());
        self.at += end;
        Some(Json::Leaf(rest.get(..end)?.to_owned()))
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&str> {
        let start = self.at;
        self.at += 1;
        while self.peek()? != b'"' {
            self.at += if self.peek() == Some(b'\\') { 2 } else { 1 };
        }
        self.at += 1;
        self.text.get(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, path: &str) -> Result<String, Status> {
        let json = Json::document(text.as_bytes()).unwrap();
        let found = json.find(&parse_path(path)?)?;
        Ok(String::from_utf8(found.text()).unwrap())
    }

    #[test]
    fn paths_name_members_and_elements() {
        let text = r#"{"a": {"b": [1, {"c\"": "x,}"}, 3.50]}, "d.e": null, "f`": true}"#;
        assert_eq!(find(text, "a.b[0]").unwrap(), "1");
        assert_eq!(find(text, "a.b[-1]").unwrap(), "3.50");
        assert_eq!(find(text, "a.b[1]").unwrap(), r#"{"c\"":"x,}"}"#);
        assert_eq!(find(text, "`d.e`").unwrap(), "null");
        assert_eq!(find(text, "`f```").unwrap(), "true");
        assert_eq!(find(text, "a.x"), Err(Status::PATH_NOT_FOUND));
        assert_eq!(find(text, "a[0]"), Err(Status::PATH_MISMATCH));
        assert_eq!(find(text, "a.b.[0]."), find(text, "a.b[0]"));
        for wrong in [".a", "a..b", "a[x]", "a[-2]", "a[1", "a]", "`a", "``", "a[0]b", "a\"", "a\\", "a\\u0041", "a\n"]
        {
            assert_eq!(find(text, wrong), Err(Status::PATH_INVALID), "{wrong}");
        }
    }

    #[test]
    fn order_and_numbers_stay_as_written() {
        let text = r#"{"z":1.0,"a":[1e3,-0],"m":{}}"#;
        assert_eq!(Json::document(text.as_bytes()).unwrap().text(), text.as_bytes());
        for wrong in ["{\"a\":}", "[1,]", ""] {
            assert_eq!(Json::document(wrong.as_bytes()), Err(Status::DOC_NOT_JSON), "{wrong}");
        }
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        assert!(Json::document(&nested(32)).is_ok());
        assert_eq!(Json::document(&nested(33)), Err(Status::DOC_TOO_DEEP));
        assert!(Json::value(&nested(30), 2).is_ok());
        assert_eq!(Json::value(&nested(31), 2), Err(Status::VALUE_TOO_DEEP));
        assert_eq!(parse_path(&vec!["a"; 31].join(".")).unwrap().len(), 31);
        assert_eq!(parse_path(&vec!["a"; 32].join(".")), Err(Status::PATH_TOO_BIG));
    }

    #[test]
    fn the_way_is_made_only_when_asked() {
        let mut json = Json::document(b"{}").unwrap();
        let path = parse_path("a.b").unwrap();
        assert_eq!(json.find_mut(&path, false).unwrap_err(), Status::PATH_NOT_FOUND);
        json.find_mut(&path, true).unwrap();
        assert_eq!(json.text(), br#"{"a":{"b":{}}}"#);
    }
}
