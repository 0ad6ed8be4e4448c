use super::*;

#[test]
fn arithmetic_saturates_at_both_ends() {
    let tick = Tick(1_000);
    assert_eq!(tick.after(Duration::from_nanos(5)), Tick(1_005));
    assert_eq!(Tick(1_005).since(tick), Duration::from_nanos(5));
    assert_eq!(tick.since(Tick(1_005)), Duration::ZERO);
    assert_eq!(Tick::MAX.after(Duration::from_secs(1)), Tick::MAX);
    assert_eq!(Tick::ZERO.after(Duration::MAX), Tick::MAX);
}
