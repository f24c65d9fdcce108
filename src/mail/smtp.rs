//! The engine that hands letters to an SMTP server.
//!
//! Invariant: a password of the server is in no error and no log; `smtp://` with a password is
//! refused unless the server is on this machine, because it would travel in the clear.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::{Letter, Mail, MailError};

/// How long one step of a conversation with the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the server is. Its `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpSettings {
    /// `smtp://` or `smtps://`, `user:password@` if the server wants that, host and port.
    pub url: String,
    /// Who the letters are from, such as `Stompbox <noreply@example.com>`.
    pub from: String,
}

impl std::fmt::Debug for SmtpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpSettings")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Letters by SMTP.
pub struct SmtpMail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl std::fmt::Debug for SmtpMail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpMail").finish_non_exhaustive()
    }
}

impl SmtpMail {
    /// Letters through this server. Connects when there is something to send.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(settings: &SmtpSettings) -> Result<Self, MailError> {
        let refuse = |words: &str| MailError::Setting(words.to_owned());
        let server = Server::read(&settings.url)
            .ok_or_else(|| refuse("SMTP_URL: allowed: smtps://user:password@host:465"))?;
        let from = settings.from.parse().map_err(|_| {
            refuse("MAIL_FROM: allowed: an address such as Stompbox <noreply@example.com>")
        })?;
        if server.credentials.is_some() && !server.is_encrypted && !server.is_local() {
            return Err(refuse(
                "SMTP_URL: smtp:// would send the password in the clear; allowed: smtps://",
            ));
        }
        let builder = if server.is_encrypted {
            AsyncSmtpTransport::<Tokio1Executor>::relay(&server.host)
                .map_err(|_| refuse("SMTP_URL: this host cannot be used with TLS"))?
        } else {
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
        };
        let builder = builder.port(server.port).timeout(Some(TIMEOUT));
        let builder = match server.credentials {
            Some((user, password)) => builder.credentials(Credentials::new(user, password)),
            None => builder,
        };
        Ok(Self {
            transport: builder.build(),
            from,
        })
    }
}

#[async_trait]
impl Mail for SmtpMail {
    async fn send(&self, letter: Letter) -> Result<(), MailError> {
        let to = letter.to.parse().map_err(|_| MailError::Address)?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(letter.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text)
            .map_err(|_| MailError::Address)?;
        let sent = tokio::time::timeout(2 * TIMEOUT, self.transport.send(message)).await;
        match sent {
            Ok(Ok(_)) => Ok(()),
            // The class only: the server's own words may quote the letter.
            Ok(Err(error)) if error.is_permanent() => {
                Err(MailError::Refused("for good".to_owned()))
            }
            Ok(Err(error)) if error.is_transient() => Err(MailError::Refused("for now".to_owned())),
            Ok(Err(_)) => Err(MailError::Refused("it cannot be talked to".to_owned())),
            Err(_) => Err(MailError::Refused("it is too slow".to_owned())),
        }
    }
}

/// The parts of the URL.
struct Server {
    is_encrypted: bool,
    credentials: Option<(String, String)>,
    host: String,
    port: u16,
}

impl Server {
    fn read(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (is_encrypted, usual) = match scheme {
            "smtps" => (true, 465),
            "smtp" => (false, 25),
            _ => return None,
        };
        let (credentials, place) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((who, place)) => {
                let (user, password) = who.split_once(':')?;
                (Some((decode(user)?, decode(password)?)), place)
            }
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (place, usual),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        (!host.is_empty() && host.chars().all(is_host)).then(|| Self {
            is_encrypted,
            credentials,
            host: host.to_owned(),
            port,
        })
    }

    fn is_local(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "127.0.0.1")
    }
}

/// What `%40` and the like stand for.
fn decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        octets.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_from_its_url() {
        let server = Server::read("smtps://kim%40example.com:p%3Aw@mail.example.com").unwrap();
        assert_eq!(
            (server.host.as_str(), server.port),
            ("mail.example.com", 465)
        );
        let credentials = ("kim@example.com".to_owned(), "p:w".to_owned());
        assert_eq!(server.credentials, Some(credentials));
        for url in [
            "",
            "http://h",
            "smtp://",
            "smtp://h:x",
            "smtp://u@h",
            "smtp://a b",
            "smtp://%zz:p@h",
        ] {
            assert!(Server::read(url).is_none(), "{url}");
        }
    }

    #[test]
    fn a_password_does_not_travel_in_the_clear() {
        let check = |url: &str, usable: bool| {
            let settings = SmtpSettings {
                url: url.to_owned(),
                from: "Stompbox <noreply@example.com>".to_owned(),
            };
            let made = SmtpMail::new(&settings);
            assert_eq!(made.is_ok(), usable, "{url}");
            if let Err(error) = made {
                assert!(!error.to_string().contains("secret"));
            }
            assert!(!format!("{settings:?}").contains("secret"));
        };
        check("smtps://u:secret@mail.example.com:465", true);
        check("smtp://u:secret@mail.example.com", false);
        check("smtp://u:secret@localhost:2525", true);
        check("smtp://mail.example.com", true);
    }
}
