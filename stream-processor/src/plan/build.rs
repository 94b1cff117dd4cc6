//! From plans to the graph: equal parts of several queries become one node, unread columns are not read.

mod columns;
mod json;
mod operator;
mod rank;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono_tz::Tz;

use columns::{Input, fix, reads};

use super::rel::{Field, Op, Rel, WindowKind, schema};
use super::sink::{late_columns, written};
use super::typed::Typed;
use super::{coerce, source, values};
use crate::error::{Error, Position};
use crate::functions::cast;
use crate::graph::{
    ChangelogMode, Edge, Node, NodeId, NodeKind, Partitioning, SinkSpec, StreamGraph, late_schema,
};
use crate::operators::calc::{Calc, Union};
use crate::sql::Settings;
use crate::table::TableDefinition;

/// A shared step: what [`Rel`] is, with its inputs by number.
struct Step {
    op: Op,
    inputs: Vec<usize>,
    fields: Vec<Field>,
    changes: ChangelogMode,
    /// How many columns the first input has.
    first_width: usize,
}

/// How the rows of an operator's inputs find its instances.
enum Route {
    /// They stay where they are.
    Stay,
    /// By these key columns of each input.
    Keys(Vec<Vec<usize>>),
    /// Those of the first input stay where they are, and each instance gets all of the second.
    SideToAll,
}

struct Target {
    step: usize,
    table: Arc<TableDefinition>,
    changes: ChangelogMode,
    overwrite: bool,
}

