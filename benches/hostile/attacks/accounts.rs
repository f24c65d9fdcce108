//! Attacks on what costs the node much processor time per request: passwords.

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Duration, sleep, timeout};

use super::{Attacker, Outcome, PATIENCE, write_frame};

/// Characters that leet spelling uses for several letters each.
const LEET: &[u8] = b"4@8({[<369&#!1/|0$5+7%2";

/// 100 characters that can be read as words in very many ways.
fn leet_password() -> String {
    let character = |_| {
        let index = usize::from(rand::random::<u8>()) % LEET.len();
        char::from(LEET.get(index).copied().unwrap_or(b'4'))
    };
    (0..100).map(character).collect()
}

fn address() -> String {
    format!("{:016x}@example.com", rand::random::<u64>())
}

/// A visitor who makes an account of themself, with one bad password after the other, at most ten a second.
pub(super) async fn guessable_password(attacker: &mut Attacker) -> Outcome<()> {
    let mut session = attacker.connected().await?;
    let subscribe = "SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0";
    write_frame(&mut session.stream, subscribe.as_bytes()).await?;
    let mut answer = vec![0; 4 << 10];
    loop {
        let body = json!({
            "email": address(),
            "password": leet_password(),
            "name": "x",
            "visitor_token": attacker.token,
        });
        let frame = format!("SEND\ndestination:/app/auth.upgrade\n\n{body}\0");
        write_frame(&mut session.stream, frame.as_bytes()).await?;
        // The answer is awaited for a while only: the next password follows anyway.
        if let Ok(read) = timeout(PATIENCE, session.stream.read(&mut answer)).await
            && read? == 0
        {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Signs in, or registers, as nobody in particular, as fast as it is answered.
pub(super) async fn login(attacker: &mut Attacker) -> Outcome<()> {
    let mut stream = attacker.place.open().await?;
    for turn in 0..100 {
        let body = json!({
            "email": address(),
            "password": format!("correct horse {:x}", rand::random::<u64>()),
            "name": "x",
        });
        let line = match turn % 2 {
            0 => "POST /api/v1/auth/login",
            _ => "POST /api/v1/auth/register",
        };
        attacker
            .exchange(&mut stream, line, body.to_string().as_bytes())
            .await?;
    }
    Ok(())
}
