//! Checks of single values while they are read, so that an error points at its line.

use serde::de::{Deserialize, Deserializer, Error};
use std::collections::BTreeMap;
use std::fmt::Display;

fn check_positive<E: Error, T: PartialOrd + Default + Display>(value: T) -> Result<T, E> {
    // NaN compares false.
    if value > T::default() { Ok(value) } else { Err(E::custom(format!("{value} is not a positive number"))) }
}

pub(super) fn positive<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + PartialOrd + Default + Display,
{
    check_positive(T::deserialize(input)?)
}

pub(super) fn positive_option<'de, D, T>(input: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + PartialOrd + Default + Display,
{
    positive(input).map(Some)
}

pub(super) fn positive_list<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<f32>, D::Error> {
    let values: Vec<f32> = not_empty(input)?;
    values.into_iter().map(check_positive).collect()
}

pub(super) fn positive_map<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, f32>, D::Error> {
    let values = BTreeMap::<String, f32>::deserialize(input)?;
    values.into_iter().map(|(key, value)| Ok((key, check_positive(value)?))).collect()
}

pub(super) fn not_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(input: D) -> Result<Vec<T>, D::Error> {
    let values = Vec::deserialize(input)?;
    if values.is_empty() { Err(D::Error::custom("the list is empty; name at least one")) } else { Ok(values) }
}

pub(super) fn widths<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<usize>, D::Error> {
    let values: Vec<usize> = not_empty(input)?;
    values.into_iter().map(check_positive).collect()
}

pub(super) fn widths_option<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<usize>>, D::Error> {
    widths(input).map(Some)
}

pub(super) fn not_blank<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let value = String::deserialize(input)?;
    if value.trim().is_empty() { Err(D::Error::custom("the text is empty")) } else { Ok(value) }
}

/// A name that is safe as a file name everywhere.
pub(super) fn slug<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let value = not_blank(input)?;
    if value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        Ok(value)
    } else {
        Err(D::Error::custom(format!("the name {value:?} names a file; use lower case, digits and hyphens")))
    }
}
