//! Which endpoints may be picked.

/// Writes the indices of the endpoints that may be picked to `list`, in order, and returns whether the service is in
/// panic.
///
/// `weights` has one entry per endpoint of the set; weight 0 takes an endpoint out for good. `out` tells whether an
/// endpoint is out for now: ejected, or unhealthy by its health check.
///
/// Panic (Envoy's panic threshold, 50 % there and here): when fewer than `panic_percent` of the endpoints with a
/// weight are in, the rest couldn't carry the load of all, and it's more likely that the judgement is wrong than that
/// most of the endpoints are. Then `out` is ignored. With `panic_percent` 0 there's no panic, and the list may come
/// out empty: the caller answers 503 then.
pub fn active(weights: &[u32], out: impl Fn(usize) -> bool, panic_percent: u32, list: &mut Vec<u32>) -> bool {
    let weighted = || weights.iter().enumerate().filter(|(_, weight)| **weight > 0).map(|(index, _)| index);
    list.clear();
    list.extend(weighted().filter(|index| !out(*index)).map(|index| index as u32));
    let total = weighted().count();
    let panic = (list.len() as u64) * 100 < (total as u64) * u64::from(panic_percent);
    if panic {
        list.clear();
        list.extend(weighted().map(|index| index as u32));
    }
    panic
}

#[cfg(test)]
mod tests;
