//! What an answer means for the batches behind it.
