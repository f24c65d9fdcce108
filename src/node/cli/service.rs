//! The commands that ask a running node: people, tokens, bans, routes.
//!
//! Not here: how it is asked (`client`), how an answer is shown (`shown`). Invariant: no secret is the
//! value of a flag, where every process of the machine could read it: passwords and tokens come from a
//! file or from stdin.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::super::config::Config;
use super::client::{Client, Failure, Question};
use super::shown;

/// Which node is asked, and how its answer is shown.
#[derive(Debug, Args)]
pub(super) struct Asking {
    /// The node to ask [default: the one of this configuration]
    #[arg(long, global = true, value_name = "URL")]
    pub(super) url: Option<String>,
    /// Write the answer as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// What is done with accounts.
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Make an account; the password is read from a file or from stdin
    Create {
        /// The e-mail
        #[arg(long)]
        email: String,
        /// The name that is shown
        #[arg(long)]
        name: String,
        /// member, bot or admin
        #[arg(long, default_value = "member")]
        role: String,
        /// Read the password from this file, its first line
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// The accounts
    List,
    /// One account
    Show {
        /// The address: user_...
        user: String,
    },
    /// Change what an account may do
    Role {
        /// The address: user_...
        user: String,
        /// member, bot or admin
        role: String,
    },
    /// End every sign-in of an account
    SignOut {
        /// The address: user_...
        user: String,
    },
    /// Forget an account or a visitor for good
    Erase {
        /// The address: user_...
        user: String,
    },
    /// Ban an account or a visitor (as `ban add --user`)
    Ban {
        /// The address: user_...
        user: String,
        #[command(flatten)]
        terms: Terms,
    },
    /// Lift that (as `ban lift --user`)
    Unban {
        /// The address: user_...
        user: String,
        /// Lift a mute rather than a ban
        #[arg(long)]
        mute: bool,
    },
}

/// What is done with access tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make an access token for an account
    Mint {
        /// The address: user_...
        user: String,
        /// How long it lives; a year at most
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
    },
    /// End the sign-in of a token that is read from a file or from stdin, or one by its name
    Revoke {
        /// Read the token from this file, its first line
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// The account of the sign-in
        #[arg(long, requires = "sign_in")]
        user: Option<String>,
        /// The sign-in: dev_...
        #[arg(long, requires = "user")]
        sign_in: Option<String>,
    },
}

/// What is done with bans.
#[derive(Debug, Subcommand)]
pub(super) enum Ban {
    /// Ban or mute somebody, a browser or a network
    Add {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        terms: Terms,
    },
    /// The bans and mutes that stand
    List,
    /// Lift a ban or a mute
    Lift {
        #[command(flatten)]
        subject: Subject,
        /// Lift a mute rather than a ban
        #[arg(long)]
        mute: bool,
    },
}

/// Whom a ban is about.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Subject {
    /// A user: user_...
    #[arg(long)]
    user: Option<String>,
    /// A browser, by its fingerprint
    #[arg(long)]
    client: Option<String>,
    /// A network, by an address or by its keyed name
    #[arg(long)]
    network: Option<String>,
}

/// What a ban keeps somebody from, and for how long.
#[derive(Debug, Args)]
pub(super) struct Terms {
    /// Keep him from writing only
    #[arg(long)]
    mute: bool,
    /// For how long; for ever unless given
    #[arg(long)]
    seconds: Option<u64>,
    /// Until when, in RFC 3339
    #[arg(long, value_name = "TIME", conflicts_with = "seconds")]
    until: Option<String>,
    /// Why: for the audit, and for him
    #[arg(long)]
    reason: String,
}

/// A command that asks a node.
#[derive(Debug)]
pub(super) enum Ask {
    /// Accounts.
    User(User),
    /// Access tokens.
    Token(Token),
    /// Bans.
    Ban(Ban),
    /// What became of a message.
    Trace(String),
    /// Where a user is.
    Route(String),
}

/// Asks, and shows the answer.
pub(super) fn run(config: &Config, asking: &Asking, ask: Ask) -> ExitCode {
    match answer(config, asking, ask) {
        Ok(text) => super::show(&text),
        Err(failure) => failure.tell(),
    }
}

fn answer(config: &Config, asking: &Asking, ask: Ask) -> Result<String, Failure> {
    let is_deep = matches!(ask, Ask::Trace(_) | Ask::Route(_));
    let question = question(ask)?;
    let client = Client::new(config, asking.url.as_deref())?;
    let is_list = question.method == "GET" && !is_deep;
    let answer = match is_list {
        true => whole_list(&client, question)?,
        false => client.ask(&question)?,
    };
    Ok(match asking.json || is_deep {
        true => shown::json(&answer),
        false => shown::text(&answer),
    })
}

/// All pages of a list as one.
fn whole_list(client: &Client, mut question: Question) -> Result<Value, Failure> {
    let path = question.path.clone();
    let mut answer = client.ask(&question)?;
    let mut next = answer["next_cursor"].as_str().map(str::to_owned);
    while let Some(cursor) = next {
        question.path = format!("{path}?cursor={cursor}");
        let mut page = client.ask(&question)?;
        next = page["next_cursor"].as_str().map(str::to_owned);
        if let (Some(items), Some(more)) =
            (answer["items"].as_array_mut(), page["items"].as_array_mut())
        {
            items.append(more);
        }
    }
    if let Some(object) = answer.as_object_mut() {
        object.remove("next_cursor");
        object.remove("has_more");
    }
    Ok(answer)
}

