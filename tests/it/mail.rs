//! Letters by SMTP, taken by a small server of the test's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stompbox::mail::{Letter, LogMail, Mail as _, MailError, SmtpMail, SmtpSettings};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A server that takes letters, or says `refusal` to each recipient.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    work: TaskTracker,
    end: CancellationToken,
}

impl Server {
    async fn new(refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let (work, end) = (TaskTracker::new(), CancellationToken::new());
        let lines = Arc::clone(&heard);
        let serving = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let _left = talk(stream, &lines, refusal).await;
            }
        };
        work.spawn(end.clone().run_until_cancelled_owned(serving));
        Self {
            port,
            heard,
            work,
            end,
        }
    }

    fn mail(&self) -> SmtpMail {
        let settings = SmtpSettings {
            url: format!("smtp://127.0.0.1:{}", self.port),
            from: "Stompbox <noreply@example.com>".to_owned(),
        };
        SmtpMail::new(&settings).unwrap()
    }

    async fn end(self) -> String {
        self.end.cancel();
        self.work.close();
        self.work.wait().await;
        self.heard.lock().await.join("\n")
    }
}

async fn talk(
    mut stream: TcpStream,
    heard: &Mutex<Vec<String>>,
    refusal: Option<&str>,
) -> std::io::Result<()> {
    let (reading, mut writing) = stream.split();
    let mut lines = BufReader::new(reading).lines();
    writing.write_all(b"220 test\r\n").await?;
    let mut is_letter = false;
    while let Some(line) = lines.next_line().await? {
        heard.lock().await.push(line.clone());
        let answer = match line.as_str() {
            "." if is_letter => {
                is_letter = false;
                "250 taken"
            }
            _ if is_letter => continue,
            "DATA" => {
                is_letter = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            line if line.starts_with("RCPT") => refusal.unwrap_or("250 ok"),
            _ => "250 ok",
        };
        writing
            .write_all(format!("{answer}\r\n").as_bytes())
            .await?;
    }
    Ok(())
}

fn letter(to: &str) -> Letter {
    Letter {
        to: to.to_owned(),
        subject: "비밀번호 재설정".to_owned(),
        text: "https://chat.example/#reset=a-secret\n.\nQUIT\n".to_owned(),
    }
}

#[tokio::test]
async fn a_letter_is_handed_to_the_server() {
    let server = Server::new(None).await;
    server.mail().send(letter("kim@example.com")).await.unwrap();
    let heard = server.end().await;
    assert!(heard.contains("MAIL FROM:<noreply@example.com>"), "{heard}");
    assert!(heard.contains("RCPT TO:<kim@example.com>"), "{heard}");
    assert!(heard.contains("Subject: =?utf-8?b?"), "{heard}");
    assert!(
        heard.contains("Content-Type: text/plain; charset=utf-8"),
        "{heard}"
    );
}

#[tokio::test]
async fn an_address_cannot_add_recipients_or_headers() {
    let server = Server::new(None).await;
    let mail = server.mail();
    for to in [
        "",
        "kim",
        "kim@example.com\r\nBcc: lee@example.com",
        "a@b.c, d@e.f",
        "<kim@example.com>\r\nRCPT TO:<x@y.z>",
    ] {
        let sent = mail.send(letter(to)).await;
        assert_eq!(sent, Err(MailError::Address), "{to}");
    }
    assert_eq!(server.end().await, "");
}

#[tokio::test]
async fn a_server_that_refuses_or_is_away_is_no_more_than_an_error_without_the_letter() {
    let server = Server::new(Some("550 nobody here: a-secret")).await;
    let error = server
        .mail()
        .send(letter("kim@example.com"))
        .await
        .unwrap_err();
    assert_eq!(error, MailError::Refused("for good".to_owned()));
    let mail = server.mail();
    server.end().await;
    let began = Instant::now();
    let error = mail.send(letter("kim@example.com")).await.unwrap_err();
    assert!(matches!(error, MailError::Refused(_)) && !error.to_string().contains("secret"));
    assert!(began.elapsed() < Duration::from_secs(21));
}

#[tokio::test]
async fn without_a_server_letters_are_sent_to_nobody_in_production() {
    let production = LogMail::new(false).send(letter("kim@example.com")).await;
    assert_eq!(production, Err(MailError::Off));
    assert!(
        LogMail::new(true)
            .send(letter("kim@example.com"))
            .await
            .is_ok()
    );
    assert_eq!(format!("{:?}", letter("kim@example.com")), "Letter(..)");
}
