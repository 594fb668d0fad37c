//! One glommio executor per shard, pinned to a core. Attempts and changes of the world arrive in mailboxes of their
//! own and are decided by tasks of different priority: a wave of spawns waits while there are attempts.

use crate::commit::commit_queue::{CommitQueue, NoPlace, Place};
use crate::options::OpenError;
use crate::shard::{AttemptCommand, Shard, WorldCommand};
use fakemon_model::ids::ShardId;
use fakemon_model::limits::{MAILBOX_ATTEMPTS, MAILBOX_WORLD, TURN_ATTEMPTS_MAX, TURN_WORLD_MAX};
use fakemon_sync::clock::Clock;
use fakemon_sync::failure::{self, Failure};
use fakemon_sync::mailbox::Mailbox;
use fakemon_sync::pulse;
use futures_lite::{AsyncReadExt, FutureExt};
use glommio::net::UnixStream;
use glommio::{Latency, LocalExecutorBuilder, Placement, Shares};
use std::cell::RefCell;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Tasks yield after every turn, so the preemption timer is effectively off: glommio mistakes a task that was
/// preempted before it ran for an empty queue, and parks.
const PREEMPT: Duration = Duration::from_secs(3600);
/// How long a shard waits when the journal's desk is full; meanwhile its mailbox fills, and clients are throttled.
const DESK_FULL: Duration = Duration::from_micros(100);
/// How long an idle executor looks for work before it parks, where there are cores to spare.
const SPIN: Duration = Duration::from_micros(20);

/// More than the rings and buffers of an executor.
const RINGS_BYTES: u64 = 64 << 20;

/// The way into a shard.
pub struct ShardInbox {
    pub attempts: Mailbox<AttemptCommand>,
    pub world: Mailbox<WorldCommand>,
    stop: AtomicBool,
}

/// The ends of a shard's bells: its tasks read them to learn that something arrived.
pub struct Wakeups {
    attempts: StdUnixStream,
    world: StdUnixStream,
}

impl ShardInbox {
    /// A way in whose commands are taken by the thread that rings, with room for this many attempts and changes of
    /// the world.
    pub fn with_room(attempts: usize, world: usize) -> ShardInbox {
        let (attempts, world) = (Mailbox::for_thread(attempts), Mailbox::for_thread(world));
        ShardInbox { attempts, world, stop: AtomicBool::new(false) }
    }

    pub fn new() -> std::io::Result<(ShardInbox, Wakeups)> {
        let (attempts, attempts_ear) = Mailbox::for_stream(MAILBOX_ATTEMPTS)?;
        let (world, world_ear) = Mailbox::for_stream(MAILBOX_WORLD)?;
        let door = ShardInbox { attempts, world, stop: AtomicBool::new(false) };
        Ok((door, Wakeups { attempts: attempts_ear, world: world_ear }))
    }

