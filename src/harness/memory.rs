//! The most memory this process has held.

/// Peak resident memory since [`PeakMemory::reset`].
///
/// Linux keeps one high-water mark a process and lets the process itself set it back (`/proc/self/clear_refs`). Where
/// that is refused, or on another system, there is no peak of a single run, and none is told.
#[derive(Clone, Copy, Debug)]
pub struct PeakMemory {
    known: bool,
}

impl PeakMemory {
    /// Sets the mark back to what is held now.
    pub fn reset() -> Self {
        Self { known: cfg!(target_os = "linux") && std::fs::write("/proc/self/clear_refs", "5").is_ok() }
    }

    /// Bytes.
    pub fn read(self) -> Option<u64> {
        let status = self.known.then(|| std::fs::read_to_string("/proc/self/status").ok())??;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_an_allocation_that_is_gone_again() {
        let peak = PeakMemory::reset();
        let Some(before) = peak.read() else { return };
        drop(std::hint::black_box(vec![1u8; 32 << 20]));
        assert!(peak.read().unwrap() >= before + (16 << 20));
    }
}
