//! The side inputs are stable and complete.

use super::{World, side_inputs};

#[test]
fn side_inputs_depend_on_the_seed_alone_and_hold_every_page_and_account() {
    let inputs = side_inputs(7);
    assert_eq!(inputs, side_inputs(7));
    assert_ne!(inputs.accounts, side_inputs(8).accounts);
    let world = World::new(7);
    assert_eq!(inputs.accounts.lines().count(), world.accounts.len());
    assert_eq!(inputs.pages.lines().count(), world.pages.len());
    let account: serde_json::Value =
        serde_json::from_str(inputs.accounts.lines().next().unwrap()).unwrap();
    let keys: Vec<&String> = account.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["account_id", "country", "created_at", "segment"]);
    let mut paths: Vec<&str> = inputs.pages.lines().collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), world.pages.len(), "every path once");
}

#[test]
fn prices_are_spread_so_that_purchases_fall_on_both_sides_of_fifty() {
    let world = World::new(42);
    let prices: Vec<u32> = world
        .pages
        .iter()
        .map(|page| page.price)
        .filter(|price| *price > 0)
        .collect();
    let over = prices.iter().filter(|price| **price > 5000).count();
    assert!(
        over > prices.len() / 20 && over < prices.len() / 2,
        "{over} of {}",
        prices.len()
    );
}