    /// Stops the shard after the last command was sent: it decides what waits, then ends.
    pub fn stop(&self) {
        // Stored before the rings: a task that arms its bell either sees the flag in its second look, or is woken.
        self.stop.store(true, Ordering::SeqCst);
        self.attempts.ring();
        self.world.ring();
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// A running shard.
pub struct Core(JoinHandle<()>);

impl Core {
    /// Waits until the shard has ended.
    pub fn join(self) -> Result<(), String> {
        self.0.join().map_err(|panic| failure::said(&*panic))
    }
}

/// Starts the executor of a shard and waits until it runs. The engine has failed when one of its tasks panics, or
/// when it ends without being stopped.
#[expect(clippy::too_many_arguments, reason = "everything that a shard needs")]
pub fn start(
    shard: Shard,
    id: ShardId,
    pin: bool,
    door: Arc<ShardInbox>,
    ears: Wakeups,
    desk: Arc<CommitQueue>,
    clock: Clock,
    failure: Arc<Failure>,
) -> Result<Core, OpenError> {
    let cpus = allowed_cpus();
    let shard_index = usize::from(id.0);
    let cpu = cpus.get(shard_index).filter(|cpu| pin && can_pin(**cpu));
    let placement = cpu.map_or(Placement::Unbound, |cpu| Placement::Fixed(*cpu));
    let spin = if cpus.len() > shard_index + 3 { SPIN } else { Duration::ZERO };
    let builder = LocalExecutorBuilder::new(placement).preempt_timer(PREEMPT).spin_before_park(spin);
    let (started, has_started) = crossbeam::channel::bounded::<Result<(), String>>(1);
    let (asked, heard) = (door.clone(), failure.clone());
    // An executor that cannot be created is an error of the caller: the engine does not open, so it has not failed.
    let unmade = Arc::new(AtomicBool::new(false));
    let is_unmade = unmade.clone();
    // A thread of ours instead of glommio's: glommio can also panic outside every task, and would keep that result.
    let thread = failure::spawn(
        &format!("shard-{id}"),
        &failure,
        move || asked.stopping() || is_unmade.load(Ordering::Relaxed),
        move || match builder.make() {
            Ok(executor) => executor.run(async move {
                let _ = started.send(Ok(())); // `start` waits for this message
                run(shard, door, ears, desk, clock, &heard).await;
            }),
            Err(error) => {
                unmade.store(true, Ordering::Relaxed);
                let _ = started.send(Err(error.to_string()));
            }
        },
    );
    let thread = thread.map_err(|error| explain(&error.to_string()))?;
    match has_started.recv() {
        Ok(Ok(())) => Ok(Core(thread)),
        Ok(Err(why)) => Err(explain(&why)),
        Err(_) => Err(explain(&failure.get().unwrap_or_else(|| "it ended".into()))),
    }
}

/// The processors that this process may run on; a container may have any of the machine's.
fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Whether a thread may be pinned to a processor; some containers forbid it, and then the kernel places it.
fn can_pin(cpu: usize) -> bool {
    let pin = move || {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set)
    };
    let pinned = std::thread::scope(|scope| scope.spawn(pin).join());
    match pinned {
        Ok(Err(error)) => {
            let remedy = "allow `sched_setaffinity` in the container's seccomp profile";
            tracing::warn!("a shard cannot have processor {cpu} for itself ({error}): {remedy}");
            false
        }
        _ => true,
    }
}

async fn run(
    shard: Shard,
    door: Arc<ShardInbox>,
    ears: Wakeups,
    desk: Arc<CommitQueue>,
    clock: Clock,
    failure: &Arc<Failure>,
) {
    let executor = glommio::executor();
    let first = executor.create_task_queue(Shares::Static(1000), Latency::NotImportant, "throws");
    let later = executor.create_task_queue(Shares::Static(50), Latency::NotImportant, "world");
    let shard = Rc::new(RefCell::new(shard));
    let attempts = decide_attempts(shard.clone(), door.clone(), ears.attempts, desk.clone(), clock);
    let world = change_world(shard, door, ears.world, desk);
    let queues = "the task queue was just created";
    let attempts = glommio::spawn_local_into(watched(attempts, failure.clone()), first).expect(queues);
    let world = glommio::spawn_local_into(watched(world, failure.clone()), later).expect(queues);
    attempts.await;
    world.await;
}

/// A task of a shard; a panic in it fails the engine. The turn it was deciding is lost, and the drop of its place
/// closed the desk.
async fn watched(task: impl Future<Output = ()>, failure: Arc<Failure>) {
    if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("shard");
        failure.set(format!("the thread `{name}` panicked: {}", failure::said(&*panic)));
    }
}

async fn decide_attempts(
    shard: Rc<RefCell<Shard>>,
    door: Arc<ShardInbox>,
    ear: StdUnixStream,
    desk: Arc<CommitQueue>,
    clock: Clock,
) {
    let mut ear = listen(ear);
    let mut commands = Vec::with_capacity(TURN_ATTEMPTS_MAX);
    loop {
        arrived(&door.attempts, &mut ear, || door.stopping()).await;
        let place = place(&desk).await;
        let taken = door.attempts.take(TURN_ATTEMPTS_MAX, &mut commands);
        if taken == 0 && door.stopping() {
            return;
        }
        match place {
            Some(place) => {
                pulse::work();
                shard.borrow_mut().decide(place, &mut commands, clock.now());
                pulse::rest();
            }
            None => commands.clear(), // without a journal no attempt is decided
        }
        glommio::executor().yield_task_queue_now().await;
    }
}

