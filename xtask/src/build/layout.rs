//! How the functions of a WASM file are laid out: the same program in fewer bytes after gzip.
//!
//! gzip finds repetitions within 32 KiB only, so functions that resemble each other go together. And a function's locals are numbered
//! by how often they are used, so that like functions are like bytes.

#![expect(clippy::wildcard_enum_match_arm, reason = "instructions and sections by the hundred, of which a few matter")]

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{CodeSection, Function, FunctionSection, Instruction, Module};
use wasmparser::{CodeSectionReader, FunctionBody, FunctionSectionReader, Operator, Parser, Payload, TypeRef, ValType};

type Failure = reencode::Error<Infallible>;

/// Functions resemble each other by the sequences of so many bytes that they share.
const SEQUENCE_BYTES: usize = 6;
/// A function is put after those that it resembles, among so many bytes before it. Half of gzip's window: what was tried and gave least.
const WINDOW_BYTES: usize = 16_000;

/// The same module, laid out anew.
pub(super) fn compact(wasm: &[u8]) -> Result<Vec<u8>, String> {
    let numbered = Layout::of(wasm, None).and_then(|layout| layout.write(wasm)).map_err(failed)?;
    let bodies = function_bodies(&numbered).map_err(failed)?;
    let code: Vec<&[u8]> = bodies.iter().map(FunctionBody::as_bytes).collect();
    let order = by_likeness(&code);
    let laid_out = Layout::of(&numbered, Some(order)).and_then(|layout| layout.write(&numbered)).map_err(failed)?;
    wasmparser::validate(&laid_out).map_err(|error| failed(error.into()))?;
    Ok(laid_out)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: Failure) -> String {
    format!("the WASM file cannot be laid out ({error})")
}

fn function_bodies(wasm: &[u8]) -> Result<Vec<FunctionBody<'_>>, Failure> {
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            bodies.push(body);
        }
    }
    Ok(bodies)
}

/// Writes a module with its functions in another order, and their locals renumbered.
struct Layout {
    /// The functions that are not imported, by their old place, in the new order.
    order: Vec<usize>,
    /// The index that a function gets, by the one that it has; imported functions included.
    renumbered: Vec<u32>,
    /// Parameters by old place.
    parameters: Vec<u32>,
}

impl Layout {
    fn of(wasm: &[u8], order: Option<Vec<usize>>) -> Result<Self, Failure> {
        let (mut signatures, mut types, mut imported) = (Vec::new(), Vec::new(), 0_usize);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for signature in section.into_iter_err_on_gc_types() {
                        signatures.push(count(signature?.params().len()));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        imported += usize::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(section) => types = section.into_iter().collect::<Result<_, _>>()?,
                _ => {}
            }
        }
        let parameters = types.iter().map(|of| signatures.get(*of as usize).copied().unwrap_or_default()).collect();
        let order = order.unwrap_or_else(|| (0..types.len()).collect());
        let mut renumbered: Vec<u32> = (0..count(imported + order.len())).collect();
        for (new, old) in order.iter().enumerate() {
            if let Some(index) = renumbered.get_mut(imported + old) {
                *index = count(imported + new);
            }
        }
        Ok(Self { order, renumbered, parameters })
    }

    fn write(mut self, wasm: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut module = Module::new();
        self.parse_core_module(&mut module, Parser::new(0), wasm)?;
        Ok(module.finish())
    }

    /// A function with its locals by type, and the most used first.
    fn function(&mut self, body: &FunctionBody<'_>, parameters: u32) -> Result<Function, Failure> {
        let mut locals: Vec<Local> = Vec::new();
        for group in body.get_locals_reader()? {
            let (number, of) = group?;
            for _ in 0..number {
                let index = parameters + count(locals.len());
                locals.push(Local { index, of, uses: 0 });
            }
        }
        for operator in body.get_operators_reader()? {
            let local = local_of(&operator?).and_then(|index| locals.get_mut(index.checked_sub(parameters)? as usize));
            if let Some(local) = local {
                local.uses += 1;
            }
        }
        let mut renumbered: Vec<u32> = (0..parameters + count(locals.len())).collect();
        let mut of_types: Vec<ValType> = Vec::new();
        for local in locals.iter().filter(|local| local.uses > 0) {
            if !of_types.contains(&local.of) {
                of_types.push(local.of);
            }
        }
        locals.retain(|local| local.uses > 0);
        locals.sort_by_key(|local| (of_types.iter().position(|of| *of == local.of), std::cmp::Reverse(local.uses)));
        let mut groups: Vec<(u32, wasm_encoder::ValType)> = Vec::new();
        for (new, local) in locals.iter().enumerate() {
            if let Some(index) = renumbered.get_mut(local.index as usize) {
                *index = parameters + count(new);
            }
            let of = self.val_type(local.of)?;
            match groups.last_mut() {
                Some((number, last)) if *last == of => *number += 1,
                _ => groups.push((1, of)),
            }
        }
        let mut function = Function::new(groups);
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            let local =
                local_of(&operator).and_then(|index| renumbered.get(index as usize).copied()).unwrap_or_default();
            function.instruction(&match operator {
                Operator::LocalGet { .. } => Instruction::LocalGet(local),
                Operator::LocalSet { .. } => Instruction::LocalSet(local),
                Operator::LocalTee { .. } => Instruction::LocalTee(local),
                other => self.instruction(other)?,
            });
        }
        Ok(function)
    }
}

