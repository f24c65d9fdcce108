//! Gathers the files of the page, `web/` and STOMP.js, into a table for `src/edge/page.rs`.
//!
//! STOMP.js is fetched by npm, in a copy of `web/package.json` under `OUT_DIR`, so the source tree
//! stays as it is. Without Node, or without a network, the build goes on: the broker is whole, and
//! its page says what is missing.

use std::error::Error;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The one file of the package that a browser needs.
const STOMP_JS: &str = "node_modules/@stomp/stompjs/bundles/stomp.umd.min.js";
const STOMP_LICENSE: &str = "node_modules/@stomp/stompjs/LICENSE";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=web");
    println!("cargo:rerun-if-env-changed=STOMPBOX_WITHOUT_NPM");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let web = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("web");

    let mut files = page_files(&web)?;
    match fetch(&web, &out.join("npm")) {
        Ok(fetched) => files.extend(fetched),
        Err(why) => println!(
            "cargo:warning=the demo page is built without STOMP.js ({why}); the broker is whole. \
             Install Node.js 20 with npm, run `touch build.rs` and build again"
        ),
    }
    fs::write(out.join("assets.rs"), table(&files)?)?;
    Ok(())
}

/// A file and the path at which it is served.
type Served = (String, PathBuf);

/// The page itself at `/`, that of the API at `/docs`, everything beside them under `/assets/`.
fn page_files(web: &Path) -> Result<Vec<Served>, Box<dyn Error>> {
    let mut files = vec![
        ("/".to_owned(), web.join("index.html")),
        ("/docs".to_owned(), web.join("docs.html")),
    ];
    let mut assets: Vec<_> = fs::read_dir(web.join("assets"))?.collect::<Result<_, _>>()?;
    assets.sort_by_key(fs::DirEntry::file_name);
    for asset in assets {
        let name = asset
            .file_name()
            .into_string()
            .map_err(|_| "a file name is not UTF-8")?;
        files.push((format!("/assets/{name}"), asset.path()));
    }
    Ok(files)
}

/// Runs `npm ci` unless what it gave last time is still right.
fn fetch(web: &Path, npm: &Path) -> Result<Vec<Served>, Box<dyn Error>> {
    if env::var_os("STOMPBOX_WITHOUT_NPM").is_some() {
        return Err("STOMPBOX_WITHOUT_NPM is set".into());
    }
    fs::create_dir_all(npm)?;
    let lock = fs::read(web.join("package-lock.json"))?;
    let kept = npm.join("package-lock.json");
    let files = vec![
        ("/assets/stomp.umd.min.js".to_owned(), npm.join(STOMP_JS)),
        (
            "/assets/stompjs-license.txt".to_owned(),
            npm.join(STOMP_LICENSE),
        ),
    ];
    let are_there = files.iter().all(|(_, file)| file.exists());
    if are_there && fs::read(&kept).is_ok_and(|before| before == lock) {
        return Ok(files);
    }
    fs::copy(web.join("package.json"), npm.join("package.json"))?;
    fs::write(&kept, &lock)?;
    let mut command = Command::new("npm");
    command
        .current_dir(npm)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    command.args([
        "--loglevel=error",
        "--fetch-retries=1",
        "--fetch-timeout=30000",
    ]);
    let ran = command
        .output()
        .map_err(|error| format!("npm cannot be run: {error}"))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        let first = said.lines().next().unwrap_or("it said nothing").to_owned();
        return Err(format!("npm ci failed: {first}").into());
    }
    match files.iter().find(|(_, file)| !file.exists()) {
        Some((_, missing)) => Err(format!("npm ci gave no {}", missing.display()).into()),
        None => Ok(files),
    }
}

/// The Rust source of the table. The files are copied in by `include_bytes!`.
fn table(files: &[Served]) -> Result<String, Box<dyn Error>> {
    let mut source = String::from("static ASSETS: &[Asset] = &[\n");
    for (path, file) in files {
        let mut hasher = DefaultHasher::new();
        fs::read(file)?.hash(&mut hasher);
        let etag = format!("\"{:016x}\"", hasher.finish());
        let content_type = content_type(file)?;
        writeln!(
            source,
            "Asset {{ path: {path:?}, content_type: {content_type:?}, etag: {etag:?}, \
             content: include_bytes!({file:?}) }},"
        )?;
    }
    source.push_str("];\n");
    Ok(source)
}

fn content_type(file: &Path) -> Result<&'static str, Box<dyn Error>> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => Ok("text/html; charset=utf-8"),
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("js") => Ok("text/javascript; charset=utf-8"),
        Some("svg") => Ok("image/svg+xml"),
        Some("txt") => Ok("text/plain; charset=utf-8"),
        None => Ok("text/plain; charset=utf-8"),
        Some(other) => Err(format!("no content type is known for .{other}").into()),
    }
}
