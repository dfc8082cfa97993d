//! slidebench trains **one neural network three ways** under one clock and says which of SLIDE's published speed
//! claims hold on this machine.
//!
//! Data flows one way, left to right, and nothing points back:
//!
//! ```text
//! data ──► experiment ──► harness ──► engine (dense-gpu | dense-cpu | lsh-cpu) ──► record ──► report
//! ```
//!
//! | room | holds |
//! |---|---|
//! | [`data`] | what is learned from: sparse rows, label lists, batches; one file a source |
//! | [`network`] | what is trained: shape, parameters, loss, the optimiser's arithmetic |
//! | [`kernels`] | SIMD kernels over lists of rows, chosen once at start; the portable one is the reference |
//! | [`lsh`] | hash families, hash tables, rebuild schedules |
//! | [`threads`] | how steps keep their threads awake |
//! | [`selection`] | which neurons compute: hashed, uniform, by frequency, exact top-k |
//! | [`engine`] | the contestants, behind one trait |
//! | [`experiment`] | what to run, read from TOML |
//! | [`harness`] | who runs it: order, clocks, evaluation, stopping, progress |
//! | [`measure`] | measurements of parts that train nothing: insertion, hashing, kernels |
//! | [`record`] | what was seen: one row an evaluation, one machine file a host |
//! | [`report`] | what it means: figures, tables, the report page; reads records only |
//! | [`cli`] | the command line over all of it |
//!
//! Dimension letters, everywhere: **B** batch, **I** input width, **H** hidden width, **L** labels. In [`lsh`],
//! **K** is the number of hash bits (or bins) a table and **T** the number of tables, which the papers call "L".

pub mod cli;
pub mod data;
pub mod engine;
pub mod experiment;
pub mod harness;
pub mod kernels;
pub mod lsh;
pub mod measure;
pub mod network;
pub mod record;
pub mod report;
pub mod selection;
pub mod threads;
