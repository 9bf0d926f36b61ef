//! The fuzzer's corpus as a plain test: HAProxy's answers whole, cut anywhere and with bytes damaged
//! are read or refused with words.

use balancer::haproxy::answer;

fn look(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (states, stats) = text.split_once('\0').unwrap_or((&text, ""));
    let _ = answer::backend_number(states);
    match answer::servers(states, stats) {
        Ok(servers) => !servers.is_empty(),
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.cure().is_empty());
            false
        }
    }
}

#[test]
fn every_answer_is_read_or_refused() {
    let sound = replay::understood_unspoiled("haproxy", b"\n\", #0-\xff", look);
    assert_eq!(sound, ["three-servers"]);
}

/// What a real HAProxy 2.6 says of a server that is down, of one that is down while it drains, and
/// of one that nobody checks.
#[test]
fn three_servers_of_a_real_one() {
    let path = replay::folder("haproxy").join("three-servers");
    let text = std::fs::read_to_string(path).expect("a file");
    let (states, stats) = text.split_once('\0').expect("two answers");
    assert_eq!(answer::backend_number(states), Ok(3));
    let servers = answer::servers(states, stats).expect("read");
    let [n1, n2, n3] = servers.as_slice() else { panic!("{servers:?}") };
    assert!(!n1.is_up && !n1.is_draining && n1.check.contains("Connection refused"), "{n1:?}");
    assert!(n2.is_draining && n2.status == "DOWN", "its status hides that it drains: {n2:?}");
    assert!(n3.is_up && n3.port == 9922 && n3.address == "::1".parse().ok(), "{n3:?}");
}
