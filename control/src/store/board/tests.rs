use std::time::Duration;

use super::*;

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn registration(n: u8) -> Registration {
    let endpoint = Endpoint::new(([10, 0, 0, n], 80).into());
    Registration { service: "s".to_owned(), endpoint, node: String::new(), version: String::new() }
}

fn told(n: u8, lease: LeaseId) -> Told {
    Told { endpoint: registration(n).endpoint, lease }
}

fn list(entries: &[(u8, LeaseId)]) -> BTreeMap<Key, Told> {
    entries.iter().map(|(n, lease)| (registration(*n).key(), told(*n, *lease))).collect()
}

/// The last bytes of the addresses.
fn known(board: &Board) -> Vec<u8> {
    let last = |endpoint: &Endpoint| match endpoint.address.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => unreachable!("none is used"),
    };
    // What has weight 0 is known to be gone: see `Board::gone`.
    board.endpoints("s").iter().filter(|endpoint| endpoint.weight > 0).map(last).collect()
}

const MINE: LeaseId = 7;
const OTHERS: LeaseId = 8;

/// A board with a lease, that holds 1 and 2, both of which are in etcd.
fn board() -> Board {
    let mut board = Board::new();
    board.lease_granted(MINE);
    for n in [1, 2] {
        board.announce(Holder(n.into()), None, registration(n), at(0)).unwrap();
    }
    saved(&mut board);
    for n in [1, 2] {
        board.put_seen(registration(n).key(), told(n, MINE));
    }
    board.take_news();
    board
}

fn saved(board: &mut Board) -> Vec<Key> {
    let batch = board.to_put(100);
    board.put_done(&batch);
    batch.iter().map(Registration::key).collect()
}

fn news(board: &mut Board) -> bool {
    board.take_news().is_some_and(|news| news.services.contains("s"))
}

#[test]
fn the_present_is_what_is_held_and_what_others_have_told() {
    let mut board = board();
    board.put_seen(registration(3).key(), told(3, OTHERS));
    assert_eq!((known(&board), board.len(), news(&mut board)), (vec![1, 2, 3], 3, true));
    // The same again is no news.
    board.put_seen(registration(3).key(), told(3, OTHERS));
    assert!(!news(&mut board));
    let mut heavier = told(3, OTHERS);
    heavier.endpoint.weight = 9;
    board.put_seen(registration(3).key(), heavier);
    assert!(news(&mut board));
    assert_eq!(board.endpoints("s")[2].weight, 9);
    assert!(board.endpoints("t").is_empty());
}

#[test]
fn who_withdraws_here_is_gone_at_once_and_deleted_there() {
    let mut board = board();
    assert!(board.withdraw(Holder(1), &registration(1).key()));
    assert_eq!((known(&board), news(&mut board)), (vec![2], true));
    assert_eq!(board.to_delete(), Some((registration(1).key(), MINE)));
    // Etcd has done it, and the news of it comes later.
    board.delete_done(&registration(1).key());
    assert_eq!((known(&board), board.to_delete()), (vec![2], None));
    board.withdrawal_seen(&registration(1).key());
    board.deletion_seen(&registration(1).key(), at(1));
    assert_eq!((known(&board), board.to_delete()), (vec![2], None));
}

#[test]
fn one_that_goes_before_it_was_put_is_deleted_when_it_shows_up() {
    let mut board = board();
    board.announce(Holder(3), None, registration(3), at(1)).unwrap();
    let under_way = board.to_put(100);
    assert!(board.withdraw(Holder(3), &registration(3).key()));
    board.put_done(&under_way);
    assert_eq!(board.to_delete(), None);
    board.put_seen(registration(3).key(), told(3, MINE));
    assert_eq!(known(&board), [1, 2]);
    assert_eq!(board.to_delete(), Some((registration(3).key(), MINE)));
}

#[test]
fn one_that_changes_while_it_is_put_is_put_again() {
    let mut board = board();
    board.announce(Holder(3), None, registration(3), at(1)).unwrap();
    let under_way = board.to_put(100);
    let mut heavier = registration(3);
    heavier.endpoint.weight = 9;
    board.announce(Holder(3), None, heavier, at(1)).unwrap();
    board.put_done(&under_way);
    assert_eq!(board.to_put(100)[0].endpoint.weight, 9);
}

#[test]
fn a_lease_that_runs_out_here_is_deleted_there() {
    let mut board = board();
    board.renew(Holder(2), &registration(2).key(), at(10));
    assert_eq!(board.next_due(), Some(at(15)));
    board.tick(at(15));
    assert_eq!(known(&board), [2]);
    assert_eq!(board.to_delete(), Some((registration(1).key(), MINE)));
}

