//! What was written: defaults, then `stompbox.toml`, then the environment, then flags.
//!
//! Not here: what it means (`kinds`), whether it fits together (`valid`). Invariant: every name in
//! the layers is the own name of a setting of the table; an alias never survives the reading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::kinds::{Kind, Rule};
use super::mistake::{Mistake, Source};
use super::settings::{Row, TABLE};

/// The largest file that is read, in octets: of a secret's file and of `stompbox.toml`.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that configuration is read from, as values: nothing is read behind the back.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file named with `--config`; it must exist then.
    pub file: Option<PathBuf>,
    /// Where `stompbox.toml` is looked for when no file is named.
    pub directory: PathBuf,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The flags: (the flag as it is written, the setting, the value).
    pub flags: Vec<(String, String, String)>,
}

impl std::fmt::Debug for Sources {
    /// Without the values: they may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Variables by which other systems name what this one has under another name, or not at all.
const FOREIGN: [(&str, &str); 9] = [
    ("REDIS_HOST", "set REDIS_URL"),
    ("REDIS_PORT", "set REDIS_URL"),
    ("REDIS_PASSWORD", "set REDIS_URL"),
    ("DB_HOST", "set DATABASE_URL"),
    ("DB_PASSWORD", "set DATABASE_URL"),
    (
        "NATS_URL",
        "there is no NATS here; nodes meet through REDIS_URL and RABBITMQ_URL",
    ),
    (
        "SCYLLA_NODES",
        "there is no ScyllaDB here; messages are kept by DATABASE_URL",
    ),
    ("ES_ADDRESSES", "there is no Elasticsearch here"),
    (
        "MONGODB_URI",
        "there is no MongoDB here; messages are kept by DATABASE_URL",
    ),
];

/// The shortest name of a variable that may be a misspelt setting, in letters: the environment has many
/// short names that are near each other and not meant for this program.
const MISSPELT_LETTERS_MIN: usize = 7;

/// How many letters of a misspelt name may be wrong.
const MISSPELT_DISTANCE_MAX: usize = 2;

/// The variables of an environment that look like settings and are none: one warning each.
#[must_use]
pub fn not_used(environment: &BTreeMap<String, String>) -> Vec<String> {
    let set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
    let found = FOREIGN.iter().filter(|(name, _)| set(name));
    let foreign = found.map(|(name, instead)| format!("{name} is not used: {instead}"));
    let names = environment.keys().filter(|name| set(name));
    let misspelt = names.filter_map(|name| {
        let meant = meant_by(name)?;
        Some(format!("{name} is not used: did you mean {meant}?"))
    });
    foreign.chain(misspelt).collect()
}

/// The setting that a variable was probably meant to be.
fn meant_by(name: &str) -> Option<&'static str> {
    let is_foreign = || FOREIGN.iter().any(|(foreign, _)| *foreign == name);
    let is_setting = || TABLE.iter().any(|row| is_name_of(row, name));
    if name.len() < MISSPELT_LETTERS_MIN || is_foreign() || is_setting() {
        return None;
    }
    let (distance, known) = nearest(name)?;
    (distance <= MISSPELT_DISTANCE_MAX && known.len() >= MISSPELT_LETTERS_MIN).then_some(known)
}

/// The winning text of every setting that was written somewhere.
#[derive(Clone, Default)]
pub struct Layers {
    written: BTreeMap<&'static str, (String, Source)>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
}

impl std::fmt::Debug for Layers {
    /// Without the values: they may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.written.keys()).finish()
    }
}

impl Layers {
    /// Reads all layers, the weakest first.
    ///
    /// # Errors
    /// When a file cannot be read, or a name in it or in a flag is not that of a setting.
    pub fn gather(sources: &Sources) -> Result<Self, Mistake> {
        let mut layers = Self::default();
        let beside = sources.directory.join("stompbox.toml");
        match &sources.file {
            Some(path) => layers.add_file(path)?,
            None if beside.is_file() => layers.add_file(&beside)?,
            None => {}
        }
        layers.add_environment(&sources.environment)?;
        for (flag, name, value) in &sources.flags {
            let origin = Source::Flag(flag.clone());
            layers.add(&name.to_ascii_uppercase(), value, origin)?;
        }
        Ok(layers)
    }