struct Local {
    index: u32,
    of: ValType,
    uses: usize,
}

fn local_of(operator: &Operator<'_>) -> Option<u32> {
    match operator {
        Operator::LocalGet { local_index }
        | Operator::LocalSet { local_index }
        | Operator::LocalTee { local_index } => Some(*local_index),
        _ => None,
    }
}

/// A number of functions or locals; the format has 32 bits for them.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Reencode for Layout {
    type Error = Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, Failure> {
        Ok(self.renumbered.get(index as usize).copied().unwrap_or(index))
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Failure> {
        let types: Vec<u32> = section.into_iter().collect::<Result<_, _>>()?;
        for of in self.order.iter().filter_map(|old| types.get(*old)) {
            functions.function(*of);
        }
        Ok(())
    }

    fn parse_code_section(&mut self, code: &mut CodeSection, section: CodeSectionReader<'_>) -> Result<(), Failure> {
        let bodies: Vec<FunctionBody<'_>> = section.into_iter().collect::<Result<_, _>>()?;
        for old in self.order.clone() {
            if let (Some(body), Some(parameters)) = (bodies.get(old), self.parameters.get(old).copied()) {
                let function = self.function(body, parameters)?;
                code.function(&function);
            }
        }
        Ok(())
    }
}

/// An order of the functions in which each follows those that it resembles: the largest first, then always the one that has most in
/// common with what was put last.
fn by_likeness(functions: &[&[u8]]) -> Vec<usize> {
    let length = |function: usize| functions.get(function).map_or(0, |code| code.len());
    let mut window = Window::over(functions);
    let (mut order, mut recent, mut recent_bytes) = (Vec::with_capacity(functions.len()), VecDeque::new(), 0);
    let mut waiting: Vec<usize> = (0..functions.len()).collect();
    let mut next = waiting.iter().copied().max_by_key(|function| length(*function));
    while let Some(function) = next {
        waiting.retain(|one| *one != function);
        order.push(function);
        recent.push_back(function);
        recent_bytes += length(function);
        window.enter(function);
        while recent_bytes > WINDOW_BYTES && recent.len() > 1 {
            let Some(gone) = recent.pop_front() else { break };
            recent_bytes -= length(gone);
            window.leave(gone);
        }
        let likeness = |function: usize| likeness(window.shared_by(function), length(function));
        next = waiting.iter().copied().max_by(|a, b| likeness(*a).total_cmp(&likeness(*b)));
    }
    order
}

/// Neither the largest function, which has something in common with every other, nor the smallest, all of which is common.
#[expect(clippy::cast_precision_loss, reason = "bytes of a function")]
fn likeness(shared: usize, bytes: usize) -> f64 {
    shared as f64 / (bytes as f64).sqrt()
}

/// The functions put last, by the sequences of [`SEQUENCE_BYTES`] that they have.
struct Window<'a> {
    /// Of each function, each once.
    sequences: Vec<Vec<&'a [u8]>>,
    having: HashMap<&'a [u8], Vec<usize>>,
    /// In how many functions of the window a sequence is.
    times: HashMap<&'a [u8], usize>,
    /// How many of a function's sequences are in the window.
    shared: Vec<usize>,
}

impl<'a> Window<'a> {
    /// With nothing in it.
    fn over(functions: &[&'a [u8]]) -> Self {
        let mut having: HashMap<&[u8], Vec<usize>> = HashMap::new();
        let mut all = Vec::with_capacity(functions.len());
        for (function, code) in functions.iter().enumerate() {
            let mut sequences: Vec<&[u8]> = code.windows(SEQUENCE_BYTES).collect();
            sequences.sort_unstable();
            sequences.dedup();
            for sequence in &sequences {
                having.entry(sequence).or_default().push(function);
            }
            all.push(sequences);
        }
        Self { sequences: all, having, times: HashMap::new(), shared: vec![0; functions.len()] }
    }

    fn enter(&mut self, function: usize) {
        for sequence in self.sequences.get(function).into_iter().flatten() {
            let times = self.times.entry(sequence).or_default();
            *times += 1;
            if *times == 1 {
                note(&mut self.shared, self.having.get(sequence), |shared| *shared += 1);
            }
        }
    }

    fn leave(&mut self, function: usize) {
        for sequence in self.sequences.get(function).into_iter().flatten() {
            let Some(times) = self.times.get_mut(sequence) else { continue };
            *times -= 1;
            if *times == 0 {
                note(&mut self.shared, self.having.get(sequence), |shared| *shared -= 1);
            }
        }
    }

    fn shared_by(&self, function: usize) -> usize {
        self.shared.get(function).copied().unwrap_or_default()
    }
}

fn note(shared: &mut [usize], functions: Option<&Vec<usize>>, change: fn(&mut usize)) {
    for function in functions.into_iter().flatten() {
        shared.get_mut(*function).into_iter().for_each(change);
    }
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        CodeSection, ConstExpr, ElementSection, Elements, ExportKind, ExportSection, RefType, TableSection, TableType,
        TypeSection, ValType,
    };

