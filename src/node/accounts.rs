//! Accounts as a configuration wants them: keys, issuers, mail, limits.
//!
//! Not here: what is done with them (`identity::accounts`). Invariant: a mistake in a key or in a
//! file of an issuer stops the start, with the setting and what is allowed; no word of a secret
//! stands in it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::config::{Config, Secret};
use super::kept::Kept;
use super::memory::Limit;
use crate::identity::Visitors;
use crate::identity::accounts::{
    AccountSettings, Accounts, IssuerSettings, IssuerSpec, Issuers, Jwt, JwtSettings, KeyMaterial,
    KeyPlace, KeySource, Parts,
};
use crate::mail::{LogMail, Mail, SmtpMail, SmtpSettings};
use crate::store::AccountStore;

/// How far clocks of nodes, and of sites, may be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// The longest file of an issuer, in octets.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Accounts cannot be used as they are configured.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {words}")]
pub(super) struct AccountsError {
    setting: &'static str,
    words: String,
}

#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn refuse(setting: &'static str, words: impl ToString) -> AccountsError {
    let words = words.to_string();
    AccountsError { setting, words }
}

/// The access tokens of this cluster: also for the command line, which makes one for itself.
///
/// # Errors
/// When a key cannot be used.
pub(super) fn jwt(config: &Config, kept: &Kept) -> Result<Jwt, AccountsError> {
    let settings = &config.settings;
    let text = |secret: &Option<Secret>| secret.as_ref().map(|it| it.reveal().to_owned());
    let material = KeyMaterial {
        secret: kept.secret.reveal().as_bytes().to_vec(),
        key: text(&settings.jwt_key),
        secret_previous: text(&settings.jwt_secret_previous).map(String::into_bytes),
        key_previous: text(&settings.jwt_key_previous),
    };
    let jwt = JwtSettings {
        issuer: settings.jwt_issuer.0.clone(),
        audience: settings.jwt_audience.0.clone(),
        access_ttl: settings.jwt_access_ttl,
        leeway: LEEWAY,
    };
    let names = "JWT_SECRET, JWT_KEY, JWT_SECRET_PREVIOUS or JWT_KEY_PREVIOUS";
    Jwt::new(&material, jwt).map_err(|error| refuse(names, error))
}

/// The accounts of this node.
pub(super) fn open(
    config: &Config,
    kept: &Kept,
    store: Arc<dyn AccountStore>,
    visitors: Arc<Visitors>,
    work: TaskTracker,
) -> Result<Arc<Accounts>, AccountsError> {
    let parts = Parts {
        store,
        visitors,
        mail: mail(config)?,
        jwt: jwt(config, kept)?,
        issuers: issuers(config)?,
        work,
    };
    let settings = &config.settings;
    let public_url = match &settings.public_url {
        Some(url) => url.0.clone(),
        None => format!("http://localhost:{}", settings.server_port),
    };
    let settings = AccountSettings {
        refresh_ttl: settings.refresh_ttl,
        failures: settings.login_failures,
        failures_per_net: settings.login_failures_per_net,
        logins_per_net: settings.login_per_net,
        registrations_per_net: settings.register_per_net,
        visitor_token_ttl: settings.anon_token_ttl,
        public_url,
        hashes: Limit::of(settings.memory_limit.0 as u64).hashes,
    };
    Ok(Arc::new(Accounts::new(parts, settings)))
}

fn mail(config: &Config) -> Result<Arc<dyn Mail>, AccountsError> {
    let Some(url) = &config.settings.smtp_url else {
        if !config.is_development() {
            tracing::warn!("SMTP_URL is not set: nobody gets a letter to set a new password");
        }
        return Ok(Arc::new(LogMail::new(config.is_development())));
    };
    let settings = SmtpSettings {
        url: url.reveal().to_owned(),
        from: config.settings.mail_from.0.clone(),
    };
    let mail = SmtpMail::new(&settings).map_err(|error| refuse("SMTP_URL, MAIL_FROM", error))?;
    Ok(Arc::new(mail))
}

fn issuers(config: &Config) -> Result<Issuers, AccountsError> {
    let specs = &config.settings.jwt_issuers.issuers;
    let mut all: Vec<IssuerSettings> = specs.iter().map(issuer).collect::<Result<_, _>>()?;
    let gatrix = &config.settings;
    if let (Some(url), Some(secret)) = (&gatrix.gatrix_api_url, &gatrix.gatrix_api_secret) {
        all.push(IssuerSettings {
            name: "gatrix".to_owned(),
            iss: String::new(),
            aud: String::new(),
            keys: KeySource::Introspect {
                url: url.reveal().to_owned(),
                secret: secret.reveal().to_owned(),
            },
            roles_claim: "roles".to_owned(),
            name_claim: "name".to_owned(),
            may_make_admins: false,
        });
    }
    Issuers::new(&all, LEEWAY).map_err(|error| refuse("JWT_ISSUERS, GATRIX_API_URL", error))
}

/// An issuer with what stands in its files.
fn issuer(spec: &IssuerSpec) -> Result<IssuerSettings, AccountsError> {
    let keys = match &spec.keys {
        KeyPlace::SecretFile(path) => KeySource::Secret(text(path)?.trim().as_bytes().to_vec()),
        KeyPlace::JwksFile(path) => KeySource::Jwks(text(path)?.into_bytes()),
        KeyPlace::JwksUrl(url) => KeySource::JwksUrl(url.clone()),
        KeyPlace::Introspect { url, secret_file } => KeySource::Introspect {
            url: url.clone(),
            secret: text(secret_file)?.trim().to_owned(),
        },
    };
    Ok(IssuerSettings {
        name: spec.name.clone(),
        iss: spec.iss.clone(),
        aud: spec.aud.clone(),
        keys,
        roles_claim: spec.roles_claim.clone(),
        name_claim: spec.name_claim.clone(),
        may_make_admins: spec.may_make_admins,
    })
}

fn text(path: &Path) -> Result<String, AccountsError> {
    let broken = |words: String| refuse("JWT_ISSUERS", format!("{}: {words}", path.display()));
    let size = fs::metadata(path).map_err(|error| broken(error.to_string()))?;
    if size.len() > FILE_BYTES_MAX {
        return Err(broken(format!("allowed: at most {FILE_BYTES_MAX} octets")));
    }
    fs::read_to_string(path).map_err(|error| broken(error.to_string()))
}
