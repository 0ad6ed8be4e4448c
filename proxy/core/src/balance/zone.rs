//! Zone-aware balancing: endpoints of the caller's own zone first, as far as all endpoints stay equally loaded.
//!
//! Envoy's zone-aware routing with Service Connect's rule on top: it is off while a service has fewer endpoints than
//! twice its zones. Each zone has a share of the callers and a share of the endpoints. A zone with at least as much of
//! the second serves its callers alone. In a zone with less, callers fill what it has. The rest goes to the zones that
//! have something left, in proportion to that.
//!
//! The sum of it is that each zone gets just its endpoints' share of all requests, if callers are spread as was said.

/// A zone that takes part.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Zone {
    /// The sum of the weights of its endpoints that may be picked now, in any unit.
    pub capacity: f64,
    /// How many callers are there, in any unit: proxies, or requests a second.
    pub callers: f64,
}

/// Why a service isn't balanced by zones.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Unzoned {
    /// All endpoints are in one zone, or none can be picked.
    OneZone,
    /// There are fewer endpoints than twice the zones.
    TooFew,
    /// The caller's own zone isn't known, or has no endpoint.
    NotLocal,
}

/// Writes the share of this caller's requests that goes to each zone to `shares`, in the order of `zones`; they add up
/// to 1. `local` is the caller's own zone, `endpoints` how many endpoints may be picked in all zones together.
///
/// Where nothing is known of the callers (all `callers` are 0), they're taken to be spread evenly over the zones that
/// have endpoints.
///
/// Not for a service in panic: there nobody knows where capacity is, and all endpoints get traffic by weight.
///
/// # Errors
/// [`Unzoned`] tells why all endpoints should get traffic by weight alone; `shares` says what that comes to.
pub fn shares(
    zones: &[Zone],
    local: Option<usize>,
    endpoints: usize,
    shares: &mut Vec<f64>,
) -> Result<(), Unzoned> {
    let capacity: f64 = zones.iter().map(|zone| zone.capacity).sum();
    shares.clear();
    shares.extend(zones.iter().map(|zone| if capacity > 0.0 { zone.capacity / capacity } else { 0.0 }));
    let used = shares.iter().filter(|share| **share > 0.0).count();
    if used < 2 {
        return Err(Unzoned::OneZone);
    }
    if endpoints < 2 * used {
        return Err(Unzoned::TooFew);
    }
    let local = local.filter(|local| shares.get(*local).is_some_and(|share| *share > 0.0));
    let local = local.ok_or(Unzoned::NotLocal)?;
    let callers: f64 = zones.iter().map(|zone| zone.callers).sum();
    // Callers in zones without endpoints count too: their requests go everywhere.
    let callers_in = |zone: usize| match callers > 0.0 {
        true => zones[zone].callers / callers,
        false if zones[zone].capacity > 0.0 => 1.0 / used as f64,
        false => 0.0,
    };
    let (ours, here) = (callers_in(local), shares[local]);
    let left = |zone: usize, share: f64| (share - callers_in(zone)).max(0.0);
    // What one zone lacks the others have.
    let residual: f64 = shares.iter().enumerate().map(|(zone, share)| left(zone, *share)).sum();
    let kept = if ours <= here || residual <= 0.0 { 1.0 } else { here / ours };
    for (zone, share) in shares.iter_mut().enumerate() {
        let own = if zone == local { kept } else { 0.0 };
        let spill = if kept < 1.0 { (1.0 - kept) * left(zone, *share) / residual } else { 0.0 };
        *share = own + spill;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
