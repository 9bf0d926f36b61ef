use super::*;

/// As HAProxy 2.6 writes them, with columns left out.
const STATES: &str = "1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_port
3 web 1 n1 10.77.0.11 2 0 1 1 4000
3 web 2 n2 10.77.0.12 0 8 1 1 4000
3 web 3 n3 ::1 2 1 1 1 4001
3 web 4 n4 - 0 0 1 1 0

";
const STATS: &str = "# pxname,svname,qcur,scur,status,last_chk,
web,n1,2,3,UP,\"\"\"fine\"\", all of it\",
web,n2,0,1,DOWN,,
web,n3,0,0,MAINT,,
web,n4,0,0,DOWN 1/2,Connection refused,

";

#[test]
fn both_tables_make_a_server() {
    let servers = servers(STATES, STATS).expect("two good tables");
    let [n1, n2, n3, n4] = servers.as_slice() else { panic!("four servers: {servers:?}") };
    assert_eq!((n1.sessions, n1.queued, n1.is_up, n1.port), (3, 2, true, 4000));
    assert_eq!(n1.check, "\"fine\", all of it");
    // Its status hides that it drains.
    assert!(n2.is_draining && !n2.is_maint && !n2.is_up);
    assert!(n3.is_maint && n3.address == "::1".parse().ok());
    assert_eq!((n4.address, n4.status.as_str()), (None, "DOWN 1/2"));
}

/// One failed check would take it down, and all its users with it.
#[test]
fn up_by_a_check_that_is_yet_to_come_is_not_sure() {
    let stats = STATS.replace(",UP,", ",UP 1/3,");
    let servers = servers(STATES, &stats).expect("two good tables");
    assert!(servers[0].is_up && !servers[0].is_sure, "{servers:?}");
    assert_eq!(crate::haproxy::stand(&servers[0]), crate::machine::Stand::Joining);
}

#[test]
fn a_refusal_keeps_its_words_and_a_hole_is_named() {
    let refused = servers("Permission denied\n\n", STATS).expect_err("refused");
    assert!(refused.to_string().contains("Permission denied"), "{refused}");
    let refused = servers("Can't find backend.\n", STATS).expect_err("refused");
    assert!(refused.to_string().contains("Can't find backend."), "{refused}");
    let hole = servers(STATES, "# pxname,svname,scur\nweb,n1,0\n").expect_err("no status");
    assert_eq!(hole, Strange::Without("status"));
    assert_eq!(servers("1\n# srv_name srv_admin_state\n", "# svname\n"), Ok(Vec::new()));
    assert_eq!(backend_number(STATES), Ok(3));
    let empty = backend_number("1\n# be_id be_name\n").expect_err("no servers");
    assert!(empty.cure().contains("a server"), "{empty}");
}

/// Whatever comes, it is an answer or a refusal.
#[test]
fn no_bytes_break_it() {
    for cut in 0..STATES.len() {
        let _ = servers(&STATES[..cut], STATS);
        let _ = servers(STATES, STATS.get(..cut).unwrap_or(STATS));
    }
    let _ = servers("# \"", "# \"\"\"");
}
