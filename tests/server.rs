//! A running `fakemon serve` on free ports, with a data directory that is deleted when the test ends.

use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary under test.
pub(crate) const FAKEMON: &str = env!("CARGO_BIN_EXE_fakemon");

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    log: tempfile::NamedTempFile,
    pub(crate) play: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) data: PathBuf,
}

/// A data directory for one test.
pub(crate) fn fresh_data() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// Runs the binary to its end; kills it if it takes too long.
pub(crate) fn fakemon(arguments: &[&str]) -> Output {
    let mut command = Command::new(FAKEMON);
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("the binary was built for this test");
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, has_ended) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if has_ended.recv_timeout(Duration::from_secs(30)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL); // it may just have ended
        }
    });
    let output = child.wait_with_output().expect("it is ours to wait for");
    drop(ended);
    guard.join().expect("the guard does not panic");
    output
}

/// Runs a command that must succeed; returns its stdout.
pub(crate) fn answer(arguments: &[&str]) -> String {
    let output = fakemon(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {:?} {stderr}", output.status);
    String::from_utf8(output.stdout).expect("answers are UTF-8")
}

/// The exit code and the one line, besides the log, on stderr of a command that failed.
pub(crate) fn refusal(arguments: &[&str]) -> (i32, String) {
    let output = fakemon(arguments);
    let stderr = String::from_utf8(output.stderr).expect("errors are UTF-8");
    assert!(!output.status.success(), "{arguments:?} succeeded");
    let said: Vec<&str> = stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
    let [line] = said[..] else { panic!("{arguments:?}: {stderr}") };
    (output.status.code().expect("it ended by itself"), line.to_owned())
}

impl Server {
    /// A server on this data directory, with more arguments.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Server {
        Server::try_start(data, arguments).unwrap_or_else(|said| panic!("the server did not start: {said}"))
    }

    /// The same; if the server ends instead, its output.
    pub(crate) fn try_start(data: &Path, arguments: &[&str]) -> Result<Server, String> {
        Server::try_start_with(data, arguments, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn try_start_with(
        data: &Path,
        arguments: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> Result<Server, String> {
        let mut command = Command::new(FAKEMON);
        command.envs(environment.iter().copied());
        Server::try_start_by(command, data, arguments)
    }

    /// The same, started by another program, which executes the binary.
    pub(crate) fn try_start_by(mut command: Command, data: &Path, arguments: &[&str]) -> Result<Server, String> {
        let log = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let one_core = if arguments.contains(&"--cores") { &[][..] } else { &["--cores", "1"] };
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(one_core)
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(log.reopen().expect("the log is still there"))
            .spawn()
            .expect("the binary was built for this test");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("stdout is UTF-8");
        let addresses = line.trim_end().strip_prefix("listening play=").and_then(|rest| {
            let (play, control) = rest.split_once(" control=http://")?;
            let (_, play) = play.split_once("://")?;
            Some((play.parse().ok()?, control.parse().ok()?))
        });
        let Some((play, control)) = addresses else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(line + &std::fs::read_to_string(log.path()).unwrap_or_default());
        };
        Ok(Server { child, log, play, control, data: data.to_owned() })
    }

    /// The process.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// SIGTERM, then the exit status.
    pub(crate) fn stop(self) -> ExitStatus {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).expect("it still runs");
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it is ours to wait for")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("the log is still there, and UTF-8")
    }

    /// Waits until the server ends by itself; returns its status and its output.
    pub(crate) fn wait_for_failure(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.child.try_wait().expect("it is ours to wait for") {
                Some(status) => return (status, self.log()),
                None => assert!(Instant::now() < deadline, "it goes on: {}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it still runs");
        self.child.wait().expect("it is ours to wait for");
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut response = agent().get(self.url(path)).call().expect("the control plane answers");
        let body = response.body_mut().read_to_string().expect("bodies are UTF-8");
        (response.status().as_u16(), body)
    }

    /// Status and JSON of a POST to `/events`.
    pub(crate) fn post_event(&self, body: &str) -> (u16, Value) {
        let response = agent().post(self.url("/events")).send(body);
        let mut response = response.expect("the control plane answers");
        let answer = response.body_mut().read_json().expect("answers to events are JSON");
        (response.status().as_u16(), answer)
    }

    /// Spawns a fakémon; returns its id and position, none if the server ends first.
    pub(crate) fn try_spawn(&self, detail: &Value) -> Option<(u64, u64)> {
        let event = json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn", "detail": detail });
        let mut response = agent().post(self.url("/events")).send(event.to_string()).ok()?;
        let answer: Value = response.body_mut().read_json().ok()?;
        let number = |field: &str| answer[field].as_str()?.parse().ok();
        Some((number("fakemon_id")?, number("position")?))
    }

    /// Spawns a fakémon; returns its id and position.
    pub(crate) fn spawn(&self, detail: Value) -> (String, u64) {
        let event = json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn", "detail": detail });
        let (status, answer) = self.post_event(&event.to_string());
        assert_eq!(status, 200, "{answer}");
        let position = answer["position"].as_str().and_then(|position| position.parse().ok());
        let id = answer["fakemon_id"].as_str().map(str::to_owned);
        (id.expect("an id"), position.expect("a position"))
    }

    /// Sends bytes as they are to the control plane, reads until it closes.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.control).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // a reset after the answer is fine too
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.control)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// An HTTP client that returns every status, with a timeout.
fn agent() -> ureq::Agent {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(20)));
    config.build().into()
}
