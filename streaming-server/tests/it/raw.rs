//! Raw frames against the broker: what no well-behaved client sends.
