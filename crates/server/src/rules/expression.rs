//! One CEL expression: compiled at start, evaluated with a bound on its work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, ExecutionError, Program, Value};

use super::document::{CelValue, Weight};
use super::inspect::{Facts, inspect};
use crate::config::{ConfigError, Expression};

/// Longest expression, in bytes.
pub(super) const EXPRESSION_BYTES_MAX: usize = 4 << 10;
/// Most steps of one evaluation, estimated before it: the inputs' weight to the power of the nesting of its loops, times the operations
/// of the expression. CEL has no cost limit of its own; a step takes up to about a microsecond.
const STEPS_MAX: u64 = 2_000_000;
/// Bytes of a string that count like one value: operations on strings go through many bytes at once.
const BYTES_PER_STEP: u64 = 256;

/// The standard library without time zones and regular expressions, and the string functions that [`inspect`] lets pass.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib().with_optional_support(false);
    #[expect(clippy::expect_used, reason = "the library's own functions have distinct names")]
    environment
        .add_extension(cel::extensions::strings)
        .expect("the string functions do not clash with the standard library");
    Arc::new(environment)
});

/// Counts the expressions that this process compiled.
static COMPILED: AtomicU64 = AtomicU64::new(0);

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Compiled {
    program: Program,
    facts: Facts,
    number: u64,
}

/// Why an evaluation gave nothing. Names no value: the inputs are other people's documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A member or element that does not exist.
    Missing,
    /// An operation that does not fit the types of its operands.
    Type,
    /// A result of another type.
    Result,
    /// Inputs that are too large for the loops of the expression.
    TooLarge,
    /// A channel that is empty, too long or reserved.
    Channel,
    /// Too many channels.
    TooMany,
    /// Overflow, or division by zero.
    Arithmetic,
    /// Anything else.
    Other,
}

impl Failure {
    /// For logs and clients.
    pub(super) fn text(self) -> &'static str {
        match self {
            Failure::Missing => "a member or element does not exist",
            Failure::Type => "an operation does not fit the types of its operands",
            Failure::Result => "the result is not of the expected type",
            Failure::TooLarge => "the inputs are too large for its loops",
            Failure::Channel => "a channel name is empty, too long or begins with U+0001",
            Failure::TooMany => "there are too many channels",
            Failure::Arithmetic => "overflow or division by zero",
            Failure::Other => "the evaluation failed",
        }
    }
}

impl Compiled {
    /// Compiles an expression over `inputs`.
    pub(super) fn new(expression: &Expression, inputs: &[&str]) -> Result<Self, ConfigError> {
        let refuse = |message: String| ConfigError::new(expression.location.clone(), message);
        let text = &expression.text;
        if text.len() > EXPRESSION_BYTES_MAX {
            let length = text.len();
            return Err(refuse(format!("CEL: found {length} bytes; expected at most {EXPRESSION_BYTES_MAX}")));
        }
        let program = ENVIRONMENT.compile(text).map_err(|errors| match errors.errors.first() {
            Some(error) => refuse(format!("CEL, at {}:{}: {}", error.pos.0, error.pos.1, error.msg)),
            None => refuse("CEL: not an expression".to_owned()),
        })?;
        let facts = inspect(program.expression(), inputs).map_err(|refusal| {
            let offset = program.source_info().offset_for(refusal.id).map_or(0, |(start, _)| start as usize);
            let (line, column) = position(text, offset);
            refuse(format!("CEL, at {line}:{column}: {}", refusal.message))
        })?;
        Ok(Self { program, facts, number: COMPILED.fetch_add(1, Ordering::Relaxed) })
    }

    /// Tells it from every other one that this process compiled.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the expression uses no input but this one.
    pub(super) fn uses_only(&self, input: &str) -> bool {
        self.facts.inputs.iter().all(|used| used == input)
    }

    /// Whether the expression uses an input.
    pub(super) fn uses(&self, input: &str) -> bool {
        self.facts.inputs.iter().any(|used| used == input)
    }

    /// The work that inputs of this weight may cause.
    fn steps(&self, weight: Weight) -> u64 {
        let bytes = if self.facts.splits { weight.bytes } else { weight.bytes / BYTES_PER_STEP };
        let each = weight.nodes.saturating_add(bytes).saturating_pow(self.facts.levels);
        each.saturating_mul(self.facts.operations)
    }

    /// Evaluates over inputs by name, those that the expression uses at least. `weight` is that of all of them.
    fn evaluate<'v>(
        &self,
        inputs: impl IntoIterator<Item = (&'static str, CelValue<'v>)>,
        weight: Weight,
    ) -> Result<Value, Failure> {
        if self.steps(weight) > STEPS_MAX {
            return Err(Failure::TooLarge);
        }
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, value) in inputs {
            context.add_variable_as_val(name, value);
        }
        // A panic of the interpreter fails the one evaluation, as an error would; the context is dropped with it.
        let result = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context)));
        result.map_err(|_| Failure::Other)?.map_err(|error| kind(&error))
    }

    /// Evaluates to a bool.
    pub(super) fn test<'v>(
        &self,
        inputs: impl IntoIterator<Item = (&'static str, CelValue<'v>)>,
        weight: Weight,
    ) -> Result<bool, Failure> {
        if let Value::Bool(value) = self.evaluate(inputs, weight)? { Ok(value) } else { Err(Failure::Result) }
    }

    /// Evaluates to a list of strings.
    pub(super) fn strings<'v>(
        &self,
        inputs: impl IntoIterator<Item = (&'static str, CelValue<'v>)>,
        weight: Weight,
    ) -> Result<Vec<String>, Failure> {
        let Value::List(elements) = self.evaluate(inputs, weight)? else { return Err(Failure::Result) };
        let text = |element: &Value| {
            if let Value::String(text) = element { Ok(text.to_string()) } else { Err(Failure::Result) }
        };
        elements.iter().map(text).collect()
    }
}

fn kind(error: &ExecutionError) -> Failure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive; all the rest is logged alike")]
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => Failure::Missing,
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) | ExecutionError::Overflow(..) => {
            Failure::Arithmetic
        }
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedIndex(..)
        | ExecutionError::UnsupportedBinaryOperator(..) => Failure::Type,
        _ => Failure::Other,
    }
}

/// Line and column of a byte offset, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or("").chars().count() + 1)
}
