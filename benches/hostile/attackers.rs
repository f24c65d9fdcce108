//! The process that attacks, as the process that measures sees it: its start, its reports, its end.
//!
//! Not here: what it does (`attacks`) and how that is counted (`counted`). Invariant: it ends with the value that started
//! it; a process that ends before, or that has reported nothing, is an error and never an attack.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::catalogue::Attack;
use super::origin::Origin;
use super::server::this_program;
use super::support::{Failure, Outcome};

/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(100);

/// A process of the lowest priority that attacks for as long as the value lives. What it writes on stderr is shown.
#[derive(Debug)]
pub(crate) struct Attackers {
    child: Child,
    /// Its last report.
    last: Arc<Mutex<Option<Value>>>,
}

impl Attackers {
    /// `request_bytes` is how long a body of SockJS may be at the node.
    pub(crate) fn start(
        attack: &Attack,
        origin: Origin,
        target: SocketAddr,
        request_bytes: usize,
    ) -> Outcome<Self> {
        let program = this_program(&[
            "attack",
            attack.name,
            origin.name(),
            &target.to_string(),
            &request_bytes.to_string(),
        ])?;
        // SCHED_IDLE gives way at once to what an attacker wakes, as if attackers were on another machine. A process of
        // nice 19 would first use up its time slice.
        let mut child = Command::new("chrt")
            .args(["--idle", "0"])
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start `chrt`, which is in util-linux: {error}"))?;
        let stdout = child.stdout.take().ok_or("the attackers have no stdout")?;
        let last = Arc::<Mutex<Option<Value>>>::default();
        let kept = Arc::clone(&last);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(report) = serde_json::from_str(&line) {
                    *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
                }
            }
        });
        Ok(Self { child, last })
    }

    /// Returns when the process has ended, and why.
    pub(crate) async fn ended(&mut self) -> Failure {
        loop {
            match self.child.try_wait() {
                Ok(None) => sleep(LOOK).await,
                Ok(Some(status)) => {
                    return format!(
                        "the attackers ended by themselves ({status}); stderr says why, and `chrt --idle 0` has to be \
                         permitted"
                    )
                    .into();
                }
                Err(error) => return error.into(),
            }
        }
    }

    /// Ends the process. Returns what it did by its last report, a quarter of a second ago or as long as it had no
    /// processor.
    pub(crate) fn stop(self) -> Outcome<Value> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(last.clone().ok_or("the attackers have reported nothing")?)
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        // `chrt` becomes the attackers, so this ends them.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
