//! Round trips of batches through every codec, and what happens to damaged ones.
