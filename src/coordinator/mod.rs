//! State machines of coordinators: `(state, request, now) -> (response, records)`. Pure.
