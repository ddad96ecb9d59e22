//! A reader of Rust and TypeScript sources that tells code from comments and text, for the rules in
//! [`crate::check`]. It knows the lexical rules that this needs and nothing else of the languages.

/// Which lexical rules apply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    /// TypeScript and JavaScript.
    Script,
}

impl Language {
    /// By the end of the file's name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let extension = name.rsplit_once('.')?.1;
        match extension {
            "rs" => Some(Self::Rust),
            "ts" | "tsx" | "js" | "mjs" => Some(Self::Script),
            _ => None,
        }
    }
}

/// A source taken apart. Lines and columns of `code` are those of the source.
pub(crate) struct Source {
    /// The source with comments and the content of texts replaced by blanks.
    pub(crate) code: String,
    /// Each line of each comment.
    pub(crate) comments: Vec<CommentLine>,
}

/// One line of a comment, without its marks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommentLine {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
    /// The line before it is no comment.
    pub(crate) opens: bool,
}

impl Source {
    pub(crate) fn parse(text: &str, language: Language) -> Self {
        let mut reader =
            Reader { rest: text, language, line: 1, code: String::with_capacity(text.len()), comments: Vec::new() };
        reader.read();
        Self { code: reader.code, comments: join_blocks(reader.comments) }
    }

    /// The code without Rust's `#[cfg(test)]` items.
    pub(crate) fn code_without_tests(&self) -> String {
        const MARK: &str = "#[cfg(test)]";
        let mut out = String::with_capacity(self.code.len());
        let mut rest = self.code.as_str();
        while let Some((before, after)) = rest.split_once(MARK) {
            out.push_str(before);
            let length = item_length(after);
            let (item, following) = after.split_at(length);
            blank(&mut out, MARK);
            blank(&mut out, item);
            rest = following;
        }
        out.push_str(rest);
        out
    }
}

/// The length of the item at the start of `code`: to its closing brace, or to its semicolon.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn join_blocks(mut comments: Vec<CommentLine>) -> Vec<CommentLine> {
    let mut last: Option<usize> = None;
    for comment in &mut comments {
        comment.opens = last.is_none_or(|line| line + 1 != comment.line);
        last = Some(comment.line);
    }
    comments
}

fn blank(out: &mut String, text: &str) {
    out.extend(text.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
}

struct Reader<'a> {
    rest: &'a str,
    language: Language,
    line: usize,
    code: String,
    comments: Vec<CommentLine>,
}

impl<'a> Reader<'a> {
    fn read(&mut self) {
        while let Some(character) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                let comment = self.take_blank(end);
                self.comment(comment.trim_start_matches(['/', '!']));
            } else if self.rest.starts_with("/*") {
                let end = self.block_comment_end();
                let line = self.line;
                let comment = self.take_blank(end);
                self.block(comment, line);
            } else if let Some(end) = self.text_end(character) {
                self.take_blank(end);
            } else {
                // A word is taken whole, so that the `r` of `for` opens no raw text.
                let word =
                    self.rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(self.rest.len());
                let end = word.max(character.len_utf8());
                self.take_code(end);
            }
        }
    }

    /// The length of the text literal at this place; `None` when there is none.
    fn text_end(&self, first: char) -> Option<usize> {
        match (self.language, first) {
            (_, '"') | (Language::Script, '\'') => Some(quoted_end(self.rest, first)),
            (Language::Script, '`') => Some(template_end(self.rest)),
            (Language::Script, '/') if self.at_operand() => regex_end(self.rest),
            (Language::Rust, 'r' | 'b' | 'c') => raw_end(self.rest),
            (Language::Rust, '\'') => char_end(self.rest),
            _ => None,
        }
    }

    /// Whether an operand is expected here: then a slash opens a regular expression, else it divides.
    fn at_operand(&self) -> bool {
        let before = self.code.trim_end();
        let Some(last) = before.chars().next_back() else { return true };
        let keyword = ["return", "typeof", "case", "of", "in"].iter().any(|word| {
            before.strip_suffix(word).is_some_and(|head| !head.ends_with(|next: char| next.is_alphanumeric()))
        });
        keyword || "(,=:[!&|?{};+-*%<>~^".contains(last)
    }

    /// Rust's block comments nest.
    fn block_comment_end(&self) -> usize {
        let mut depth = 0_usize;
        let mut at = 0;
        while let Some(rest) = self.rest.get(at..) {
            if rest.starts_with("/*") && (depth == 0 || self.language == Language::Rust) {
                depth += 1;
                at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            } else {
                let Some(next) = rest.chars().next() else { break };
                at += next.len_utf8();
            }
        }
        self.rest.len()
    }

    fn block(&mut self, comment: &str, first_line: usize) {
        let inner = comment.trim_start_matches("/*").trim_end_matches("*/");
        for (offset, line) in inner.lines().enumerate() {
            let text = line.trim().trim_start_matches('*').trim();
            self.comments.push(CommentLine { line: first_line + offset, text: text.to_owned(), opens: false });
        }
    }

    fn comment(&mut self, text: &str) {
        self.comments.push(CommentLine { line: self.line, text: text.trim().to_owned(), opens: false });
    }

    fn take_code(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.code.push_str(taken);
        self.advance(taken, rest);
    }

    fn take_blank(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        blank(&mut self.code, taken);
        self.advance(taken, rest);
        taken
    }

    fn advance(&mut self, taken: &str, rest: &'a str) {
        self.line += taken.matches('\n').count();
        self.rest = rest;
    }
}

