//! One background thread that runs the checkpoints of all partitions of a node, one after another.
//!
//! One at a time on purpose: checkpoints compete for the same disk, and two at once only make both later.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::{CheckpointJob, Verified};
use crate::Error;

type Done = Box<dyn FnOnce(Result<Verified, Error>) + Send>;

/// Handle of the thread. Dropping it waits for the jobs already submitted.
pub struct Checkpointer {
    jobs: Option<SyncSender<(CheckpointJob, Done)>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread; at most `waiting_max` jobs wait for it.
    pub fn start(waiting_max: usize) -> Result<Self, Error> {
        let (jobs, queue) = sync_channel(waiting_max.max(1));
        let thread = std::thread::Builder::new()
            .name("checkpointer".into())
            .spawn(move || work(&queue))
            .map_err(|source| Error::Io { action: "start a thread for", path: "checkpoints".into(), source })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Hands a job over without waiting; `done` is called on the background thread. Gives the job back when too many
    /// are waiting or the thread has died.
    pub fn submit(
        &self,
        job: CheckpointJob,
        done: impl FnOnce(Result<Verified, Error>) + Send + 'static,
    ) -> Result<(), CheckpointJob> {
        let Some(jobs) = &self.jobs else { return Err(job) };
        jobs.try_send((job, Box::new(done))).map_err(|refused| match refused {
            TrySendError::Full((job, _)) | TrySendError::Disconnected((job, _)) => job,
        })
    }
}

fn work(queue: &Receiver<(CheckpointJob, Done)>) {
    while let Ok((job, done)) = queue.recv() {
        done(job.run());
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointer").finish_non_exhaustive()
    }
}
