use super::*;

fn group() -> Group {
    Group {
        arn: "arn:aws:x".to_owned(),
        name: "web".to_owned(),
        id: "i-1".to_owned(),
        port: 80,
        delay: DELAY,
        join_max: JOIN_SLACK,
    }
}

fn health(state: &str, reason: &str) -> Health {
    Health { state: state.to_owned(), reason: reason.to_owned(), description: String::new() }
}

fn target(id: &str, port: Option<u16>) -> TargetHealth {
    TargetHealth { target: Target { id: id.to_owned(), port }, health: health("healthy", "") }
}

#[test]
fn each_state_of_aws_has_its_stand() {
    assert_eq!(stand(&health("healthy", "")), Stand::Serving);
    assert_eq!(stand(&health("initial", "Elb.RegistrationInProgress")), Stand::Joining);
    assert_eq!(stand(&health("draining", "Target.DeregistrationInProgress")), Stand::Draining);
    assert_eq!(stand(&health("unused", "Target.NotRegistered")), Stand::Absent);
    assert!(matches!(stand(&health("unused", "Target.NotInUse")), Stand::Idle(_)));
    for (state, reason) in [("unhealthy", "Target.Timeout"), ("unused", "Target.InvalidState")] {
        assert_eq!(stand(&health(state, reason)), Stand::Sick(reason.to_owned()));
    }
    assert_eq!(stand(&health("unavailable", "")), Stand::Sick("unavailable".to_owned()));
}

/// What was taken is looked for even when it is on no list any more, and a port that is asked for
/// is the only one.
#[test]
fn places_are_those_of_now_and_of_before() {
    let taken = |port: u16| Taken { place: group().place(port), was_well: true };
    let targets = [target("i-1", Some(4000)), target("i-2", Some(4001)), target("i-1", None)];
    let all = |only, targets: &[TargetHealth], taken: &[Taken]| {
        ports(&group(), Scope::All, only, targets, taken)
    };
    assert_eq!(all(None, &targets, &[taken(4002)]), [80, 4000, 4002]);
    assert_eq!(all(Some(9), &targets, &[taken(4002)]), [9]);
    assert_eq!(ports(&group(), Scope::At(9), Some(8), &targets, &[taken(4002)]), [9]);
    assert_eq!(all(None, &[], &[]), [80]);
    let of_another = Taken { place: "db i-1:5432".to_owned(), was_well: true };
    assert_eq!(all(None, &[], &[of_another]), [80]);
    // Only what is there can be at a port that nobody names.
    let others = |ports_of: [u16; 2]| ports(&group(), Scope::NotAt(ports_of), None, &targets, &[]);
    assert_eq!(others([4000, 4001]), [80]);
    assert!(others([80, 4000]).is_empty());
}
