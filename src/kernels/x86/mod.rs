//! Vector kernels for x86-64, written once and compiled for each set of instructions.
//!
//! [`vector::Vector`] says what a register can do; [`arrays`], [`rows`], [`updates`] and [`probes`] are written over it; [`avx512`]
//! and [`avx2`] implement it and compile the kernels. What makes this work, and why it looks as it does:
//!
//! - An intrinsic is a single instruction only inside a function that carries its target feature. So everything written
//!   over [`vector::Vector`] is `inline(always)`, and `kernel_set!` wraps each kernel in one `target_feature` function,
//!   outside of all loops.
//! - That function may run only on a CPU with the feature. So the wrapper that calls it is private to its set, and
//!   [`super::all_supported`] hands a set out only where the CPU has all its features.
//! - The kernels are `unsafe` for that one reason. Each first checks its arguments ([`super::check`]), so that the
//!   functions handed out are safe, and then works through pointers.

mod adam;
mod arrays;
pub(super) mod avx2;
pub(super) mod avx512;
mod near;
mod probes;
mod row_wise;
mod rows;
mod storage;
mod updates;
pub(super) mod vector;

pub(super) use avx512::bf16_dot;

/// Whether AMD made this CPU: see [`vector::prefetch_near`].
pub(super) fn is_amd() -> bool {
    let maker = std::arch::x86_64::__cpuid(0);
    [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}

/// Compiles the kernels for one set of target features.
macro_rules! kernel_set {
    ($name:literal, $features:literal, $V:ty) => {
        use crate::kernels::x86::{arrays, probes, rows, updates};
        use crate::kernels::packed::{PackedKernels, PackedRows};
        use crate::kernels::roofline::Probes;
        use crate::kernels::row_wise::{RowWiseKernels, RowWiseRows};
        use crate::kernels::weights::{Bf16Kernels, Bf16Rows};
        use crate::kernels::{AdamRows, Kernels, Pairs};
        use crate::network::AdamStep;

        /// This set; to be handed out only on a CPU that has its features.
        pub(in crate::kernels) const KERNELS: Kernels = Kernels {
            name: $name,
            dot,
            axpy,
            max,
            exp_sum,
            adam,
            row_dots,
            row_sum,
            gather_rows,
            row_adam,
            pair_dots,
            pair_update,
            pair_max,
            pair_exp,
            pair_scale,
            packed: PackedKernels { row_adam: packed::row_adam, pair_update: packed::pair_update },
            row_wise: RowWiseKernels { row_adam: row_wise::row_adam, pair_update: row_wise::pair_update },
            bf16: Bf16Kernels {
                widen,
                row_sum: bf16_weights::row_sum,
                pair_dots: bf16_weights::pair_dots,
                row_adam: bf16_weights::row_adam,
                pair_update: bf16_weights::pair_update,
                packed: PackedKernels {
                    row_adam: bf16_packed::row_adam,
                    pair_update: bf16_packed::pair_update,
                },
                row_wise: RowWiseKernels {
                    row_adam: bf16_row_wise::row_adam,
                    pair_update: bf16_row_wise::pair_update,
                },
            },
            probes: Probes { read_rows, change_rows, multiply_add },
        };

        kernel_set! { @weights $features, $V, f32 }
        kernel_set! { @update $features, $V, AdamRows<'_> }
        kernel_set! { @each $features,
            arrays::dot::<$V>(a: &[f32], b: &[f32]) -> f32;
            arrays::axpy::<$V>(alpha: f32, x: &[f32], y: &mut [f32]) -> ();
            arrays::max::<$V>(x: &[f32]) -> f32;
            arrays::exp_sum::<$V>(x: &mut [f32], shift: f32) -> f32;
            arrays::widen::<$V>(from: &[bf16], to: &mut [f32]) -> ();
            arrays::adam::<$V>(state: AdamRows<'_>, g: &[f32], step: AdamStep) -> ();
            rows::row_dots::<$V>(w: &[f32], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]) -> ();
            rows::gather_rows::<$V>(w: &[f32], width: usize, rows: &[u32], out: &mut [f32]) -> ();
            arrays::pair_max::<$V>(logits: &[f32], columns: &[u32], largest: &mut [f32]) -> ();
            arrays::pair_exp::<$V>(logits: &mut [f32], columns: &[u32], shift: &[f32], sums: &mut [f32]) -> ();
            arrays::pair_scale::<$V>(g: &mut [f32], columns: &[u32], scale: &[f32]) -> ();
            probes::read_rows::<$V>(w: &[f32], width: usize, rows: &[u32], ahead: usize) -> f32;
            probes::change_rows::<$V>(w: &mut [f32], width: usize, rows: &[u32], ahead: usize) -> ();
            probes::multiply_add::<$V>(rounds: usize) -> f64;
        }

        mod packed {
            use super::*;

            kernel_set! { @update $features, $V, PackedRows<'_> }
        }

        mod bf16_weights {
            use super::*;

            kernel_set! { @weights $features, $V, bf16 }
            kernel_set! { @update $features, $V, Bf16Rows<'_> }
        }

        mod bf16_packed {
            use super::*;

            kernel_set! { @update $features, $V, PackedRows<'_, bf16> }
        }

        mod row_wise {
            use super::*;

            kernel_set! { @update $features, $V, RowWiseRows<'_> }
        }

        mod bf16_row_wise {
            use super::*;

            kernel_set! { @update $features, $V, RowWiseRows<'_, bf16> }
        }
    };
    (@weights $features:literal, $V:ty, $W:ty) => {
        kernel_set! { @each $features,
            rows::row_sum::<$V, $W>(w: &[$W], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]) -> ();
            rows::pair_dots::<$V, $W>(w: &[$W], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]) -> ();
        }
    };
    (@update $features:literal, $V:ty, $Rows:ty) => {
        kernel_set! { @each $features,
            updates::row_adam::<$V, $Rows>(
                state: $Rows, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep
            ) -> ();
            updates::pair_update::<$V, $Rows>(
                state: $Rows, x: &[f32], dx: Option<&mut [f32]>, width: usize, pairs: Pairs<'_>, g: &[f32],
                step: AdamStep
            ) -> ();
        }
    };
    (@each $features:literal,
        $($module:ident::$kernel:ident::<$($T:ty),*>($($argument:ident: $type:ty),*) -> $result:ty;)*
    ) => {
        $(pub(super) fn $kernel($($argument: $type),*) -> $result {
            #[target_feature(enable = $features)]
            fn compiled($($argument: $type),*) -> $result {
                // SAFETY: this function has the features.
                unsafe { $module::$kernel::<$($T),*>($($argument),*) }
            }
            // SAFETY: `KERNELS`, the only way here, is handed out only where the CPU has the features.
            unsafe { compiled($($argument),*) }
        })*
    };
}
use kernel_set;