fn question(ask: Ask) -> Result<Question, Failure> {
    match ask {
        Ask::User(user) => of_user(user),
        Ask::Token(token) => of_token(token),
        Ask::Ban(Ban::Add { subject, terms }) => Ok(put_ban(&subject, terms)),
        Ask::Ban(Ban::List) => Ok(get("/admin/bans".to_owned())),
        Ask::Ban(Ban::Lift { subject, mute }) => Ok(lift(&subject, mute)),
        Ask::Trace(message) => Ok(get(format!("/admin/trace/{}", segment(&message)))),
        Ask::Route(user) => Ok(get(format!("/admin/routing/{}", segment(&user)))),
    }
}

fn of_user(user: User) -> Result<Question, Failure> {
    let path = |user: &str, rest: &str| format!("/admin/users/{}{rest}", segment(user));
    Ok(match user {
        User::Create {
            email,
            name,
            role,
            password_file,
        } => {
            let password = secret("password", password_file.as_deref())?;
            let body = json!({"email": email, "name": name, "role": role, "password": password});
            with("POST", "/admin/users".to_owned(), Some(body))
        }
        User::List => get("/admin/users".to_owned()),
        User::Show { user } => get(path(&user, "")),
        User::Role { user, role } => with("PUT", path(&user, "/role"), Some(json!({"role": role}))),
        User::SignOut { user } => with("POST", path(&user, "/sign_out"), None),
        User::Erase { user } => with("DELETE", path(&user, ""), None),
        User::Ban { user, terms } => put_ban(&Subject::user(user), terms),
        User::Unban { user, mute } => lift(&Subject::user(user), mute),
    })
}

fn of_token(token: Token) -> Result<Question, Failure> {
    let revoke = |body| with("POST", "/admin/tokens/revoke".to_owned(), Some(body));
    Ok(match token {
        Token::Mint { user, seconds } => {
            let body = json!({"user_id": user, "seconds": seconds});
            with("POST", "/admin/tokens".to_owned(), Some(body))
        }
        Token::Revoke {
            user: Some(user),
            sign_in: Some(sign_in),
            ..
        } => revoke(json!({"user_id": user, "sign_in": sign_in})),
        Token::Revoke { token_file, .. } => {
            revoke(json!({"token": secret("token", token_file.as_deref())?}))
        }
    })
}

fn put_ban(subject: &Subject, terms: Terms) -> Question {
    let (name, _, text) = subject.parts();
    let mut body = Map::new();
    body.insert(name.to_owned(), text.into());
    body.insert("act".to_owned(), act(terms.mute).into());
    body.insert("reason".to_owned(), terms.reason.into());
    body.extend(
        terms
            .seconds
            .map(|seconds| ("seconds".to_owned(), seconds.into())),
    );
    body.extend(terms.until.map(|until| ("until".to_owned(), until.into())));
    with("POST", "/admin/bans".to_owned(), Some(Value::Object(body)))
}

fn lift(subject: &Subject, mute: bool) -> Question {
    let (_, kind, text) = subject.parts();
    let path = format!("/admin/bans/{kind}/{}/{}", segment(text), act(mute));
    with("DELETE", path, None)
}

fn act(mute: bool) -> &'static str {
    if mute { "mute" } else { "ban" }
}

impl Subject {
    fn user(user: String) -> Self {
        Self {
            user: Some(user),
            client: None,
            network: None,
        }
    }

    /// The field of a new ban, the kind in a path, and the text.
    fn parts(&self) -> (&'static str, &'static str, &str) {
        match (&self.user, &self.client, &self.network) {
            (Some(user), _, _) => ("user_id", "user", user),
            (None, Some(client), _) => ("client_identifier", "client", client),
            (None, None, network) => ("network", "network", network.as_deref().unwrap_or_default()),
        }
    }
}

fn get(path: String) -> Question {
    with("GET", path, None)
}

fn with(method: &'static str, path: String, body: Option<Value>) -> Question {
    Question { method, path, body }
}

/// A text as one segment of a path (RFC 3986 section 2.1).
fn segment(text: &str) -> String {
    let mut segment = String::new();
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(char::from(octet));
            }
            _ => segment.push_str(&format!("%{octet:02X}")),
        }
    }
    segment
}

/// A secret: the first line of a file, else of stdin.
fn secret(what: &str, file: Option<&Path>) -> Result<String, Failure> {
    let read = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?,
        None => {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                let _ = write!(
                    io::stderr().lock(),
                    "{what} (it is shown while you write): "
                );
            }
            let mut line = String::new();
            let read = stdin.lock().read_line(&mut line);
            read.map_err(|error| Failure::Failed(format!("stdin: {error}")))?;
            line
        }
    };
    let secret = read.lines().next().unwrap_or_default().to_owned();
    match secret.is_empty() {
        true => Err(Failure::Usage(format!(
            "write the {what} to stdin, or into a file"
        ))),
        false => Ok(secret),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_one_segment() {
        assert_eq!(segment("user_0abc"), "user_0abc");
        assert_eq!(segment("../a b?c#d"), "..%2Fa%20b%3Fc%23d");
        assert_eq!(segment("2001:db8::1"), "2001%3Adb8%3A%3A1");
    }
}
