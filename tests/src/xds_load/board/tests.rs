use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn an_address_tells_its_mark() {
    for of in [1, 255, 256, 70_000, MOST] {
        assert_eq!(mark(&address(of).ip().to_string()), Some(of));
    }
    for none in ["10.0.0.1", "10.127.255.255", "11.128.0.1", "127.0.0.1", "fd00::1", ""] {
        assert_eq!(mark(none), None, "{none}");
    }
}

#[test]
fn a_change_is_over_when_the_last_subscriber_has_it() {
    let mut board = Board::new(2);
    board.subscribe(0);
    board.subscribe(0);
    board.made(1, Kind::Add, 1, ms(0));
    assert_eq!(board.unfinished(), 0, "nobody looks at that one");
    board.made(0, Kind::Add, 2, ms(10));
    let (mut one, mut other) = (Seen::default(), Seen::default());
    board.received(0, [].into_iter(), &mut one, ms(11));
    assert_eq!(board.unfinished(), 1);
    board.received(0, [2].into_iter(), &mut one, ms(12));
    board.received(0, [2].into_iter(), &mut one, ms(13));
    assert_eq!(board.unfinished(), 1, "twice at one is not once at both");
    board.received(0, [2].into_iter(), &mut other, ms(14));
    assert_eq!(board.unfinished(), 0);
    let changes: Vec<_> = board.since(ms(10)).collect();
    assert_eq!(changes, [&Change { kind: Kind::Add, mark: 2, made: ms(10), missing: 0, all: Some(ms(14)) }]);
}

#[test]
fn one_list_can_carry_several_changes() {
    let mut board = Board::new(1);
    board.subscribe(0);
    let mut seen = Seen::default();
    board.made(0, Kind::Add, 1, ms(0));
    board.received(0, [1].into_iter(), &mut seen, ms(1));
    board.made(0, Kind::Add, 2, ms(2));
    board.made(0, Kind::Remove, 1, ms(3));
    board.received(0, [1, 2].into_iter(), &mut seen, ms(4));
    assert_eq!(board.unfinished(), 1, "the first one is still there");
    board.made(0, Kind::Add, 3, ms(5));
    board.made(0, Kind::Remove, 2, ms(6));
    board.received(0, [3].into_iter(), &mut seen, ms(7));
    assert_eq!(board.unfinished(), 0);
    let took: Vec<_> = board.since(ms(0)).map(|change| change.all.unwrap() - change.made).collect();
    assert_eq!(took, [ms(1), ms(2), ms(2), ms(4), ms(1)]);
}

#[test]
fn a_list_from_before_the_first_mark_removes_nothing() {
    let mut board = Board::new(1);
    board.subscribe(0);
    let mut seen = Seen::default();
    board.made(0, Kind::Add, 1, ms(0));
    board.made(0, Kind::Add, 2, ms(1));
    board.made(0, Kind::Remove, 1, ms(2));
    board.received(0, [].into_iter(), &mut seen, ms(3));
    assert_eq!(board.unfinished(), 3);
}
