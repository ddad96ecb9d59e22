//! Licence expressions (SPDX 2.3, annex D): whether one can be met with allowed licences alone.

/// Evaluates `expression`: every `AND` side must be allowed, one `OR` side is enough. The older spelling with `/`
/// means `OR`. An exception (`WITH`) only adds permissions, so it is allowed with its licence.
///
/// # Errors
/// A sentence when the expression is malformed.
pub(super) fn is_allowed(expression: &str, allowed: &[&str]) -> Result<bool, String> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens, allowed };
    let result = parser.any();
    match (result, parser.tokens) {
        (Some(verdict), []) => Ok(verdict),
        _ => Err(format!("`{expression}` is no licence expression")),
    }
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    allowed: &'a [&'a str],
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut verdict = self.every()?;
        while self.take("OR") {
            verdict |= self.every()?;
        }
        Some(verdict)
    }

    fn every(&mut self) -> Option<bool> {
        let mut verdict = self.term()?;
        while self.take("AND") {
            verdict &= self.term()?;
        }
        Some(verdict)
    }

    fn term(&mut self) -> Option<bool> {
        if self.take("(") {
            let verdict = self.any()?;
            return self.take(")").then_some(verdict);
        }
        let licence = self.word()?;
        if self.take("WITH") {
            self.word()?;
        }
        let licence = licence.strip_suffix('+').unwrap_or(licence);
        Some(self.allowed.iter().any(|one| one.eq_ignore_ascii_case(licence)))
    }

    /// A licence or exception: anything that is neither an operator nor a parenthesis.
    fn word(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        if ["OR", "AND", "WITH", "(", ")"].contains(first) {
            return None;
        }
        self.tokens = rest;
        Some(first)
    }

    fn take(&mut self, token: &str) -> bool {
        match self.tokens.split_first() {
            Some((first, rest)) if *first == token => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expected: Option<bool>) {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"];
        assert_eq!(is_allowed(expression, &allowed).ok(), expected, "{expression}");
    }

    #[test]
    fn one_side_of_or_is_enough_and_both_of_and_are_needed() {
        check("MIT", Some(true));
        check("GPL-3.0-only", Some(false));
        check("GPL-3.0-only OR MIT", Some(true));
        check("GPL-3.0-only AND MIT", Some(false));
        check("MIT/Apache-2.0", Some(true));
        check("mit", Some(true));
    }

    #[test]
    fn and_binds_tighter_than_or() {
        check("MIT OR GPL-3.0-only AND GPL-2.0-only", Some(true));
        check("(MIT OR GPL-3.0-only) AND GPL-2.0-only", Some(false));
        check("(MIT OR Apache-2.0) AND Unicode-3.0", Some(true));
    }

    #[test]
    fn exceptions_go_with_their_licence() {
        check("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", Some(true));
        check("GPL-2.0-only WITH Classpath-exception-2.0", Some(false));
    }

    #[test]
    fn malformed_expressions_are_errors() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0", "OR", "MIT WITH"] {
            check(expression, None);
        }
    }
}
