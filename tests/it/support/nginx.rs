//! nginx in front of nodes, with the very file of the deployment.
//!
//! [`render`] replaces the port that it listens on, the nodes, and the folder of its own files, and
//! nothing else; [`render_tcp`] takes the block for STOMP over TCP out of its comment too. Invariant:
//! it ends with its [`Nginx`].

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where Debian has the module for TCP.
const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    address: SocketAddr,
    child: Child,
    folder: TempDir,
}

/// The deployment's file with other ports and paths.
pub(crate) fn render(folder: &Path, listen: SocketAddr, nodes: &[SocketAddr]) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/nginx/nginx.conf");
    let original = std::fs::read_to_string(path).unwrap();
    let servers = |rest: &str| -> Vec<String> {
        let server = |node: &SocketAddr| format!("        server {node}{rest}");
        nodes.iter().map(server).collect()
    };
    let mut lines = Vec::new();
    for line in original.lines() {
        match line.trim_start() {
            "listen 8080;" => lines.push(format!("        listen {listen};")),
            server if server.starts_with("server node-a:8080") => {
                lines.extend(servers(server.trim_start_matches("server node-a:8080")));
            }
            server if server.starts_with("server node-b:8080") => {}
            _ => lines.push(line.replace("/tmp/nginx", &folder.display().to_string())),
        }
    }
    lines.join("\n") + "\n"
}

/// The block of the deployment's file for STOMP over TCP, which stands there in a comment, with
/// another port and these nodes.
pub(crate) fn render_tcp(listen: SocketAddr, nodes: &[SocketAddr]) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/nginx/nginx.conf");
    let original = std::fs::read_to_string(path).unwrap();
    let lines = original.lines().map(|line| line.strip_prefix('#'));
    let block: Vec<_> = lines
        .skip_while(|line| line.is_none_or(|line| line.trim() != "stream {"))
        .map_while(|line| line)
        .collect();
    let block = block.join("\n");
    let servers: Vec<_> = nodes.iter().map(|node| format!("server {node};")).collect();
    let text = block
        .replace("server node-a:61613;", &servers.join(" "))
        .replace(" server node-b:61613;", "")
        .replace("listen 61613;", &format!("listen {listen};"));
    assert!(!text.contains("61613"), "{text}");
    text
}

/// Runs the program with a rendered file and more arguments, such as `-t`.
fn command(folder: &Path) -> Command {
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
    let Some(program) = program.iter().find(|path| Path::new(path).exists()) else {
        panic!("nginx is missing; install the Debian package nginx");
    };
    let mut command = Command::new(program);
    command
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"));
    command
}

/// What `nginx -t` says of the deployment's file.
pub(crate) fn check() -> Output {
    let folder = tempfile::tempdir().unwrap();
    let node = SocketAddr::from(([127, 0, 0, 1], 1));
    let text = render(
        folder.path(),
        SocketAddr::from(([127, 0, 0, 1], 2)),
        &[node, node],
    );
    std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
    command(folder.path()).arg("-t").output().unwrap()
}

impl Nginx {
    /// Starts nginx in front of these nodes and waits until it listens.
    pub(crate) async fn start(nodes: &[SocketAddr]) -> Self {
        Self::start_with(nodes, "").await
    }

    /// The same, and at a second address that passes TCP on to these.
    pub(crate) async fn start_with_tcp(
        nodes: &[SocketAddr],
        tcp: &[SocketAddr],
    ) -> (Self, SocketAddr) {
        assert!(
            Path::new(STREAM).exists(),
            "nginx has no module for TCP; install the Debian package libnginx-mod-stream"
        );
        let address = SocketAddr::from(([127, 0, 0, 1], super::ports::free()));
        let block = render_tcp(address, tcp);
        let more = format!("load_module {STREAM};\n{block}\n");
        (Self::start_with(nodes, &more).await, address)
    }

    async fn start_with(nodes: &[SocketAddr], more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], super::ports::free()));
        let text = more.to_owned() + &render(folder.path(), address, nodes);
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        // As root its workers would change to a user who may not enter the test's folder.
        let root = std::fs::metadata("/proc/self")
            .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
        let directives = if root {
            "daemon off; user root;"
        } else {
            "daemon off;"
        };
        let child = command(folder.path())
            .args(["-g", directives])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut nginx = Self {
            address,
            child,
            folder,
        };
        nginx.wait_until_it_listens().await;
        nginx
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    async fn wait_until_it_listens(&mut self) {
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().unwrap();
            let folder = self.folder.path().display();
            assert_eq!(ended, None, "nginx ended; its folder was {folder}");
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "nginx does not listen"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM, not KILL: the master has to end its workers.
        super::node::signal(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}
