//! The CPU's own count of address translations, where the system shows it.

use std::io;

/// Loads of the calling thread that asked the first-level translation cache, and those that it could not answer.
pub struct Translations {
    #[cfg(target_os = "linux")]
    loads: linux::Counter,
    #[cfg(target_os = "linux")]
    misses: linux::Counter,
}

#[cfg(target_os = "linux")]
impl Translations {
    /// Counts from now on.
    ///
    /// # Errors
    /// Where the kernel, or the virtual machine under it, hides the counters.
    pub fn count() -> io::Result<Self> {
        Ok(Self { loads: linux::Counter::open(linux::DTLB_LOADS)?, misses: linux::Counter::open(linux::DTLB_MISSES)? })
    }

    /// Loads and misses so far.
    ///
    /// # Errors
    /// When the counters were never given time on the CPU.
    pub fn read(&self) -> io::Result<(f64, f64)> {
        Ok((self.loads.read()?, self.misses.read()?))
    }
}

#[cfg(not(target_os = "linux"))]
impl Translations {
    /// # Errors
    /// Always: only Linux is known to tell.
    pub fn count() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// # Errors
    /// Never comes to it.
    pub fn read(&self) -> io::Result<(f64, f64)> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Pages that the process was given so far, as it touched them for the first time.
pub fn page_faults() -> Option<u64> {
    #[cfg(unix)]
    {
        // SAFETY: all zeros is a valid `rusage`, and the call fills the one it is pointed to.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: see above.
        let done = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) } == 0;
        done.then_some(usage.ru_minflt as u64)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::{self, Read};
    use std::os::fd::FromRawFd;

    // perf_event.h: what is counted is cache | operation << 8 | result << 16.
    const HARDWARE_CACHE: u32 = 3;
    pub const DTLB_LOADS: u64 = 3;
    pub const DTLB_MISSES: u64 = 3 | 1 << 16;
    const EXCLUDE_KERNEL_AND_HYPERVISOR: u64 = 1 << 5 | 1 << 6;
    const TIME_ENABLED_AND_RUNNING: u64 = 1 | 2;
    const CLOSE_ON_EXEC: libc::c_ulong = 8;

    /// The first version of the kernel's `perf_event_attr`.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        kind: u32,
        size: u32,
        config: u64,
        sample_period: u64,
        sample_type: u64,
        read_format: u64,
        flags: u64,
        wakeup: u32,
        breakpoint: u32,
        config1: u64,
    }

    /// One counter of the calling thread.
    pub struct Counter(File);

    impl Counter {
        pub fn open(config: u64) -> io::Result<Self> {
            let attributes = Attributes {
                kind: HARDWARE_CACHE,
                size: size_of::<Attributes>() as u32,
                config,
                read_format: TIME_ENABLED_AND_RUNNING,
                flags: EXCLUDE_KERNEL_AND_HYPERVISOR,
                ..Attributes::default()
            };
            let (this_thread, any_cpu, no_group) = (0, -1, -1);
            // SAFETY: the attributes outlive the call and tell their own size.
            let fd = unsafe {
                libc::syscall(
                    libc::SYS_perf_event_open,
                    &raw const attributes,
                    this_thread,
                    any_cpu,
                    no_group,
                    CLOSE_ON_EXEC,
                )
            };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: a descriptor that was opened just now and is nobody else's.
            Ok(Self(unsafe { File::from_raw_fd(fd as i32) }))
        }

        /// The count so far, made up for the time in which another counter had the place.
        pub fn read(&self) -> io::Result<f64> {
            let mut words = [0_u64; 3];
            (&self.0).read_exact(bytemuck::bytes_of_mut(&mut words))?;
            let [count, enabled, running] = words.map(|word| word as f64);
            if running == 0.0 {
                return Err(io::Error::other("the counter never ran"));
            }
            Ok(count * enabled / running)
        }
    }
}