    /// Where the value of a setting came from.
    #[must_use]
    pub fn source(&self, name: &str) -> Source {
        self.written
            .get(name)
            .map_or(Source::Default, |(_, source)| source.clone())
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// When what was written is not allowed.
    pub fn read<T: Kind>(&self, name: &str, default: &str, rule: Rule) -> Result<T, Mistake> {
        let (text, origin) = match self.written.get(name) {
            Some((text, origin)) => (text.as_str(), origin.clone()),
            None => (default, Source::Default),
        };
        T::read(text, rule).ok_or_else(|| Mistake::Value {
            setting: name.to_owned(),
            origin,
            found: found(text, T::SECRET),
            allowed: T::allowed(rule),
        })
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Mistake> {
        let mistake = |problem: String| Mistake::File {
            path: path.to_owned(),
            problem,
        };
        let text = read_file(path).map_err(mistake)?;
        // Only the words and the line of the parser's error: its excerpt could show a secret.
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            mistake(format!("line {line}: {}", error.message()))
        })?;
        for (key, value) in table {
            let Some(text) = written_value(&value) else {
                return Err(mistake(format!(
                    "{key} is a {}; allowed: a text, a number, true or false, or a list of texts",
                    value.type_str()
                )));
            };
            let name = key.to_ascii_uppercase();
            let origin = Source::File(path.to_owned());
            self.add(&name, &text, origin)?;
        }
        self.file = Some(path.to_owned());
        Ok(())
    }

    /// Takes the variables that are settings; the others belong to somebody else. A setting's own
    /// name wins over its aliases, and a value over a `_FILE`.
    fn add_environment(&mut self, environment: &BTreeMap<String, String>) -> Result<(), Mistake> {
        for row in TABLE {
            let names = std::iter::once(&row.name).chain(row.aliases);
            let found = names.flat_map(|name| [(*name).to_owned(), format!("{name}_FILE")]);
            let set = |name: &String| {
                let value = environment.get(name).filter(|value| !value.is_empty())?;
                Some((name.clone(), value.clone()))
            };
            if let Some((name, value)) = found
                .filter(|name| is_name_of(row, name))
                .find_map(|n| set(&n))
            {
                let origin = Source::Environment(name.clone());
                self.add(&name, &value, origin)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, value: &str, origin: Source) -> Result<(), Mistake> {
        let Some(row) = TABLE.iter().find(|row| is_name_of(row, name)) else {
            return Err(Mistake::Unknown {
                name: name.to_owned(),
                origin,
                hint: did_you_mean(name),
            });
        };
        let from_file = row.secret && name.ends_with("_FILE");
        let value = if from_file && !value.is_empty() {
            let path = Path::new(value);
            let text = read_file(path).map_err(|problem| Mistake::File {
                path: path.to_owned(),
                problem: format!("{problem} ({name} names this file)"),
            })?;
            text.trim().to_owned()
        } else {
            value.trim().to_owned()
        };
        // An empty value means the default: Compose and shells cannot unset a variable otherwise.
        if value.is_empty() {
            self.written.remove(row.name);
        } else {
            self.written.insert(row.name, (value, origin));
        }
        Ok(())
    }
}

fn is_name_of(row: &Row, name: &str) -> bool {
    let plain = |name: &str| row.name == name || row.aliases.contains(&name);
    let file = || name.strip_suffix("_FILE").is_some_and(plain);
    plain(name) || (row.secret && file())
}

fn read_file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{size} octets; allowed: at most {FILE_BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

fn written_value(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn found(text: &str, secret: bool) -> String {
    if secret {
        return format!("a value of {} characters (not shown)", text.chars().count());
    }
    let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("'{shown}'")
}

/// The nearest name of a setting, as the end of a sentence.
fn did_you_mean(name: &str) -> String {
    match nearest(name) {
        Some((distance, known)) if distance <= 1 + known.len() / 4 => {
            format!("; did you mean {known}?")
        }
        _ => "; `stompbox config print` lists them all".to_owned(),
    }
}

/// The nearest name of a setting, and how many letters are different.
fn nearest(name: &str) -> Option<(usize, &'static str)> {
    let names = TABLE
        .iter()
        .flat_map(|row| std::iter::once(&row.name).chain(row.aliases));
    names.map(|known| (distance(name, known), *known)).min()
}

/// How many letters have to be put in, left out or changed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
