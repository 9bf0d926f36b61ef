//! Credentials over a real socket: which are wanted, what is delivered, who may.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

mod fake;

use control::Error;
use control::client::{CallError, Client, Delivery};
use control::types::{Credential, CredentialProblem, CredentialSource, NewCredential};
use fake::{Fake, listen, on_one_thread, reader, root};
use std::rc::Rc;

fn wanted(present: bool) -> Credential {
    Credential {
        owner: "web".into(),
        name: "database".into(),
        source: CredentialSource::Ssm,
        place: "/shop/database".into(),
        present,
        problem: None,
    }
}

/// The list comes at once and at each change; a delivery arrives whole, and whatever prints it
/// prints no secret. Who may only look is told the role that it takes.
#[test]
fn what_is_wanted_and_what_is_delivered() {
    on_one_thread(async {
        let directory = tempfile::tempdir().unwrap();
        let [socket, other] = ["root", "reader"].map(|name| directory.path().join(name));
        let fake = Rc::new(Fake::default());
        listen(&socket, root(), Rc::clone(&fake));
        listen(&other, reader(), Rc::clone(&fake));
        fake.credentials.send_replace(vec![wanted(false)]);

        let mut watcher = Client::connect(&other).await.unwrap();
        let mut replies = watcher.watch_credentials(true).await.unwrap();
        assert_eq!(replies.next().await.unwrap().unwrap().credentials, [wanted(false)]);
        fake.credentials.send_replace(vec![wanted(true)]);
        assert_eq!(replies.next().await.unwrap().unwrap().credentials, [wanted(true)]);

        let value = control::base64::encode(b"hunter2\xff");
        let credentials = [NewCredential { name: "database".into(), value: value.clone() }];
        let problems = [CredentialProblem { name: "token".into(), reason: "denied".into() }];
        let delivery = Delivery { owner: "web", credentials: &credentials, problems: &problems };
        let mut client = Client::connect(&socket).await.unwrap();
        assert_eq!(client.put_credentials(delivery).await.unwrap().changed, ["database"]);
        assert_eq!(*fake.delivered.borrow(), [("database".to_owned(), value.clone())]);
        let order = fake.orders.borrow()[0].clone();
        assert!(order.contains("\"web\"") && order.contains("denied"), "{order}");
        assert!(!order.contains(&value) && !order.contains("hunter2"), "{order}");

        let mut client = Client::connect(&other).await.unwrap();
        match client.put_credentials(delivery).await {
            Err(CallError::Answered(Error::NotPermitted { needs, .. })) => {
                assert_eq!(needs, "admin");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fake.orders.borrow().len(), 1);
    });
}