#[test]
fn who_comes_back_elsewhere_is_theirs() {
    let mut board = board();
    board.put_seen(registration(1).key(), told(1, OTHERS));
    assert_eq!(known(&board), [1, 2]);
    // The old stream's lease ends nothing, and its heartbeat is told that it holds nothing.
    assert!(!board.renew(Holder(1), &registration(1).key(), at(5)));
    board.tick(at(15));
    assert_eq!((known(&board), board.to_delete()), (vec![1], Some((registration(2).key(), MINE))));
    // And back again: ours is on its way and comes later than what is seen now.
    board.announce(Holder(3), None, registration(1), at(16)).unwrap();
    board.put_seen(registration(1).key(), told(1, OTHERS));
    assert_eq!(saved(&mut board), [registration(1).key()]);
    board.put_seen(registration(1).key(), told(1, MINE));
    assert!(board.renew(Holder(3), &registration(1).key(), at(17)));
}

#[test]
fn what_is_held_is_put_again_when_it_is_gone_there() {
    let mut board = board();
    board.deletion_seen(&registration(1).key(), at(1));
    assert_eq!(known(&board), [1, 2]);
    assert_eq!(saved(&mut board), [registration(1).key()]);
    // A lease that was lost takes all with it.
    board.lease_granted(9);
    assert_eq!(saved(&mut board).len(), 2);
    // What still stands under the old lease is ours too.
    board.put_seen(registration(2).key(), told(2, MINE));
    board.withdraw(Holder(2), &registration(2).key());
    assert_eq!(board.to_delete(), Some((registration(2).key(), MINE)));
    // A list without them says the same.
    let mut board = Board::new();
    board.lease_granted(MINE);
    board.announce(Holder(1), None, registration(1), at(0)).unwrap();
    saved(&mut board);
    board.listed(list(&[(5, OTHERS)]), at(1));
    assert_eq!((known(&board), saved(&mut board)), (vec![1, 5], vec![registration(1).key()]));
}

#[test]
fn others_whose_lease_runs_out_are_gone_unless_etcd_was_away() {
    let mut board = board();
    for n in [3, 4, 5] {
        board.put_seen(registration(n).key(), told(n, OTHERS));
    }
    board.deletion_seen(&registration(3).key(), at(20));
    assert_eq!(known(&board), [1, 2, 4, 5]);
    board.away("refused".to_owned());
    assert_eq!(board.take_news().unwrap().trouble, Some(Some("refused".to_owned())));
    board.deletion_seen(&registration(4).key(), at(30));
    board.back(at(50));
    assert_eq!(board.take_news().unwrap().trouble, Some(None));
    // Read anew after that: another one has gone.
    board.listed(list(&[(1, MINE), (2, MINE)]), at(51));
    assert_eq!(known(&board), [1, 2, 4, 5]);
    // One comes back in time.
    board.put_seen(registration(4).key(), told(4, OTHERS));
    for n in [1, 2] {
        assert!(board.renew(Holder(n.into()), &registration(n).key(), at(60)));
    }
    board.tick(at(64));
    assert_eq!((known(&board), board.next_due()), (vec![1, 2, 4, 5], Some(at(65))));
    board.tick(at(65));
    assert_eq!((known(&board), news(&mut board)), (vec![1, 2, 4], true));
    // From then on a lease that runs out counts at once again.
    board.deletion_seen(&registration(4).key(), at(66));
    assert_eq!(known(&board), [1, 2]);
}

#[test]
fn a_withdrawal_elsewhere_counts_at_once_always() {
    let mut board = board();
    board.put_seen(registration(3).key(), told(3, OTHERS));
    board.away("refused".to_owned());
    board.withdrawal_seen(&registration(3).key());
    assert_eq!((known(&board), news(&mut board)), (vec![1, 2], true));
    board.deletion_seen(&registration(3).key(), at(1));
    assert_eq!(known(&board), [1, 2]);
    // It has been announced here since: then it is put again.
    board.withdrawal_seen(&registration(1).key());
    assert_eq!((known(&board), saved(&mut board)), (vec![1, 2], vec![registration(1).key()]));
}

#[test]
fn lists_are_complete_after_one_lease() {
    let mut board = Board::new();
    assert_eq!((board.is_settled(), board.next_due()), (false, Some(LEASE)));
    board.tick(at(14));
    assert!(!board.is_settled() && board.take_news().is_none());
    board.tick(at(15));
    assert!(board.is_settled() && board.take_news().unwrap().all);
    assert_eq!(board.next_due(), None);
}

/// Two processes and an etcd that delivers events late: at the end all agree, whatever happened in between.
#[test]
fn two_boards_agree_in_the_end() {
    let seeds: Vec<u64> = match std::env::var("BOWLINE_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..300).collect(),
    };
    for seed in seeds {
        eprintln!("seed: BOWLINE_TEST_SEED={seed}");
        simulate(seed);
    }
}

