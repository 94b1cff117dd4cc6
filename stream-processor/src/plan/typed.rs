//! Expressions after analysis: every node has Flink's type, every function its kernel.

mod binary;
pub(crate) mod float;
mod logic;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use datafusion_common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion_expr_common::columnar_value::ColumnarValue;
use datafusion_expr_common::operator::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};

use self::binary::Binary;
use crate::error::Error;
use crate::table::{SqlType, TypeRoot};

/// An expression over the columns of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Typed {
    pub(crate) kind: TypedKind,
    pub(crate) ty: SqlType,
}

/// What an expression does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TypedKind {
    Column(usize),
    Literal(ScalarValue),
    /// Comparison, AND or OR.
    Binary(Operator, Box<Typed>, Box<Typed>),
    Not(Box<Typed>),
    IsNull(Box<Typed>),
    IsNotNull(Box<Typed>),
    Case(Vec<(Typed, Typed)>, Option<Box<Typed>>),
    Call(Kernel, Vec<Typed>),
}

type Evaluate = dyn Fn(&[ArrayRef], usize) -> DfResult<ArrayRef> + Send + Sync;

/// A function over whole columns, named so that equal calls are recognised.
#[derive(Clone)]
pub(crate) struct Kernel {
    /// Function and everything that was fixed when it was planned.
    pub(crate) name: Arc<str>,
    evaluate: Arc<Evaluate>,
    /// Reads a clock, so that it is neither folded nor shared.
    pub(crate) volatile: bool,
    /// Has a result for every row, so that it may be evaluated where nobody has asked for it.
    total: bool,
}

impl Kernel {
    pub(crate) fn new(
        name: impl Into<Arc<str>>,
        evaluate: impl Fn(&[ArrayRef], usize) -> DfResult<ArrayRef> + Send + Sync + 'static,
    ) -> Self {
        Kernel {
            name: name.into(),
            evaluate: Arc::new(evaluate),
            volatile: false,
            total: false,
        }
    }

