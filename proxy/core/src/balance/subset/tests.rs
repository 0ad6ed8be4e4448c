use super::*;

type Labels = Vec<(&'static str, &'static str)>;

fn index(endpoints: &[Labels]) -> SubsetIndex {
    SubsetIndex::new(endpoints.iter().map(|labels| labels.iter().copied()))
}

#[test]
fn all_labels_must_fit() {
    let index = index(&[
        vec![("version", "v1"), ("stage", "prod")],
        vec![("version", "v2"), ("stage", "prod")],
        vec![],
        vec![("stage", "test"), ("version", "v1"), ("version", "v1")],
    ]);
    assert_eq!(index.select([("version", "v1")]), [0, 3]);
    assert_eq!(index.select([("stage", "prod"), ("version", "v1")]), [0]);
    assert_eq!(index.select([]), [0, 1, 2, 3]);
    assert!(index.select([("version", "v3")]).is_empty());
    assert!(index.select([("Version", "v1")]).is_empty());
    assert!(index.select([("version", "v2"), ("stage", "test")]).is_empty());
    assert_eq!(index.values("version").collect::<Vec<_>>(), [("v1", 2), ("v2", 1)]);
    assert_eq!(index.values("nothing").count(), 0);
    assert_eq!(index.len(), 4);
    assert!(SubsetIndex::default().is_empty());
}

#[test]
fn agrees_with_looking_at_each() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    const VALUES: [&str; 3] = ["1", "2", "3"];
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut some = |share: u32| -> Labels {
            let label = |name| (rng.u32(0..10) < share).then(|| (name, VALUES[rng.usize(0..3)]));
            NAMES.into_iter().filter_map(label).collect()
        };
        let endpoints: Vec<Labels> = (0..30).map(|_| some(8)).collect();
        let wanted = some(4);
        let expected: Vec<u32> = (0..30)
            .filter(|index| wanted.iter().all(|label| endpoints[*index as usize].contains(label)))
            .collect();
        assert_eq!(index(&endpoints).select(wanted.iter().copied()), expected, "seed {seed}: {wanted:?}");
    }
}
