//! Work that decisions must not wait for.

use portcullis_policy::STACK;
pub use portcullis_policy::give_way;
use tokio::sync::oneshot;

/// Does work on a thread of its own, which gives way to those that decide. It is not one of the runtime's: a thread cannot
/// take its priority back.
///
/// `None` if there is no thread, or the work panicked.
pub(crate) async fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    let thread = thread.spawn(move || {
        give_way();
        // Nobody waits for it any more: then what it found is of no use.
        drop(reply.send(work()).err());
    });
    match thread {
        Ok(_) => answer.await.ok(),
        Err(_) => None,
    }
}
