//! Functions over blocks that exist in two versions, plain and over vectors.

/// Defines a function that runs the version for the CPU's kernel set.
macro_rules! dispatched {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) { $($check:stmt;)* }) => {
        $(#[$doc])*
        pub fn $name($($argument: $type),*) {
            $($check)*
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::x86_64::{__m256, __m512};
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($argument: $type),*) {
                    // SAFETY: this function has the features, and the lengths have been checked.
                    unsafe { vectors::$name::<__m512>($($argument),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) {
                    // SAFETY: as above.
                    unsafe { vectors::$name::<__m256>($($argument),*) }
                }
                match crate::kernels::kernels().name {
                    // SAFETY: a kernel set is chosen only where the CPU has its features.
                    "avx512" => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    "avx2" => return unsafe { avx2($($argument),*) },
                    _ => {}
                }
            }
            portable::$name($($argument),*);
        }
    };
}
pub(super) use dispatched;