async fn change_world(shard: Rc<RefCell<Shard>>, door: Arc<ShardInbox>, ear: StdUnixStream, desk: Arc<CommitQueue>) {
    let mut ear = listen(ear);
    let mut commands = Vec::with_capacity(TURN_WORLD_MAX);
    loop {
        arrived(&door.world, &mut ear, || door.stopping()).await;
        let place = place(&desk).await;
        let taken = door.world.take(TURN_WORLD_MAX, &mut commands);
        if taken == 0 && door.stopping() {
            return;
        }
        match place {
            Some(place) => {
                pulse::work();
                shard.borrow_mut().change_world(place, &mut commands);
                pulse::rest();
            }
            None => commands.clear(),
        }
        glommio::executor().yield_task_queue_now().await;
    }
}

/// Sleeps until a command waits or `over` is true.
async fn arrived<T>(mailbox: &Mailbox<T>, ear: &mut UnixStream, over: impl Fn() -> bool) {
    while !mailbox.arm(&over) {
        // The number of bytes means nothing: one is as good as many. An error would mean that the bell, and with it
        // the engine, is gone.
        let heard = ear.read(&mut [0; 64]).await;
        heard.expect("the other end lives as long as the door");
    }
}

/// Waits for a place at the desk, however long that takes; none if the journal takes no more turns. No command leaves
/// the mailbox before, so that commands that wait longer are decided later.
async fn place(desk: &CommitQueue) -> Option<Place<'_>> {
    loop {
        match desk.reserve() {
            Ok(place) => return Some(place),
            Err(NoPlace::Closed) => return None,
            Err(NoPlace::Full) => glommio::timer::sleep(DESK_FULL).await,
        }
    }
}

/// A stream of the standard library as one of this executor.
fn listen(ear: StdUnixStream) -> UnixStream {
    // SAFETY: `into_raw_fd` gives up ownership of the descriptor, which is open, and no other value owns it.
    unsafe { UnixStream::from_raw_fd(ear.into_raw_fd()) }
}

/// Explains what the kernel refused, and what to change.
fn explain(error: &str) -> OpenError {
    let lower = error.to_lowercase();
    if lower.contains("cannot allocate memory")
        && let Some(why) = failure::short_of_address_space(RINGS_BYTES)
    {
        return OpenError::Io(format!("a shard could not be started ({error}): {why}"));
    }
    if lower.contains("memlock") || lower.contains("cannot allocate memory") {
        return OpenError::MemlockTooLow(format!(
            "a shard needs 512 KiB of locked memory for io_uring: raise the limit with `ulimit -l 8192`, or \
             LimitMEMLOCK=8M in the systemd unit ({error})"
        ));
    }
    if ["not permitted", "not implemented", "not supported", "operation not", "permission denied"]
        .iter()
        .any(|word| lower.contains(word))
    {
        return OpenError::NoIoUring(format!(
            "io_uring is not available: it needs Linux 5.8, `sysctl kernel.io_uring_disabled=0`, and a container \
             profile that allows it ({error})"
        ));
    }
    OpenError::Io(format!("a shard could not be started: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_panics_is_a_failure_of_the_engine() {
        let failure = Arc::new(Failure::default());
        let heard = failure.clone();
        let executor = LocalExecutorBuilder::new(Placement::Unbound).name("shard-7").spawn(|| async move {
            let task = watched(async { panic!("boom") }, heard);
            glommio::spawn_local(task).await;
        });
        executor.unwrap().join().unwrap();
        assert!(failure.get().unwrap().ends_with("panicked: boom"), "{:?}", failure.get());
    }
}
