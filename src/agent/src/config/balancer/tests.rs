use super::*;

#[derive(Debug, Deserialize)]
struct File {
    balancer: BTreeMap<Spanned<String>, BalancerTable>,
}

fn read_all(text: &str, has_cloud: bool) -> Result<Vec<Balancer>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    read(file.balancer, has_cloud).map_err(|(_, text)| text)
}

#[test]
fn both_kinds_are_read_with_their_defaults() {
    let all = read_all(
        "[balancer.edge]\nkind = \"haproxy\"\napp = \"web\"\nsockets = [\"lb:9999\", \"/run/h\"]\n\
         servers = [\"web/n1\"]\naround = \"always\"\ndrain = \"10s\"\nmin-healthy = 0\n\
         [balancer.front]\nkind = \"alb\"\napp = \"web\"\ntarget-groups = [\"web\"]\n\
         asg = \"standby\"\nfloor = \"0s\"\n",
        true,
    );
    let all = all.expect("right");
    let sockets = vec![Socket::Tcp("lb:9999".into()), Socket::Unix("/run/h".into())];
    let which = Which::Named(vec![("web".to_owned(), "n1".to_owned())]);
    assert_eq!(all[0].kind, Kind::Haproxy { sockets, which, port: None });
    assert_eq!((all[0].around, all[0].wanted.min_healthy), (Around::Always, 0));
    assert_eq!(all[0].wanted.drain_max, Some(Duration::from_secs(10)));
    assert_eq!((all[1].around, all[1].wanted.floor), (Around::Restart, Duration::ZERO));
    assert_eq!((all[1].wanted.settle, all[1].wanted.min_healthy), (ALB_SETTLE, 1));
    let (groups, absence) = (vec!["web".to_owned()], Absence::Standby);
    assert_eq!(all[1].kind, Kind::Alb { groups, port: None, absence });
}

#[test]
fn each_mistake_says_what_to_write() {
    let haproxy = "kind = \"haproxy\"\napp = \"web\"\n";
    let alb = "kind = \"alb\"\napp = \"web\"\n";
    for (name, text, cure) in [
        ("edge", "kind = \"nginx\"\napp = \"web\"\n".to_owned(), "haproxy or alb"),
        ("Edge", haproxy.to_owned(), "a-z, 0-9"),
        ("edge", haproxy.to_owned(), "sockets = "),
        ("edge", format!("{haproxy}sockets = [\"lb\"]\n"), "HOST:PORT"),
        ("edge", format!("{haproxy}sockets = [\"lb:1\"]\n"), "or servers"),
        ("edge", format!("{haproxy}sockets = [\"lb:1\"]\nservers = [\"n1\"]\n"), "BACKEND/SERVER"),
        ("edge", format!("{haproxy}sockets = [\"lb:1\"]\nservers = [\"a/b; c\"]\n"), "letters"),
        ("edge", format!("{haproxy}sockets = [\"/h\"]\nbackends = [\"web\"]\n"), "write address"),
        ("edge", format!("{haproxy}asg = \"none\"\n"), "makes no sense"),
        ("edge", format!("{alb}sockets = [\"lb:1\"]\n"), "makes no sense"),
        ("edge", alb.to_owned(), "target-groups = "),
        ("edge", format!("{alb}target-groups = [\"web\"]\nasg = \"stop\"\n"), "standby, suspend"),
        ("edge", format!("{alb}target-groups = [\"web\"]\nfloor = \"soon\"\n"), "no duration"),
    ] {
        let said = read_all(&format!("[balancer.{name}]\n{text}"), true).expect_err(&text);
        assert!(said.contains(cure), "{text}: {said}");
    }
    let text = format!("[balancer.a]\n{alb}target-groups = [\"web\"]\n");
    assert!(read_all(&text, false).is_err_and(|said| said.contains("[cloud]")));
    let one = format!("{alb}target-groups = [\"web\"]\nasg = \"suspend\"\n");
    let twice = read_all(&format!("[balancer.a]\n{one}[balancer.b]\n{one}"), true);
    assert!(twice.is_err_and(|said| said.contains("one of them is enough")));
}
