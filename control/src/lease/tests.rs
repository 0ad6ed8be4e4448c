use super::*;

const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn registration(service: &str, n: usize) -> Registration {
    let address = SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8], 80));
    Registration {
        service: service.to_owned(),
        endpoint: Endpoint::new(address),
        node: "node".to_owned(),
        version: "1".to_owned(),
    }
}

fn addresses(leases: &Leases, service: &str) -> Vec<String> {
    leases.of(service).map(|(key, _)| key.address.to_string()).collect()
}

#[test]
fn a_lease_runs_out_unless_it_is_renewed() {
    let mut leases = Leases::default();
    let (one, two) = (registration("s", 1), registration("s", 2));
    assert_eq!(leases.announce(Holder(1), PEER, one.clone(), at(0)), Ok(true));
    assert_eq!(leases.announce(Holder(2), PEER, two.clone(), at(1)), Ok(true));
    assert_eq!(leases.next_expiry(), Some(at(15)));
    assert!(leases.renew(Holder(1), &one.key(), at(5)));
    assert_eq!(leases.next_expiry(), Some(at(16)));
    assert_eq!(leases.expire(at(15)), []);
    assert_eq!(leases.expire(at(16)), [two.key()]);
    assert_eq!(addresses(&leases, "s"), ["10.0.0.1:80"]);
    assert!(!leases.renew(Holder(2), &two.key(), at(17)), "it has run out");
    assert_eq!(leases.expire(at(20)), [one.key()]);
    assert_eq!((leases.next_expiry(), leases.is_empty()), (None, true));
}

#[test]
fn who_withdraws_is_gone_at_once() {
    let mut leases = Leases::default();
    let one = registration("s", 1);
    leases.announce(Holder(1), PEER, one.clone(), at(0)).unwrap();
    assert!(leases.withdraw(Holder(1), &one.key()));
    assert!(!leases.withdraw(Holder(1), &one.key()));
    assert_eq!((leases.len(), leases.next_expiry()), (0, None));
}

#[test]
fn an_old_stream_can_harm_nothing() {
    let mut leases = Leases::default();
    let one = registration("s", 1);
    assert_eq!(leases.announce(Holder(1), PEER, one.clone(), at(0)), Ok(true));
    // The same task comes back on another stream: nothing changes for others.
    assert_eq!(leases.announce(Holder(2), PEER, one.clone(), at(3)), Ok(false));
    assert!(leases.is_taken_over(Holder(1), &one.key()) && !leases.is_taken_over(Holder(2), &one.key()));
    assert!(!leases.withdraw(Holder(1), &one.key()));
    assert!(!leases.renew(Holder(1), &one.key(), at(10)));
    assert_eq!(leases.next_expiry(), Some(at(18)));
    // What it says of itself has changed.
    let mut heavier = one;
    heavier.endpoint.weight = 7;
    assert_eq!(leases.announce(Holder(2), PEER, heavier.clone(), at(4)), Ok(true));
    assert_eq!(leases.get(&heavier.key()), Some(&heavier));
    assert_eq!(leases.len(), 1);
}

#[test]
fn services_are_kept_apart() {
    let mut leases = Leases::default();
    for service in ["a", "ab", "b"] {
        leases.announce(Holder(1), PEER, registration(service, 1), at(0)).unwrap();
    }
    leases.announce(Holder(1), PEER, registration("a", 2), at(0)).unwrap();
    assert_eq!(addresses(&leases, "a"), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(addresses(&leases, "ab").len(), 1);
    assert!(addresses(&leases, "c").is_empty());
}

#[test]
fn there_are_limits_and_places_come_free() {
    let mut leases = Leases::default();
    for n in 0..MAX_PER_PEER {
        leases.announce(Holder(1), PEER, registration("s", n), at(0)).unwrap();
    }
    let one_more = registration("s", MAX_PER_PEER);
    assert_eq!(leases.announce(Holder(1), PEER, one_more.clone(), at(0)), Err(Full::Peer));
    // Coming again is no growth.
    assert_eq!(leases.announce(Holder(2), PEER, registration("s", 0), at(0)), Ok(false));
    for peer in 1..10 {
        let ip = Some(IpAddr::from([10, 1, 0, peer]));
        for n in 0..MAX_PER_PEER {
            let n = usize::from(peer) * MAX_PER_PEER + n;
            leases.announce(Holder(1), ip, registration("s", n), at(0)).unwrap();
        }
    }
    let other = Some(IpAddr::from([10, 1, 0, 99]));
    let another = registration("t", 1);
    assert_eq!(leases.announce(Holder(1), other, another.clone(), at(0)), Err(Full::All));
    assert!(leases.withdraw(Holder(1), &registration("s", 1).key()));
    assert_eq!(leases.announce(Holder(1), other, another, at(0)), Ok(true));
    assert_eq!(leases.expire(at(15)).len(), MAX_ALL);
    assert_eq!(leases.announce(Holder(1), PEER, one_more, at(15)), Ok(true));
}