    /// The same, known never to fail.
    pub(crate) fn total(self) -> Self {
        Kernel {
            total: true,
            ..self
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Typed {
    pub(crate) fn column(index: usize, ty: SqlType) -> Self {
        Typed {
            kind: TypedKind::Column(index),
            ty,
        }
    }

    pub(crate) fn literal(value: ScalarValue, ty: SqlType) -> Self {
        Typed {
            kind: TypedKind::Literal(value),
            ty,
        }
    }

    pub(crate) fn text(text: &str) -> Self {
        let length = u32::try_from(text.chars().count().max(1)).unwrap_or(u32::MAX);
        Typed::literal(
            ScalarValue::Utf8(Some(text.to_owned())),
            SqlType::required(TypeRoot::Char(length)),
        )
    }

    pub(crate) fn boolean(value: bool) -> Self {
        Typed::literal(
            ScalarValue::Boolean(Some(value)),
            SqlType::required(TypeRoot::Boolean),
        )
    }

    /// A NULL of type `ty`.
    pub(crate) fn null(ty: &SqlType) -> Result<Self, Error> {
        let value = ScalarValue::try_from(&ty.arrow())
            .map_err(|error| Error::failed(format!("no NULL of type {ty}: {error}")))?;
        Ok(Typed::literal(value, ty.with_nullable(true)))
    }

    pub(crate) fn call(kernel: Kernel, args: Vec<Typed>, ty: SqlType) -> Self {
        Typed {
            kind: TypedKind::Call(kernel, args),
            ty,
        }
    }

    pub(crate) fn and(self, other: Typed) -> Self {
        let ty = SqlType {
            root: TypeRoot::Boolean,
            nullable: self.ty.nullable || other.ty.nullable,
        };
        Typed {
            kind: TypedKind::Binary(Operator::And, Box::new(self), Box::new(other)),
            ty,
        }
    }

    /// The text of a literal.
    pub(crate) fn literal_text(&self) -> Option<&str> {
        match &self.kind {
            TypedKind::Literal(ScalarValue::Utf8(Some(text))) => Some(text),
            _ => None,
        }
    }

    /// Whether this is the literal NULL.
    pub(crate) fn is_null_literal(&self) -> bool {
        matches!(&self.kind, TypedKind::Literal(value) if value.is_null())
    }

    /// The expressions directly below.
    pub(crate) fn children(&self) -> Vec<&Typed> {
        match &self.kind {
            TypedKind::Column(_) | TypedKind::Literal(_) => Vec::new(),
            TypedKind::Binary(_, left, right) => vec![left, right],
            TypedKind::Not(inner) | TypedKind::IsNull(inner) | TypedKind::IsNotNull(inner) => {
                vec![inner]
            }
            TypedKind::Case(branches, otherwise) => branches
                .iter()
                .flat_map(|(when, then)| [when, then])
                .chain(otherwise.as_deref())
                .collect(),
            TypedKind::Call(_, args) => args.iter().collect(),
        }
    }

    /// Shows `look` this and every expression below.
    pub(crate) fn visit(&self, look: &mut dyn FnMut(&Typed)) {
        look(self);
        for child in self.children() {
            child.visit(look);
        }
    }

    /// Marks in `used` the columns this reads.
    pub(crate) fn mark_columns(&self, used: &mut dyn FnMut(usize)) {
        self.visit(&mut |expr| {
            if let TypedKind::Column(index) = expr.kind {
                used(index);
            }
        });
    }

    /// The same with each node replaced by what `replace` makes of it, if anything; top down.
    pub(crate) fn rewrite(&self, replace: &mut dyn FnMut(&Typed) -> Option<Typed>) -> Typed {
        if let Some(new) = replace(self) {
            return new;
        }
        let mut again = |inner: &Typed| Box::new(inner.rewrite(replace));
        let kind = match &self.kind {
            TypedKind::Column(_) | TypedKind::Literal(_) => self.kind.clone(),
            TypedKind::Binary(op, left, right) => TypedKind::Binary(*op, again(left), again(right)),
            TypedKind::Not(inner) => TypedKind::Not(again(inner)),
            TypedKind::IsNull(inner) => TypedKind::IsNull(again(inner)),
            TypedKind::IsNotNull(inner) => TypedKind::IsNotNull(again(inner)),
            TypedKind::Case(branches, otherwise) => TypedKind::Case(
                branches
                    .iter()
                    .map(|(when, then)| (*again(when), *again(then)))
                    .collect(),
                otherwise.as_ref().map(|inner| again(inner)),
            ),
            TypedKind::Call(kernel, args) => {
                TypedKind::Call(kernel.clone(), args.iter().map(|arg| *again(arg)).collect())
            }
        };
        Typed {
            kind,
            ty: self.ty.clone(),
        }
    }

    /// The same with column `i` read from `map(i)`.
    pub(crate) fn remap(&self, map: &dyn Fn(usize) -> usize) -> Typed {
        self.rewrite(&mut |inner| match inner.kind {
            TypedKind::Column(index) => Some(Typed::column(map(index), inner.ty.clone())),
            _ => None,
        })
    }

    /// Whether this or anything below reads a clock.
    pub(crate) fn is_volatile(&self) -> bool {
        matches!(&self.kind, TypedKind::Call(kernel, _) if kernel.volatile)
            || self.children().into_iter().any(Typed::is_volatile)
    }

    /// Whether this may be evaluated for rows that do not need it, and once for several uses.
    pub(crate) fn can_be_shared(&self) -> bool {
        let mine = match &self.kind {
            TypedKind::Call(kernel, _) => kernel.total && !kernel.volatile,
            TypedKind::Column(_) | TypedKind::Literal(_) => true,
            _ => false,
        };
        mine && self.children().into_iter().all(Typed::can_be_shared)
    }

    /// Whether each row has a value, so that nothing fails where nobody asks.
    fn is_total(&self) -> bool {
        !matches!(&self.kind, TypedKind::Call(kernel, _) if !kernel.total)
            && self.children().into_iter().all(Typed::is_total)
    }

    /// The executable form over batches of `schema`.
    pub(crate) fn compile(&self, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>, Error> {
        let one = |inner: &Typed| inner.compile(schema);
        Ok(match &self.kind {
            TypedKind::Column(index) => Arc::new(Column::new(schema.field(*index).name(), *index)),
            TypedKind::Literal(value) => Arc::new(Literal::new(value.clone())),
            TypedKind::Binary(op, left, right) => {
                let (op, may_fail) = (*op, !right.is_total());
                let lazy = may_fail && matches!(op, Operator::And | Operator::Or);
                let (left_ty, left, right) = (&left.ty, one(left)?, one(right)?);
                if lazy || float::compares(op, left_ty) {
                    Arc::new(Binary { op, left, right })
                } else {
                    Arc::new(BinaryExpr::new(left, op, right))
                }
            }
            TypedKind::Not(inner) => Arc::new(NotExpr::new(one(inner)?)),
            TypedKind::IsNull(inner) => Arc::new(IsNullExpr::new(one(inner)?)),
            TypedKind::IsNotNull(inner) => Arc::new(IsNotNullExpr::new(one(inner)?)),
            TypedKind::Case(branches, otherwise) => {
                let branches = branches
                    .iter()
                    .map(|(when, then)| Ok((one(when)?, one(then)?)))
                    .collect::<Result<Vec<_>, Error>>()?;
                let otherwise = otherwise.as_deref().map(one).transpose()?;
                let case = CaseExpr::try_new(None, branches, otherwise)
                    .map_err(|error| Error::caused("could not plan CASE", error))?;
                Arc::new(case)
            }
            TypedKind::Call(kernel, args) => Arc::new(KernelExpr {
                kernel: kernel.clone(),
                args: args.iter().map(one).collect::<Result<_, _>>()?,
                data_type: self.ty.arrow(),
            }),
        })
    }

    /// The value of an expression that reads no column.
    pub(crate) fn fold(self) -> Result<Typed, Error> {
        let constant = matches!(self.kind, TypedKind::Call(..))
            && self
                .children()
                .iter()
                .all(|child| matches!(child.kind, TypedKind::Literal(_)));
        if !constant || self.is_volatile() {
            return Ok(self);
        }
        let schema = Arc::new(Schema::empty());
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options)
            .map_err(|error| Error::caused("could not fold a constant", error))?;
        let value = self
            .compile(&schema)?
            .evaluate(&row)
            .and_then(|value| value.into_array(1))
            .and_then(|array| ScalarValue::try_from_array(&array, 0));
        Ok(match value {
            Ok(value) => Typed::literal(value, self.ty),
            // It fails when a row comes, as in Flink, and not without rows.
            Err(_) => self,
        })
    }
}

/// A [`Kernel`] applied to arguments, as DataFusion evaluates it.
#[derive(Debug, Clone)]
struct KernelExpr {
    kernel: Kernel,
    args: Vec<Arc<dyn PhysicalExpr>>,
    data_type: DataType,
}

impl PartialEq for KernelExpr {
    fn eq(&self, other: &Self) -> bool {
        self.kernel == other.kernel
            && !self.kernel.volatile
            && self.data_type == other.data_type
            && self.args.len() == other.args.len()
            && self.args.iter().zip(&other.args).all(|(a, b)| a.eq(b))
    }
}

impl Eq for KernelExpr {}

impl Hash for KernelExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kernel.hash(state);
        for arg in &self.args {
            arg.hash(state);
        }
    }
}

impl fmt::Display for KernelExpr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}(", self.kernel.name)?;
        for (index, arg) in self.args.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{arg}")?;
        }
        write!(formatter, ")")
    }
}

impl PhysicalExpr for KernelExpr {
    fn data_type(&self, _: &Schema) -> DfResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, _: &Schema) -> DfResult<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        let n_rows = batch.num_rows();
        let args = self
            .args
            .iter()
            .map(|arg| arg.evaluate(batch)?.into_array(n_rows))
            .collect::<DfResult<Vec<_>>>()?;
        let result = (self.kernel.evaluate)(&args, n_rows)?;
        if *result.data_type() != self.data_type {
            return Err(DataFusionError::Internal(format!(
                "{} gave {} instead of {}",
                self.kernel.name,
                result.data_type(),
                self.data_type
            )));
        }
        Ok(ColumnarValue::Array(result))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.args.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(KernelExpr {
            kernel: self.kernel.clone(),
            args: children,
            data_type: self.data_type.clone(),
        }))
    }

    fn fmt_sql(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}