    use super::*;

    /// Functions `f0`, `f1`, ... : each returns the sum of its parameter, its number, and what the one before it returns for that. The
    /// local that is used most comes last.
    fn module(functions: u32) -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32], [ValType::I32]);
        let (mut section, mut exports, mut code) = (FunctionSection::new(), ExportSection::new(), CodeSection::new());
        for number in 0..functions {
            section.function(0);
            exports.export(&format!("f{number}"), ExportKind::Func, number);
            let mut function = Function::new([(1, ValType::I64), (2, ValType::I32)]);
            function.instructions().i64_const(7).local_set(1).i32_const(number.cast_signed()).local_set(3);
            function.instructions().local_get(0).local_get(3).i32_add().local_tee(3);
            if let Some(before) = number.checked_sub(1) {
                function.instructions().call(before);
            }
            // Bodies of many lengths: they do not stay in their order.
            for _ in 0..(number * 5) % 7 {
                function.instructions().local_get(3).drop();
            }
            function.instructions().end();
            code.function(&function);
        }
        let mut tables = TableSection::new();
        let (minimum, maximum) = (u64::from(functions), None);
        tables.table(TableType { element_type: RefType::FUNCREF, table64: false, minimum, maximum, shared: false });
        let mut elements = ElementSection::new();
        let all: Vec<u32> = (0..functions).collect();
        elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(all.into()));
        let mut module = Module::new();
        module.section(&types).section(&section).section(&tables).section(&exports).section(&elements).section(&code);
        module.finish()
    }

    /// What a module says of its functions, under the numbers that they return, as [`module`] makes them.
    #[derive(Debug, PartialEq)]
    struct Told {
        exports: Vec<(String, i32)>,
        table: Vec<i32>,
        /// The caller's number and the callee's.
        calls: Vec<(i32, i32)>,
        /// The locals that each function's code uses, in turn.
        locals: Vec<Vec<u32>>,
    }

    fn told(wasm: &[u8]) -> Told {
        let bodies = function_bodies(wasm).unwrap();
        let (mut exports, mut table, mut calls, mut numbers, mut locals) = (vec![], vec![], vec![], vec![], vec![]);
        for body in &bodies {
            let (mut used, mut number) = (Vec::new(), 0);
            for operator in body.get_operators_reader().unwrap() {
                match operator.unwrap() {
                    Operator::I32Const { value } => number = value,
                    Operator::Call { function_index } => calls.push((number, function_index)),
                    operator => used.extend(local_of(&operator)),
                }
            }
            numbers.push(number);
            locals.push(used);
        }
        let number = |index: u32| numbers[index as usize];
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.unwrap();
                        exports.push((export.name.to_owned(), number(export.index)));
                    }
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        if let wasmparser::ElementItems::Functions(functions) = element.unwrap().items {
                            table.extend(functions.into_iter().map(|index| number(index.unwrap())));
                        }
                    }
                }
                _ => {}
            }
        }
        let mut calls: Vec<(i32, i32)> = calls.into_iter().map(|(caller, callee)| (caller, number(callee))).collect();
        calls.sort_unstable();
        Told { exports, table, calls, locals }
    }

    #[test]
    fn another_order_is_the_same_program() {
        let before = module(20);
        let after = compact(&before).unwrap();
        let (mut before, mut after) = (told(&before), told(&after));
        assert_ne!(before.locals, after.locals, "functions have moved");
        // i32 parameter 0, i64 1, i32 2 (not used) and 3: the locals that are left are 1 and 2.
        let renumbered =
            |used: &Vec<u32>| used.iter().map(|index| if *index == 3 { 2 } else { *index }).collect::<Vec<_>>();
        before.locals = before.locals.iter().map(renumbered).collect();
        before.locals.sort();
        after.locals.sort();
        assert_eq!(before, after);
    }

    #[test]
    fn like_functions_go_together() {
        let texts = [*b"aaaaaaaaaaaaab", *b"zyxwvutsrqponm", *b"aaaaaaaaaaaaac", *b"zyxwvutsrqponl"];
        let functions: Vec<&[u8]> = texts.iter().map(<[u8; 14]>::as_slice).collect();
        let order = by_likeness(&functions);
        let place = |function: usize| order.iter().position(|one| *one == function).unwrap();
        assert_eq!(place(0).abs_diff(place(2)), 1);
        assert_eq!(place(1).abs_diff(place(3)), 1);
    }

    #[test]
    fn what_is_no_module_is_an_error() {
        assert!(compact(b"no WASM").is_err());
    }
}