/// Collects the queries of one job.
pub(super) struct Builder<'a> {
    settings: &'a Settings,
    zone: Tz,
    parallelism: usize,
    ttl: Option<i64>,
    steps: Vec<Step>,
    known: HashMap<String, usize>,
    targets: Vec<Target>,
    late: Option<Arc<TableDefinition>>,
    nodes: Vec<Node>,
    /// The first phases of aggregations that have two.
    local_phases: Vec<NodeId>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(settings: &'a Settings, zone: Tz) -> Result<Self, Error> {
        let batch = settings.job_config()?.batch;
        Ok(Builder {
            settings,
            zone,
            parallelism: settings.parallelism()?,
            // A batch job sees its whole input: Flink keeps its state to the end too.
            ttl: settings.state_ttl()?.filter(|_| !batch),
            steps: Vec::new(),
            known: HashMap::new(),
            targets: Vec::new(),
            late: None,
            nodes: Vec::new(),
            local_phases: Vec::new(),
        })
    }

    /// Adds `rel`, whose columns are those that `table` takes, as what is written to it.
    pub(super) fn sink(
        &mut self,
        rel: &Arc<Rel>,
        table: Arc<TableDefinition>,
        overwrite: bool,
    ) -> Result<(), Error> {
        let option = |key: &str| table.options.get(key).map(String::as_str);
        let updates = match option("connector") {
            Some("iceberg") => !table.primary_key.is_empty(),
            Some("filesystem" | "kafka") => option("format")
                .or(option("value.format"))
                .is_some_and(|format| format.ends_with("debezium-json")),
            Some("upsert-kafka" | "print" | "blackhole" | "collect") => true,
            _ => true,
        };
        if !updates && rel.changes != ChangelogMode::InsertOnly {
            return Err(Error::invalid(format!(
                "table {} does not support consuming update changes, which the query makes; give it a PRIMARY KEY or a changelog format",
                table.path
            )));
        }
        let step = self.intern(rel)?;
        self.targets.push(Target {
            step,
            table,
            changes: rel.changes,
            overwrite,
        });
        Ok(())
    }

    /// Sends every late row to `table`.
    pub(super) fn late(&mut self, table: Arc<TableDefinition>) -> Result<(), Error> {
        for (column, (name, _)) in written(&table).iter().zip(late_columns()) {
            if column.name != name {
                return Err(Error::invalid(format!(
                    "the late table {} needs the columns operator STRING, event_time TIMESTAMP, `row` STRING",
                    table.path
                )));
            }
        }
        if written(&table).len() != late_columns().len() {
            return Err(Error::invalid(format!(
                "the late table {} needs three columns",
                table.path
            )));
        }
        self.late = Some(table);
        Ok(())
    }

    fn intern(&mut self, rel: &Arc<Rel>) -> Result<usize, Error> {
        if let Op::RowNumber { at, .. } = rel.op {
            return Err(Error::unsupported(
                "ROW_NUMBER without a condition like `<= 10` around it",
                at,
                "",
            ));
        }
        if let Op::Window {
            kind: WindowKind::Session { .. },
            ..
        } = rel.op
        {
            return Err(Error::unsupported(
                "SESSION windows that are not aggregated",
                Position { line: 1, column: 1 },
                "",
            ));
        }
        let inputs = rel
            .inputs
            .iter()
            .map(|input| self.intern(input))
            .collect::<Result<Vec<_>, _>>()?;
        let key = format!("{:?} {inputs:?} {:?}", rel.op, rel.fields);
        if let Some(step) = self.known.get(&key) {
            return Ok(*step);
        }
        self.steps.push(Step {
            op: rel.op.clone(),
            inputs,
            fields: rel.fields.clone(),
            changes: rel.changes,
            first_width: rel.inputs.first().map_or(0, |input| input.fields.len()),
        });
        self.known.insert(key, self.steps.len() - 1);
        Ok(self.steps.len() - 1)
    }

    pub(super) fn finish(mut self) -> Result<StreamGraph, Error> {
        json::read_once(&mut self.steps, self.zone)?;
        let needed = self.needed();
        let mut places: Vec<(NodeId, Vec<usize>)> = Vec::new();
        let steps = std::mem::take(&mut self.steps);
        let mut late_from = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let columns: Vec<usize> = needed[index].iter().copied().collect();
            let node = self.step(step, &columns, &steps, &places)?;
            if matches!(
                step.op,
                Op::WindowAggregate { .. }
                    | Op::SessionAggregate { .. }
                    | Op::WindowJoin { .. }
                    | Op::Over { .. }
                    | Op::TemporalJoin { .. }
                    | Op::WindowRank { .. }
                    | Op::TemporalSort { .. }
                    | Op::Dedup {
                        order: Some(_),
                        keep_last: false,
                        ..
                    }
            ) {
                late_from.push(node);
            }
            places.push((node, columns));
        }
        late_from.append(&mut self.local_phases);
        let targets = std::mem::take(&mut self.targets);
        for target in &targets {
            self.target(target, &places)?;
        }
        if let Some(table) = self.late.take()
            && !late_from.is_empty()
        {
            self.late_sink(&table, &late_from)?;
        }
        let name = self.settings.name().map(str::to_owned);
        let tables: Vec<String> = targets
            .iter()
            .map(|target| target.table.path.to_string().replace('`', ""))
            .collect();
        Ok(StreamGraph {
            name: name.unwrap_or_else(|| format!("insert-into_{}", tables.join(","))),
            nodes: self.nodes,
            config: self.settings.job_config()?,
        })
    }

    /// Which columns of each step something reads.
    fn needed(&self) -> Vec<BTreeSet<usize>> {
        let mut needed: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.steps.len()];
        for target in &self.targets {
            needed[target.step].extend(0..self.steps[target.step].fields.len());
        }
        for index in (0..self.steps.len()).rev() {
            let step = &self.steps[index];
            if needed[index].is_empty() {
                // Something must carry the number of rows.
                needed[index].insert(0);
            }
            fix(step, &mut needed[index]);
            let asked = needed[index].clone();
            for (port, input) in step.inputs.iter().enumerate() {
                let width = self.steps[*input].fields.len();
                let first = self.steps[step.inputs[0]].fields.len();
                let reads = reads(step, port, &asked, width, first);
                needed[*input].extend(reads);
            }
        }
        needed
    }

    fn node(
        &mut self,
        (name, word): (String, String),
        kind: NodeKind,
        inputs: Vec<Edge>,
        schema: arrow::datatypes::SchemaRef,
        parallelism: usize,
    ) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node {
            uid: format!("{}-{word}", id.0),
            name,
            kind,
            inputs,
            schema,
            parallelism,
        });
        id
    }

    fn hashed(&self, from: NodeId, keys: Vec<usize>) -> Edge {
        let partitioning =
            if self.parallelism == 1 || keys.is_empty() && self.nodes[from.0].parallelism == 1 {
                Partitioning::Forward
            } else {
                Partitioning::Hash(keys)
            };
        Edge { from, partitioning }
    }

    fn forward(&self, from: NodeId, parallelism: usize) -> Edge {
        let partitioning = if self.nodes[from.0].parallelism == parallelism {
            Partitioning::Forward
        } else {
            Partitioning::Rebalance
        };
        Edge { from, partitioning }
    }

    #[expect(clippy::too_many_lines, reason = "inputs, operator, edges: one step")]
    fn step(
        &mut self,
        step: &Step,
        columns: &[usize],
        steps: &[Step],
        places: &[(NodeId, Vec<usize>)],
    ) -> Result<NodeId, Error> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| step.fields[*column].clone())
            .collect();
        let output = schema(&fields);
        if let Op::Scan(table) = &step.op {
            if step.changes != ChangelogMode::InsertOnly {
                source::check_changes(table, self.settings)?;
            }
            let spec = source::spec(table, columns, self.zone)?;
            let parallelism = match values::is_numbers(table) {
                true => 1,
                false => self.parallelism,
            };
            return Ok(self.node(
                (
                    format!("Source: {}", table.path.shown()),
                    table_uid("source", table),
                ),
                NodeKind::Source(Arc::new(spec)),
                Vec::new(),
                output,
                parallelism,
            ));
        }
        // Where each input's columns have gone.
        let asked: BTreeSet<usize> = columns.iter().copied().collect();
        let mut trimmed = Vec::new();
        for (port, input) in step.inputs.iter().enumerate() {
            let (node, kept) = &places[*input];
            let wanted: Vec<usize> = reads(
                step,
                port,
                &asked,
                steps[*input].fields.len(),
                step.first_width,
            )
            .into_iter()
            .collect();
            // Steps that pass rows on take exactly what they give; others may have asked the input for more.
            let passes = matches!(
                step.op,
                Op::Window { .. }
                    | Op::Dedup { .. }
                    | Op::Rank { .. }
                    | Op::WindowRank { .. }
                    | Op::TemporalSort { .. }
                    | Op::Union
                    | Op::Join { .. }
                    | Op::WindowJoin { .. }
                    | Op::IntervalJoin { .. }
                    | Op::TemporalJoin { .. }
            );
            trimmed.push(if passes && wanted != *kept {
                (
                    self.trim(*node, kept, &wanted, &steps[*input].fields)?,
                    wanted,
                )
            } else {
                (*node, kept.clone())
            });
        }
        let inputs: Vec<Input<'_>> = step
            .inputs
            .iter()
            .zip(&trimmed)
            .map(|(input, (node, kept))| Input {
                node: *node,
                kept,
                fields: &steps[*input].fields,
            })
            .collect();
        if let Some(node) = self.two_phases(step, columns, steps, &inputs[0], &output)? {
            return Ok(node);
        }
        let route = self.route(step, steps, &inputs);
        let (name, factory) = self.operator(step, columns, &inputs, &route, output.clone())?;
        let (edges, parallelism) = self.edges(&route, &inputs);
        Ok(self.node(
            named(name),
            NodeKind::Operator(factory),
            edges,
            output,
            parallelism,
        ))
    }

    /// The edges of an operator, and how many instances it has.
    fn edges(&self, route: &Route, inputs: &[Input<'_>]) -> (Vec<Edge>, usize) {
        let own = self.nodes[inputs[0].node.0].parallelism;
        match route {
            Route::Stay => {
                let edge = |input: &Input<'_>| self.forward(input.node, own);
                (inputs.iter().map(edge).collect(), own)
            }
            Route::SideToAll => {
                let side = Edge {
                    from: inputs[1].node,
                    partitioning: Partitioning::Broadcast,
                };
                (vec![self.forward(inputs[0].node, own), side], own)
            }
            // One instance has all rows.
            Route::Keys(keys) if keys.iter().any(Vec::is_empty) => {
                let edge = |input: &Input<'_>| Edge {
                    from: input.node,
                    partitioning: match self.nodes[input.node.0].parallelism {
                        1 => Partitioning::Forward,
                        _ => Partitioning::Hash(Vec::new()),
                    },
                };
                (inputs.iter().map(edge).collect(), 1)
            }
            Route::Keys(keys) => {
                let pairs = inputs.iter().zip(keys);
                let edges = pairs.map(|(input, keys)| self.hashed(input.node, keys.clone()));
                (edges.collect(), self.parallelism)
            }
        }
    }

    /// A projection of `node`, which emits the columns `kept`, to the columns `wanted`.
    fn trim(
        &mut self,
        node: NodeId,
        kept: &[usize],
        wanted: &[usize],
        fields: &[Field],
    ) -> Result<NodeId, Error> {
        let input = self.nodes[node.0].schema.clone();
        let out: Vec<Field> = wanted
            .iter()
            .map(|column| fields[*column].clone())
            .collect();
        let exprs: Vec<Typed> = wanted
            .iter()
            .map(|column| {
                let at = kept.binary_search(column).unwrap_or(*column);
                Typed::column(at, fields[*column].ty.clone())
            })
            .collect();
        let output = schema(&out);
        let calc = Calc::new(&input, None, &exprs, output.clone())?;
        let parallelism = self.nodes[node.0].parallelism;
        let edge = self.forward(node, parallelism);
        Ok(self.node(
            named("Project"),
            NodeKind::Operator(Arc::new(calc)),
            vec![edge],
            output,
            parallelism,
        ))
    }

    fn target(&mut self, target: &Target, places: &[(NodeId, Vec<usize>)]) -> Result<(), Error> {
        let from = places[target.step].0;
        let schema = self.nodes[from.0].schema.clone();
        self.write(
            &target.table,
            vec![from],
            schema,
            target.changes,
            target.overwrite,
        )
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the callers are done with what they give"
    )]
    fn write(
        &mut self,
        table: &Arc<TableDefinition>,
        from: Vec<NodeId>,
        schema: arrow::datatypes::SchemaRef,
        changelog: ChangelogMode,
        overwrite: bool,
    ) -> Result<(), Error> {
        let columns = written(table);
        let primary_key = table
            .primary_key
            .iter()
            .filter_map(|name| columns.iter().position(|column| column.name == *name))
            .collect::<Vec<_>>();
        let spec = SinkSpec {
            table: table.clone(),
            changelog,
            primary_key: primary_key.clone(),
            overwrite,
        };
        let upserts = !primary_key.is_empty() && self.parallelism > 1;
        let parallelism = if upserts {
            self.parallelism
        } else {
            self.nodes[from[0].0].parallelism
        };
        let edges = from
            .iter()
            .map(|from| {
                if upserts {
                    self.hashed(*from, primary_key.clone())
                } else {
                    self.forward(*from, parallelism)
                }
            })
            .collect();
        self.node(
            (
                format!("Sink: {}", table.path.shown()),
                table_uid("sink", table),
            ),
            NodeKind::Sink(Arc::new(spec)),
            edges,
            schema,
            parallelism,
        );
        Ok(())
    }

    /// Unites the late rows of all operators, and casts them to the late table's columns.
    fn late_sink(&mut self, table: &Arc<TableDefinition>, from: &[NodeId]) -> Result<(), Error> {
        let parallelism = self.nodes[from[0].0].parallelism;
        let mut edges = Vec::new();
        for node in from {
            // A late edge is one to one: each operator gets its own projection.
            let fields: Vec<Field> = late_columns()
                .into_iter()
                .map(|(name, ty)| Field::plain(name, ty))
                .collect();
            let targets = written(table);
            let mut exprs = Vec::new();
            for (index, (field, column)) in fields.iter().zip(&targets).enumerate() {
                let value = Typed::column(index, field.ty.clone());
                let value =
                    if coerce::is_text(&field.ty.root) && coerce::is_text(&column.data_type.root) {
                        value
                    } else {
                        cast::explicit(
                            value,
                            &column.data_type,
                            false,
                            Tz::UTC,
                            Position { line: 1, column: 1 },
                        )?
                    };
                exprs.push(value);
            }
            let out: Vec<Field> = targets
                .iter()
                .map(|column| Field::plain(&column.name, column.data_type.clone()))
                .collect();
            let output = schema(&out);
            let calc = Calc::new(&late_schema(), None, &exprs, output.clone())?;
            let own = self.nodes[node.0].parallelism;
            let edge = Edge {
                from: *node,
                partitioning: Partitioning::Late,
            };
            let id = self.node(
                named("Late rows"),
                NodeKind::Operator(Arc::new(calc)),
                vec![edge],
                output,
                own,
            );
            edges.push(self.forward(id, parallelism));
        }
        let output = self.nodes[edges[0].from.0].schema.clone();
        let union = Union {
            output: output.clone(),
        };
        let id = self.node(
            named("Late union"),
            NodeKind::Operator(Arc::new(union)),
            edges,
            output.clone(),
            parallelism,
        );
        self.write(table, vec![id], output, ChangelogMode::InsertOnly, false)
    }
}

/// A name, and the word for the uid that it begins with.
fn named(name: impl Into<String>) -> (String, String) {
    let name = name.into();
    let word = name.split(['(', '[']).next().unwrap_or_default().trim();
    let word = word.to_lowercase().replace(' ', "-");
    (name, word)
}

/// The word for the uid of a source or sink; checkpoints know it, so it stays whatever is shown.
fn table_uid(what: &str, table: &TableDefinition) -> String {
    named(format!("{what}: {}", table.path.table)).1
}
