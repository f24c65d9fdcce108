//! Tickets: the visitor's secret, once and for half a minute, for those who can set no header.

use std::time::Duration;

use stompbox::identity::TICKET_LIFE;
use stompbox::model::{Code, Proof};

use super::world::{bare, client, visit, world};

#[tokio::test(start_paused = true)]
async fn a_ticket_opens_its_visitor_once_from_anywhere() {
    let world = world().await;
    let made = visit(&world, &client(), None).await;
    let secret = made.secret_to_tell.unwrap();
    let ticket = world.visitors.ticket(&client(), &secret).await.unwrap();
    let elsewhere = bare("198.51.100.1", "another browser");
    let opened = visit(&world, &elsewhere, Some(&ticket)).await;
    assert_eq!(opened.principal.user_id, made.principal.user_id);
    assert_eq!(opened.proof, Proof::Token);
    let again = world.visitors.connect(&client(), Some(&ticket), None).await;
    assert_eq!(again.unwrap_err().code, Code::Unauthorized);
    // The secret itself is as good as before.
    let opened = visit(&world, &client(), Some(&secret)).await;
    assert_eq!(opened.principal.user_id, made.principal.user_id);
}

#[tokio::test(start_paused = true)]
async fn of_two_who_use_a_ticket_at_once_one_is_refused() {
    let world = world().await;
    let secret = visit(&world, &client(), None).await.secret_to_tell.unwrap();
    let ticket = world.visitors.ticket(&client(), &secret).await.unwrap();
    let here = client();
    let open = || world.visitors.connect(&here, Some(&ticket), None);
    let (left, right) = tokio::join!(open(), open());
    assert_eq!(usize::from(left.is_ok()) + usize::from(right.is_ok()), 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_or_invented_ticket_opens_nothing_and_makes_nobody() {
    let world = world().await;
    let secret = visit(&world, &client(), None).await.secret_to_tell.unwrap();
    let ticket = world.visitors.ticket(&client(), &secret).await.unwrap();
    let invented = format!("{}AAAA", &ticket[..ticket.len() - 4]);
    world.wait(TICKET_LIFE - Duration::from_millis(1)).await;
    for text in [&invented, "sbt1.", "sbt1.AAAA"] {
        let refused = world.visitors.connect(&client(), Some(text), None).await;
        assert_eq!(refused.unwrap_err().code, Code::Unauthorized, "{text}");
    }
    world.wait(Duration::from_millis(1)).await;
    let late = world.visitors.connect(&client(), Some(&ticket), None).await;
    assert_eq!(late.unwrap_err().code, Code::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_given_for_a_secret_only() {
    let world = world().await;
    let secret = visit(&world, &client(), None).await.secret_to_tell.unwrap();
    let ticket = world.visitors.ticket(&client(), &secret).await.unwrap();
    for text in ["", "new", "sbv1.AAAA", &ticket] {
        let refused = world.visitors.ticket(&client(), text).await;
        assert_eq!(refused.unwrap_err().code, Code::Unauthorized, "{text}");
    }
}