#[derive(Clone)]
enum Event {
    Put(Key, Told),
    Withdrawn(Key),
    Deleted(Key),
}

#[derive(Default)]
struct FakeEtcd {
    keys: BTreeMap<Key, Told>,
    events: Vec<Event>,
}

impl FakeEtcd {
    /// The keeper's steps, one at a time.
    fn keep(&mut self, board: &mut Board, lease: LeaseId, rng: &mut fastrand::Rng) {
        if rng.bool() {
            let batch = board.to_put(rng.usize(1..3));
            for registration in &batch {
                let told = Told { endpoint: registration.endpoint.clone(), lease };
                self.keys.insert(registration.key(), told.clone());
                self.events.push(Event::Put(registration.key(), told));
            }
            board.put_done(&batch);
        } else if let Some((key, of)) = board.to_delete() {
            if self.keys.get(&key).is_some_and(|told| told.lease == of) {
                self.keys.remove(&key);
                self.events.push(Event::Withdrawn(key.clone()));
                self.events.push(Event::Deleted(key.clone()));
            }
            board.delete_done(&key);
        }
    }

    fn run_out(&mut self, lease: LeaseId) {
        let gone: Vec<Key> =
            self.keys.iter().filter(|(_, told)| told.lease == lease).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.keys.remove(&key);
            self.events.push(Event::Deleted(key));
        }
    }
}

fn deliver(board: &mut Board, event: Event, now: Moment) {
    match event {
        Event::Put(key, told) => board.put_seen(key, told),
        Event::Withdrawn(key) => board.withdrawal_seen(&key),
        Event::Deleted(key) => board.deletion_seen(&key, now),
    }
}

fn simulate(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut etcd, mut boards) = (FakeEtcd::default(), [Board::new(), Board::new()]);
    let mut leases: [LeaseId; 2] = [1, 2];
    let mut next_lease = 3;
    let mut seen = [0, 0];
    // Which control each task's stream is at, and its holder.
    let mut tasks: BTreeMap<u8, (usize, Holder)> = BTreeMap::new();
    let (mut holder, mut now) = (0, Duration::ZERO);
    for (n, board) in boards.iter_mut().enumerate() {
        board.lease_granted(leases[n]);
    }
    for _ in 0..400 {
        now += Duration::from_millis(rng.u64(0..300));
        let (which, task) = (rng.usize(0..2), rng.u8(1..6));
        match rng.u8(0..20) {
            0..5 => {
                // A task comes, or comes back, here or at the other one.
                holder += 1;
                boards[which].announce(Holder(holder), None, registration(task), now).unwrap();
                tasks.insert(task, (which, Holder(holder)));
            }
            5..7 => {
                if let Some((at, holder)) = tasks.remove(&task) {
                    boards[at].withdraw(holder, &registration(task).key());
                }
            }
            7 => {
                next_lease += 1;
                etcd.run_out(leases[which]);
                leases[which] = next_lease;
                boards[which].lease_granted(next_lease);
            }
            8 => {
                // The watch breaks, and all is read anew.
                boards[which].disturbed(now);
                boards[which].listed(etcd.keys.clone(), now);
                seen[which] = etcd.events.len();
            }
            9..14 => etcd.keep(&mut boards[which], leases[which], &mut rng),
            _ => {
                if let Some(event) = etcd.events.get(seen[which]).cloned() {
                    deliver(&mut boards[which], event, now);
                    seen[which] += 1;
                }
            }
        }
    }
    // Quiet: heartbeats go on, everything is delivered, time passes.
    for _ in 0..200 {
        now += Duration::from_millis(400);
        for (task, (at, holder)) in &tasks {
            if !boards[*at].renew(*holder, &registration(*task).key(), now) {
                boards[*at].announce(*holder, None, registration(*task), now).unwrap();
            }
        }
        for which in 0..2 {
            boards[which].tick(now);
            for _ in 0..8 {
                etcd.keep(&mut boards[which], leases[which], &mut rng);
            }
            while let Some(event) = etcd.events.get(seen[which]).cloned() {
                deliver(&mut boards[which], event, now);
                seen[which] += 1;
            }
        }
    }
    let alive: Vec<u8> = tasks.keys().copied().collect();
    for board in &boards {
        assert_eq!(known(board), alive, "seed {seed}");
        assert!(board.to_put(100).is_empty() && board.to_delete().is_none(), "seed {seed}: not at rest");
    }
    let keys: Vec<Key> = alive.iter().map(|n| registration(*n).key()).collect();
    assert_eq!(etcd.keys.into_keys().collect::<Vec<_>>(), keys, "seed {seed}");
}
