//! Time: a clock that tests can replace, and the stopwatch of the training loop.

use std::time::{Duration, Instant};

/// Wall time and CPU time.
pub trait Clock: Sync {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
    /// CPU time this process has used, all threads together; none where the platform does not tell.
    fn cpu(&self) -> Option<Duration>;
}

/// The machine's clocks. CPU time is `CLOCK_PROCESS_CPUTIME_ID` on Unix and not told elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn cpu(&self) -> Option<Duration> {
        process_cpu()
    }
}

#[cfg(unix)]
fn process_cpu() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec to a valid address and keeps no pointer.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    (status == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(not(unix))]
fn process_cpu() -> Option<Duration> {
    None
}

/// Adds up the stretches of wall and CPU time between [`start`](Self::start) and [`stop`](Self::stop).
pub struct Stopwatch<'a> {
    clock: &'a dyn Clock,
    wall: Duration,
    cpu: Option<Duration>,
    since: Option<(Duration, Option<Duration>)>,
}

impl<'a> Stopwatch<'a> {
    /// A stopwatch at zero, standing still.
    pub fn new(clock: &'a dyn Clock) -> Self {
        Self { clock, wall: Duration::ZERO, cpu: clock.cpu().map(|_| Duration::ZERO), since: None }
    }

    /// Runs from here.
    pub fn start(&mut self) {
        let cpu = self.clock.cpu();
        self.since = Some((self.clock.now(), cpu));
    }

    /// Stands still from here.
    pub fn stop(&mut self) {
        let now = self.clock.now();
        if let Some((wall, cpu)) = self.since.take() {
            self.wall += now - wall;
            self.cpu = match (self.cpu, self.clock.cpu(), cpu) {
                (Some(sum), Some(now), Some(since)) => Some(sum + (now - since)),
                _ => None,
            };
        }
    }

    /// Wall time of all stretches, the running one included.
    pub fn wall(&self) -> Duration {
        self.wall + self.since.map_or(Duration::ZERO, |(wall, _)| self.clock.now() - wall)
    }

    /// CPU time of all finished stretches.
    pub fn cpu(&self) -> Option<Duration> {
        self.cpu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_moves_with_work() {
        let clock = SystemClock::default();
        let Some(before) = clock.cpu() else { return };
        let mut x = 1u64;
        while clock.cpu().unwrap() == before {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(clock.cpu().unwrap() > before);
    }
}
