//! Where the cards of a dashboard stand: Superset's tree of rows and columns, flattened to rows on a grid of twelve.

use serde_json::Value;

/// Superset measures heights in steps of this many pixels.
const STEP: u64 = 8;

/// Deepest nesting that is followed, against a tree that contains itself.
const MAX_DEPTH: usize = 12;

/// The rows of a dashboard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) rows: Vec<Vec<Card>>,
}

/// A chart's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    /// The chart's uuid.
    pub(crate) chart: String,
    /// Columns of twelve.
    pub(crate) width: u64,
    /// In pixels.
    pub(crate) height: u64,
}

// === impl Layout ===

impl Layout {
    pub(crate) fn new(position: &Value) -> Self {
        let mut layout = Layout::default();
        layout.walk(position, "ROOT_ID", 0);
        layout.rows.retain(|row| !row.is_empty());
        layout
    }

    fn walk(&mut self, position: &Value, id: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let node = &position[id];
        match node["type"].as_str() {
            Some("ROW") => self.rows.push(Vec::new()),
            Some("CHART") => {
                if self.rows.is_empty() {
                    self.rows.push(Vec::new());
                }
                if let (Some(card), Some(row)) = (card(&node["meta"]), self.rows.last_mut()) {
                    row.push(card);
                }
            }
            _ => {}
        }
        for child in node["children"].as_array().into_iter().flatten() {
            if let Some(child) = child.as_str() {
                self.walk(position, child, depth + 1);
            }
        }
    }
}

fn card(meta: &Value) -> Option<Card> {
    Some(Card {
        chart: meta["uuid"].as_str()?.to_owned(),
        width: meta["width"].as_u64().unwrap_or(4).clamp(1, 12),
        height: meta["height"].as_u64().unwrap_or(50).clamp(10, 200) * STEP,
    })
}
