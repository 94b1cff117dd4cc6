//! The committed bundle is read whole, and odd ones are refused or drawn as far as they go.

use super::*;
use crate::assets::Dashboards;

fn committed() -> Bundle {
    let files: Vec<_> = Dashboards::iter()
        .map(|name| (name.to_string(), Dashboards::get(&name).unwrap().data))
        .collect();
    Bundle::parse(
        files
            .iter()
            .map(|(name, data)| (name.clone(), std::str::from_utf8(data).unwrap())),
    )
    .unwrap()
}

#[test]
fn every_card_of_the_demo_has_its_chart_and_dataset_and_makes_a_statement() {
    let bundle = committed();
    let dashboard = &bundle.dashboards["clickstream"];
    let charts = bundle.charts_of(dashboard);
    let n_cards: usize = dashboard.layout().rows.iter().map(Vec::len).sum();
    assert_eq!(charts.len(), n_cards);
    for row in dashboard.layout().rows {
        assert_eq!(row.iter().map(|card| card.width).sum::<u64>(), 12);
    }
    let now = chrono::DateTime::UNIX_EPOCH.naive_utc();
    for (chart, dataset) in charts {
        let made = sql::statements(chart, dataset, &sql::Chosen::default(), now);
        assert!(made.is_ok(), "{}: {made:?}", chart.name);
        assert!(dataset.table_name().is_some(), "{}", chart.name);
    }
    let filters: Vec<_> = dashboard
        .filters()
        .into_iter()
        .map(|filter| filter.name)
        .collect();
    assert_eq!(filters, ["Time range", "Action", "Country", "Device"]);
}

#[test]
fn what_is_no_bundle_is_refused_with_the_file() {
    let none = Bundle::parse([("metadata.yaml".to_owned(), "version: 1.0.0")]);
    assert_eq!(none.unwrap_err(), "it has no dashboard");
    let broken = Bundle::parse([("x/charts/a.yaml".to_owned(), "slice_name: [")]).unwrap_err();
    assert!(broken.starts_with("x/charts/a.yaml: "), "{broken}");
}

#[test]
fn a_layout_that_contains_itself_ends() {
    let position = serde_json::json!({
        "ROOT_ID": {"type": "ROOT", "children": ["R"]},
        "R": {"type": "ROW", "children": ["R", "C"]},
        "C": {"type": "CHART", "meta": {"uuid": "u", "width": 40, "height": 1}},
    });
    let layout = Layout::new(&position);
    assert!(!layout.rows.is_empty());
    assert_eq!(
        (layout.rows[0][0].width, layout.rows[0][0].height),
        (12, 80)
    );
}

#[test]
fn no_bundle_brings_the_pages_down() {
    let files: Vec<_> = Dashboards::iter()
        .filter(|name| name.ends_with(".yaml"))
        .map(|name| (name.to_string(), Dashboards::get(&name).unwrap().data))
        .collect();
    // Which file it is goes in front.
    let corpus: Vec<Vec<u8>> = files
        .iter()
        .enumerate()
        .map(|(number, (_, data))| [&[u8::try_from(number).unwrap()], data.as_ref()].concat())
        .collect();
    let now = chrono::DateTime::UNIX_EPOCH.naive_utc();
    testkit::fuzz(&corpus, |bytes| {
        let Some((number, changed)) = bytes.split_first() else {
            return;
        };
        let changed = String::from_utf8_lossy(changed);
        let chosen = usize::from(*number) % files.len();
        let texts = files.iter().enumerate().map(|(number, (name, data))| {
            let whole = std::str::from_utf8(data).unwrap();
            let text = if number == chosen {
                changed.as_ref()
            } else {
                whole
            };
            (name.clone(), text)
        });
        // Refused, or drawn as far as it goes.
        let Ok(bundle) = Bundle::parse(texts) else {
            return;
        };
        for dashboard in bundle.dashboards.values() {
            dashboard.filters();
            for (chart, dataset) in bundle.charts_of(dashboard) {
                let _ = sql::statements(chart, dataset, &sql::Chosen::default(), now);
            }
        }
    });
}
