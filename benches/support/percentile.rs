//! The one statistic that the benchmarks share.
//!
//! Invariant: of nothing it is the default.

/// The value below which so many per cent lie; sorts.
pub(crate) fn percentile<T: Ord + Copy + Default>(values: &mut [T], per_cent: usize) -> T {
    values.sort_unstable();
    let index = (values.len() * per_cent / 100).min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or_default()
}
