//! EXPLAIN: the engine's plan as text, what a query reads as JSON, or whether it is valid.

use datafusion::common::ScalarValue;
use datafusion::physical_plan::displayable;
use serde_json::json;

use super::{Executor, Output, table};
use crate::failure::{Code, Failure, Result};
use crate::meta::text;
use crate::sql::analyze::references;
use crate::sql::ast::{self, ExplainKind, Statement};
use crate::types::Type;

impl Executor<'_> {
    pub(super) async fn explain(
        &self,
        kind: ExplainKind,
        as_json: bool,
        analyze: bool,
        statement: &Statement,
        parameters: &[ast::Expr],
    ) -> Result<Output> {
        if analyze {
            return Err(Failure::new(
                Code::NotSupported,
                "EXPLAIN ANALYZE is not supported",
            ));
        }
        let Statement::Query(query) = statement else {
            if let Statement::Refused { construct, pos } = statement {
                return Err(Failure::unsupported(*pos, construct));
            }
            return match kind {
                ExplainKind::Validate => table(
                    &[("Valid", Type::Boolean)],
                    vec![vec![ScalarValue::Boolean(Some(true))]],
                ),
                _ => Err(Failure::new(
                    Code::NotSupported,
                    "EXPLAIN of a statement that is no query is not supported",
                )),
            };
        };
        let analyzed = self.analyze(query, parameters).await?;
        let plan = [("Query Plan", Type::VARCHAR)];
        match kind {
            ExplainKind::Validate => table(
                &[("Valid", Type::Boolean)],
                vec![vec![ScalarValue::Boolean(Some(true))]],
            ),
            ExplainKind::Io => {
                let tables = references(query, &self.environment).into_iter().map(|(key, _)| {
                    json!({
                        "table": {"catalog": key.catalog, "schemaTable": {"schema": key.schema, "table": key.table}},
                        "constraint": {"none": false, "columnConstraints": []},
                        "estimate": unknown(),
                    })
                });
                let shown = json!({"inputTableColumnInfos": tables.collect::<Vec<_>>(), "estimate": unknown()});
                table(&plan, vec![vec![text(format!("{shown:#}"))]])
            }
            _ if as_json => Err(Failure::new(
                Code::NotSupported,
                "EXPLAIN (FORMAT JSON) of a plan is not supported",
            )),
            ExplainKind::Logical => {
                let state = self.engine.state(self.query)?;
                let optimized = state.optimize(&analyzed.plan)?;
                table(
                    &plan,
                    vec![vec![text(optimized.display_indent().to_string())]],
                )
            }
            ExplainKind::Distributed => {
                let (_, physical) = self.engine.plan(self.query, &analyzed).await?;
                table(
                    &plan,
                    vec![vec![text(
                        displayable(physical.as_ref()).indent(false).to_string(),
                    )]],
                )
            }
        }
    }
}

/// No estimate: clients read "NaN" as unknown.
fn unknown() -> serde_json::Value {
    json!({"outputRowCount": "NaN", "outputSizeInBytes": "NaN", "cpuCost": "NaN", "maxMemory": "NaN", "networkCost": "NaN"})
}
