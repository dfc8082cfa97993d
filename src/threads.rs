//! Steps without sleep: a thread that falls asleep inside one takes 50 µs to wake.

use rayon::prelude::*;
use rayon::{ThreadPool, Yield};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Runs `step`, one or several, in the pool, whose other threads look for its tasks until it ends.
///
/// Left to themselves they would fall asleep wherever a step has nothing for them, a dozen times and for tens of
/// microseconds each. To be woken takes as long as many a task, and asking for it costs the CPU about what staying
/// awake does.
pub fn awake<R: Send>(pool: &ThreadPool, step: impl FnOnce() -> R + Send) -> R {
    pool.install(|| {
        let (over, looking) = (AtomicBool::new(false), AtomicUsize::new(1));
        let this = rayon::current_thread_index();
        rayon::in_place_scope(|scope| {
            if rayon::current_num_threads() > 1 {
                // On this thread, which can come to it only inside the step, it would never see the end.
                scope.spawn_broadcast(|_, context| {
                    if Some(context.index()) == this {
                        return;
                    }
                    looking.fetch_add(1, Ordering::Relaxed);
                    while !over.load(Ordering::Relaxed) {
                        if rayon::yield_now() != Some(Yield::Executed) {
                            std::thread::yield_now();
                        }
                    }
                });
                // A thread that took a task of the step first would come to look for others while that task waits for its
                // halves, and stay there: the step would wait for the task, and the thread for the end of the step.
                while looking.load(Ordering::Relaxed) < rayon::current_num_threads() {
                    std::thread::yield_now();
                }
            }
            let _over = Raise(&over);
            step()
        })
    })
}

/// Runs `run` for every item, in parallel. A thread that finds none left waits for the others' without falling asleep, as
/// one that waits for stolen work would after ten microseconds, and as `awake` cannot prevent for the thread that it runs
/// the step on.
///
/// An item must not wait in rayon itself: its thread could begin the last item there, and would wait for the first, which
/// lies unfinished beneath it.
pub fn for_each<I: IndexedParallelIterator>(items: I, run: impl Fn(I::Item) + Send + Sync) {
    for_each_with(items, || (), |(), item| run(item));
}

/// The same with work space, made as often as rayon divides the items.
pub fn for_each_with<I: IndexedParallelIterator, S>(
    items: I,
    space: impl Fn() -> S + Send + Sync,
    run: impl Fn(&mut S, I::Item) + Send + Sync,
) {
    let (len, begun, done) = (items.len(), AtomicUsize::new(0), AtomicUsize::new(0));
    items.for_each_init(space, |space, item| {
        begun.fetch_add(1, Ordering::Relaxed);
        let count = Count(&done);
        run(space, item);
        drop(count);
        // Items not yet begun may be this thread's own to do.
        if begun.load(Ordering::Relaxed) == len {
            while done.load(Ordering::Relaxed) < len {
                std::thread::yield_now();
            }
        }
    });
}

/// Counts when dropped: whether an item ends or panics.
struct Count<'a>(&'a AtomicUsize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
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

    /// A thread that is still at something else when a step begins could take the step's tasks before it looks for them.
    #[test]
    fn a_step_begins_when_all_threads_look_for_its_tasks() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let free = std::sync::Arc::new(AtomicBool::new(false));
        let set = free.clone();
        pool.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            set.store(true, Ordering::Relaxed);
        });
        assert!(awake(&pool, || free.load(Ordering::Relaxed)));
    }

    #[test]
    fn every_item_runs_once_and_a_panic_comes_through() {
        for threads in 1..=3 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for len in [0, 1, 2, 7, 1000] {
                let mut runs = vec![0; len];
                awake(&pool, || for_each(runs.par_iter_mut().enumerate(), |(i, runs)| *runs += i));
                assert!(runs.iter().enumerate().all(|(i, runs)| *runs == i));
            }
            let step = || awake(&pool, || for_each((0..100usize).into_par_iter(), |i| assert_ne!(i, 50)));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).is_err());
        }
    }
}
