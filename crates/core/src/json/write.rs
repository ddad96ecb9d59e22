//! Writers: as it was read, and canonical.

use super::{Value, sorted};
use crate::prelude::*;

/// Compact JSON text: members in their order, numbers as their literals.
pub fn write(value: &Value) -> Vec<u8> {
    let mut out = String::with_capacity(64);
    write_value(value, &mut out, Form::Original);
    out.into_bytes()
}

/// The canonical form: RFC 8785 (members by UTF-16 code units, minimal escapes) with integers exact at any size.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = String::with_capacity(64);
    write_value(value, &mut out, Form::Canonical);
    out.into_bytes()
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Original,
    Canonical,
}

fn write_value(value: &Value, out: &mut String, form: Form) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) if form == Form::Canonical => number.write_canonical(out),
        Value::Number(number) => out.push_str(number.literal()),
        Value::String(text) => write_string(text, out),
        Value::Array(elements) => write_array(elements, out, form),
        Value::Object(members) => write_object(members, out, form),
    }
}

fn write_array(elements: &[Value], out: &mut String, form: Form) {
    out.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_value(element, out, form);
    }
    out.push(']');
}

fn write_object(members: &[(String, Value)], out: &mut String, form: Form) {
    out.push('{');
    if form == Form::Original {
        write_members(members.iter(), out, form);
    } else {
        write_members(sorted(members).into_iter(), out, form);
    }
    out.push('}');
}

fn write_members<'a>(members: impl Iterator<Item = &'a (String, Value)>, out: &mut String, form: Form) {
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        write_value(value, out, form);
    }
}

/// A text in a message for people. Not as `Debug` has it: that brings the browser 3 kB of tables.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_string(text, &mut out);
    out
}

/// A string with the escapes that JSON demands and no others.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        let (plain, tail) = rest.split_at(at);
        out.push_str(plain);
        let (special, tail) = tail.split_at(1);
        write_escape(special.bytes().next().unwrap_or_default(), out);
        rest = tail;
    }
    out.push_str(rest);
    out.push('"');
}

fn write_escape(byte: u8, out: &mut String) {
    out.push('\\');
    match byte {
        b'"' | b'\\' => out.push(char::from(byte)),
        0x08 => out.push('b'),
        0x09 => out.push('t'),
        0x0A => out.push('n'),
        0x0C => out.push('f'),
        0x0D => out.push('r'),
        _ => {
            out.push_str("u00");
            out.push(if byte < 0x10 { '0' } else { '1' });
            out.push(char::from_digit(u32::from(byte & 0xF), 16).unwrap_or('0'));
        }
    }
}
