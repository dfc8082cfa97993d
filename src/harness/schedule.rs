//! At which steps to evaluate.

use crate::experiment::Evaluations;

/// The steps after which training pauses for an evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Steps between regular evaluations; a fraction keeps "four an epoch" even where an epoch has 183 steps.
    spacing: f64,
    early: bool,
}

impl Schedule {
    /// `early` adds steps 1, 2, 4, 8, … before the first regular one.
    pub fn new(evaluations: Evaluations, steps_per_epoch: u64, early: bool) -> Self {
        let spacing = match evaluations {
            Evaluations::PerEpoch(count) => (steps_per_epoch as f64 / count as f64).max(1.0),
            Evaluations::EverySteps(steps) => steps as f64,
        };
        Self { spacing, early }
    }

    /// The first step after `step` that is followed by an evaluation.
    pub fn after(&self, step: u64) -> u64 {
        let mut turn = (step as f64 / self.spacing).floor() + 1.0;
        while (turn * self.spacing).round() as u64 <= step {
            turn += 1.0;
        }
        let regular = (turn * self.spacing).round() as u64;
        let early = if step == 0 { 1 } else { (step + 1).next_power_of_two() };
        if self.early && regular as f64 <= self.spacing + 0.5 { regular.min(early) } else { regular }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(schedule: Schedule, end: u64) -> Vec<u64> {
        std::iter::successors(Some(schedule.after(0)), |&step| Some(schedule.after(step)))
            .take_while(|&step| step <= end)
            .collect()
    }

    #[test]
    fn regular_evaluations_are_even() {
        assert_eq!(steps(Schedule::new(Evaluations::EverySteps(10), 99, false), 40), [10, 20, 30, 40]);
        assert_eq!(steps(Schedule::new(Evaluations::PerEpoch(4), 183, false), 183), [46, 92, 137, 183]);
        assert_eq!(steps(Schedule::new(Evaluations::PerEpoch(4), 2, false), 4), [1, 2, 3, 4]);
        assert_eq!(steps(Schedule::new(Evaluations::PerEpoch(2), 5, false), 10), [3, 5, 8, 10]);
    }

    #[test]
    fn early_ones_double_until_the_first_regular_one() {
        assert_eq!(steps(Schedule::new(Evaluations::EverySteps(20), 99, true), 60), [1, 2, 4, 8, 16, 20, 40, 60]);
        assert_eq!(steps(Schedule::new(Evaluations::EverySteps(1), 99, true), 3), [1, 2, 3]);
    }
}
