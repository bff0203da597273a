//! One partition: offsets, producer state, waiting fetches.
