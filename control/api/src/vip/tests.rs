use super::*;

type Names = BTreeMap<String, Option<Ipv4Addr>>;

fn names(count: usize) -> Names {
    (0..count).map(|i| (format!("service-{i}.hello-world.com"), None)).collect()
}

fn fresh(range: VipRange, names: &Names) -> Allocation {
    allocate(range, names, &BTreeMap::new(), 1_000_000).unwrap()
}

/// Frozen: these addresses are in the DNS caches and hosts files of every mesh there is.
#[test]
fn addresses_never_change_between_releases() {
    assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    let wanted = ["server.hello-world.com", "client.hello-world.com", "yelb-db"];
    let names = wanted.iter().map(|n| ((*n).to_owned(), None)).collect();
    let vips = fresh(VipRange::DEFAULT, &names).vips;
    let got: Vec<String> = wanted.iter().map(|n| vips[*n].to_string()).collect();
    assert_eq!(got, ["127.255.115.219", "127.255.54.197", "127.255.29.219"]);
}

#[test]
fn three_hundred_names_get_addresses_of_their_own() {
    let names = names(300);
    let vips = fresh(VipRange::DEFAULT, &names).vips;
    let distinct: BTreeSet<&Ipv4Addr> = vips.values().collect();
    assert_eq!(distinct.len(), 300);
    assert!(vips.values().all(|vip| VipRange::DEFAULT.is_usable(*vip)));
}

#[test]
fn a_name_keeps_its_address_when_others_come_and_go() {
    // A small range, so that nearly every name collides.
    let range: VipRange = "127.7.0.0/27".parse().unwrap();
    let few = names(20);
    let first = fresh(range, &few);
    let mut more = names(24);
    more.remove("service-3.hello-world.com");
    let second = allocate(range, &more, &first.record, 1_000_060).unwrap();
    for (name, vip) in &first.vips {
        if more.contains_key(name) {
            assert_eq!(second.vips[name], *vip, "{name}");
        }
    }
    let distinct: BTreeSet<&Ipv4Addr> = second.vips.values().collect();
    assert_eq!(distinct.len(), 23);
    // The record makes it so: without it, the order of probing moves names.
    assert_ne!(fresh(range, &more).vips, second.vips);
}

#[test]
fn the_order_of_names_does_not_matter() {
    let range: VipRange = "127.7.0.0/26".parse().unwrap();
    let forward = names(40);
    let mut backward = Names::new();
    for (name, pin) in forward.iter().rev() {
        backward.insert(name.clone(), *pin);
    }
    assert_eq!(fresh(range, &forward), fresh(range, &backward));
}

#[test]
fn a_vanished_name_keeps_its_address_for_a_day() {
    let range: VipRange = "127.7.0.0/30".parse().unwrap();
    let old: Names = [("old.a".to_owned(), None), ("stays.a".to_owned(), None)].into();
    let first = allocate(range, &old, &BTreeMap::new(), 0).unwrap();
    let new: Names = [("new.a".to_owned(), None), ("stays.a".to_owned(), None)].into();

    let refused = allocate(range, &new, &first.record, RESERVED_SECONDS - 1).unwrap_err();
    assert_eq!(refused, VipError::Full { range, name: "new.a".to_owned(), reserved: 1 });
    assert!(refused.to_string().contains("kept for a day"), "{refused}");

    let second = allocate(range, &new, &first.record, RESERVED_SECONDS).unwrap();
    assert_eq!(second.vips["new.a"], first.vips["old.a"]);
    assert!(!second.record.contains_key("old.a"));
    // If it comes back in time it has its address again.
    let only: Names = [("stays.a".to_owned(), None)].into();
    let between = allocate(range, &only, &first.record, 500).unwrap();
    assert_eq!(between.record["old.a"], Recorded { vip: first.vips["old.a"], last_seen: 0 });
    assert_eq!(between.record["stays.a"].last_seen, 500);
    assert_eq!(allocate(range, &old, &between.record, 600).unwrap().vips, first.vips);
}

#[test]
fn a_pin_wins_over_all() {
    let names = names(3);
    let first = fresh(VipRange::DEFAULT, &names);
    let (victim, taken) = first.vips.iter().next().map(|(n, v)| (n.clone(), *v)).unwrap();
    let mut pinned = names;
    pinned.insert("pinned.a".to_owned(), Some(taken));
    let second = allocate(VipRange::DEFAULT, &pinned, &first.record, 2_000_000).unwrap();
    assert_eq!(second.vips["pinned.a"], taken);
    assert_ne!(second.vips[&victim], taken);

    pinned.insert("too.a".to_owned(), Some(taken));
    let twice = allocate(VipRange::DEFAULT, &pinned, &first.record, 2_000_000).unwrap_err();
    assert_eq!(twice, VipError::PinnedTwice { vip: taken, names: ["pinned.a".into(), "too.a".into()] });
    for outside in ["127.255.255.255", "127.255.0.0", "127.0.0.1", "10.0.0.1"] {
        let names = [("a".to_owned(), Some(outside.parse().unwrap()))].into();
        let refused = allocate(VipRange::DEFAULT, &names, &BTreeMap::new(), 0);
        assert!(matches!(refused, Err(VipError::Unusable { .. })), "{outside}");
    }
}

#[test]
fn a_bad_record_is_mended() {
    let names: Names = [("a".to_owned(), None), ("b".to_owned(), None)].into();
    let vip = Ipv4Addr::new(127, 255, 1, 1);
    let entry = |vip| Recorded { vip, last_seen: 9_999_999_999 };
    let outside = Ipv4Addr::new(127, 9, 9, 9);
    let record =
        [("a".to_owned(), entry(vip)), ("b".to_owned(), entry(vip)), ("gone".to_owned(), entry(outside))]
            .into();
    let mended = allocate(VipRange::DEFAULT, &names, &record, 100).unwrap();
    assert_eq!(mended.vips["a"], vip);
    assert_ne!(mended.vips["b"], vip);
    assert_eq!(mended.record["gone"].last_seen, 100, "a clock that ran ahead can't reserve for ever");
}

#[test]
fn every_usable_address_is_given_out_before_it_is_full() {
    for (text, hosts) in [("127.7.0.0/30", 2), ("127.7.0.0/24", 254), ("127.255.255.0/24", 254)] {
        let range: VipRange = text.parse().unwrap();
        let vips = fresh(range, &names(hosts)).vips;
        assert_eq!(vips.values().collect::<BTreeSet<_>>().len(), hosts, "{text}");
        let full = allocate(range, &names(hosts + 1), &BTreeMap::new(), 0);
        assert!(matches!(full, Err(VipError::Full { reserved: 0, .. })), "{text}");
    }
    let range: VipRange = "127.0.0.0/8".parse().unwrap();
    for address in ["127.0.0.1", "127.0.0.53", "127.255.255.255", "127.0.0.0"] {
        assert!(!range.is_usable(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn ranges_are_read_strictly() {
    for good in ["127.255.0.0/16", "127.0.0.0/8", "127.128.0.0/9", "127.7.7.4/30"] {
        assert_eq!(good.parse::<VipRange>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        "127.255.0.0",
        "127.255.0.0/",
        "127.255.0.0/31",
        "127.255.0.0/7",
        "127.255.0.1/16",
        "10.0.0.0/8",
        "x/16",
        "127.0.0.0/24",
        "::1/16",
    ] {
        let error = bad.parse::<VipRange>().unwrap_err();
        assert!(error.to_string().contains("is no VIP range: "), "{error}");
    }
}
