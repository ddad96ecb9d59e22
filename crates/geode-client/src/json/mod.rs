//! JSON with exact numbers: an integer of any size survives the way to Geode and back.

mod integer;
mod parse;
mod print;

pub(crate) use integer::{decimal_of, twos_complement_of};
pub use parse::ParseError;

/// A JSON value as Geode sees it: whole numbers and fractions are different kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number that fits a Java `long`.
    Integer(i64),
    /// A whole number beyond a `long`: decimal digits, after `-` when it is negative, without leading zeros.
    BigInteger(String),
    /// A number with a fraction or an exponent. Java may hold infinities and NaN, which print as strings, as
    /// `JSONFormatter` prints them.
    Double(f64),
    /// A Java `BigDecimal`: its digits, exactly. It is written back as a double, as `JSONFormatter` does.
    Decimal(String),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: its fields in their order.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses one JSON text. Numbers without fraction and exponent stay whole.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text)
    }

    /// The field of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

impl std::fmt::Display for Json {
    /// The JSON text, without spaces.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        print::print(self, &mut text);
        out.write_str(&text)
    }
}

impl std::str::FromStr for Json {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::random_tests::wrong;

    #[test]
    fn texts_come_back() {
        for text in [
            r#"{"a":1,"b":[true,false,null,-5,9223372036854775807],"c":{"d":"x\"\\\n"}}"#,
            "123456789012345678901234567890",
            "-9223372036854775808",
            "[1.5,1e-7,1.0]",
            "\"é😀\"",
            "{}",
            "[]",
        ] {
            assert_eq!(Json::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn whole_numbers_stay_whole() {
        assert_eq!(Json::parse("9223372036854775808"), Ok(Json::BigInteger("9223372036854775808".into())));
        assert_eq!(Json::parse("-0"), Ok(Json::Integer(0)));
        assert_eq!(Json::parse("1.0"), Ok(Json::Double(1.0)));
        assert_eq!(Json::parse("1e2"), Ok(Json::Double(100.0)));
    }

    #[test]
    fn infinities_print_as_java_prints_them() {
        let numbers = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Json::Double).to_vec();
        assert_eq!(Json::Array(numbers).to_string(), r#"["NaN","Infinity","-Infinity"]"#);
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\" 1}",
            "01",
            "1.",
            "\"\u{1}\"",
            "nul",
            "1 2",
            "\"\\ud800\"",
            "1e999",
            "+1",
            "{\"a\":1,}",
        ] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
        assert_eq!(Json::parse("[1,x]").unwrap_err().offset, 3);
        let deep = "[".repeat(100_000);
        assert!(Json::parse(&deep).is_err());
        assert!(Json::parse(&"9".repeat(100_000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn random_texts_are_no_panic_and_what_is_read_comes_back(
            bytes in wrong(vec![
                br#"{"a":1,"b":[true,false,null,-5.5e-7,123456789012345678901234567890],"c":{"d":"x\"\\\n\ud83d\ude00"}}"#.to_vec(),
                "[[[\"é😀\"],{}],-0,1E+2]".as_bytes().to_vec(),
            ]),
        ) {
            let text = String::from_utf8_lossy(&bytes);
            match Json::parse(&text) {
                Ok(json) => proptest::prop_assert_eq!(Json::parse(&json.to_string()), Ok(json)),
                Err(error) => proptest::prop_assert!(error.offset <= text.len() + 1),
            }
        }
    }
}
