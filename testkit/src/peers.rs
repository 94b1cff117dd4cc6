//! Switches for tests against real products, which are installed into a cache and take minutes.

use crate::notice;

/// Whether `STREAMFORGE_PEERS` (a list such as `kafka,flink`) names `product`; says loudly when it does not.
///
/// A test that needs the product begins with `if !testkit::peer("kafka") { return; }`.
pub fn peer(product: &str) -> bool {
    let chosen = std::env::var("STREAMFORGE_PEERS").unwrap_or_default();
    let on = chosen.split(',').any(|name| name.trim() == product);
    if !on {
        notice(&format!(
            "PEER TEST OFF: set STREAMFORGE_PEERS={product} to run this test against the real {product}"
        ));
    }
    on
}
