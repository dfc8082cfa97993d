//! Who runs an experiment: order, clocks, evaluation, stopping, progress.
