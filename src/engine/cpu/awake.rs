//! A step without sleep.

use rayon::{ThreadPool, Yield};
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `step` in the pool, whose other threads look for its tasks until it ends.
///
/// Left to themselves they would fall asleep wherever a step has nothing for them, a dozen times and for tens of
/// microseconds each. To be woken takes as long as many a task, and asking for it costs the CPU about what staying
/// awake does.
pub fn awake<R: Send>(pool: &ThreadPool, step: impl FnOnce() -> R + Send) -> R {
    pool.install(|| {
        let over = AtomicBool::new(false);
        let this = rayon::current_thread_index();
        rayon::in_place_scope(|scope| {
            if rayon::current_num_threads() > 1 {
                // On this thread, which can come to it only inside the step, it would never see the end.
                scope.spawn_broadcast(|_, context| {
                    while Some(context.index()) != this && !over.load(Ordering::Relaxed) {
                        if rayon::yield_now() != Some(Yield::Executed) {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let _over = Raise(&over);
            step()
        })
    })
}

/// Set when dropped: whether a step ends or panics.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn a_step_returns_its_value_and_its_panic() {
        for threads in 1..=3 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let sum = |count: u64| awake(&pool, || (0..count).into_par_iter().map(|i| i * i).sum::<u64>());
            assert_eq!(sum(1000), 332_833_500);
            let step = || awake(&pool, || (0..1000).into_par_iter().for_each(|i| assert_ne!(i, 500)));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).is_err());
            assert_eq!(sum(10), 285, "the pool goes on");
        }
    }
}