/// From a quote to the same quote, with backslash escapes.
fn quoted_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return at + character.len_utf8();
        }
    }
    text.len()
}

/// A template literal; the expressions in it, and templates in those, are taken as text.
fn template_end(text: &str) -> usize {
    let mut inside: Vec<char> = Vec::new();
    let mut escaped = false;
    let mut last = ' ';
    for (at, character) in text.char_indices() {
        let place = inside.last().copied();
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == '`' {
            if place == Some('`') {
                inside.pop();
                if inside.is_empty() {
                    return at + 1;
                }
            } else {
                inside.push('`');
            }
        } else if character == '{' && (place == Some('{') || last == '$') {
            inside.push('{');
        } else if character == '}' && place == Some('{') {
            inside.pop();
        }
        last = character;
    }
    text.len()
}

/// A regular expression ends on its line, outside a class.
fn regex_end(text: &str) -> Option<usize> {
    let mut in_class = false;
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '/' if !in_class => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// `r"…"`, `r#"…"#`, `br"…"`, `b"…"`, `c"…"`, `b'…'`.
fn raw_end(text: &str) -> Option<usize> {
    let prefix = text.find(|character| !matches!(character, 'r' | 'b' | 'c'))?;
    let after = text.get(prefix..)?;
    let is_raw = text.get(..prefix)?.ends_with('r');
    if !is_raw {
        return match after.chars().next()? {
            '"' => Some(prefix + quoted_end(after, '"')),
            '\'' => char_end(after).map(|end| prefix + end),
            _ => None,
        };
    }
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after.get(hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(prefix + hashes + 1 + length)
}

/// A character literal; `None` for a lifetime.
fn char_end(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        return Some(quoted_end(text, '\''));
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, language: Language, code: &str, comments: &[&str]) {
        let source = Source::parse(text, language);
        let words = source.code.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words, code, "{text}");
        let found: Vec<&str> = source.comments.iter().map(|comment| comment.text.as_str()).collect();
        assert_eq!(found, comments, "{text}");
        assert_eq!(source.code.lines().count(), text.lines().count(), "{text}");
    }

    #[test]
    fn rust_comments_and_texts_are_no_code() {
        check("let a = \"// no \\\" comment\"; // yes", Language::Rust, "let a = ;", &["yes"]);
        check("a /* b /* c */ d */ e", Language::Rust, "a e", &["b /* c */ d"]);
        check("let a = r#\"x \" // y\"#; b", Language::Rust, "let a = ; b", &[]);
        check(
            "fn f<'a>(x: &'a str, c: char) { c == '\"' || c == '\\'' }",
            Language::Rust,
            "fn f<'a>(x: &'a str, c: char) { c == || c == }",
            &[],
        );
        check("/// One.\n//! Two.\nfor x in y {}", Language::Rust, "for x in y {}", &["One.", "Two."]);
    }

    #[test]
    fn script_comments_and_texts_are_no_code() {
        check("const a = 'it\\'s // no'; // yes", Language::Script, "const a = ;", &["yes"]);
        check("const a = `x ${f(`y // ${1}`)} // z`; b()", Language::Script, "const a = ; b()", &[]);
        check("a = b / c; // half\nd = /[/\"]\\//.test(e)", Language::Script, "a = b / c; d = .test(e)", &["half"]);
        check("/**\n * One.\n */\nf()", Language::Script, "f()", &["", "One.", ""]);
    }

    #[test]
    fn the_first_line_of_a_comment_opens_it() {
        let source = Source::parse("// a\n// b\nx\n// c\n", Language::Rust);
        let opens: Vec<bool> = source.comments.iter().map(|comment| comment.opens).collect();
        assert_eq!(opens, [true, false, true]);
    }

    #[test]
    fn test_items_are_left_out() {
        let source = Source::parse(
            "a();\n#[cfg(test)]\nmod tests { fn f() { b() } }\nc();\n#[cfg(test)]\nmod t;\nd();",
            Language::Rust,
        );
        let code = source.code_without_tests();
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a();", "c();", "d();"]);
        assert_eq!(code.lines().count(), 7);
    }
}
