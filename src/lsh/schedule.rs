//! When the tables are rebuilt.

use super::LshError;
use serde::{Deserialize, Serialize};

/// The rule by which rebuilds follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Every `every` steps (the authors' code).
    #[default]
    Fixed,
    /// The t-th rebuild comes Σ_{i<t} `every`·e^(`lambda`·i) steps after the start (SLIDE, section 4.2).
    Backoff,
    /// Looked at every `every` steps; due once more than `share` of the monitored hash bits have flipped (MONGOOSE).
    OnChange,
    /// The tables of the first weights serve to the end.
    Never,
}

/// When tables are rebuilt and hash functions drawn anew.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RebuildSettings {
    pub policy: Policy,
    /// N₀, in steps.
    pub every: u64,
    /// λ of the back-off; 0 is [`Policy::Fixed`].
    pub lambda: f64,
    /// Share of monitored bits that must differ from the last build (on-change).
    pub share: f64,
    /// Neurons whose hash bits are monitored (on-change).
    pub monitored: usize,
    /// Hash functions are drawn anew at every so many-th rebuild; 0 keeps them for ever.
    pub redraw: u64,
}

impl Default for RebuildSettings {
    fn default() -> Self {
        Self { policy: Policy::Fixed, every: 50, lambda: 0.1, share: 0.3, monitored: 1024, redraw: 0 }
    }
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// Hash the weights again with the same functions.
    Keep,
    /// Draw new functions first.
    Redraw,
}

/// Says at each step whether the tables are due.
#[derive(Clone, Debug)]
pub struct RebuildSchedule {
    settings: RebuildSettings,
    /// Step of the next rebuild (or look), as the exact sum.
    next: f64,
    rebuilds: u64,
}

impl RebuildSchedule {
    /// # Errors
    /// Refuses an interval of zero, a λ or share out of range, and rebuilds on change with nothing monitored.
    pub fn new(settings: RebuildSettings) -> Result<Self, LshError> {
        if settings.every == 0 {
            return Err(LshError::new("rebuild.every", "0", "a number of steps from 1 on"));
        }
        if !(0.0..=50.0).contains(&settings.lambda) {
            return Err(LshError::new("rebuild.lambda", settings.lambda, "a number from 0 to 50"));
        }
        if !(0.0..=1.0).contains(&settings.share) {
            return Err(LshError::new("rebuild.share", settings.share, "a share from 0 to 1"));
        }
        if settings.policy == Policy::OnChange && settings.monitored == 0 {
            return Err(LshError::new("rebuild.monitored", 0, "a number of neurons from 1 on"));
        }
        Ok(Self { next: settings.every as f64, settings, rebuilds: 0 })
    }

    /// Rebuilds told so far.
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds
    }

    /// Whether [`due`](Self::due) may say yes at `step`; asks nothing of the weights.
    pub fn near(&self, step: u64) -> bool {
        step as f64 >= self.next && self.settings.policy != Policy::Never
    }

    /// To be asked once after every step with the number of steps done; `flipped` gives the share of monitored bits
    /// that differ from the last build and is called only where the policy needs it.
    pub fn due(&mut self, step: u64, flipped: impl FnOnce() -> f64) -> Option<Rebuild> {
        if (step as f64) < self.next {
            return None;
        }
        let every = self.settings.every as f64;
        match self.settings.policy {
            Policy::Never => return None,
            Policy::Fixed => self.next += every,
            Policy::Backoff => self.next += every * (self.settings.lambda * (self.rebuilds + 1) as f64).exp(),
            Policy::OnChange => {
                self.next += every;
                if flipped() <= self.settings.share {
                    return None;
                }
            }
        }
        self.rebuilds += 1;
        let redraw = self.settings.redraw != 0 && self.rebuilds.is_multiple_of(self.settings.redraw);
        Some(if redraw { Rebuild::Redraw } else { Rebuild::Keep })
    }
}
