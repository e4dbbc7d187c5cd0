use super::*;

const OWN: &str = "aaaaaaaa-0000-4000-8000-000000000000";
const OTHER: &str = "bbbbbbbb-0000-4000-8000-000000000000";
const THIRD: &str = "cccccccc-0000-4000-8000-000000000000";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn lease(standing: Standing) -> Option<Lease> {
    Some(Lease { id: OWN.into(), standing })
}

/// Returns leases in every state at time 20, with a short description of each.
fn states() -> [(&'static str, Option<Lease>); 6] {
    [
        ("available", None),
        ("leased 30", lease(Standing::Fixed { seconds: 30, until: at(30) })),
        ("leased", lease(Standing::Infinite)),
        ("expired", lease(Standing::Fixed { seconds: 15, until: at(15) })),
        ("breaking 25", lease(Standing::Breaking { until: at(25) })),
        ("broken", lease(Standing::Breaking { until: at(20) })),
    ]
}

fn orders() -> Vec<(&'static str, Order)> {
    let acquire = |id: &str, seconds| Order::Acquire { id: id.into(), seconds };
    let change = |id: &str, to: &str| Order::Change { id: id.into(), to: to.into() };
    vec![
        ("acquire own 15", acquire(OWN, Some(15))),
        ("acquire other", acquire(OTHER, None)),
        ("renew own", Order::Renew { id: OWN.into() }),
        ("renew other", Order::Renew { id: OTHER.into() }),
        ("change own to other", change(OWN, OTHER)),
        ("change other to own", change(OTHER, OWN)),
        ("change other to third", change(OTHER, THIRD)),
        ("release own", Order::Release { id: OWN.into() }),
        ("release other", Order::Release { id: OTHER.into() }),
        ("break", Order::Break { seconds: None }),
        ("break 0", Order::Break { seconds: Some(0) }),
        ("break 2", Order::Break { seconds: Some(2) }),
        ("break 60", Order::Break { seconds: Some(60) }),
    ]
}

/// Formats a lease as in the tables: state, owner, seconds left.
fn shown(lease: Option<&Lease>) -> String {
    let Some(had) = lease else { return "available".into() };
    let whose = match &*had.id {
        OWN => "own",
        OTHER => "other",
        _ => "third",
    };
    let left = match had.seconds_left(at(20)) {
        0 => String::new(),
        left => format!(" {left}"),
    };
    format!("{} {whose}{left}", state(lease, at(20)).as_str())
}

#[test]
fn every_order_has_a_result_in_every_state() {
    let mut table = String::new();
    for (name, lease) in states() {
        for (order_name, order) in orders() {
            let outcome = match apply(lease.as_ref(), &order, at(20)) {
                Ok(next) => shown(next.as_ref()),
                Err(denied) => format!("{denied:?}"),
            };
            table += &format!("{name} + {order_name} -> {outcome}\n");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn every_use_has_a_result_in_every_state() {
    let mut table = String::new();
    for (name, lease) in states() {
        for (given_name, given) in [("no lease", None), ("own", Some(OWN)), ("other", Some(OTHER))] {
            let write = allow_write(lease.as_ref(), given, at(20));
            let read = allow_read(lease.as_ref(), given, at(20));
            table += &format!("{name}, with {given_name}: write {write:?}, read {read:?}\n");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_lease_ends_at_its_time_and_not_before() {
    let fixed = lease(Standing::Fixed { seconds: 15, until: at(15) });
    let breaking = lease(Standing::Breaking { until: at(15) });
    let almost = at(15).checked_sub(Duration::from_nanos(100)).unwrap();
    for (lease, before, then) in
        [(&fixed, State::Leased, State::Expired), (&breaking, State::Breaking, State::Broken)]
    {
        assert_eq!(state(lease.as_ref(), almost), before);
        assert_eq!(state(lease.as_ref(), at(15)), then);
        assert_eq!(lease.as_ref().unwrap().seconds_left(almost), 1, "begun seconds count");
        assert_eq!(lease.as_ref().unwrap().seconds_left(at(15)), 0);
    }
    assert_eq!((duration(fixed.as_ref(), almost), duration(fixed.as_ref(), at(15))), (Some("fixed"), None));
    assert_eq!(duration(lease(Standing::Infinite).as_ref(), at(1_000_000_000)), Some("infinite"));
    assert_eq!(duration(breaking.as_ref(), almost), None);
}

#[test]
fn a_renewed_lease_counts_from_the_renewal() {
    let renew = Order::Renew { id: OWN.into() };
    let had = lease(Standing::Fixed { seconds: 15, until: at(15) });
    for moment in [3, 14, 15, 40] {
        let renewed = apply(had.as_ref(), &renew, at(moment)).unwrap();
        assert_eq!(renewed, lease(Standing::Fixed { seconds: 15, until: at(moment + 15) }), "{moment}");
    }
    let infinite = lease(Standing::Infinite);
    assert_eq!(apply(infinite.as_ref(), &renew, at(9)), Ok(infinite.clone()));
}

#[test]
fn a_write_removes_an_expired_lease() {
    for (name, lease) in states() {
        let locked = state(lease.as_ref(), at(20)).is_locked();
        let mut kept = lease.clone().map(Box::new);
        written(&mut kept, at(20));
        assert_eq!(kept.is_some(), locked, "{name}");
        let renewed = apply(kept.as_deref(), &Order::Renew { id: OWN.into() }, at(20));
        assert_eq!(renewed.is_ok(), name.starts_with("leased"), "{name}");
    }
}

#[test]
fn ids_are_parsed_in_every_usual_form() {
    let id = "00112233-4455-6677-8899-aabbccddeeff";
    for text in [
        id,
        "00112233-4455-6677-8899-AABBCCDDEEFF",
        "00112233445566778899aabbccddeeff",
        "{00112233-4455-6677-8899-aabbccddeeff}",
        "(00112233-4455-6677-8899-aabbccddeeff)",
    ] {
        assert_eq!(read_id(text).as_deref(), Some(id), "{text}");
    }
    for text in [
        "",
        "lease",
        "00112233-4455-6677-8899-aabbccddeefg",
        "0011223-34455-6677-8899-aabbccddeeff",
        "{00112233-4455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddeeff0",
        "é0112233-4455-6677-8899-aabbccddeeff",
    ] {
        assert_eq!(read_id(text), None, "{text}");
    }
    let made = id_of([0xff; 16]);
    assert_eq!((&*made, read_id(&made)), ("ffffffff-ffff-4fff-bfff-ffffffffffff", Some(made.clone())));
}
